"""Sound that comes in pieces is the sound that comes at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from talking import talk

from voxprint.audio.decode import RawFormat, decode
from voxprint.audio.stream import ENCODINGS, Incoming
from voxprint.errors import FailureToAcquire, UsageError

VOICE = talk(3, 1.0)
BYTES = {
    "s16le": (VOICE * 32767).astype("<i2").tobytes(),
    "s16be": (VOICE * 32767).astype(">i2").tobytes(),
    "s32le": (VOICE * 2147483000).astype("<i4").tobytes(),
    "s32be": (VOICE * 2147483000).astype(">i4").tobytes(),
    "f32le": VOICE.astype("<f4").tobytes(),
    "f32be": VOICE.astype(">f4").tobytes(),
    "mulaw": bytes(range(256)) * 40,
    "alaw": bytes(range(256)) * 40,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@settings(max_examples=8, deadline=None)
@given(sizes=st.lists(st.integers(1, 3001), min_size=1, max_size=8))
def test_pieces_of_any_size_are_what_ffmpeg_makes_of_the_whole(encoding, rate, sizes) -> None:
    raw = RawFormat(rate, encoding)
    data, incoming, parts, at = BYTES[encoding], Incoming(raw), [], 0
    while at < len(data):
        for size in sizes:
            parts.append(incoming.push(data[at : at + size]))
            at += size
    heard = np.concatenate([*parts, incoming.end()])
    whole = decode(data, raw=raw)
    assert heard.dtype == np.float32
    assert abs(len(heard) - len(whole.samples)) <= 1
    n = min(len(heard), len(whole.samples))
    assert np.abs(heard[:n] - whole.samples[:n]).max() <= 2e-6
    assert incoming.seconds == pytest.approx(whole.seconds)


def test_samples_are_taken_as_they_are() -> None:
    incoming = Incoming(RawFormat(16000))
    assert np.array_equal(incoming.push(VOICE), VOICE)
    integers = (VOICE * 32767).astype(np.int16)
    assert np.abs(incoming.push(integers) - VOICE).max() < 1e-4


@pytest.mark.parametrize(
    ("chunk", "error"),
    [
        (np.zeros((2, 160), np.float32), UsageError),
        (np.zeros(160, np.uint8), UsageError),
        (np.array([0.0, np.nan], np.float32), FailureToAcquire),
        (np.array([np.inf], np.float32).tobytes(), FailureToAcquire),
    ],
)
def test_what_is_no_sound_is_refused(chunk, error) -> None:
    incoming = Incoming(RawFormat(16000, "f32le"))
    with pytest.raises(error):
        incoming.push(chunk)
    assert incoming.seconds == 0


def test_two_channels_and_other_encodings_are_refused() -> None:
    with pytest.raises(UsageError, match="one channel"):
        Incoming(RawFormat(8000, "s16le", 2))
    with pytest.raises(UsageError, match="s24le"):
        Incoming(RawFormat(8000, "s24le"))
