"""Recordings made by the tests: a known sound, in every container and codec."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
FILES = Path(__file__).with_name("audio_files")


def sweep(seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    """A tone that rises from 100 Hz to 3 kHz, at half of full scale."""
    t = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (100 * t + (3000 - 100) * t * t / (2 * seconds))
    return (0.5 * np.sin(phase)).astype(np.float32)


def by_soundfile(
    samples: np.ndarray, rate: int = RATE, *, container: str = "WAV", codec: str = "PCM_16"
) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=codec)
    return file.getvalue()


def by_ffmpeg(
    samples: np.ndarray,
    rate: int,
    container: str,
    codec: str,
    *,
    layout: str = "mono",
    source: str = "mono",
    options: dict[str, str] | None = None,
) -> bytes:
    """``samples`` are interleaved channels of layout ``source``."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout, options=options or {})
        values = np.round(samples * 32767).astype(np.int16)[np.newaxis]
        frame = av.AudioFrame.from_ndarray(values, format="s16", layout=source)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def wav(body: bytes, *, kind: int, bits: int, rate: int = RATE, channels: int = 1) -> bytes:
    """A WAV file by hand: ``kind`` 1 is PCM, 3 float, 6 A-law, 7 mu-law."""
    block = channels * bits // 8
    head = struct.pack("<HHIIHH", kind, channels, rate, rate * block, block, bits)
    chunks = b"fmt " + struct.pack("<I", len(head)) + head
    chunks += b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def pcm16(samples: np.ndarray, rate: int = RATE, channels: int = 1) -> bytes:
    body = np.round(samples * 32767).astype("<i2").tobytes()
    return wav(body, kind=1, bits=16, rate=rate, channels=channels)


def encoded(s: np.ndarray, s8: np.ndarray) -> dict[str, tuple[bytes, float, int]]:
    """Every format that can be written here.

    Args:
        s, s8: the same sound at 16 and at 8 kHz.

    Returns:
        Name -> (bytes, how alike the sound must be, rate of the source).
    """
    made = {
        f"wav {codec.lower()}": (by_soundfile(s, codec=codec), likeness, RATE)
        for codec, likeness in (
            *(("PCM_U8", 0.999), ("PCM_16", 1.0), ("PCM_24", 1.0), ("PCM_32", 1.0)),
            *(("FLOAT", 1.0), ("DOUBLE", 1.0), ("ALAW", 0.999), ("ULAW", 0.999)),
        )
    }
    made |= {
        "wav gsm": (by_soundfile(s8, 8000, codec="GSM610"), 0.93, 8000),
        "rf64": (by_soundfile(s, container="RF64"), 1.0, RATE),
        "wavex": (by_soundfile(s, container="WAVEX"), 1.0, RATE),
        "flac": (by_soundfile(s, container="FLAC"), 1.0, RATE),
        "ogg vorbis": (by_soundfile(s, container="OGG", codec="VORBIS"), 0.97, RATE),
        "ogg opus": (by_soundfile(s, container="OGG", codec="OPUS"), 0.97, RATE),
        "mp3": (by_soundfile(s, container="MP3", codec="MPEG_LAYER_III"), 0.97, RATE),
        "webm opus": (by_ffmpeg(s, RATE, "webm", "libopus"), 0.97, RATE),
        "m4a aac": (by_ffmpeg(s, RATE, "mp4", "aac"), 0.97, RATE),
        "aac adts": (by_ffmpeg(s, RATE, "adts", "aac"), 0.97, RATE),
        "mov pcm": (by_ffmpeg(s, RATE, "mov", "pcm_s16le"), 1.0, RATE),
    }
    return made


def every_format() -> dict[str, tuple[bytes, float, int]]:
    """The sweep, in formats that others have written, too."""
    return encoded(sweep(), sweep(rate=8000)) | {
        "amr": ((FILES / "sweep-nb.amr").read_bytes(), 0.9, 8000),
        "amr-wb": ((FILES / "sweep-wb.amr").read_bytes(), 0.95, RATE),
        "wav gsm (libgsm)": ((FILES / "sweep-gsm.wav").read_bytes(), 0.93, 8000),
    }
