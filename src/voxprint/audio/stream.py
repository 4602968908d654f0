"""Sound that comes in pieces: samples of a call, as they arrive, to mono at 16 kHz.

What FFmpeg does for whole recordings is done here for one that has no end yet: bytes may be cut
anywhere, also within a sample, and resampling goes on where the last piece ended.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from voxprint.audio.decode import RawFormat
from voxprint.audio.mixer import SAMPLE_RATE
from voxprint.errors import FailureToAcquire, UsageError
from voxprint.types import Samples

#: Encodings whose samples NumPy reads: type, and what full scale is.
_LINEAR = {
    "s16le": ("<i2", 32768.0),
    "s16be": (">i2", 32768.0),
    "s32le": ("<i4", 2147483648.0),
    "s32be": (">i4", 2147483648.0),
    "f32le": ("<f4", 1.0),
    "f32be": (">f4", 1.0),
}
_G711 = ("mulaw", "alaw")
ENCODINGS = (*_LINEAR, *_G711)


class Incoming:
    """The samples of one side of a call.

    Args:
        raw: what they are; one channel.

    Raises:
        UsageError: several channels, or an encoding that cannot be read piece by piece.
    """

    def __init__(self, raw: RawFormat) -> None:
        if raw.channels != 1:
            raise UsageError(
                f"expected one channel, got {raw.channels}",
                hint="Each side of a call is a session of its own.",
            )
        if raw.encoding not in ENCODINGS:
            raise UsageError(
                f"expected one of {', '.join(ENCODINGS)}, got encoding {raw.encoding!r}"
            )
        self._raw = raw
        self._rest = b""
        self._resampler = None
        if raw.sample_rate != SAMPLE_RATE:
            import soxr

            self._resampler = soxr.ResampleStream(raw.sample_rate, SAMPLE_RATE, 1, dtype="float32")
        self.seconds = 0.0

    def push(self, chunk: bytes | npt.ArrayLike) -> Samples:
        """What a chunk becomes, as far as it can be known yet.

        Args:
            chunk: bytes in the encoding, cut anywhere; or samples, shape (n,), floats in
                [-1, 1] or signed integers of which the whole range is used.

        Returns:
            float32, shape (m,), at 16 kHz. The resampler keeps the last few milliseconds back.

        Raises:
            UsageError: samples of another shape or kind.
            FailureToAcquire: a sample is no finite number.
        """
        samples = self._read(chunk) if isinstance(chunk, bytes) else _as_samples(chunk)
        if not np.isfinite(samples).all():
            raise FailureToAcquire(
                "expected finite samples, got NaN or infinity", reason="not_finite"
            )
        self.seconds += len(samples) / self._raw.sample_rate
        if self._resampler is None:
            return samples
        return np.asarray(self._resampler.resample_chunk(samples), np.float32)

    def end(self) -> Samples:
        """What was kept back; nothing can be pushed any more. Half a sample is dropped."""
        if self._resampler is None:
            return np.empty(0, np.float32)
        rest = self._resampler.resample_chunk(np.empty(0, np.float32), last=True)
        return np.asarray(rest, np.float32)

    def _read(self, chunk: bytes) -> Samples:
        data = self._rest + chunk
        if self._raw.encoding in _G711:
            return _g711(self._raw.encoding)[np.frombuffer(data, np.uint8)]
        kind, full = _LINEAR[self._raw.encoding]
        whole = len(data) - len(data) % np.dtype(kind).itemsize
        self._rest = data[whole:]
        values = np.frombuffer(data[:whole], kind)
        return np.asarray(values.astype(np.float32) / np.float32(full), np.float32)


def _as_samples(chunk: npt.ArrayLike) -> Samples:
    values = np.asarray(chunk)
    if values.ndim != 1:
        raise UsageError(f"expected samples of one channel, shape (n,), got shape {values.shape}")
    if values.dtype.kind == "i":
        return np.asarray(values / -float(np.iinfo(values.dtype).min), np.float32)
    if values.dtype.kind != "f":
        raise UsageError(f"expected bytes, floats or signed integers, got {values.dtype}")
    return np.asarray(values, np.float32)


@cache
def _g711(law: str) -> Samples:
    """What each of the 256 codes stands for, in [-1, 1] (ITU-T G.711, tables 1 and 2).

    A code is a sign, the number of a segment and a step in it. Mu-law sends every bit inverted,
    A-law every other one; its segments double from the second one on, and the value is the
    middle of the step.
    """
    code = np.arange(256)
    if law == "mulaw":
        code = code ^ 0xFF
        segment, step = code >> 4 & 7, code & 15
        size = ((2 * step + 33) << segment) - 33
        return np.asarray(np.where(code & 0x80, -size, size) * 4 / 32768, np.float32)
    code = code ^ 0x55
    segment, step = code >> 4 & 7, code & 15
    size = np.where(segment > 0, (2 * step + 33) << np.maximum(segment - 1, 0), 2 * step + 1)
    return np.asarray(np.where(code & 0x80, size, -size) * 8 / 32768, np.float32)
