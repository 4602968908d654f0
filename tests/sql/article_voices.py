"""Short recordings that need no file: buzzing vowels, one voice a number."""

from __future__ import annotations

import io
import wave

import numpy as np

RATE = 16_000


def recording(voice: int, *, seconds: float = 1.2, take: int = 0) -> bytes:
    """A WAV of one made-up voice; another ``take`` is other noise of the same voice."""
    rng = np.random.default_rng([voice, 7])
    pitch, formants = rng.uniform(80, 260), rng.uniform([300, 900, 2200], [800, 2000, 3200])
    time = np.arange(int(seconds * RATE)) / RATE
    wobble = pitch * (1 + 0.02 * np.sin(2 * np.pi * 5 * time))
    phase = 2 * np.pi * np.cumsum(wobble) / RATE
    samples = np.zeros_like(time)
    for harmonic in range(1, int(4000 / pitch)):
        gain = sum(np.exp(-(((harmonic * pitch - f) / 250) ** 2)) for f in formants)
        samples += (gain + 0.01) * np.sin(harmonic * phase)
    samples *= 0.3 * (1.2 + np.sin(2 * np.pi * 3 * time))
    samples += 0.01 * np.random.default_rng([voice, take]).standard_normal(len(time))
    return wav(0.5 * samples / np.abs(samples).max())


def silence(seconds: float = 1.0) -> bytes:
    """A WAV of zeros."""
    return wav(np.zeros(int(seconds * RATE)))


def wav(samples: np.ndarray) -> bytes:
    """16-bit mono PCM from samples in [-1, 1]."""
    target = io.BytesIO()
    with wave.open(target, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return target.getvalue()


def hexadecimal(audio: bytes) -> str:
    """As psql users write it: a literal of no type."""
    return "'\\x" + audio.hex() + "'"
