"""Scenes that a detector of speech learns from, labelled by the one that it is to replace.

A scene is up to twelve seconds: one recording as it is, several with pauses and other sounds
between them, or no voice at all; then noise, a room, a line, another level. The label is what the
published detector, as serving runs it, says of the scene as it ends up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from voxprint.audio.decode import decode
from voxprint.audio.degrade import degrade
from voxprint.audio.fbank import fbank
from voxprint.audio.speech import frames_within, speech_windows
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.encoder.vad import SpeechDetector
from voxprint.errors import UsageError, VoxprintError
from voxprint.training.augment import reverberant
from voxprint.training.coded import usable_codecs
from voxprint.training.corpus import files_of, people
from voxprint.training.sounds import pink, sound, white
from voxprint.types import Samples

Pcm = npt.NDArray[np.int16]
Bools = npt.NDArray[np.bool_]
_RATE = 16000
_FBANK = replace(DEFAULT_MODEL.fbank, subtract_mean=False)
_LONGEST, _SHORTEST = 12.0, 0.4
#: Shares of scenes: one recording as it is, a piece of one, several, none.
_PLAN_SHARES = (0.25, 0.15, 0.4, 0.2)
_NOISE_SHARE, _SNR_DB = 0.55, (-3.0, 25.0)
#: Of the noise: recorded, pink, white, other people.
_KIND_SHARES = (0.6, 0.2, 0.1, 0.1)
_ROOM_SHARE, _CODEC_SHARE, _SPED_SHARE, _LEVEL_SHARE = 0.15, 0.4, 0.3, 0.5
_G711 = ("mulaw8k", "alaw8k", "mulaw8k")
#: Of the highest peak, in dB of full scale. What is above is clipped.
_LEVEL_DB = (-40.0, 10.0)


@dataclass(frozen=True)
class Scene:
    """What is heard, and what is said of it.

    Attributes:
        features: log-mel, mean not subtracted, float16, shape (frames, bins).
        speech: by the label's two thresholds, bool, shape (frames,).
    """

    features: npt.NDArray[np.float16]
    speech: Bools


def read_recordings(
    folder: Path, sets: Sequence[str], fold: str, most_files: int = 0
) -> tuple[list[Pcm], list[str]]:
    """Whole recordings of some speakers, silence and all.

    Args:
        folder: of the corpora.
        sets: of it.
        fold: ``A``, ``B`` or ``both``.
        most_files: a speaker, drawn evenly; 0 for all.

    Returns:
        int16 at 16 kHz, one a recording; and what was skipped, with the reason.

    Raises:
        UsageError: no such folder or table, or there are no recordings.
    """
    found: list[Pcm] = []
    skipped = []
    for row in people(folder):
        if row["set"] not in sets or fold not in ("both", row["fold"]):
            continue
        for path in files_of(folder / "speech" / row["set"] / row["speaker"], most_files):
            try:
                samples = decode(path).samples
            except VoxprintError as error:
                skipped.append(f"{path.name}: {error}")
                continue
            if len(samples) >= _SHORTEST * _RATE:
                found.append(np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16))
    if not found:
        raise UsageError(f"expected recordings of {', '.join(sets)}, fold {fold}, in {folder}")
    return found, skipped


class Scenes:
    """Makes scenes.

    Args:
        recordings: int16 at 16 kHz.
        noises: recorded ones, float32 at 16 kHz.
        detector: labels them.
        seed: of all that is drawn.
    """

    def __init__(
        self,
        recordings: Sequence[Pcm],
        noises: Sequence[Samples],
        detector: SpeechDetector,
        seed: int,
    ) -> None:
        self._recordings, self._noises = recordings, noises
        self._detector = detector
        self._random = np.random.default_rng([seed, 11])
        self._sound_random = np.random.default_rng([seed, 12])
        self._torch_random = torch.Generator().manual_seed(seed)
        self._codecs = (*_G711, *dict.fromkeys(usable_codecs()))

    def make(self) -> Scene:
        """The next one."""
        return labelled(self._damaged(self._planned()), self._detector)

    def make_voiceless(self) -> Scene:
        """A sound of ours alone, at some level: nobody has to be asked whether that is speech."""
        random = self._sound_random
        made = sound(random, round(random.uniform(1.0, 8.0) * _RATE))[1]
        level = 10 ** (random.uniform(*_LEVEL_DB) / 20) / max(float(np.abs(made).max()), 1e-5)
        heard = np.clip(made * np.float32(level), -1, 1) if random.random() < _LEVEL_SHARE else made
        features = fbank(heard, _FBANK)
        return Scene(features.astype(np.float16), np.zeros(len(features), bool))

    # -- what there is to be heard -------------------------------------------------------------

    def _planned(self) -> Samples:
        plan = int(self._random.choice(len(_PLAN_SHARES), p=_PLAN_SHARES))
        if plan == 0:
            return self._recording()[: round(_LONGEST * _RATE)]
        if plan == 1:
            return self._piece(self._recording(), _SHORTEST, 3.0)
        if plan == 2:
            return self._several()
        return self._voiceless(self._random.uniform(1.0, _LONGEST))

    def _recording(self) -> Samples:
        import soxr

        pcm = self._recordings[int(self._random.integers(len(self._recordings)))]
        samples: Samples = pcm.astype(np.float32) / np.float32(32768)
        if self._random.random() < _SPED_SHARE:
            speed = self._random.uniform(0.85, 1.18)
            samples = soxr.resample(samples, _RATE * speed, _RATE)
        return samples

    def _piece(self, samples: Samples, shortest: float, longest: float) -> Samples:
        length = round(self._random.uniform(shortest, longest) * _RATE)
        start = int(self._random.integers(max(1, len(samples) - length)))
        return samples[start : start + length]

    def _several(self) -> Samples:
        """Recordings, each at a level of its own, and what lies between them."""
        parts: list[Samples] = []
        length = 0
        wanted = round(self._random.uniform(5.0, _LONGEST) * _RATE)
        while length < wanted:
            voice = self._piece(self._recording(), 0.5, 5.0)
            parts.append(voice * np.float32(10 ** (self._random.uniform(-10, 3) / 20)))
            if self._random.random() < 0.7:
                parts.append(self._between(self._random.uniform(0.1, 2.0)))
            length = sum(map(len, parts))
        return np.concatenate(parts)[:wanted]

    def _between(self, seconds: float) -> Samples:
        if self._random.random() < 0.6:
            return np.zeros(round(seconds * _RATE), np.float32)
        return self._voiceless(seconds) * np.float32(10 ** (self._random.uniform(-30, 0) / 20))

    def _voiceless(self, seconds: float) -> Samples:
        if self._noises and self._random.random() < 0.4:
            noise = self._noises[int(self._random.integers(len(self._noises)))]
            return self._piece(noise, seconds, seconds)
        return sound(self._random, round(seconds * _RATE))[1]

    # -- what befalls it -----------------------------------------------------------------------

    def _damaged(self, samples: Samples) -> Samples:
        draw = self._random.random
        if draw() < _ROOM_SHARE:
            samples = self._in_room(samples)
        if draw() < _NOISE_SHARE:
            snr = self._random.uniform(*_SNR_DB)
            seed = str(self._random.integers(1 << 40))
            samples = degrade(samples, f"noise{snr:.1f}", seed, noises=self._noise(len(samples)))
        if draw() < _LEVEL_SHARE:
            samples = self._at_level(samples)
        if draw() < _CODEC_SHARE:
            codec = self._codecs[int(self._random.integers(len(self._codecs)))]
            samples = degrade(samples, codec)
        if draw() < _LEVEL_SHARE / 3:
            samples = self._at_level(samples)
        return samples

    def _noise(self, length: int) -> list[Samples]:
        kind = int(self._random.choice(len(_KIND_SHARES), p=_KIND_SHARES))
        if kind == 0 and self._noises:
            return [self._noises[int(self._random.integers(len(self._noises)))]]
        if kind == 3:
            voices = [self._recording() for _ in range(int(self._random.integers(3, 8)))]
            return [np.sum([np.resize(each, length) for each in voices], axis=0)]
        made = white(self._random, length) if kind == 2 else pink(self._random, length)
        return [made.astype(np.float32)]

    def _in_room(self, samples: Samples) -> Samples:
        rt60 = torch.tensor([self._random.uniform(0.1, 0.8)], dtype=torch.float32)
        direct_db = torch.tensor([self._random.uniform(0.0, 12.0)], dtype=torch.float32)
        there = torch.from_numpy(np.array(samples, np.float32))[None]
        heard = reverberant(there, rt60, direct_db, self._torch_random)[0].numpy()
        return np.asarray(heard, np.float32)

    def _at_level(self, samples: Samples) -> Samples:
        peak = max(float(np.abs(samples).max()), 1e-5)
        gain = 10 ** (self._random.uniform(*_LEVEL_DB) / 20) / peak
        return np.clip(samples * np.float32(gain), -1, 1)


def labelled(samples: Samples, detector: SpeechDetector) -> Scene:
    """A scene of these samples: float32, shape (n,), at 16 kHz, n >= 400."""
    windows = speech_windows(detector.probabilities(samples), DEFAULT_MODEL.speech)
    features = fbank(samples, _FBANK)
    speech = frames_within(windows, len(features), _FBANK)
    return Scene(features.astype(np.float16), speech)
