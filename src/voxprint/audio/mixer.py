"""Decoded frames of any rate, format and number of channels -> mono samples at 16 kHz."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from voxprint.errors import AudioTooLarge, DecodeError, FailureToAcquire
from voxprint.types import Samples

#: Rate of what ``decode`` gives back, in Hz.
SAMPLE_RATE = 16000

#: Samples of all channels, a second of ``Limits.max_seconds``: 7.1 at 48 kHz, or stereo at
#: 192 kHz. Few bytes of FLAC can unfold into far more, which would take minutes.
_VALUES_PER_SECOND = 384_000
#: From here on PyAV reads beyond a planar frame's list of channels, which ends without NULL.
_CHANNELS_PAST_LIST = 8
#: Rates of a recording that are taken for real, in Hz.
LOWEST_RATE, HIGHEST_RATE = 4000, 768_000


class Mixer:
    """Takes decoded frames; mixes and resamples them a second at a time, which is quickest."""

    def __init__(self, channel: int | None, max_seconds: float) -> None:
        import av

        self._channel = channel
        self._max_seconds = max_seconds
        self._max_values = max_seconds * _VALUES_PER_SECOND
        self._packer = av.AudioResampler(format="flt")
        self._waiting = av.AudioFifo()
        self._done: list[Samples] = []
        self._resampler: Any = None
        self._kind: tuple[int, int, str] | None = None
        self.count = 0
        self.rate = 0
        self.channels = 0

    def add(self, frame: Any) -> None:
        """Take one decoded frame of FFmpeg."""
        kind = (frame.sample_rate, frame.layout.nb_channels, frame.format.name)
        if self._kind is None:
            self._start(*kind)
        elif kind != self._kind:
            # The queue takes more channels than it has room for, and the process ends.
            raise DecodeError(
                f"expected {self._kind[1]} channels at {self._kind[0]} Hz throughout, got a "
                f"recording that goes on with {kind[1]} at {kind[0]} Hz"
            )
        self.count += frame.samples
        if self.count > self._max_seconds * self.rate:
            raise AudioTooLarge(
                f"expected at most {self._max_seconds:g} s of audio, got more",
                hint="Cut the recording, or raise the limit.",
            )
        if self.count * self.channels > self._max_values:
            raise AudioTooLarge(
                f"expected at most {self._max_values:.0f} samples in all channels, got more: "
                f"{self.channels} channels at {self.rate} Hz",
                hint="Cut the recording, or lower its rate or the number of its channels.",
            )
        frame.pts = None  # damaged time stamps must not stop the queue
        self._waiting.write(frame)
        if self._waiting.samples >= self.rate:
            self._flush(last=False)

    def end(self) -> None:
        """Take it that no more frames come."""
        self._flush(last=True)

    def samples(self) -> Samples:
        """All samples at 16 kHz."""
        if not self.count:
            raise DecodeError("expected audio, got a file that holds no samples")
        return np.concatenate(self._done)

    def _start(self, rate: int, channels: int, sample_format: str) -> None:
        self._kind = (rate, channels, sample_format)
        self.rate, self.channels = rate, channels
        if not LOWEST_RATE <= self.rate <= HIGHEST_RATE:
            raise DecodeError(
                f"expected a sample rate from {LOWEST_RATE} to {HIGHEST_RATE} Hz, "
                f"got {self.rate} Hz"
            )
        if self._channel is not None and not 0 <= self._channel < self.channels:
            raise DecodeError(
                f"expected a channel from 0 to {self.channels - 1}, got channel {self._channel}"
            )
        if self.rate != SAMPLE_RATE:
            import soxr

            self._resampler = soxr.ResampleStream(self.rate, SAMPLE_RATE, 1, dtype="float32")

    def _flush(self, *, last: bool) -> None:
        frame = self._waiting.read()
        block = np.empty(0, np.float32) if frame is None else self._mixed(frame)
        if not np.isfinite(block).all():
            raise FailureToAcquire(
                "expected finite samples, got NaN or infinity", reason="not_finite"
            )
        if self._resampler is not None:
            block = self._resampler.resample_chunk(block, last=last)
        self._done.append(block)

    def _mixed(self, frame: Any) -> Samples:
        if frame.format.is_planar and self.channels >= _CHANNELS_PAST_LIST:
            (frame,) = self._packer.resample(frame)
        values = frame.to_ndarray()
        if not frame.format.is_planar:
            values = values.reshape(-1, self.channels).T
        if self._channel is not None:
            return _scaled(values[self._channel])
        if self.channels == 1:
            return _scaled(values[0])
        with np.errstate(over="ignore", invalid="ignore"):
            mixed: Samples = _scaled(values).mean(axis=0, dtype=np.float32)
        return mixed


def _scaled(values: npt.NDArray[Any]) -> Samples:
    """Samples of any of FFmpeg's types as float32, full scale at 1."""
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - np.float32(128)) / np.float32(128)
    if values.dtype.kind == "i":
        return values.astype(np.float32) / np.float32(-float(np.iinfo(values.dtype).min))
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused later
        return values.astype(np.float32)
