"""Short recordings that need no file: made-up voices, one a number."""

from __future__ import annotations

import numpy as np
from talking import RATE, talk, wav


def recording(voice: int, *, seconds: float = 1.2, take: int = 0) -> bytes:
    """A WAV of one made-up voice; another ``take`` is other noise of the same voice."""
    return wav(talk(voice, seconds, take=take))


def silence(seconds: float = 1.0) -> bytes:
    """A WAV of zeros."""
    return wav(np.zeros(int(seconds * RATE)))


def hexadecimal(audio: bytes) -> str:
    """As psql users write it: a literal of no type."""
    return "'\\x" + audio.hex() + "'"
