"""Copies of recordings that went through a real codec, made by processes beside the training.

Copies lie in one file of int16, in the order of the recordings, speed after speed, aligned in
time with what they are copies of: a codec's delay is taken off.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voxprint.audio.decode import decode
from voxprint.audio.recode import CODECS, through, through_gsm
from voxprint.errors import UsageError, VoxprintError
from voxprint.types import Samples

Pcm = npt.NDArray[np.int16]

#: Samples at 16 kHz by which each codec's output comes late, measured by cross-correlation.
DELAY = {"gsm": 0, "opus6k": 0, "amr": 79, "g722": 22}
#: What a call goes through, in equal parts.
CALLS = ("gsm", "opus6k", "amr", "gsm", "opus6k", "amr", "g722")
_NOISY_SHARE = 0.5
_SNR_DB = (0.0, 20.0)
_PEAK_DB = (-25.0, -1.0)


def usable_codecs() -> tuple[str, ...]:
    """Those of ``CALLS`` that the installed libraries have, as often as they stand there."""
    tone: Samples = (np.sin(np.arange(8000) / 7) / 2).astype(np.float32)
    works = {}
    for name in dict.fromkeys(CALLS):
        try:
            works[name] = len(recoded(tone, name)) == len(tone)
        except VoxprintError:  # the library lacks it, or there is no library
            works[name] = False
    return tuple(name for name in CALLS if works[name])


def recoded(samples: Samples, codec: str) -> Samples:
    """Samples through a codec and back, in time with those that went in.

    Args:
        samples: float32, shape (n,), at 16 kHz.
        codec: one of ``CALLS``.

    Returns:
        float32, shape (n,).
    """
    delay = DELAY[codec]
    ahead = np.pad(samples, (0, delay))
    heard = through_gsm(ahead) if codec == "gsm" else through(ahead, CODECS[codec])
    return heard[delay:]


def sped_length(length: int, speed: float) -> int:
    """Samples that ``length`` samples take at another speed."""
    return int(np.ceil(length / speed)) if speed != 1.0 else length


def start_copies(
    pool: Executor,
    heard: Sequence[Pcm],
    speeds: Sequence[float],
    noises: Sequence[Path],
    file: Path,
    seed: int,
) -> list[list[Future[None]]]:
    """Have all copies made; ``file`` holds those of a speed when its futures are done.

    Args:
        pool: whose processes make them.
        heard: the recordings.
        speeds: at which each is copied once, through a codec drawn for it.
        noises: that half of the copies hear before the codec.
        file: to write, int16.
        seed: of what is drawn.

    Raises:
        UsageError: no codec works here.
        VoxprintError: there is no room for the file.
    """
    codecs = usable_codecs()
    if not codecs:
        raise UsageError(
            f"expected one of the codecs {', '.join(dict.fromkeys(CALLS))}, none works here",
            hint="Set data.coded to false.",
        )
    total = sum(sped_length(len(each), speed) for speed in speeds for each in heard)
    _take_room(file, 2 * total)
    made: list[list[Future[None]]] = []
    at = 0
    for number, speed in enumerate(speeds):
        made.append([])
        for first in range(0, len(heard), _TOGETHER):
            group = heard[first : first + _TOGETHER]
            job = (file, at, group, speed, codecs, list(noises), (seed, number, first))
            made[-1].append(pool.submit(_copy, *job))
            at += sum(sped_length(len(each), speed) for each in group)
    return made


def _take_room(file: Path, size: int) -> None:
    """A file of this many bytes, all of them its own: a map of a full disk would kill who writes.

    Raises:
        VoxprintError: there are not as many.
    """
    try:
        with file.open("wb") as held:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(held.fileno(), 0, size)
            else:
                held.truncate(size)
    except OSError as error:
        file.unlink(missing_ok=True)
        raise VoxprintError(
            f"expected room for {size >> 20} MB of copies through codecs at {file}: "
            f"{error.strerror}",
            hint="Name another --work folder, or set data.coded to false.",
        ) from error


_TOGETHER = 16
_NOISES: dict[Path, Samples] = {}


def _copy(
    file: Path,
    at: int,
    group: Sequence[Pcm],
    speed: float,
    codecs: Sequence[str],
    noises: Sequence[Path],
    seed: tuple[int, ...],
) -> None:
    """Write the copies of some recordings where they belong."""
    import soxr

    random = np.random.default_rng(seed)
    store = np.memmap(file, np.int16, "r+")
    for pcm in group:
        length = sped_length(len(pcm), speed)
        samples: Samples = pcm.astype(np.float32) / np.float32(32768)
        if speed != 1.0:
            samples = fitted(soxr.resample(samples, 16000 * speed, 16000), length)
        if noises and random.random() < _NOISY_SHARE:
            samples = _noisy(samples, noises, random)
        peak = 10 ** (random.uniform(*_PEAK_DB) / 20)
        samples = samples * np.float32(peak / max(float(np.abs(samples).max()), 1e-4))
        codec = codecs[int(random.integers(len(codecs)))]
        heard = recoded(samples.astype(np.float32), codec)
        store[at : at + length] = np.round(np.clip(heard, -1, 1) * 32767).astype(np.int16)
        at += length
    store.flush()


def fitted(samples: Samples, length: int) -> Samples:
    """Cut off or filled with zeros at the end; resamplers differ by a sample."""
    return np.pad(samples[:length], (0, max(0, length - len(samples)))).astype(np.float32)


def _noisy(samples: Samples, noises: Sequence[Path], random: np.random.Generator) -> Samples:
    path = noises[int(random.integers(len(noises)))]
    if path not in _NOISES:
        _NOISES[path] = decode(path).samples
    whole = _NOISES[path]
    start = int(random.integers(max(1, len(whole) - len(samples))))
    noise = np.resize(whole[start:], len(samples))
    power = max(float(np.mean(np.square(noise))), 1e-12)
    loud = float(np.mean(np.square(samples)))
    gain = np.sqrt(loud / power / 10 ** (random.uniform(*_SNR_DB) / 10))
    return np.asarray(samples + gain * noise, np.float32)
