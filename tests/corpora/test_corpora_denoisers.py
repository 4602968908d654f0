"""Denoisers on real speech and real noise: nearer to clean where it is noisy, hardly off elsewhere.

Whether that helps to tell people apart is another question: docs/noise.md.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from voxprint.audio.decode import decode
from voxprint.audio.degrade import degrade
from voxprint.audio.fbank import fbank
from voxprint.audio.speech import heard_frames, pause_frames, speech_windows
from voxprint.encoder.denoiser import Denoiser, autoencoder, subtraction
from voxprint.encoder.sources import load_denoiser, load_detector
from voxprint.encoder.spec import AUTOENCODER, DEFAULT_MODEL, DENOISERS
from voxprint.encoder.vad import SpeechDetector

pytestmark = pytest.mark.corpora
SPEC = DEFAULT_MODEL
RAW = replace(SPEC.fbank, subtract_mean=False)


@pytest.fixture(scope="module", params=sorted(DENOISERS))
def denoise(request) -> Denoiser:
    if request.param == "autoencoder":
        return autoencoder(load_denoiser(AUTOENCODER), at_once=SPEC.speech.at_once)
    return subtraction(DENOISERS[request.param])


@pytest.fixture(scope="module")
def recordings(corpora: Path) -> list[np.ndarray]:
    people = sorted((corpora / "speech" / "speechocean762").iterdir())[::12]
    return [decode(sorted(each.iterdir())[0]).samples for each in people]


@pytest.fixture(scope="module")
def noises(corpora: Path) -> list[np.ndarray]:
    return [decode(path).samples for path in sorted((corpora / "noise").glob("*.opus"))[1::4]]


def errors(samples: np.ndarray, clean: np.ndarray, denoise: Denoiser) -> tuple[float, float]:
    """Mean squared distance to clean features before and after, means over time taken off."""
    detector = SpeechDetector(load_detector(SPEC), warm_up=SPEC.speech.warm_up)
    windows = speech_windows(detector.probabilities(clean), SPEC.speech)
    features, target = fbank(samples, RAW), fbank(clean, RAW)
    pauses = pause_frames(windows, len(features), RAW)
    heard = heard_frames(windows, len(features), RAW, SPEC.speech)
    rows = (features[heard], denoise(features, pauses, heard), target[heard])
    before, after, wanted = (each - each.mean(axis=0) for each in rows)
    return float(np.square(before - wanted).mean()), float(np.square(after - wanted).mean())


@pytest.mark.parametrize("snr_db", [10, 0])
def test_noise_is_lowered(recordings, noises, denoise, snr_db):
    found = [
        errors(degrade(clean, f"noise{snr_db}", str(at), noises=noises), clean, denoise)
        for at, clean in enumerate(recordings)
    ]
    before, after = np.mean(found, axis=0)
    assert after < 0.97 * before


def test_clean_speech_is_hardly_changed(recordings, noises, denoise):
    changed = [errors(clean, clean, denoise)[1] for clean in recordings]
    noise = [
        errors(degrade(clean, "noise10", str(at), noises=noises), clean, denoise)[0]
        for at, clean in enumerate(recordings)
    ]
    assert np.mean(changed) < 0.25 * np.mean(noise)
