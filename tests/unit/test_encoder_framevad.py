"""Our own detector of speech: as a stream, at any level, and in a model's place of Silero's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import soundscapes
from recordings import RATE, pcm16
from talking import talk

from voxprint import Encoder
from voxprint.audio.degrade import degrade
from voxprint.audio.fbank import fbank
from voxprint.audio.speech import frames_within, heard_frames, pause_frames, speech_windows
from voxprint.encoder.checkpoint import read_weights
from voxprint.encoder.detector import open_detector
from voxprint.encoder.framegraph import build_frame_detector
from voxprint.encoder.sources import detector_path, fetch, is_fetched, load_detector
from voxprint.encoder.spec import CALLS_MODEL, DEFAULT_MODEL, OWN, SILERO
from voxprint.errors import FailureToAcquire, ModelFileError

SPEC = replace(CALLS_MODEL, detector=OWN)
ROWS = replace(SPEC.fbank, subtract_mean=False)


@pytest.fixture(scope="module")
def detector():
    return open_detector(SPEC)


@pytest.fixture(scope="module")
def encoder():
    return Encoder(SPEC)


def scene() -> np.ndarray:
    """Two voices between silences, in a little noise: 6.4 s."""
    quiet = np.zeros(round(0.8 * RATE), np.float32)
    parts = [quiet, talk(3, 2.0), quiet, talk(7, 2.0), quiet]
    return degrade(np.concatenate(parts), "noise20", "scene")


def decided(detector, samples):
    return speech_windows(detector.probabilities(samples), SPEC.speech)


# -- as a stream -----------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 3, 4, 50, 333])
def test_frames_in_chunks_of_any_size_are_judged_as_those_of_one_call(detector, chunk):
    rows = fbank(scene(), ROWS)
    whole = detector.stream()
    expected = np.concatenate([whole.push(rows), whole.finish()])
    assert len(expected) == len(rows)
    stream = detector.stream()
    pieces = [stream.push(rows[at : at + chunk]) for at in range(0, len(rows), chunk)]
    assert np.allclose(np.concatenate([*pieces, stream.finish()]), expected, atol=1e-6)
    assert 0.3 < (expected > 0.5).mean() < 0.9


def test_a_recording_is_judged_as_the_stream_of_its_frames(detector):
    samples = scene()
    rows = fbank(samples, ROWS)
    stream = detector.stream()
    frames = np.concatenate([stream.push(rows), stream.finish()])
    windows = detector.probabilities(samples)
    assert len(windows) == -(-len(samples) // 160)
    # The middle of frame i lies in window i + 1.
    assert np.array_equal(windows[1 : 1 + len(rows)], frames)
    assert np.array_equal(detector.probabilities(samples, rows), windows)


def test_what_comes_later_than_the_look_ahead_changes_nothing(detector):
    rows = fbank(scene(), ROWS)
    first, other = detector.stream(), detector.stream()
    known = first.push(rows[:300])
    assert 300 - len(known) <= 7
    assert np.array_equal(other.push(rows)[: len(known)], known)


@pytest.mark.parametrize("frames", [0, 1, 3, 4, 5, 8])
def test_a_short_stream_judges_every_frame_once(detector, frames):
    stream = detector.stream()
    rows = fbank(talk(3, 1.0), ROWS)[:frames]
    assert len(np.concatenate([stream.push(rows), stream.finish()])) == frames


@pytest.mark.parametrize("count", [1, 159, 160, 399, 400, 401, 4801])
def test_there_is_a_probability_for_every_window(detector, count):
    likely = detector.probabilities(talk(3, 1.0)[:count])
    assert likely.shape == (-(-count // 160),)
    assert likely.dtype == np.float32
    assert ((likely >= 0) & (likely <= 1)).all()


def test_minutes_are_one_stream(detector):
    """They take more than one call; a minute into them, the state is the same."""
    samples = np.tile(scene(), 25)
    rows = fbank(samples, ROWS)
    assert len(rows) > 12000
    stream = detector.stream()
    frames = np.concatenate([stream.push(rows), stream.finish()])
    assert np.allclose(detector.probabilities(samples)[1 : 1 + len(rows)], frames, atol=1e-6)


def test_one_detector_serves_many_threads(detector):
    utterances = [talk(person, 1.0) for person in range(8)]
    alone = [detector.probabilities(samples) for samples in utterances]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(detector.probabilities, utterances))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


# -- what it finds ---------------------------------------------------------------------------


def test_speech_lies_where_the_other_detector_finds_it(detector):
    samples = scene()
    theirs = open_detector(replace(SPEC, detector=SILERO))
    count = len(fbank(samples, ROWS))
    found, expected = (
        frames_within(decided(each, samples), count, ROWS, each.window)
        for each in (detector, theirs)
    )
    assert (found == expected).mean() > 0.9


@pytest.mark.parametrize("level", [1e-3, 0.01, 0.1, 1.0, 32768.0])
def test_speech_is_found_at_any_level(detector, level):
    samples = talk(3, 2.0)
    expected = decided(detector, samples).mean()
    assert decided(detector, samples * np.float32(2 * level)).mean() == pytest.approx(
        expected, abs=0.15
    )


def test_speech_is_found_from_the_first_frame(detector):
    """Half a second of a telephone, cut out of the middle of a word."""
    for person in range(6):
        clip = degrade(talk(person, 2.0)[RATE : RATE + RATE // 2], "mulaw8k")
        assert decided(detector, clip)[:12].any()
        assert decided(detector, clip).mean() > 0.5


@pytest.mark.parametrize(
    "samples",
    [
        soundscapes.dial_tone(),
        soundscapes.ringing(),
        soundscapes.keypad(),
        soundscapes.tones(1000),
        soundscapes.music(),
        soundscapes.white_noise(),
        soundscapes.pink_noise(),
        soundscapes.white_noise(level=1e-3),
    ],
    ids=["dial tone", "ringing", "keypad", "tone", "music", "white", "pink", "quiet"],
)
def test_what_is_no_voice_is_refused(encoder, samples):
    with pytest.raises(FailureToAcquire) as error:
        encoder.embed(samples, RATE)
    assert error.value.reason == "no_speech"


# -- in a model ------------------------------------------------------------------------------


def test_a_model_that_hears_by_it_is_another_model():
    assert SPEC.hash != CALLS_MODEL.hash
    assert DEFAULT_MODEL.hash.startswith("c316a3d729733cc3")
    assert CALLS_MODEL.hash.startswith("19087c9787b578c3")


def test_pauses_are_cut_out_as_they_are_with_the_other_detector(encoder):
    samples = talk(3, 3.0)
    gap = np.zeros(3 * RATE, np.float32)
    held = np.concatenate([gap, samples, gap])
    theirs = Encoder(CALLS_MODEL)
    for each in (samples, held):
        assert encoder.embed(each, RATE) @ theirs.embed(each, RATE) > 0.98
    embedding = encoder.embed_file(pcm16(held))
    assert 1.5 < embedding.speech_seconds < 4.0


def test_margins_are_as_wide_as_with_the_other_detector():
    """A third of a second on both sides of speech is heard; 64 ms beside it are no pause."""
    frames = 400
    for window in (512, 160):
        windows = np.zeros(frames * 160 // window, bool)
        windows[len(windows) // 2] = True
        heard = heard_frames(windows, frames, ROWS, SPEC.speech, window)
        pauses = pause_frames(windows, frames, ROWS, window)
        assert np.count_nonzero(heard) * 160 == pytest.approx(2 * 10 * 512 + window, abs=320)
        assert np.count_nonzero(~pauses) * 160 == pytest.approx(2 * 2 * 512 + window, abs=320)


def test_nothing_has_to_be_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("VOXPRINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VOXPRINT_VAD", str(tmp_path / "none"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert not is_fetched(SPEC)
    fetch(SPEC)
    assert is_fetched(SPEC)
    assert detector_path(SPEC).name == "voxprint_vad.npz"
    assert detector_path(SPEC).stat().st_size == OWN.bytes <= 200_000


def test_an_installation_with_another_file_says_so():
    with pytest.raises(ModelFileError, match="the speech detector voxprint_vad"):
        load_detector(replace(SPEC, detector=replace(OWN, sha256="0" * 64)))


@pytest.mark.parametrize("missing", ["mean", "conv.weight", "gru.bias_hh_l0", "out.bias"])
def test_weights_of_another_network_are_refused(missing):
    state = read_weights(detector_path(SPEC).read_bytes())
    with pytest.raises(ModelFileError, match="expected the weights of a detector of speech"):
        build_frame_detector({name: each for name, each in state.items() if name != missing})
    with pytest.raises(ModelFileError, match="80 bins in place of 40"):
        build_frame_detector(state, mel_bins=40)
