"""Sounds that hold no voice: what a detector of speech must not take for one.

All are drawn by a generator, float32 at 16 kHz, peak at most 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from voxprint.types import Samples

_RATE = 16000
_Random = np.random.Generator
_Wide = npt.NDArray[np.float64]
#: Rows and columns of a telephone's keypad in Hz (ITU-T Q.23).
_LOW, _HIGH = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
#: Semitones of the chords that are played: major, minor, seventh, suspended, a lone note.
_CHORDS = ((0, 4, 7), (0, 3, 7), (0, 4, 7, 10), (0, 5, 7), (0,))
#: Samples of a second in which a note or a tone rises, so that it does not click.
_RISE = 80


def sound(random: _Random, length: int) -> tuple[str, Samples]:
    """One of all kinds, each as likely as the others.

    Args:
        random: draws kind and sound.
        length: in samples, >= 1.

    Returns:
        its kind, a key of ``KINDS``, and float32, shape (length,).
    """
    kind = list(KINDS)[int(random.integers(len(KINDS)))]
    made = KINDS[kind](random, length)
    peak = float(np.abs(made).max())
    return kind, np.asarray(made / peak if peak > 1 else made, np.float32)


def white(random: _Random, length: int) -> _Wide:
    """White noise, peak 0.5."""
    return _to_peak(random.standard_normal(length), 0.5)


def pink(random: _Random, length: int) -> _Wide:
    """Noise whose power falls by 3 dB an octave, or by up to 6, peak 0.5."""
    spectrum = np.fft.rfft(random.standard_normal(length))
    falling = np.maximum(np.arange(len(spectrum)), 1) ** -random.uniform(0.3, 1.0)
    return _to_peak(np.fft.irfft(spectrum * falling, length), 0.5)


def silence(random: _Random, length: int) -> _Wide:
    """Zeros, or the last bits of a recording."""
    level = 0.0 if random.random() < 0.5 else 10 ** random.uniform(-5, -3.5)
    return level * random.standard_normal(length)


def hum(random: _Random, length: int) -> _Wide:
    """Mains: 50 or 60 Hz and harmonics of it, with a hiss."""
    base = (50, 60)[int(random.integers(2))]
    waves = np.zeros(length)
    for n in range(1, 12):
        waves += _tone(base * n, length) * random.random() / n
    return _to_peak(waves + 0.02 * random.standard_normal(length), 0.5)


def tones(random: _Random, length: int) -> _Wide:
    """One to three steady tones, steady or beeping: dial tone, busy, alarm."""
    many = int(random.integers(1, 4))
    waves = np.zeros(length)
    for pitch in random.uniform(150, 3500, many):
        waves += _tone(float(pitch), length)
    if random.random() < 0.5:
        period = random.uniform(0.2, 3.0) * _RATE
        on = np.arange(length) % period < random.uniform(0.2, 0.7) * period
        waves = waves * _smooth(on)
    return _to_peak(waves, 0.5)


def sweep(random: _Random, length: int) -> _Wide:
    """A tone that rises and falls: siren, whistle."""
    time = np.arange(length) / _RATE
    rate, phase = random.uniform(0.1, 3.0), random.uniform(0, 2 * np.pi)
    octaves = random.uniform(0.1, 1.0) * np.sin(2 * np.pi * rate * time + phase)
    pitch = random.uniform(300, 1800) * 2**octaves
    return _to_peak(np.sin(2 * np.pi * np.cumsum(pitch) / _RATE), 0.5)


def keypad(random: _Random, length: int) -> _Wide:
    """Dialled digits (DTMF), 60 to 250 ms each."""
    made = np.zeros(length)
    at = 0
    while at < length:
        size = min(int(random.uniform(0.06, 0.25) * _RATE), length - at)
        pair = (_LOW[int(random.integers(4))], _HIGH[int(random.integers(4))])
        made[at : at + size] = sum(_tone(each, size) for each in pair) * _smooth(
            np.r_[False, np.ones(max(size - 2, 0), bool), False][:size]
        )
        at += size + int(random.uniform(0.04, 0.3) * _RATE)
    return _to_peak(made, 0.5)


def clicks(random: _Random, length: int) -> _Wide:
    """Keys, knocks, crackle: short bursts that die away within milliseconds."""
    made = np.zeros(length)
    for at in random.integers(0, length, max(1, int(length / _RATE * random.uniform(0.5, 12)))):
        size = min(int(random.uniform(0.001, 0.06) * _RATE) + 1, length - int(at))
        burst = random.standard_normal(size) * np.exp(-5 * np.arange(size) / size)
        made[at : at + size] += random.uniform(0.1, 1.0) * burst
    return _to_peak(made, 0.7)


def chords(random: _Random, length: int) -> _Wide:
    """Chords one after another, struck or held, with a few harmonics."""
    made = np.zeros(length)
    beat = int(random.uniform(0.15, 1.2) * _RATE)
    harmonics, decay = int(random.integers(2, 10)), random.uniform(0.0, 6.0)
    for at in range(0, length, beat):
        size = min(beat, length - at)
        root = 110 * 2 ** (random.integers(0, 30) / 12)
        time = np.arange(size) / _RATE
        bar = np.zeros(size)
        for semitones in _CHORDS[int(random.integers(len(_CHORDS)))]:
            for n in range(1, harmonics + 1):
                pitch = root * 2 ** (semitones / 12) * n
                if pitch < _RATE / 2:
                    bar += _tone(pitch, size) * np.exp(-decay * n * time) / n
        made[at : at + size] = bar * np.minimum(1, np.arange(size) / _RISE)
    return _to_peak(made, 0.5)


KINDS: dict[str, Callable[[_Random, int], _Wide]] = {
    each.__name__: each
    for each in (white, pink, silence, hum, tones, sweep, keypad, clicks, chords)
}


def _tone(hertz: float, length: int) -> _Wide:
    return np.asarray(np.sin(2 * np.pi * hertz / _RATE * np.arange(length)))


def _smooth(on: npt.NDArray[np.bool_]) -> _Wide:
    """On and off without a click: a running mean over 5 ms."""
    return np.convolve(on, np.ones(_RISE) / _RISE, "same")[: len(on)]


def _to_peak(wave: _Wide, peak: float) -> _Wide:
    return wave * (peak / max(float(np.abs(wave).max()), 1e-9))
