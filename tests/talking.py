"""Made-up voices that a speech detector takes for speech, any number of them.

Pulses of a wandering pitch pass through the resonances of four vowels, four syllables a second
with a hiss between them.
A person is a pitch, breath, and resonances of their own.
"""

from __future__ import annotations

import io
import wave

import numpy as np

RATE = 16000
#: Formants of the vowels in "pass", "see", "who" and "bed", in Hz.
_VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480))
_WIDTHS = (90, 110, 170)
_RESPONSE = 400
#: Made once and repeated: tests also want minutes.
_LONGEST = 10.0


def talk(person: int, seconds: float = 2.0, *, take: int = 0, rate: int = RATE) -> np.ndarray:
    """One utterance: float32, shape (n,), peak 0.5; another ``take`` says it another way."""
    made = _made(person, min(seconds, _LONGEST), take)
    samples = np.resize(made, round(seconds * RATE))
    if rate == RATE:
        return samples
    import soxr

    return soxr.resample(samples, RATE, rate)


def wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    """16-bit PCM from samples in [-1, 1], shape (n,) or (n, channels)."""
    target = io.BytesIO()
    with wave.open(target, "wb") as out:
        out.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return target.getvalue()


def _made(person: int, seconds: float, take: int) -> np.ndarray:
    traits, chance = np.random.default_rng([person, 7]), np.random.default_rng([person, take, 8])
    pitch, breath, tilt = traits.uniform([105, 0.001, 0.2], [235, 0.006, 1.8])
    throat = traits.uniform(0.85, 1.2) * traits.uniform(0.85, 1.15, (4, 3))
    time = np.arange(round(seconds * RATE)) / RATE
    start, swing = traits.uniform(0, 4, 3), traits.uniform(0.02, 0.2)
    tune = swing * np.sin(2 * np.pi * (0.7 * time + start[0] + chance.uniform(0, 0.1)))
    tune += swing / 3 * np.sin(2 * np.pi * (2.9 * time + start[1]))
    pulses = np.diff(np.floor(np.cumsum(pitch * (1 + tune)) / RATE), prepend=0.0)
    place = traits.uniform(1, 3) * time + start[2]
    sound = np.zeros_like(time)
    size = 1 << (len(time) + _RESPONSE - 1).bit_length()
    spectrum = np.fft.rfft(pulses, size)
    for vowel, formants in enumerate(_VOWELS):
        weight = np.maximum(0.0, 1 - np.abs((place - vowel + 2) % 4 - 2))
        response = np.fft.rfft(_response(throat[vowel] * formants, tilt), size)
        sound += weight * np.fft.irfft(spectrum * response, size)[: len(time)]
    sound /= np.abs(sound).max()
    sound += breath * chance.standard_normal(len(time))
    beat = np.cos(2 * np.pi * 2 * time + 1) ** 2
    sound *= 1 - 0.85 * beat
    hiss = np.diff(chance.standard_normal(len(time)), prepend=0.0)
    sound += 0.05 * np.maximum(0, beat - 0.7) / 0.3 * hiss
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def _response(formants: np.ndarray, tilt: float) -> np.ndarray:
    time = np.arange(_RESPONSE) / RATE
    return sum(
        np.exp(-np.pi * width * time) * np.sin(2 * np.pi * formant * time) / number**tilt
        for number, (formant, width) in enumerate(zip(formants, _WIDTHS, strict=True), 1)
    )
