"""A call that goes on is heard as the recording of it would be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from talking import talk

from voxprint import Encoder
from voxprint.audio.fbank import FbankConfig, fbank
from voxprint.audio.speech import frames_within, heard_frames, speech_windows
from voxprint.encoder.hearing import Hearing
from voxprint.encoder.spec import DEFAULT_MODEL, DENOISERS, OWN, SILERO
from voxprint.errors import UsageError

CALL = np.concatenate(
    [
        np.random.default_rng(1).normal(0, 1e-4, 9000).astype(np.float32),
        talk(1, 1.7),
        np.zeros(16000, np.float32),
        talk(1, 0.6, take=1),
        np.zeros(30000, np.float32),
        talk(1, 2.1, take=2),
    ]
)


@pytest.fixture(scope="module", params=[SILERO, OWN], ids=["silero", "own"])
def encoder(request) -> Encoder:
    return Encoder(replace(DEFAULT_MODEL, detector=request.param))


def heard(encoder: Encoder, cuts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    hearing, parts, at = Hearing.of(encoder), [], 0
    while at < len(CALL):
        for size in cuts:
            parts.append(hearing.push(CALL[at : at + size]))
            at += size
    parts.append(hearing.finish())
    kept = [part for part in parts if len(part)]
    return (
        np.concatenate([part.features for part in kept]),
        np.concatenate([part.speech for part in kept]),
    )


@pytest.mark.parametrize("cuts", [[160], [1, 37, 4001], [320, 80], [12345]])
def test_how_it_is_cut_does_not_matter(encoder, cuts) -> None:
    features, speech = heard(encoder, [len(CALL)])
    other, other_speech = heard(encoder, cuts)
    assert np.array_equal(speech, other_speech)
    assert np.abs(features - other).max() < 1e-4


def test_it_hears_what_a_recording_is_heard_by(encoder) -> None:
    spec, detector = encoder.spec, encoder.detector
    rows = fbank(CALL, replace(spec.fbank, subtract_mean=False))
    windows = speech_windows(detector.probabilities(CALL, rows), spec.speech)
    wanted = heard_frames(windows, len(rows), spec.fbank, spec.speech, detector.window)
    net = frames_within(windows, len(rows), spec.fbank, detector.window)
    features, speech = heard(encoder, [800])
    if spec.detector is OWN:
        assert np.abs(features - rows[wanted]).max() < 1e-4
    # Silero hears three seconds of a recording twice, and half a second of a call.
    assert speech.sum() == pytest.approx(net.sum(), rel=0.1)
    assert len(features) == pytest.approx(wanted.sum(), rel=0.1)


def test_words_are_handed_out_while_somebody_speaks(encoder) -> None:
    hearing = Hearing.of(encoder)
    got = sum(len(hearing.push(talk(2, 2.0)[at : at + 320])) for at in range(0, 32000, 320))
    assert got >= 100
    assert hearing.surroundings().speech.any()


@pytest.mark.parametrize(
    "change",
    [{"fbank": FbankConfig(snip_edges=False)}, {"denoise": DENOISERS["spectral_subtraction"]}],
    ids=["frames beyond the ends", "denoiser"],
)
def test_a_front_end_that_needs_the_whole_recording_is_refused(change) -> None:
    with pytest.raises(UsageError, match="voxprint's own"):
        Hearing.of(Encoder(replace(DEFAULT_MODEL, **change)))


def test_memory_of_a_long_call_is_bounded(encoder) -> None:
    hearing = Hearing.of(encoder)
    for take in range(12):
        hearing.push(talk(2, 5.0, take=take))
    assert len(hearing.surroundings().features) <= 2000
