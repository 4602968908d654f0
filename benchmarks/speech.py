"""Any amount of something like speech, never the same twice.

A network takes as long for a buzz as for a sentence, so synthetic audio measures speed as well
as recordings do, and every call gets bytes that no cache has seen.
"""

from __future__ import annotations

import io
import wave
from pathlib import Path

import av
import numpy as np

from voxprint.types import Samples

RATE = 16000
_RESERVE_SECONDS = 120
#: Formants of the vowels in "pass", "see", "who" and "bed", in Hz.
_VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480))


class Speech:
    """A long stretch of voiced noise, of which :meth:`samples` cuts pieces at random places."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._reserve = _voice(self._random, _RESERVE_SECONDS * RATE)

    def samples(self, seconds: float) -> Samples:
        """float32, shape (n,), 16 kHz, another piece and another loudness at each call."""
        count = round(seconds * RATE)
        start = self._random.integers(len(self._reserve) - count)
        gain = np.float32(self._random.uniform(0.3, 0.9))
        return gain * self._reserve[start : start + count]

    def wav(self, seconds: float) -> bytes:
        """The same as a WAV file of 16 bits, 32 kB a second."""
        file = io.BytesIO()
        with wave.open(file, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(RATE)
            out.writeframes(_pcm(self.samples(seconds)).tobytes())
        return file.getvalue()

    def write(self, path: Path, seconds: float) -> None:
        """The same as a file: WAV, or what else the suffix names (``.opus``, ``.flac``)."""
        if path.suffix == ".wav":
            path.write_bytes(self.wav(seconds))
            return
        codec = {".opus": "libopus", ".flac": "flac"}[path.suffix]
        with av.open(str(path), "w", format="ogg" if codec == "libopus" else None) as file:
            stream = file.add_stream(codec, rate=RATE, layout="mono")
            frame = av.AudioFrame.from_ndarray(_pcm(self.samples(seconds))[None], "s16", "mono")
            frame.sample_rate = RATE
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                file.mux(packet)

    def length(self, shortest: float, longest: float) -> float:
        """A duration in seconds, short ones more often (log-uniform)."""
        return float(np.exp(self._random.uniform(np.log(shortest), np.log(longest))))


def _pcm(samples: Samples) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return np.asarray(np.round(samples * 32767), dtype=np.int16)


def _voice(random: np.random.Generator, count: int) -> Samples:
    """Pulses of a wandering pitch through one vowel after the other, in syllables, with breath."""
    time = np.arange(count) / RATE
    pitch = random.uniform(110, 140) * np.exp2(0.15 * _wander(random, count, 2.0))
    pulses = np.diff(np.floor(np.cumsum(pitch / RATE)), prepend=0.0)
    spectrum, hertz = np.fft.rfft(pulses), np.fft.rfftfreq(count, 1 / RATE)
    place, sound = 2.5 * time + random.uniform(0, 4), np.zeros(count)
    for vowel, formants in enumerate(_VOWELS):
        tract = sum(1 / (1 + ((hertz - centre) / 60) ** 2) for centre in formants)
        spoken = np.maximum(0.0, 1 - np.abs((place - vowel + 2) % 4 - 2))
        sound += spoken * np.fft.irfft(spectrum * tract, count)
    sound *= np.clip(0.5 + np.sin(2 * np.pi * 4 * time), 0.0, None)
    sound += 0.003 * float(np.abs(sound).max()) * random.standard_normal(count)
    return np.asarray(0.5 * sound / np.abs(sound).max(), dtype=np.float32)


def _wander(random: np.random.Generator, count: int, hertz: float) -> np.ndarray:
    """Random values, about -1 to 1, that change about ``hertz`` times a second."""
    knots = random.uniform(-1, 1, int(count / RATE * hertz) + 2)
    return np.interp(np.arange(count) / RATE * hertz, np.arange(len(knots)), knots)
