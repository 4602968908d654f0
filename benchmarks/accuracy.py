"""How often the encoder is right, on the real speech of the corpora.

Run as ``python -m benchmarks.accuracy [--corpora DIR]``; prints the section of docs/results.md.
Nothing is fitted to what it is reported on: the default threshold is chosen on the speakers of
fold A and reported on those of fold B.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.vectors import Vectors, vectors
from voxprint.encoder.embedder import Encoder
from voxprint.encoder.spec import ModelSpec
from voxprint.score.estimates import Rates, Who, estimate_rates
from voxprint.score.metrics import at_threshold
from voxprint.score.trials import TrialList, read_trials
from voxprint.service.evaluate import cosines

#: Lengths the probe is cut to: its loudest part, which stands in for net speech.
CUTS = (None, 1.0, 0.5)
#: Recordings that a voiceprint is made of in the promise, and how often they are drawn anew.
ENROLLED = 3
DRAWS = 20
#: Bands of age that are reported apart, in years.
AGES = ((6, 7), (8, 10), (11, 15), (16, 25), (26, 50))
#: Thresholds to choose the default from.
THRESHOLDS = tuple(round(0.01 * n, 2) for n in range(30, 71))
#: Two speakers this much as alike as each is with itself are listed as one voice.
ONE_VOICE = 0.9

Rows = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Group:
    """People whose right answers are counted apart.

    Attributes:
        name: for the report.
        recordings: path of each, by ``set/speaker``.
        ages: in years, by ``set/speaker``; only where stated.
    """

    name: str
    recordings: dict[str, list[str]] = field(default_factory=dict)
    ages: dict[str, int] = field(default_factory=dict)

    def files(self) -> list[str]:
        return [name for names in self.recordings.values() for name in names]


@dataclass(frozen=True)
class Promise:
    """Galleries of voiceprints, all other recordings as probes: one row for each draw.

    ``right`` has the columns: speaker comes first, own voiceprint accepted, others rejected.
    """

    speakers: int
    probes: int
    failed: int
    right: Rows

    def cells(self) -> str:
        means, lowest = 100 * self.right.mean(axis=0), 100 * self.right.min(axis=0)
        return " | ".join(f"{m:.2f} % ({low:.2f})" for m, low in zip(means, lowest, strict=True))


def main() -> None:
    """Measure everything and print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpora", type=Path, default=default_corpora())
    parser.add_argument("--weights", help="path of the encoder's weights")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / f"voxprint-benchmarks-{os.getuid()}",
        help="folder for embeddings, kept between runs",
    )
    parser.add_argument("--fresh", action="store_true", help="embed anew")
    given = parser.parse_args()

    encoder = Encoder(weights=given.weights)
    speech = given.corpora / "speech"
    lists = [read_trials(p, speech) for p in sorted((given.corpora / "trials").glob("*.tsv"))]
    groups, folds = read_groups(given.corpora)
    every = [str(path.relative_to(speech)) for path in speech.glob("*/*/*.opus")]
    short = sorted({name for group in groups for name in group.files()})
    heard = {
        cut: vectors(
            encoder,
            speech,
            every if cut is None else short,
            seconds=cut,
            cache=given.cache,
            fresh=given.fresh,
        )
        for cut in CUTS
    }
    sections = [
        trial_lists(lists, heard[None]),
        short_probes(lists, heard),
        promise(groups, heard, encoder.spec),
        by_age(groups, heard[None], encoder.spec),
        one_voice(groups, heard[None]),
        threshold(lists, groups, heard[None], folds, encoder.spec),
    ]
    print("\n".join(line for section in sections for line in [*section, ""]))


def default_corpora() -> Path:
    """``VOXPRINT_CORPORA``, or ``../shared/corpora`` beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "corpora"
    return Path(os.environ.get("VOXPRINT_CORPORA", beside))


def read_groups(corpora: Path) -> tuple[list[Group], dict[str, str]]:
    """The groups of the promise, and the fold of every speaker by ``set/speaker``."""
    groups = {
        ("speechocean762", "adult"): Group("speechocean762, adults"),
        ("speechocean762", "child"): Group("speechocean762, children"),
        ("librispeech_test_other", "-"): Group("LibriSpeech test-other"),
    }
    folds = {}
    with (corpora / "speakers.tsv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table, delimiter="\t"):
            key = f"{row['set']}/{row['speaker']}"
            folds[key] = row["fold"]
            group = groups.get((row["set"], row["age_group"]))
            if group is not None:
                found = sorted((corpora / "speech" / key).glob("*.opus"))
                group.recordings[key] = [f"{key}/{path.name}" for path in found]
                if row["age"].isdecimal():
                    group.ages[key] = int(row["age"])
    return list(groups.values()), folds


def speaker_of(name: str) -> str:
    """``set/speaker`` of a recording's path below the speech folder."""
    return str(Path(name).parent)


def trial_lists(lists: Iterable[TrialList], heard: Vectors) -> Iterator[str]:
    """EER, minDCF and FRR on every list, whole recordings."""
    yield "### Trial lists, whole recordings"
    yield ""
    yield (
        "| list | same / different trials | not scored | EER | minDCF (0.01) | FRR at FAR 1 % "
        "| FRR at FAR 0.1 % |"
    )
    yield "|---|---|---|---|---|---|---|"
    for trials in lists:
        rates, left_out = cut_rates(trials, heard, heard)
        unscored, failures = str(left_out), heard.failures(trials.names)
        if failures:
            why = ", ".join(f"{count} {reason}" for reason, count in failures.items())
            unscored += f" (of {len(trials.names)} recordings {why})"
        yield f"| {Path(trials.name).stem} | {_rates(rates, unscored)} |"


def short_probes(lists: Iterable[TrialList], heard: dict[float | None, Vectors]) -> Iterator[str]:
    """The same on speechocean762 and LibriSpeech with only the probe cut short."""
    yield "### The probe cut short"
    yield ""
    yield (
        "| list | probe | same / different trials | not scored | EER | minDCF (0.01) "
        "| FRR at FAR 1 % | FRR at FAR 0.1 % |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for trials in lists:
        if Path(trials.name).stem not in ("so762_adult", "so762_child", "librispeech_test_other"):
            continue
        for cut, probes in heard.items():
            rates, unscored = cut_rates(trials, heard[None], probes)
            length = "whole" if cut is None else f"{cut:g} s"
            yield f"| {Path(trials.name).stem} | {length} | {_rates(rates, str(unscored))} |"


def cut_rates(trials: TrialList, enrolled: Vectors, probes: Vectors) -> tuple[Rates, int]:
    """Error rates with the two sides heard under different conditions; trials not scored."""
    enrol, test = enrolled.of(trials.names), probes.of(trials.names)
    scores = cosines(enrol, test, trials.enrol, trials.test)
    ok = np.isfinite(scores)
    who = Who(trials.same, trials.speaker[trials.enrol], trials.speaker[trials.test])
    return estimate_rates(scores[ok], who.of(ok)), int((~ok).sum())


def _rates(rates: Rates, unscored: str) -> str:
    cells = [
        f"{rates.n_target} / {rates.n_nontarget}",
        unscored,
        rates.eer.percent(),
        rates.min_dcf.plain(),
        *(estimate.percent() for estimate in rates.frr_at_far.values()),
    ]
    return " | ".join(cells)


def promise(
    groups: Iterable[Group], heard: dict[float | None, Vectors], spec: ModelSpec
) -> Iterator[str]:
    """Top-1 identification and verification at the default threshold."""
    yield f"### Identification and verification, {ENROLLED} recordings enrolled"
    yield ""
    yield (
        f"Threshold {spec.threshold:g}. Every recording that is not enrolled is a probe: "
        "identified among all of its group, verified against its own speaker and every other. "
        f"Mean of {DRAWS} draws of the recordings enrolled (in brackets: the worst draw)."
    )
    yield ""
    yield (
        "| group | probe | speakers | probes | not acquired | top-1 right | own accepted "
        "| others rejected |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for group in groups:
        for cut, probes in heard.items():
            seen = measure_promise(group, heard[None], probes, spec.threshold)
            length = "whole" if cut is None else f"{cut:g} s"
            yield (
                f"| {group.name} | {length} | {seen.speakers} | {seen.probes} | {seen.failed} "
                f"| {seen.cells()} |"
            )


def measure_promise(group: Group, enrolled: Vectors, heard: Vectors, threshold: float) -> Promise:
    """Shares of right answers of one group; probes that were not acquired are left out."""
    right = []
    for draw in range(DRAWS):
        scores, own, failed = gallery_scores(group, enrolled, heard, draw)
        at = at_threshold(scores[own], scores[~own], threshold)
        first = own[np.arange(len(own)), scores.argmax(axis=1)].mean()
        right.append([first, 1 - at.p_miss, 1 - at.p_fa])
    return Promise(scores.shape[1], scores.shape[0], failed, np.array(right))


def gallery_scores(
    group: Group, enrolled: Vectors, heard: Vectors, draw: int
) -> tuple[Rows, Bools, int]:
    """Cosine of each probe with each voiceprint, which of them are its own, and failures.

    A voiceprint is the unit-length mean of unit embeddings, as in the database; ``draw`` seeds
    which recordings are enrolled.
    """
    random = np.random.default_rng(draw)
    drawn = [random.permutation(names).tolist() for names in group.recordings.values()]
    prints = np.array([np.nanmean(enrolled.of(names[:ENROLLED]), axis=0) for names in drawn])
    prints /= np.linalg.norm(prints, axis=1, keepdims=True)
    speaker = np.repeat(np.arange(len(drawn)), [len(names) - ENROLLED for names in drawn])
    scores = heard.of([name for names in drawn for name in names[ENROLLED:]]) @ prints.T
    ok = np.isfinite(scores).all(axis=1)
    own = speaker[ok, None] == np.arange(len(drawn))
    return scores[ok], own, int((~ok).sum())


def by_age(groups: Iterable[Group], heard: Vectors, spec: ModelSpec) -> Iterator[str]:
    """The promise among people of about one age, whole recordings."""
    yield "### By age, whole recordings"
    yield ""
    yield "| age | speakers | top-1 right | own accepted | others rejected |"
    yield "|---|---|---|---|---|"
    people = {who: r for group in groups if group.ages for who, r in group.recordings.items()}
    ages = {who: age for group in groups for who, age in group.ages.items()}
    for low, high in AGES:
        band = {who: r for who, r in people.items() if low <= ages[who] <= high}
        seen = measure_promise(Group(f"{low} to {high}", band), heard, heard, spec.threshold)
        yield f"| {low} to {high} | {seen.speakers} | {seen.cells()} |"


def one_voice(groups: Iterable[Group], heard: Vectors) -> Iterator[str]:
    """Pairs of speakers that the encoder hears as one, and what they cost.

    A pair is listed where recordings across it are at least ``ONE_VOICE`` times as alike as
    those of either speaker are among themselves.
    """
    yield "### Two labels, one voice"
    yield ""
    yield (
        "| group | pairs (mean cosine across; within each) | top-1 errors in all draws "
        "| of them within these pairs |"
    )
    yield "|---|---|---|---|"
    for group in groups:
        names = list(group.recordings)
        pairs = alike(group, heard)
        wrong: list[tuple[int, int]] = []
        for draw in range(DRAWS):
            scores, own, _ = gallery_scores(group, heard, heard, draw)
            first, speaker = scores.argmax(axis=1), own.argmax(axis=1)
            wrong += zip(speaker[first != speaker], first[first != speaker], strict=True)
        within = sum((min(pair), max(pair)) in pairs for pair in wrong)
        listed = "; ".join(
            f"{Path(names[a]).name} and {Path(names[b]).name} ({x:.2f}; {y:.2f}, {z:.2f})"
            for (a, b), (x, y, z) in pairs.items()
        )
        yield f"| {group.name} | {listed or 'none'} | {len(wrong)} | {within} |"


def alike(group: Group, heard: Vectors) -> dict[tuple[int, int], tuple[float, float, float]]:
    """Mean cosine across, within the first, within the second; by pair of speakers."""
    units = [unit[np.isfinite(unit[:, 0])] for unit in map(heard.of, group.recordings.values())]
    within = [float((u @ u.T)[np.triu_indices(len(u), 1)].mean()) for u in units]
    found = {}
    for a, b in itertools.combinations(range(len(units)), 2):
        across = float((units[a] @ units[b].T).mean())
        if across >= ONE_VOICE * min(within[a], within[b]):
            found[a, b] = (across, within[a], within[b])
    return found


def threshold(
    lists: Iterable[TrialList],
    groups: Iterable[Group],
    heard: Vectors,
    folds: dict[str, str],
    spec: ModelSpec,
) -> Iterator[str]:
    """Where the default threshold comes from, and what it does to people not seen."""
    chosen_on = fold_cases(lists, groups, heard, folds, "A")
    chosen = min(THRESHOLDS, key=lambda at: worst_rate(chosen_on, at))
    yield "### The default threshold"
    yield ""
    yield (
        f"Chosen on the speakers of fold A: the cosine (in steps of 0.01) at which the worst of "
        f"these rates of the adults and children of speechocean762 is lowest: **{chosen:g}** "
        f"(the encoder's is {spec.threshold:g}). Fold B has other speakers."
    )
    yield ""
    yield "| fold | what | same / different | FRR | FAR |"
    yield "|---|---|---|---|---|"
    for fold in "AB":
        for name, (scores, same) in fold_cases(lists, groups, heard, folds, fold).items():
            at = at_threshold(scores[same], scores[~same], chosen)
            yield (
                f"| {fold} | {name} | {same.sum()} / {(~same).sum()} "
                f"| {100 * at.p_miss:.2f} % | {100 * at.p_fa:.2f} % |"
            )


def fold_cases(
    lists: Iterable[TrialList],
    groups: Iterable[Group],
    heard: Vectors,
    folds: dict[str, str],
    fold: str,
) -> dict[str, tuple[Rows, Bools]]:
    """Scores and labels among the speakers of one fold of speechocean762, by use."""
    cases = {}
    for trials in lists:
        if Path(trials.name).stem in ("so762_adult", "so762_child"):
            inside = np.array([folds[speaker_of(name)] == fold for name in trials.names])
            kept = inside[trials.enrol] & inside[trials.test]
            unit = heard.of(trials.names)
            scores = cosines(unit, unit, trials.enrol[kept], trials.test[kept])
            known = np.isfinite(scores)
            name = f"{Path(trials.name).stem}, one recording with one"
            cases[name] = scores[known], trials.same[kept][known]
    for group in groups:
        if group.name.startswith("speechocean762"):
            people = {who: r for who, r in group.recordings.items() if folds[who] == fold}
            drawn = [
                gallery_scores(Group(group.name, people), heard, heard, draw)[:2]
                for draw in range(DRAWS)
            ]
            name = f"{group.name}, {ENROLLED} enrolled, each probe with everybody"
            cases[name] = (
                np.concatenate([scores.ravel() for scores, _ in drawn]),
                np.concatenate([own.ravel() for _, own in drawn]),
            )
    return cases


def worst_rate(cases: dict[str, tuple[Rows, Bools]], cosine: float) -> float:
    """Highest FRR or FAR of any case at this threshold."""
    points = [at_threshold(s[same], s[~same], cosine) for s, same in cases.values()]
    return max(rate for point in points for rate in (point.p_miss, point.p_fa))


if __name__ == "__main__":
    main()
