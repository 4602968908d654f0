"""Which container the bytes are, and whether all of it has arrived.

The decoder is told the container instead of guessing it: formats that make a decoder open other
files or addresses (playlists, concatenations, streaming manifests) are not in the list, so no
bytes can select them. Recognition looks at signatures only.

Whether a file is whole is asked of the container's own structure, because a decoder plays the
part that is there and says nothing. What each one can tell:

- WAV: the data chunk is as long as its header says (unless the header says "unknown").
- FLAC: decoded samples equal the number in the stream's header (checked by ``decode``).
- Ogg: the last page is whole and marked as the end of a stream.
- MP4, M4A, 3GP: all boxes are whole and one of them is the index (``moov``).
- WebM, Matroska: all elements of known size are whole; a live recording of unknown size that
  stops between two elements cannot be told from a finished one.
- AMR, AAC (ADTS): the last frame is whole; a cut between two frames cannot be seen.
- MP3 and raw samples carry no length: a truncated file is a shorter recording.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from voxprint.errors import AudioTooLarge, DecodeError

Part = TypeVar("Part")

#: Container -> name of FFmpeg's demuxer for it.
DEMUXERS = {
    "wav": "wav",
    "flac": "flac",
    "mp3": "mp3",
    "aac": "aac",
    "ogg": "ogg",
    "matroska": "matroska",
    "mp4": "mp4",
    "amr": "amr",
}

_MP4_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_AMR_NB, _AMR_WB = b"#!AMR\n", b"#!AMR-WB\n"


def recognise(data: bytes) -> str:
    """Name of the container, a key of ``DEMUXERS``.

    Raises:
        DecodeError: no bytes, or none of the containers this package reads.
    """
    if not data:
        raise DecodeError("expected audio, got no bytes")
    if data[:4] in (b"RIFF", b"RF64") and data[8:12] == b"WAVE":
        return "wav"
    for signature, name in (
        (b"fLaC", "flac"),
        (b"OggS", "ogg"),
        (b"\x1aE\xdf\xa3", "matroska"),
        (_AMR_NB, "amr"),
        (_AMR_WB, "amr"),
    ):
        if data.startswith(signature):
            return name
    if data[4:8] in _MP4_FIRST_BOXES:
        return "mp4"
    start = _after_id3(data)
    if data[start : start + 4] == b"fLaC":
        return "flac"
    if _starts_frames(data, start, _adts_length):
        return "aac"
    if _starts_frames(data, start, _mp3_length):
        return "mp3"
    raise DecodeError(
        f"expected audio, got {len(data)} bytes of an unknown format",
        hint="Known are WAV, FLAC, MP3, Ogg, WebM, M4A, AAC and AMR; raw samples need their "
        "rate and encoding stated.",
    )


def check_whole(data: bytes, name: str, max_seconds: float) -> None:
    """Refuse a file whose container says that more should follow.

    Args:
        data: the file.
        name: of its container, from :func:`recognise`.
        max_seconds: of sound that will be accepted, which bounds the parts that are looked at.

    Raises:
        DecodeError: the file is truncated, or cut into more parts than any recorder makes.
        AudioTooLarge: it holds more frames than fit into ``max_seconds``.
    """
    check = _CHECKS.get(name)
    if check is not None:
        check(data, max_seconds)


#: Parts of a container: those of any file, and those of every second of sound. Recorders
#: write at most one a packet, and packets of 2.5 ms are the shortest there are.
_PARTS, _PARTS_PER_SECOND = 10_000, 400


def _few(parts: Iterable[Part], max_seconds: float) -> Iterator[Part]:
    """The parts, as long as they are so few that walking over them is quick."""
    most = int(_PARTS + _PARTS_PER_SECOND * max_seconds)
    for number, part in enumerate(parts):
        if number == most:
            raise DecodeError(
                f"expected a container of at most {most} parts, got more",
                hint="Convert the recording to another format, such as FLAC.",
            )
        yield part


def _too_long(max_seconds: float) -> AudioTooLarge:
    return AudioTooLarge(
        f"expected at most {max_seconds:g} s of audio, got more",
        hint="Cut the recording, or raise the limit.",
    )


def _truncated(what: str) -> DecodeError:
    return DecodeError(
        f"expected a whole recording, got a truncated one: {what}",
        hint="Transfer or record the file again.",
    )


# -- MP3 and ADTS: streams of frames -------------------------------------------------------

_MP3_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
#: Junk that encoders and cutters leave before the first frame of a stream.
_JUNK = 4096


def _after_id3(data: bytes) -> int:
    """Where the audio starts behind an ID3v2 tag, whose size is four times seven bits."""
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _starts_frames(data: bytes, start: int, length_of: Callable[[bytes], int]) -> bool:
    """Whether two frames follow each other, near ``start``: chance rarely makes two."""
    for at in range(start, min(start + _JUNK, len(data) - 7)):
        length = length_of(data[at : at + 7])
        following = at + length
        if length and (length_of(data[following : following + 7]) or following == len(data)):
            return True
    return False


def _mp3_length(header: bytes) -> int:
    """Bytes of the layer III frame with this header, 0 if it is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, rate, kbits = header[1] >> 3 & 3, header[2] >> 2 & 3, header[2] >> 4
    if version == 1 or rate == 3 or kbits in (0, 15):
        return 0
    table, samples = (_MP3_KBITS_1, 144) if version == 3 else (_MP3_KBITS_2, 72)
    return samples * table[kbits] * 1000 // _MP3_RATES[version][rate] + (header[2] >> 1 & 1)


def _adts_length(header: bytes) -> int:
    """Bytes of the ADTS frame with this header, 0 if it is none."""
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return 0
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return length if length > 7 and header[2] >> 2 & 15 < 13 else 0


#: A frame has at least 1024 samples, at no more than 96 kHz.
_ADTS_FRAMES_PER_SECOND = 96000 / 1024


def _check_adts(data: bytes, max_seconds: float) -> None:
    at, frames = _after_id3(data), 0
    while length := _adts_length(data[at : at + 7]):
        at += length
        frames += 1
        if frames > max_seconds * _ADTS_FRAMES_PER_SECOND + 1:
            raise _too_long(max_seconds)
    if at > len(data):
        raise _truncated(f"{at - len(data)} bytes of the last frame are missing")


# -- containers of chunks ------------------------------------------------------------------

#: Writers that cannot seek back leave these instead of a length (FFmpeg; SoX and others).
_WAV_UNKNOWN = 0x7FFFF000


def _check_wav(data: bytes, max_seconds: float) -> None:
    wide, found = None, False
    # Those behind the sound are walked over, too, for the decoder will.
    for kind, at, size in _few(_wav_chunks(data), max_seconds):
        if kind == b"ds64" and at + 16 <= len(data):
            wide = int(struct.unpack_from("<Q", data, at + 8)[0])
        if kind == b"data":
            if size == 0xFFFFFFFF and wide is not None:
                size = wide
            elif size >= _WAV_UNKNOWN:
                return
            if at + size > len(data):
                raise _truncated(f"its header states {size} bytes of sound, {len(data) - at} came")
            found = True
    if not found:
        raise _truncated("it has no data chunk")


def _wav_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Chunks: name, start of the content, size as stated."""
    at = 12
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        yield kind, at + 8, size
        at += 8 + size + size % 2


def _check_ogg(data: bytes, max_seconds: float) -> None:
    last = 0
    for flags, end in _few(_ogg_pages(data), max_seconds):
        if end > len(data):
            raise _truncated("its last page is cut")
        last = flags
    if not last & 4:
        raise _truncated("its last page is not marked as the end")


def _ogg_pages(data: bytes) -> Iterator[tuple[int, int]]:
    """Pages: flags, and where the page ends."""
    at = 0
    while data[at : at + 4] == b"OggS":
        if at + 27 > len(data):
            raise _truncated("its last page is cut")
        flags, segments = data[at + 5], data[at + 26]
        at += 27 + segments + sum(data[at + 27 : at + 27 + segments])
        yield flags, at


def _check_mp4(data: bytes, max_seconds: float) -> None:
    # All boxes are looked at, for each of them could be cut.
    if b"moov" not in set(_few(_mp4_boxes(data), max_seconds)):
        raise _truncated("it has no index (moov)")


def _mp4_boxes(data: bytes) -> Iterator[bytes]:
    """Names of the outermost boxes."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size == 1 and at + 16 <= len(data):
            size = struct.unpack_from(">Q", data, at + 8)[0]
        if size == 0:  # to the end of the file
            size = len(data) - at
        if size < 8 or at + size > len(data):
            raise _truncated("one of its boxes is cut")
        yield kind
        at += size


_EBML_SEGMENT, _EBML_CLUSTER = 0x18538067, 0x1F43B675


def _check_matroska(data: bytes, max_seconds: float) -> None:
    for name, start, size in _few(_ebml(data), max_seconds):
        if size is not None and start + size > len(data):
            raise _truncated(f"{start + size - len(data)} bytes of element {name:X} are missing")


def _ebml(data: bytes) -> Iterator[tuple[int, int, int | None]]:
    """Elements (identifier, start of the content, size or None), looking into clusters."""
    at = 0
    while at < len(data):
        name_length = 9 - data[at].bit_length()
        size_at = at + name_length
        if name_length > 4 or size_at >= len(data) or not data[size_at]:
            return
        name = int.from_bytes(data[at:size_at])
        length = 9 - data[size_at].bit_length()
        mask = (1 << 7 * length) - 1
        size = int.from_bytes(data[size_at : size_at + length]) & mask
        start = size_at + length
        known = size != mask
        yield name, start, size if known else None
        inside = name in (_EBML_SEGMENT, _EBML_CLUSTER) or not known
        at = start if inside else start + size


#: Bytes of a frame, its first byte included, by frame type (3GPP TS 26.101 and 26.201).
_AMR_NB_BYTES = (13, 14, 16, 18, 20, 21, 27, 32, 6, 0, 0, 0, 0, 0, 0, 1)
_AMR_WB_BYTES = (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 0, 0, 0, 0, 1, 1)


_AMR_FRAMES_PER_SECOND = 50


def _check_amr(data: bytes, max_seconds: float) -> None:
    wide = data.startswith(_AMR_WB)
    at = len(_AMR_WB) if wide else len(_AMR_NB)
    sizes = _AMR_WB_BYTES if wide else _AMR_NB_BYTES
    frames = 0
    while at < len(data):
        frames += 1
        if frames > max_seconds * _AMR_FRAMES_PER_SECOND:
            raise _too_long(max_seconds)
        size = sizes[data[at] >> 3 & 15]
        if not size:
            raise DecodeError(f"expected AMR frames, got a frame of unknown type at byte {at}")
        at += size
    if at > len(data):
        raise _truncated(f"{at - len(data)} bytes of its last frame are missing")


_CHECKS: dict[str, Callable[[bytes, float], None]] = {
    "wav": _check_wav,
    "ogg": _check_ogg,
    "mp4": _check_mp4,
    "matroska": _check_matroska,
    "amr": _check_amr,
    "aac": _check_adts,
}
