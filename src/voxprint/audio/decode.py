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

from voxprint.audio.container import DEMUXERS, check_whole, recognise
from voxprint.audio.files import read_regular
from voxprint.audio.mixer import HIGHEST_RATE, LOWEST_RATE, Mixer
from voxprint.errors import AudioTooLarge, DecodeError, UsageError
from voxprint.types import Samples

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
        channel: that the samples are, counted from 0; None for the mean of all.
    """

    samples: Samples
    sample_rate: int
    channels: int
    seconds: float
    sha256: str
    codec: str
    channel: int | None = None


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
    mixer = Mixer(channel, limits.max_seconds)
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
        channel=channel,
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
    data: bytes, demuxer: str, options: dict[str, str], mixer: Mixer, *, tolerant: bool
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


def _undecodable(error: Exception, mixer: Mixer) -> DecodeError:
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
