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

from tests.talking import talk
from voxprint.types import Samples

RATE = 16000
#: Of ten seconds each.
_TAKES = 12


class Speech:
    """Two minutes of one made-up voice, of which :meth:`samples` cuts pieces at random places."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._reserve = np.concatenate([talk(seed, 10.0, take=n) for n in range(_TAKES)])

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
