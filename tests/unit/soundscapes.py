"""Sounds that hold no voice, made here: music, telephone tones, noise."""

from __future__ import annotations

import numpy as np

RATE = 16000
_CHORDS = ((262, 330, 392), (220, 262, 330), (175, 220, 262), (196, 247, 294))
_KEYPAD = ((697, 1209), (770, 1336), (852, 1477), (941, 1336), (697, 1477), (770, 1209))


def _time(seconds: float) -> np.ndarray:
    return np.arange(round(seconds * RATE)) / RATE


def tones(*hertz: float, seconds: float = 3.0) -> np.ndarray:
    """Steady tones together: float32, shape (n,), peak at most 0.5."""
    sound = sum(np.sin(2 * np.pi * pitch * _time(seconds)) for pitch in hertz)
    return (0.5 / len(hertz) * sound).astype(np.float32)


def dial_tone(seconds: float = 3.0) -> np.ndarray:
    """The two tones of North American exchanges."""
    return tones(350, 440, seconds=seconds)


def ringing(seconds: float = 6.0) -> np.ndarray:
    """425 Hz, one second on, two off."""
    return np.where(_time(seconds) % 3 < 1, tones(425, seconds=seconds), 0).astype(np.float32)


def keypad() -> np.ndarray:
    """Dialled digits (DTMF), each 150 ms with a pause of 100 ms."""
    pause = np.zeros(round(0.1 * RATE), np.float32)
    return np.concatenate(
        [part for pair in _KEYPAD for part in (tones(*pair, seconds=0.15), pause)]
    )


def music(seconds: float = 4.0) -> np.ndarray:
    """Chords of struck strings, one a second, six harmonics a note."""
    time = _time(1.0)
    bars = []
    for chord in _CHORDS:
        notes = [
            np.sin(2 * np.pi * pitch * n * time) * np.exp(-2 * n * time) / n
            for pitch in chord
            for n in range(1, 7)
        ]
        bars.append(np.sum(notes, axis=0))
    sound = np.resize(np.concatenate(bars), round(seconds * RATE))
    return (0.4 * sound / np.abs(sound).max()).astype(np.float32)


def white_noise(seconds: float = 3.0, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(5).standard_normal(round(seconds * RATE))).astype(
        np.float32
    )


def pink_noise(seconds: float = 3.0) -> np.ndarray:
    """Power falls by 3 dB an octave, down to 20 Hz."""
    spectrum = np.fft.rfft(white_noise(seconds, 1.0))
    hertz = np.fft.rfftfreq(round(seconds * RATE), 1 / RATE)
    sound = np.fft.irfft(spectrum * (hertz > 20) / np.sqrt(np.maximum(hertz, 20)))
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def with_noise(speech: np.ndarray, decibels: float) -> np.ndarray:
    """Speech with white noise under it: power of what sounds of it over that of the noise."""
    frames = speech[: len(speech) // 400 * 400].reshape(-1, 400).astype(np.float64)
    power = np.mean(frames**2, axis=1)
    power = power[power > power.max() / 1000].mean()
    noise = np.random.default_rng(6).standard_normal(len(speech))
    mixed = speech + np.sqrt(power / 10 ** (decibels / 10)) * noise
    return (mixed * min(1.0, 0.9 / np.abs(mixed).max())).astype(np.float32)
