"""Conditions that speech is measured under: cut short, in noise, through a codec, clipped.

A condition is written as steps joined by ``+``, applied from left to right: ``1s+noise10`` is
the loudest second, then noise at 10 dB. Steps that draw something at random draw it from a seed
text, so that a recording always meets the same noise.

``full``
    nothing is done.
``2s``, ``1s``, ``0.5s``, ...
    the loudest contiguous part of this length, which stands in for net speech.
``noise10``, ``noise0``, ``noise-5``, ...
    noise at this many dB below the speech: pink, or pieces of recordings that are given.
``mulaw8k``, ``alaw8k``
    a telephone line (G.711) at 8 kHz.
``gsm``, ``amr``
    a mobile phone: GSM 06.10 full rate; AMR narrow band at 12.2 kbit/s.
``g722``, ``opus6k``
    calls over the internet: G.722 at 64 kbit/s; Opus at 6 kbit/s.
``clip``
    too loud for the microphone: the loudest 3 % of the samples are cut off.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from voxprint.audio.mixer import SAMPLE_RATE
from voxprint.audio.recode import CODECS, through, through_gsm
from voxprint.errors import UsageError
from voxprint.types import Samples

_NAMES = ("full", "<seconds>s", "noise<dB>", *CODECS, "gsm", "clip")
_CUT = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,3})?)s")
_NOISE = re.compile(r"noise(-?[0-9]{1,2}(?:\.[0-9]{1,3})?)")
#: Speech lies within this many dB of the loudest frames.
_SPEECH_RANGE_DB = 30.0
_FRAME = 400
_CLIPPED_SHARE = 0.03


def check_condition(condition: str) -> str:
    """Return a condition as it is, or say what conditions there are.

    Raises:
        UsageError: a step is none of those above.
    """
    for step in condition.split("+"):
        cut, noise = _CUT.fullmatch(step), _NOISE.fullmatch(step)
        if not ((cut and float(cut[1]) > 0) or noise or step in (*CODECS, "full", "gsm", "clip")):
            raise UsageError(
                f"expected a condition of the steps {', '.join(_NAMES)}, joined by +; "
                f"got {step!r} in {condition!r}",
                hint="for example 2s, 0.5s, noise10, mulaw8k or 1s+noise0+gsm",
            )
    return condition


def degrade(
    samples: Samples, condition: str, seed: str = "", *, noises: Sequence[Samples] = ()
) -> Samples:
    """One recording as it would have been heard under a condition.

    Args:
        samples: float32, shape (n,), mono at 16 kHz, nominally in [-1, 1].
        condition: as above.
        seed: text that the noise is drawn from, e.g. the name of the recording.
        noises: recordings of real noise, mono at 16 kHz; without any, noise is pink.

    Returns:
        float32, mono at 16 kHz; as long as ``samples`` unless a step cuts.

    Raises:
        UsageError: no such condition, or FFmpeg lacks its codec.
        VoxprintError: ``gsm`` without the extra ``evaluate``.

    >>> degrade(np.ones(32000, np.float32), "0.5s").shape
    (8000,)
    """
    for step in check_condition(condition).split("+"):
        samples = _step(samples, step, seed, noises)
    return np.asarray(samples, np.float32)


def _step(samples: Samples, step: str, seed: str, noises: Sequence[Samples]) -> Samples:
    if not len(samples) or step == "full":
        return samples
    if cut := _CUT.fullmatch(step):
        return loudest(samples, float(cut[1]))
    if noise := _NOISE.fullmatch(step):
        return _noisy(samples, float(noise[1]), _random(seed, step), noises)
    if step == "clip":
        return _clipped(samples)
    return through_gsm(samples) if step == "gsm" else through(samples, CODECS[step])


def loudest(samples: Samples, seconds: float) -> Samples:
    """The contiguous part of this length with the most energy; all of what is shorter.

    Args:
        samples: float32, shape (n,), at 16 kHz.
        seconds: > 0.
    """
    length = round(seconds * SAMPLE_RATE)
    if len(samples) <= length:
        return samples
    energy = np.append(0.0, np.cumsum(np.square(samples, dtype=np.float64)))
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return samples[start : start + length]


def _random(seed: str, step: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}|{step}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _noisy(
    samples: Samples, snr_db: float, random: np.random.Generator, noises: Sequence[Samples]
) -> Samples:
    """Speech and noise; turned down where both together leave the range."""
    noise = _piece(noises, len(samples), random) if noises else _pink(len(samples), random)
    power = max(float(np.mean(np.square(noise))), 1e-12)
    gain = np.sqrt(_speech_power(samples) / power / 10 ** (snr_db / 10))
    heard = samples + gain * noise
    peak = float(np.abs(heard).max())
    return np.asarray(heard * (0.9 / peak) if peak > 1 else heard, np.float32)


def _pink(length: int, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Noise with as much power in every octave."""
    spectrum = np.fft.rfft(random.standard_normal(length))
    frequency = np.arange(len(spectrum))
    frequency[0] = 1
    return np.fft.irfft(spectrum / np.sqrt(frequency), length)


def _piece(
    noises: Sequence[Samples], length: int, random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """A piece of one of the recordings, which is repeated where it is too short."""
    whole = noises[int(random.integers(len(noises)))]
    if len(whole) < length:
        whole = np.tile(whole, -(-length // len(whole)))
    start = int(random.integers(len(whole) - length + 1))
    return whole[start : start + length].astype(np.float64)


def _speech_power(samples: Samples) -> float:
    """Mean power of the frames of 25 ms that are at most 30 dB below the loudest."""
    frames = len(samples) // _FRAME
    if not frames:
        return float(np.mean(np.square(samples, dtype=np.float64)))
    blocks = samples[: frames * _FRAME].reshape(frames, _FRAME)
    power = np.square(blocks, dtype=np.float64).mean(axis=1)
    return float(power[power >= power.max() * 10 ** (-_SPEECH_RANGE_DB / 10)].mean())


def _clipped(samples: Samples) -> Samples:
    limit = float(np.quantile(np.abs(samples), 1 - _CLIPPED_SHARE))
    if not limit:
        return samples
    return np.asarray(np.clip(samples / limit, -1, 1) * 0.99, np.float32)
