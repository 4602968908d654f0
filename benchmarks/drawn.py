"""Galleries drawn from the corpora, and the evidence of every trial in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.conditions import Speech
from voxprint.score.calibration import Calibration
from voxprint.score.evidence import Background, Evidence, cohort_statistics
from voxprint.score.fitting import Search, fit

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.str_]

#: Labels that are one voice with another one (docs/results.md): who is right about them cannot be
#: said, so nothing is fitted to them.
ONE_VOICE = frozenset(f"speechocean762/{name}" for name in ("1039", "1099", "0092", "1503", "8585"))
#: Worth of the prior, in people: strangers of another population lie about two and a half of its
#: deviations away (kappa), while how wide they spread hardly differs (nu).
KAPPA, NU = 0.2, 10.0
#: How much more alike the people of one population are than those of a mixed one.
POPULATION = 0.1
_RANK = 12
_SIZES = (4, 6, 8, 10, 16, 24, 40, 10**6)
_UTTERANCES = (1, 2, 3, 5)
_SEARCHED = (5, 8, 10, 15, 20, 30, 45, 60)
#: Of the strangers in a gallery: what those who are enrolled themselves count.
_ENROLLED_SHARE = 0.15


@dataclass(frozen=True, eq=False)
class Gallery:
    """One gallery, all probes of a pool of people against everybody in it.

    Attributes:
        people: who is enrolled, n names.
        probe: rows of the speech that are probes, shape (probes,).
        evidence: of all trials, probe by probe, shape (probes * n,).
        same: bool, is it the person's own probe.
        enrolled: bool, is the probe of somebody in the gallery.
        condition: of the probe.
    """

    people: list[str]
    probe: npt.NDArray[np.intp]
    evidence: Evidence
    same: Bools
    enrolled: Bools
    condition: Texts

    def best(self) -> npt.NDArray[np.intp]:
        """Trial of each probe's best candidate, shape (probes,)."""
        scores = self.evidence.score.reshape(len(self.probe), len(self.people))
        return np.arange(len(self.probe)) * len(self.people) + scores.argmax(axis=1)


def voiceprints(
    speech: Speech, people: Sequence[str], utterances: int, rng: np.random.Generator | None = None
) -> tuple[Floats, Floats]:
    """Unit means of some enrolment utterances of each, and their net speech."""
    units, seconds = [], []
    for name in people:
        rows = np.flatnonzero(
            speech.enrolment & (speech.speaker == name) & np.isfinite(speech.unit[:, 0])
        )
        chosen = rows[:utterances] if rng is None else rng.permutation(rows)[:utterances]
        mean = speech.unit[chosen].mean(axis=0)
        units.append(mean / np.linalg.norm(mean))
        seconds.append(speech.speech_seconds[chosen].sum())
    return np.array(units), np.array(seconds)


def background(speech: Speech, people: Sequence[str]) -> Background:
    """Of all enrolment utterances of these people."""
    units, _ = voiceprints(speech, people, 10**6)
    return Background.of(units, min(_RANK, len(people) - 2))


def draw(
    speech: Speech,
    pool: Sequence[str],
    size: int,
    utterances: int,
    known: Background,
    rng: np.random.Generator,
    *,
    most_probes: int | None = None,
    condition: str | None = None,
) -> Gallery:
    """Enrol ``size`` people of ``pool``; everybody of the pool sends probes."""
    people = [str(name) for name in rng.permutation(np.array(pool))[:size]]
    units, seconds = voiceprints(speech, people, utterances, rng)
    rows = np.flatnonzero(
        ~speech.enrolment & np.isfinite(speech.unit[:, 0]) & np.isin(speech.speaker, pool)
    )
    if condition is not None:
        rows = rows[speech.condition[rows] == condition]
    if most_probes is not None and len(rows) > most_probes:
        rows = np.sort(rng.choice(rows, most_probes, replace=False))
    probes = speech.unit[rows]
    scores = probes @ units.T
    mean, variance, cohort = cohort_statistics(scores)
    n = len(people)
    evidence = Evidence(
        score=scores.ravel(),
        cohort_mean=mean.ravel(),
        cohort_variance=variance.ravel(),
        cohort_size=cohort.ravel(),
        probe_level=np.repeat(known.level(probes), n),
        probe_spread=np.repeat(known.spread(probes), n),
        reference_level=np.tile(known.level(units), len(rows)),
        probe_speech=np.repeat(speech.speech_seconds[rows], n),
        reference_speech=np.tile(seconds, len(rows)),
        snr_db=np.repeat(speech.snr_db[rows], n),
        telephone=np.repeat(speech.telephone[rows], n),
    )
    names = speech.speaker[rows]
    return Gallery(
        people=people,
        probe=rows,
        evidence=evidence,
        same=(names[:, None] == np.array(people)[None]).ravel(),
        enrolled=np.repeat(np.isin(names, people), n),
        condition=np.repeat(speech.condition[rows], n),
    )


def fitted(
    speech: Speech, pools: Sequence[Sequence[str]], known: Background, *, seed: int = 1
) -> Calibration:
    """A calibration fitted on galleries of each pool (people of one population).

    Every gallery counts alike, in it targets and strangers, among these mostly those who are
    not enrolled: the others are easier, since the system knows their own voice, too.
    """
    rng = np.random.default_rng(seed)
    galleries, weights = [], []
    pools = [[name for name in pool if name not in ONE_VOICE] for pool in pools]
    for pool in pools:
        for size in {min(size, len(pool)) for size in _SIZES}:
            for utterances in _UTTERANCES:
                gallery = draw(speech, pool, size, utterances, known, rng, most_probes=700)
                galleries.append(gallery)
                weights.append(_weights(gallery) * len(pool))
    weight = np.concatenate(weights)
    return fit(
        Evidence.joined([gallery.evidence for gallery in galleries]),
        np.concatenate([gallery.same for gallery in galleries]),
        weight * len(weight) / weight.sum(),
        kappa=KAPPA,
        nu=NU,
        population=POPULATION,
        searches=[search for pool in pools for search in _searches(speech, pool, known, rng)],
    )


def _weights(gallery: Gallery) -> Floats:
    weight = np.zeros(len(gallery.same))
    inside = ~gallery.same & gallery.enrolled
    outside = ~gallery.same & ~gallery.enrolled
    share = _ENROLLED_SHARE if outside.any() else 1.0
    for part, total in ((gallery.same, 1.0), (inside, share), (outside, 1 - share)):
        if part.any():
            weight[part] = total / part.sum()
    return weight


def _searches(
    speech: Speech, pool: Sequence[str], known: Background, rng: np.random.Generator
) -> list[Search]:
    found = []
    for size in _SEARCHED:
        if size > len(pool) - 4:
            continue
        best = []
        for _ in range(4):
            gallery = draw(speech, pool, size, 3, known, rng, most_probes=900)
            trials = gallery.best()
            best.append(gallery.evidence.take(trials[~gallery.enrolled[trials]]))
        found.append(Search(Evidence.joined(best), size))
    return found
