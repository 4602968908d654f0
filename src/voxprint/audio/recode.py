"""Sound through a lossy codec and back, without a container: what a call does to a voice."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from voxprint.audio.mixer import SAMPLE_RATE
from voxprint.errors import UsageError, VoxprintError
from voxprint.types import Samples

#: Samples to a packet for codecs that leave it open: 20 ms at 8 kHz, as calls have it.
_OPEN_FRAME = 160


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec of FFmpeg and how it is run.

    Attributes:
        encoder, decoder: their names in FFmpeg.
        rate: the codec's own, in Hz.
        bit_rate: in bits a second; 0 for codecs that have but one.
    """

    encoder: str
    decoder: str
    rate: int
    bit_rate: int = 0


CODECS = {
    "mulaw8k": Codec("pcm_mulaw", "pcm_mulaw", 8000),
    "alaw8k": Codec("pcm_alaw", "pcm_alaw", 8000),
    "g722": Codec("g722", "g722", 16000),
    "opus6k": Codec("libopus", "libopus", 16000, 6000),
    "amr": Codec("libopencore_amrnb", "libopencore_amrnb", 8000, 12200),
}


def through(samples: Samples, codec: Codec) -> Samples:
    """Encode, decode, and bring back to 16 kHz.

    Args:
        samples: float32, shape (n,), mono at 16 kHz; beyond [-1, 1] it is clipped.
        codec: one of ``CODECS``.

    Returns:
        float32, shape (n,): the codec's delay stays in, its end is cut off or filled with zeros.

    Raises:
        UsageError: FFmpeg as installed has no such encoder.
    """
    import av

    try:
        encoder: Any = av.CodecContext.create(codec.encoder, "w")
        decoder: Any = av.CodecContext.create(codec.decoder, "r")
    except ValueError as error:  # UnknownCodecError is one
        raise UsageError(f"expected FFmpeg with the codec {codec.encoder}: {error}") from error
    for context in (encoder, decoder):
        context.sample_rate, context.layout, context.format = codec.rate, "mono", "s16"
    encoder.time_base = Fraction(1, codec.rate)
    if codec.bit_rate:
        encoder.bit_rate = codec.bit_rate
    encoder.open()
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    packets = [p for frame in _frames(samples, codec.rate, encoder) for p in encoder.encode(frame)]
    packets += encoder.encode(None)
    frames = [f for p in packets for f in decoder.decode(p)] + list(decoder.decode(None))
    to_rate = av.AudioResampler(format="s16", layout="mono", rate=frames[0].sample_rate)
    parts = [f.to_ndarray()[0] for frame in [*frames, None] for f in to_rate.resample(frame)]
    heard = np.asarray(np.concatenate(parts) / 32768, np.float32)
    return _at_16k(heard, frames[0].sample_rate, samples)


def through_gsm(samples: Samples) -> Samples:
    """GSM 06.10 full rate, 13 kbit/s, by libsndfile: FFmpeg has only the decoder.

    Args:
        samples: float32, shape (n,), mono at 16 kHz; beyond [-1, 1] it is clipped.

    Returns:
        float32, shape (n,).

    Raises:
        VoxprintError: the extra ``evaluate`` is not installed.
    """
    try:
        import soundfile
    except ImportError as error:
        raise VoxprintError(
            "expected soundfile for the condition gsm, it is not installed",
            hint='pip install "voxprint[evaluate]"',
        ) from error
    file = io.BytesIO()
    soundfile.write(file, _to_rate(samples, 8000), 8000, format="WAV", subtype="GSM610")
    file.seek(0)
    heard, rate = soundfile.read(file, dtype="float32")
    return _at_16k(heard, rate, samples)


def _to_rate(samples: Samples, rate: int) -> Samples:
    import soxr

    there = samples if rate == SAMPLE_RATE else soxr.resample(samples, SAMPLE_RATE, rate)
    return np.asarray(np.clip(there, -1, 1), np.float32)


def _at_16k(heard: Samples, rate: int, like: Samples) -> Samples:
    import soxr

    back = heard if rate == SAMPLE_RATE else soxr.resample(heard, rate, SAMPLE_RATE)
    back = np.asarray(back[: len(like)], np.float32)
    return np.pad(back, (0, len(like) - len(back)))


def _frames(samples: Samples, rate: int, encoder: Any) -> list[Any]:
    """The samples in frames of the encoder's own length, the last filled with zeros."""
    import av

    whole = np.round(_to_rate(samples, rate) * 32767).astype(np.int16)
    length = encoder.frame_size or _OPEN_FRAME
    whole = np.pad(whole, (0, -len(whole) % length))
    frames = []
    for start in range(0, len(whole), length):
        frame = av.AudioFrame.from_ndarray(
            whole[np.newaxis, start : start + length], format="s16", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        frames.append(frame)
    return frames
