"""Open-set search made out of a trial list: who is enrolled, and who asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxprint.errors import EmptyTrials, UsageError
from voxprint.score.estimates import Estimate
from voxprint.score.intervals import Interval, no_error_bound, share_bootstrap
from voxprint.score.openset import Searches, search
from voxprint.score.trials import TrialList
from voxprint.service.conditions import Side

Rows = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

#: Recordings that a person is enrolled from, at most.
ENROLLED = 3


@dataclass(frozen=True, slots=True)
class GalleryResult:
    """Searches of galleries of one size under one condition.

    Attributes:
        condition: of the probes.
        gallery: N, people in each gallery.
        mated, nonmated: searches by people who are, and who are not, in the gallery.
        first: share of mated searches in which the person comes first.
        fnir_at_fpir: FNIR(N, 1, T) at the lowest T whose FPIR(N, T) is at most the key.
    """

    condition: str
    gallery: int
    mated: int
    nonmated: int
    first: float
    fnir_at_fpir: dict[float, Estimate]


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """People of a trial list and the probes that are left.

    Attributes:
        prints: float64, shape (people, dim): the unit-length mean of unit embeddings.
        person: shape (people,): who it is, by the list's numbers.
        probe_at: shape (probes,): names of the list that are probes.
        own: shape (probes,): row of ``prints`` of the one who speaks, -1 for nobody.
    """

    prints: Rows
    person: Index
    probe_at: Index
    own: Index


def gallery_of(trials: TrialList, enrol: Side, test: Side) -> Gallery:
    """Enrol the people of a list, each from their first recordings on the enrolment side.

    A name with several recordings enrols its person alone; else up to three names do, and one
    is left for a probe where there are but few. All other names of the test side are probes.

    Raises:
        EmptyTrials: nobody can be enrolled.
    """
    prints, person = [], []
    enrolled: set[int] = set()
    of_speaker: dict[int, list[int]] = {}
    for name in dict.fromkeys(trials.enrol.tolist()):
        if np.isfinite(enrol.unit[name]).all():
            of_speaker.setdefault(int(trials.speaker[name]), []).append(name)
    tested: dict[int, set[int]] = {}
    for name in dict.fromkeys(trials.test.tolist()):
        tested.setdefault(int(trials.speaker[name]), set()).add(name)
    for who, names in of_speaker.items():
        models = [name for name in names if len(trials.parts[name]) > 1]
        spare = bool(tested.get(who, set()) - set(names))
        chosen = models[:1] or names[: min(ENROLLED, max(1, len(names) - (not spare)))]
        mean = enrol.unit[chosen].mean(axis=0)
        prints.append(mean / np.linalg.norm(mean))
        person.append(who)
        enrolled.update(part for name in chosen for part in trials.parts[name])
    if not prints:
        raise EmptyTrials(f"nobody in {trials.name} can be enrolled")
    row = {who: i for i, who in enumerate(person)}
    probes = [
        name
        for name in dict.fromkeys(trials.test.tolist())
        if np.isfinite(test.unit[name]).all() and not enrolled & set(trials.parts[name])
    ]
    own = [row.get(int(trials.speaker[name]), -1) for name in probes]
    return Gallery(
        np.array(prints),
        np.array(person, dtype=np.intp),
        np.array(probes, dtype=np.intp),
        np.array(own, dtype=np.intp),
    )


def measure_galleries(
    trials: TrialList,
    condition: str,
    enrol: Side,
    test: Side,
    sizes: Sequence[int],
    fpirs: Sequence[float],
) -> Iterator[GalleryResult]:
    """Search galleries of each size; 0 stands for all people but one.

    Raises:
        EmptyTrials: no probe of an enrolled person is left.
        UsageError: a gallery larger than that.
    """
    if not sizes:
        return
    gallery = gallery_of(trials, enrol, test)
    if not (gallery.own >= 0).any():
        raise EmptyTrials(f"no recording of {trials.name} is left to search with")
    scores = test.unit[gallery.probe_at] @ gallery.prints.T
    speaker = trials.speaker[gallery.probe_at]
    people = len(gallery.prints)
    for size in sizes:
        if size >= people:
            raise UsageError(
                f"expected a gallery of at most {people - 1} people, got {size}",
                hint=f"{people} people can be enrolled, and somebody must not be in it",
            )
        found = search(scores, gallery.own, size or people - 1)
        yield _summed(condition, found, speaker[gallery.own >= 0], fpirs)


def _summed(
    condition: str, found: Searches, speaker: Index, fpirs: Sequence[float]
) -> GalleryResult:
    return GalleryResult(
        condition=condition,
        gallery=found.gallery,
        mated=found.own.size,
        nonmated=found.false.size,
        first=1 - found.fnir(-np.inf),
        fnir_at_fpir={fpir: _fnir(found, speaker, fpir) for fpir in fpirs},
    )


def _fnir(found: Searches, speaker: Index, fpir: float) -> Estimate:
    threshold = found.threshold(fpir)
    missed = (found.own <= found.other) | (found.own < threshold)
    drawn = share_bootstrap(missed, speaker)
    if not missed.any():
        drawn = Interval(0.0, no_error_bound(np.unique(speaker).size))
    errors = min(int(missed.sum()), int(np.sum(found.false >= threshold)))
    finite = float(threshold) if np.isfinite(threshold) else None
    return Estimate(found.fnir(threshold), errors, drawn, finite)
