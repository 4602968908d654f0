"""Any recording -> mono samples at 16 kHz.

The bytes are read into memory, recognised by their signature and handed to FFmpeg (PyAV) with
the one demuxer and the few decoders they may use; FFmpeg never sees a name, a path or an
address, and can open nothing else. Sound is mixed to one channel and resampled as it is
decoded, so that the limits hold for what really comes out, not for what a header promises.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from voxprint.audio.container import DEMUXERS, check_whole, recognise
from voxprint.audio.files import read_regular
from voxprint.errors import AudioTooLarge, DecodeError, FailureToAcquire, UsageError
from voxprint.types import Samples

#: Rate of what ``decode`` gives back, in Hz.
SAMPLE_RATE = 16000

_CODECS = (
    *("pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le"),
    *("pcm_s32be", "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_alaw", "pcm_mulaw"),
    *("gsm_ms", "flac", "mp3", "mp3float", "vorbis", "opus", "libopus", "aac"),
    *("amrnb", "amrwb", "libopencore_amrnb", "libopencore_amrwb"),
)
#: Demuxers whose streams may hold damaged frames between good ones.
_SELF_SYNCHRONISING = ("mp3", "aac")
#: Of which they may hold so many: each costs a hundred times what a good one does.
_MOST_DAMAGED = 1000
#: Samples of all channels, a second of ``Limits.max_seconds``: 7.1 at 48 kHz, or stereo at
#: 192 kHz. Few bytes of FLAC can unfold into far more, which would take minutes.
_VALUES_PER_SECOND = 384_000
#: From here on PyAV reads beyond a planar frame's list of channels, which ends without NULL.
_CHANNELS_PAST_LIST = 8
#: Rates of a recording that are taken for real, in Hz.
LOWEST_RATE, HIGHEST_RATE = 4000, 768_000

#: Encoding of raw samples (the name of FFmpeg's demuxer) -> bytes a sample.
_RAW = {
    **dict.fromkeys(("u8", "s8", "alaw", "mulaw"), 1),
    **dict.fromkeys(("s16le", "s16be"), 2),
    **dict.fromkeys(("s24le", "s24be"), 3),
    **dict.fromkeys(("s32le", "s32be", "f32le", "f32be"), 4),
    **dict.fromkeys(("f64le", "f64be"), 8),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much audio is accepted: encoded bytes, and seconds of sound once decoded."""

    max_bytes: int = 32 << 20
    max_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class RawFormat:
    """What samples without a container are.

    Attributes:
        sample_rate: in Hz.
        encoding: ``s16le``, ``s24be``, ``f32le``, ``u8``, ``alaw``, ``mulaw`` and so on.
        channels: interleaved.

    Raises:
        UsageError: an unknown encoding, or a rate or number of channels out of range.
    """

    sample_rate: int
    encoding: str = "s16le"
    channels: int = 1

    def __post_init__(self) -> None:
        """Refuse what no recording can be."""
        if self.encoding not in _RAW:
            raise UsageError(f"expected one of {', '.join(_RAW)}, got encoding {self.encoding!r}")
        if not LOWEST_RATE <= self.sample_rate <= HIGHEST_RATE:
            raise UsageError(
                f"expected a rate from {LOWEST_RATE} to {HIGHEST_RATE} Hz, got {self.sample_rate}"
            )
        if not 1 <= self.channels <= 64:
            raise UsageError(f"expected 1 to 64 channels, got {self.channels}")


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """One decoded recording.

    Attributes:
        samples: float32, shape (n,), mono at 16 kHz, nominally in [-1, 1].
        sample_rate: of the source, in Hz; for Opus the rate that went into the encoder.
        channels: of the source.
        seconds: duration of the source.
        sha256: hex digest of the encoded bytes.
        codec: name of the decoder.
    """

    samples: Samples
    sample_rate: int
    channels: int
    seconds: float
    sha256: str
    codec: str


DEFAULT_LIMITS = Limits()


def decode(
    source: bytes | str | os.PathLike[str],
    *,
    channel: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    raw: RawFormat | None = None,
) -> Audio:
    """Decode one recording to mono samples at 16 kHz.

    Args:
        source: the encoded bytes, or the path of a file that holds them.
        channel: which channel, counted from 0; None for the mean of all.
        limits: see :class:`Limits`.
        raw: what the samples are, where no container says it.

    Returns:
        :class:`Audio`.

    Raises:
        DecodeError: not readable, no audio, damaged or truncated (what each container can
            tell about that stands in ``voxprint.audio.container``), or no such channel.
        AudioTooLarge: more bytes or seconds than the limits.
        FailureToAcquire: samples that are NaN or infinite (``not_finite``).
    """
    data = source if isinstance(source, bytes) else read_recording(source, limits)
    if len(data) > limits.max_bytes:
        raise _too_many_bytes(limits, str(len(data)))
    if raw is None:
        name = recognise(data)
        check_whole(data, name, limits.max_seconds)
        demuxer, options = DEMUXERS[name], {}
    else:
        _check_raw(data, raw)
        name, demuxer = "raw", raw.encoding
        options = {"sample_rate": str(raw.sample_rate), "ch_layout": f"{raw.channels}C"}
    mixer = _Mixer(channel, limits.max_seconds)
    codec, rate = _run(data, demuxer, options, mixer, tolerant=name in _SELF_SYNCHRONISING)
    samples = mixer.samples()
    if name == "flac":
        _check_flac(data, mixer.count)
    return Audio(
        samples=samples,
        sample_rate=rate or mixer.rate,
        channels=mixer.channels,
        seconds=mixer.count / mixer.rate,
        sha256=hashlib.sha256(data).hexdigest(),
        codec=codec,
    )


def read_recording(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Content of a file that holds a recording, not decoded.

    Args:
        path: of a regular file; pipes and devices may never end, and are refused.
        limits: of which ``max_bytes`` counts.

    Raises:
        DecodeError: no such file, not a regular one, or not readable.
        AudioTooLarge: more bytes than the limit, of which no more are read.
    """
    try:
        data = read_regular(path, limits.max_bytes + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DecodeError(f"expected a readable file, got {os.fspath(path)!r}: {reason}") from error
    if len(data) > limits.max_bytes:
        raise _too_many_bytes(limits, "more")
    return data


def _too_many_bytes(limits: Limits, got: str) -> AudioTooLarge:
    return AudioTooLarge(
        f"expected at most {limits.max_bytes} bytes of audio, got {got}",
        hint="Cut the recording, or encode it more tightly.",
    )


def _check_raw(data: bytes, raw: RawFormat) -> None:
    block = _RAW[raw.encoding] * raw.channels
    if not data:
        raise DecodeError("expected audio, got no bytes")
    if len(data) % block:
        raise DecodeError(
            f"expected raw samples in blocks of {block} bytes ({raw.encoding}, {raw.channels} "
            f"channels), got {len(data)} bytes"
        )


def _check_flac(data: bytes, count: int) -> None:
    """STREAMINFO's last 36 bits before the checksum count the samples; 0 is unknown."""
    at = data.find(b"fLaC") + 8
    total = (
        struct.unpack_from(">Q", data, at + 10)[0] & (1 << 36) - 1 if at + 18 <= len(data) else 0
    )
    if total and count < total:
        raise DecodeError(
            f"expected a whole recording of {total} samples, got a truncated one of {count}",
            hint="Transfer or record the file again.",
        )


def _run(
    data: bytes, demuxer: str, options: dict[str, str], mixer: _Mixer, *, tolerant: bool
) -> tuple[str, int]:
    """Decode everything into ``mixer``; name of the decoder and the rate the source states."""
    import av

    fences = {
        "protocol_whitelist": "",
        "format_whitelist": demuxer,
        "codec_whitelist": ",".join(_CODECS),
        # PCM is PCM: looking through it for codecs hidden inside takes longer than decoding.
        "max_probe_packets": "0",
    }
    try:
        with av.open(
            io.BytesIO(data), format=demuxer, options=fences | options, metadata_errors="ignore"
        ) as container:
            if not container.streams.audio:
                raise DecodeError("expected audio, got a file without an audio stream")
            stream = container.streams.audio[0]
            # A decoder outside the fence is not even opened.
            codec = stream.codec_context.codec.name if stream.codec_context else "another"
            if codec not in _CODECS:
                raise DecodeError(f"expected a codec this package reads, got {codec}")
            _forget_places(stream.codec_context)
            for frame in _frames(container, stream, tolerant):
                mixer.add(frame)
            mixer.end()
            return codec, _opus_rate(stream.codec_context)
    except (av.FFmpegError, ValueError, MemoryError) as error:
        raise _undecodable(error, mixer) from error


def _forget_places(context: Any) -> None:
    """Replace the list of loudspeakers, which is of no use here, by a number of channels.

    An MP4 can name its loudspeakers in any order. PyAV shares that list among the decoder and
    all its frames, each of which frees it. The one read here is freed once, on return, for
    the decoder knows it no more.
    """
    places = context.layout
    if places.nb_channels:
        context.layout = f"{places.nb_channels}C"


def _frames(container: Any, stream: Any, tolerant: bool) -> Iterator[Any]:
    import av

    damaged = 0
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.InvalidDataError:
            damaged += 1
            if not tolerant or damaged > _MOST_DAMAGED:
                raise


def _undecodable(error: Exception, mixer: _Mixer) -> DecodeError:
    # FFmpeg's own text may name its buffer; the reason alone is enough.
    reason = getattr(error, "strerror", None) or type(error).__name__
    if mixer.count:
        at = mixer.count / mixer.rate
        return DecodeError(
            f"expected sound to the end, got damaged data after {at:.2f} s: {reason}"
        )
    return DecodeError(f"expected audio, got bytes that cannot be decoded: {reason}")


def _opus_rate(context: Any) -> int:
    """The rate that went into an Opus encoder (it always decodes to 48 kHz), else 0."""
    header = context.extradata or b""
    if not header.startswith(b"OpusHead") or len(header) < 16:
        return 0
    rate = int(struct.unpack_from("<I", header, 12)[0])
    return rate if LOWEST_RATE <= rate <= 48000 else 0


class _Mixer:
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
