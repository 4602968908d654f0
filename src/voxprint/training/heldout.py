"""Speakers that are not trained on, heard while others are: does what is learned serve them?

Everything stays on the device and takes a second, so a training can be watched. The figures that
count come from trial lists (``voxprint.training.measure``): here clean references are crops, and
damage is what the device can do.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from voxprint.errors import UsageError
from voxprint.score.curve import det
from voxprint.score.metrics import eer_of
from voxprint.training.augment import mixed, telephone
from voxprint.training.features import Filterbank
from voxprint.training.speech import Speech
from voxprint.types import Samples

_RATE = 16000
#: Lengths of crops in seconds: a recording gives the longest that it fills.
_GRID = (0.32, 0.4, 0.48, 0.64, 0.8, 1.0, 1.28, 1.6, 2.0, 2.4, 3.0)
_WHOLE = _GRID[-1]
#: What befalls probes, and the seconds that are left of them.
CONDITIONS = {"3 s": _WHOLE, "1 s": 1.0, "0.5 s": 0.48, "noise": _WHOLE, "telephone": _WHOLE}
_CROPS_AT_ONCE_SECONDS = 1500.0


class Heldout:
    """Trials of all pairs within a set, probes damaged, references clean.

    Args:
        speech: recordings.
        sets: name of the set of every recording; only speakers of one set are compared.
        recordings: numbers of those that are used, int64.
        noises: recorded, float32 at 16 kHz, mixed in as loud as the speech; without any the
            condition is left out.
        filterbank: of the networks.
        most: recordings, drawn evenly from all speakers.
        seed: of what is drawn.

    Raises:
        UsageError: in no set are two speakers with two recordings each.
    """

    def __init__(
        self,
        speech: Speech,
        sets: Sequence[str],
        recordings: npt.NDArray[np.int64],
        noises: Sequence[Samples],
        filterbank: Filterbank,
        *,
        most: int = 1200,
        seed: int = 0,
    ) -> None:
        random = np.random.default_rng([seed, 7])
        speaker = speech.speaker.cpu().numpy()
        self._rows = _evenly(recordings, speaker, most, random)
        self._pairs = _pairs(np.asarray(sets)[self._rows], speaker[self._rows])
        if not self._pairs:
            raise UsageError(
                "expected two speakers with two recordings each in one set to watch a training "
                "by, got none",
                hint="Set measure.watch to 0.",
            )
        self._speech, self._filterbank = speech, filterbank
        self._noise = np.concatenate(noises) if len(noises) else np.empty(0, np.float32)
        self._features = {
            condition: self._heard(condition, seconds, random)
            for condition, seconds in CONDITIONS.items()
            if condition != "noise" or len(self._noise)
        }

    @property
    def conditions(self) -> tuple[str, ...]:
        """Those that are measured."""
        return tuple(self._features)

    def eer(self, network: nn.Module) -> dict[str, dict[str, float]]:
        """EER in percent by condition and set; cosine, the network in the mode it is in."""
        clean = self._embedded(network, _CLEAN)
        found: dict[str, dict[str, float]] = {}
        for condition in self._features:
            probes = clean if condition == _CLEAN else self._embedded(network, condition)
            scores = (clean @ probes.T).cpu().numpy()
            found[condition] = {
                name: 100 * eer_of(det(scores[same], scores[other]))
                for name, (same, other) in self._pairs.items()
            }
        return found

    @torch.no_grad()
    def _embedded(self, network: nn.Module, condition: str) -> Tensor:
        out: Tensor | None = None
        for rows, features in self._features[condition]:
            vectors = functional.normalize(network(features.float()).float())
            if out is None:
                out = torch.empty(len(self._rows), vectors.shape[1], device=vectors.device)
            out[rows] = vectors
        assert out is not None  # noqa: S101 - there are pairs, so there are recordings
        return out

    def _heard(
        self, condition: str, seconds: float, random: np.random.Generator
    ) -> list[tuple[Tensor, Tensor]]:
        """Places among the recordings, and features, of crops of one length each."""
        lengths = self._speech.length[0].cpu().numpy()[self._rows]
        groups: dict[float, list[int]] = defaultdict(list)
        for place, length in enumerate(lengths):
            groups[_longest(min(seconds, length / _RATE))].append(place)
        out = []
        for size, places in sorted(groups.items()):
            most = max(1, int(_CROPS_AT_ONCE_SECONDS / size))
            for first in range(0, len(places), most):
                some = np.array(places[first : first + most])
                x = self._damaged(self._cut(some, lengths[some], size, random), condition, random)
                rows = torch.from_numpy(some).to(self._speech.device)
                out.append((rows, self._filterbank(x).half()))
        return out

    def _cut(
        self,
        places: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        seconds: float,
        random: np.random.Generator,
    ) -> Tensor:
        # Whole frames, and a number of samples that divides by 4, as a telephone wants it.
        count = 240 + 160 * round(seconds * 100)
        at = (random.random(len(places)) * np.maximum(lengths - count, 0)).astype(np.int64)
        which = torch.from_numpy(self._rows[places]).to(self._speech.device)
        start = torch.from_numpy(at).to(self._speech.device)
        return self._speech.cut(0, which, start, count, coded=False)

    def _damaged(self, x: Tensor, condition: str, random: np.random.Generator) -> Tensor:
        zeros = torch.zeros(len(x), device=x.device)
        if condition == "telephone":
            peak = x.abs().amax(1, keepdim=True).clamp_min(1e-4)
            return telephone(x / peak / 4, zeros + 300, zeros + 3400, zeros > 1)
        if condition == "noise":
            first = random.integers(len(self._noise), size=len(x))
            index = (first[:, None] + np.arange(x.shape[1])) % len(self._noise)
            return mixed(x, torch.from_numpy(self._noise[index]).to(x.device), zeros)
        return x


_CLEAN = "3 s"


class Watch:
    """Looks at a training now and then.

    Args:
        heldout: who is heard.
        teacher: that the student is compared with.
        every: seconds from one look to the next.
        say: told what was seen.

    Attributes:
        history: what was seen at which step; the teacher's is the first, at step 0.
    """

    def __init__(
        self, heldout: Heldout, teacher: nn.Module, every: float, say: Callable[[str], None]
    ) -> None:
        self._heldout, self._every, self._say = heldout, every, say
        self.history: list[dict[str, Any]] = []
        self._last = 0.0
        self.look(teacher, 0)

    @property
    def is_due(self) -> bool:
        """Whether it is time for another look."""
        return time.monotonic() - self._last >= self._every

    def look(self, network: nn.Module, step: int) -> None:
        """Measure, and say it: means over sets, with the change from the teacher's."""
        found = self._heldout.eer(network)
        self.history.append({"step": step, "eer": found})
        before = self.history[0]["eer"]
        parts = []
        for condition, rates in found.items():
            now, then = (float(np.mean(list(r.values()))) for r in (rates, before[condition]))
            change = f" ({100 * (now / then - 1):+.0f} %)" if step and then else ""
            parts.append(f"{condition} {now:.2f}{change}")
        self._say(f"held out, EER in %: {', '.join(parts)}")
        self._last = time.monotonic()


def _longest(seconds: float) -> float:
    """Of the grid; the shortest, where not even that is filled."""
    return max((each for each in _GRID if each <= seconds + 1e-6), default=_GRID[0])


def _evenly(
    recordings: npt.NDArray[np.int64],
    speaker: npt.NDArray[np.int64],
    most: int,
    random: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """At most so many recordings: every speaker's first before anybody's second, and so on."""
    shuffled = random.permutation(recordings)
    turn: dict[int, int] = defaultdict(int)
    order = []
    for each in shuffled:
        order.append(turn[speaker[each]])
        turn[speaker[each]] += 1
    chosen = shuffled[np.argsort(order, kind="stable")][:most]
    return np.sort(chosen)


def _pairs(
    sets: npt.NDArray[np.str_], speaker: npt.NDArray[np.int64]
) -> dict[str, tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
    """Masks of same-speaker and of different-speaker trials by set, where it has both."""
    own = speaker[:, None] == speaker[None, :]
    another = ~np.eye(len(speaker), dtype=bool)
    pairs = {}
    for name in np.unique(sets).tolist():
        inside = (sets == name)[:, None] & (sets == name)[None, :]
        same, other = own & another & inside, ~own & inside
        if same.any() and other.any():
            pairs[name] = same, other
    return pairs
