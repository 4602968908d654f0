"""An utterance made of arithmetic: the same everywhere, near enough to speech to be embedded."""

from __future__ import annotations

import numpy as np

RATE = 16000
#: Seconds: below, at and above one and two segments of the context mask, few of them round.
LENGTHS = (0.5, 0.98, 1.0, 2.37, 3.0, 5.03)

_FORMANTS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480))


def utterance(seconds: float) -> np.ndarray:
    """A voiced sound of wandering pitch that passes through vowels, four syllables a second."""
    t = np.arange(round(seconds * RATE)) / RATE
    pitch = 118 + 14 * np.sin(2 * np.pi * 0.7 * t) + 5 * np.sin(2 * np.pi * 2.9 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    place = t * 1.9
    weights = [np.maximum(0.0, 1 - np.abs((place - v + 2) % 4 - 2)) for v in range(4)]
    sound = np.zeros_like(t)
    for harmonic in range(1, 40):
        at = harmonic * pitch
        gain = np.zeros_like(t)
        for weight, formants in zip(weights, _FORMANTS, strict=True):
            for number, formant in enumerate(formants):
                width = 60 + 40 * number
                gain += weight / (1 + ((at - formant) / width) ** 2) / (number + 1)
        sound += gain * np.sin(harmonic * phase) / harmonic**0.3
    syllables = 0.15 + 0.85 * np.sin(2 * np.pi * 2 * t) ** 2
    sound *= syllables
    # A linear congruential generator (Numerical Recipes), for breath.
    state = np.cumsum(np.full(len(t), 1013904223, np.uint64)) * np.uint64(1664525)
    state = (state ^ (state >> np.uint64(13))) * np.uint64(2654435761) % np.uint64(1 << 32)
    breath = state.astype(np.float64) / (1 << 31) - 1
    return (0.1 * sound + 0.004 * breath * syllables).astype(np.float32)
