"""How often decisions are right, and whether they keep the rate that was asked for.

Run as ``[VOXPRINT_MODEL=NAME] python -m benchmarks.decisions [--corpora DIR] [--cache DIR]``;
prints the section of docs/results.md. What is reported on speechocean762 is fitted on the speakers
of the other fold, what is reported on other sets on speechocean762 alone. The condition is never
told.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.accuracy import default_corpora
from benchmarks.conditions import CONDITIONS, SHORT, Speech, hear
from benchmarks.drawn import ONE_VOICE, Gallery, background, draw, fitted
from voxprint.encoder.spec import find_model
from voxprint.score.calibration import Calibration
from voxprint.score.evidence import Background
from voxprint.score.intervals import share_bootstrap
from voxprint.score.llr import cllr, min_cllr
from voxprint.score.metrics import eer

MAIN = "speechocean762"
OTHERS = ("dspspeech20", "arabic_speech_commands", "ravdess", "librispeech_test_other", "fsdd")
TARGETS = (0.01, 0.001, 0.05)
UTTERANCES = 3
#: As in the trial lists: so many different-speaker trials to each of the same speaker.
_RATIO = 4.0

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Judged:
    """Trials of all galleries of one kind, judged at each target."""

    speech: Speech
    galleries: list[Gallery]
    calibrations: list[Calibration]

    def of(self, name: str) -> npt.NDArray[np.generic]:
        return np.concatenate([getattr(gallery, name) for gallery in self.galleries])

    def score(self) -> Floats:
        return np.concatenate([gallery.evidence.score for gallery in self.galleries])

    def seconds(self) -> Floats:
        return np.concatenate([gallery.evidence.probe_speech for gallery in self.galleries])

    def judged(self, far: float) -> tuple[Floats, Bools, Bools]:
        """LLR, accepted, rejected."""
        each = [
            calibration.judge(gallery.evidence, far)
            for gallery, calibration in zip(self.galleries, self.calibrations, strict=True)
        ]
        return (
            np.concatenate([j.llr for j in each]),
            np.concatenate([j.accepted for j in each]),
            np.concatenate([j.rejected for j in each]),
        )

    def people(self) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.str_]]:
        """Who is claimed and who speaks, in every trial."""
        claimed = [np.tile(np.array(g.people), len(g.probe)) for g in self.galleries]
        speaks = [np.repeat(self.speech.speaker[g.probe], len(g.people)) for g in self.galleries]
        return np.concatenate(claimed), np.concatenate(speaks)


def main() -> None:
    """Measure everything and print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpora", type=Path, default=default_corpora())
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--only", choices=["A", "B"], help="people of this fold alone")
    given = parser.parse_args()
    speech = hear(given.corpora, given.cache, given.only)
    folds = {f: [s for s in speech.speakers(MAIN) if speech.fold[s] == f] for f in "AB"}
    fits = {}
    for fold, people in folds.items():
        known = background(speech, [s for s in people if s not in ONE_VOICE])
        fits[fold] = (fitted(speech, [people], known), known)
    crossed = [(folds["B"], *fits["A"]), (folds["A"], *fits["B"])]
    sections = [
        main_set(speech, crossed),
        ages(speech, crossed),
        zone(judge(speech, crossed)),
        other_sets(speech, [fits["A"], fits["B"]]),
        identification(speech, crossed),
    ]
    print("\n".join(line for section in sections for line in [*section, ""]))


def default_cache() -> Path:
    """Where embeddings are kept between runs."""
    return Path(tempfile.gettempdir()) / f"voxprint-benchmarks-{os.getuid()}"


Crossed = Sequence[tuple[list[str], Calibration, Background]]


def judge(speech: Speech, crossed: Crossed) -> Judged:
    """Everybody of a fold enrolled, all probes of the fold against everybody."""
    rng = np.random.default_rng(7)
    drawn = [draw(speech, pool, len(pool), UTTERANCES, k, rng) for pool, _, k in crossed]
    return Judged(speech, drawn, [calibration for _, calibration, _ in crossed])


def main_set(speech: Speech, crossed: Crossed) -> list[str]:
    """Every condition: the actual rates at each target, beside a fixed threshold."""
    all_ = judge(speech, crossed)
    same, condition, score = all_.of("same"), all_.of("condition"), all_.score()
    llr, accepted, rejected = all_.judged(0.01)
    rare, often = all_.judged(0.001)[1], all_.judged(0.05)[1]
    claimed, speaks = all_.people()
    doubtful = np.isin(claimed, list(ONE_VOICE)) | np.isin(speaks, list(ONE_VOICE))
    lines = [
        "### Actual rates on speechocean762, the condition untold",
        "",
        f"Everybody of a fold enrolled from {UTTERANCES} clean recordings; fitted on the other "
        "fold, both ways round. Inconclusive answers of same-speaker / different-speaker trials. "
        f"Fixed: cosine {find_model().threshold:g}.",
        "",
        "| condition | not acquired | FAR at 1 % [95 %] | FRR | inconclusive | FAR at 0.1 % [95 %] "
        "(sure labels) | FAR at 5 % [95 %] | EER cosine -> LLR | fixed FAR / FRR |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in CONDITIONS:
        here = condition == name
        non, tar = here & ~same, here & same
        neither = ~accepted & ~rejected
        fixed = score >= find_model().threshold
        lines.append(
            f"| {name} | {_lost(speech, crossed, name)} | {_with(accepted[non], speaks[non], 2)} "
            f"| {_pc(rejected[tar])} | {_pc(neither[tar], 1)} / {_pc(neither[non], 1)} | "
            f"{_with(rare[non], speaks[non], 3)} ({_pc(rare[non & ~doubtful], 3)}) | "
            f"{_with(often[non], speaks[non], 2)} | "
            f"{_eer(score, tar, non)} -> {_eer(llr, tar, non)} | "
            f"{_pc(fixed[non])} / {_pc(~fixed[tar], 1)} |"
        )
    lowered = 1 - eer(llr[same], llr[~same]) / eer(score[same], score[~same])
    actual, least = cllr(llr[same], llr[~same]), min_cllr(llr[same], llr[~same])
    return [
        *lines,
        "",
        f"Pooled over conditions: EER {_eer(score, same, ~same)} % by cosine, "
        f"{_eer(llr, same, ~same)} % by LLR ({100 * lowered:.0f} % lower); Cllr {actual:.3f}, "
        f"minCllr {least:.3f}, difference {actual - least:.3f}. Sure labels: without the five "
        "that seem to be one voice with another (see *Two labels, one voice*).",
    ]


def ages(speech: Speech, crossed: Crossed) -> list[str]:
    """Adults and children apart, each in a gallery of their own."""
    lines = [
        "### Adults and children",
        "",
        "Galleries and probes of one age group alone; FAR target 1 %.",
        "",
        "| group | condition | FAR | FAR, sure labels | FRR | inconclusive | EER cosine -> LLR |",
        "|---|---|---|---|---|---|---|",
    ]
    for group in ("adult", "child"):
        apart = [
            ([name for name in pool if speech.age_group[name] == group], calibration, known)
            for pool, calibration, known in crossed
        ]
        all_ = judge(speech, apart)
        same, condition, score = all_.of("same"), all_.of("condition"), all_.score()
        llr, accepted, rejected = all_.judged(0.01)
        claimed, speaks = all_.people()
        sure = ~(np.isin(claimed, list(ONE_VOICE)) | np.isin(speaks, list(ONE_VOICE)))
        for name in CONDITIONS:
            non, tar = (condition == name) & ~same, (condition == name) & same
            neither = ~accepted & ~rejected
            lines.append(
                f"| {group} | {name} | {_pc(accepted[non])} | {_pc(accepted[non & sure])} | "
                f"{_pc(rejected[tar])} | {_pc(neither[tar], 1)} / {_pc(neither[non], 1)} | "
                f"{_eer(score, tar, non)} -> {_eer(llr, tar, non)} |"
            )
    return lines


def zone(all_: Judged) -> list[str]:
    """How the inconclusive answer is used; different-speaker trials count as in the lists."""
    same, condition, seconds = all_.of("same"), all_.of("condition"), all_.seconds()
    _, accepted, rejected = all_.judged(0.01)
    neither, wrong = ~accepted & ~rejected, accepted != same
    weight = np.where(same, 1.0, _RATIO * same.sum() / (~same).sum())
    brief = np.isin(condition, [c for c in CONDITIONS if c.startswith(SHORT[1:])])
    whole = ~np.isin(condition, [c for c in CONDITIONS if c.startswith(SHORT)])

    def share(part: Bools, of: Bools) -> float:
        return float(100 * weight[part & of].sum() / max(weight[of].sum(), 1e-9))

    def most(of: Bools) -> str:
        shares = {c: share(neither, of & (condition == c)) for c in CONDITIONS}
        name = max(shares, key=lambda c: shares[c])
        return f"{shares[name]:.1f} % ({name})"

    long = seconds >= 3
    return [
        "### What inconclusive is used for",
        "",
        f"FAR target 1 %; {_RATIO:g} different-speaker trials to one of the same speaker. Wrong "
        "and right are answers that would be given if everything not accepted were rejected.",
        "",
        "| | |",
        "|---|---|",
        f"| of wrong answers at 0.5 to 1 s, inconclusive | {share(neither, brief & wrong):.1f} % |",
        "| of right answers at 3 s of net speech or more | "
        f"{share(neither, long & ~wrong):.2f} % |",
        "| of right answers on whole recordings (3.8 s, 2.5 s net) | "
        f"{share(neither, whole & ~wrong):.2f} % |",
        f"| most in a condition, 3 s of net speech or more | {most(long)} |",
        f"| most in a condition, whole recordings | {most(whole)} |",
    ]


def other_sets(speech: Speech, fits: Sequence[tuple[Calibration, Background]]) -> list[str]:
    """Populations that nothing was fitted on, their own gallery as cohort."""
    lines = [
        "### Other populations",
        "",
        "Fitted on speechocean762 alone (each fold in turn); the set's own gallery is the cohort; "
        "galleries drawn 10 times, probes of everybody under all conditions. FAR target 1 %.",
        "",
        "| set | enrolled | FAR (of people not enrolled) | FRR | inconclusive |",
        "|---|---|---|---|---|",
    ]
    for name in OTHERS:
        pool = speech.speakers(name)
        for size in (1, 3, 10):
            drawn, used = [], []
            for seed in range(10):
                for calibration, known in fits:
                    rng = np.random.default_rng(seed)
                    drawn.append(
                        draw(
                            speech,
                            pool,
                            min(size, len(pool)),
                            UTTERANCES,
                            known,
                            rng,
                            most_probes=500,
                        )
                    )
                    used.append(calibration)
            all_ = Judged(speech, drawn, used)
            same, inside = all_.of("same"), all_.of("enrolled")
            _, accepted, rejected = all_.judged(0.01)
            neither = ~accepted & ~rejected
            lines.append(
                f"| {name} | {min(size, len(pool))} | {_pc(accepted[~same])} "
                f"({_pc(accepted[~same & ~inside])}) | {_pc(rejected[same])} | "
                f"{_pc(neither[same], 1)} / {_pc(neither[~same], 1)} |"
            )
    return lines


def identification(speech: Speech, crossed: Crossed) -> list[str]:
    """Searches of galleries, by people who are in them and by people who are not."""
    lines = [
        "### Identification",
        "",
        "FPIR target 1 %, probes under all conditions; galleries of a fold of speechocean762, "
        "mixed with the fold's other sets from 100 people on. Miss: a person who is enrolled is "
        "not accepted first.",
        "",
        "| enrolled | FPIR | FPIR, sure labels | miss, all conditions | miss, whole clean |",
        "|---|---|---|---|---|",
    ]
    for size in (10, 30, 50, 100, 0):
        found = list(_searched(speech, crossed, size))
        stranger, sure, accepted, right, clean = (
            np.concatenate(p) for p in zip(*found, strict=True)
        )
        shown = f"{size}" if size else f"all ({_everybody(speech, crossed)})"
        lines.append(
            f"| {shown} | {_pc(accepted[stranger])} | {_pc(accepted[stranger & sure])} | "
            f"{_pc(~(accepted & right)[~stranger], 1)} | "
            f"{_pc(~(accepted & right)[~stranger & clean], 1)} |"
        )
    return lines


def _searched(
    speech: Speech, crossed: Crossed, size: int
) -> Iterator[tuple[Bools, Bools, Bools, Bools, Bools]]:
    for pool, calibration, known in crossed:
        many = pool if 0 < size < 60 else _fold_of(speech, pool)
        for seed in range(6):
            n = min(size or len(many), len(many)) - (0 if 0 < size < len(many) else 4)
            rng = np.random.default_rng(seed)
            gallery = draw(speech, many, n, UTTERANCES, known, rng, most_probes=1500)
            best = gallery.best()
            judged = calibration.judge(gallery.evidence.take(best), 0.01, searched=n)
            names = speech.speaker[gallery.probe]
            doubtful = np.isin(names, list(ONE_VOICE | _TWINS))
            yield (
                ~gallery.enrolled[best],
                ~doubtful,
                judged.accepted,
                gallery.same[best],
                gallery.condition[best] == "full",
            )


#: The other halves of ONE_VOICE.
_TWINS = frozenset(f"{MAIN}/{name}" for name in ("1037", "0053", "1502", "8584"))


def _fold_of(speech: Speech, pool: Sequence[str]) -> list[str]:
    fold = speech.fold[pool[0]]
    names = (MAIN, *OTHERS, "librispeech_train_clean_100", "aishell_samples")
    return [s for s in speech.speakers(*names) if speech.fold[s] == fold]


def _everybody(speech: Speech, crossed: Crossed) -> str:
    return " and ".join(str(len(_fold_of(speech, pool)) - 4) for pool, _, _ in crossed)


def _lost(speech: Speech, crossed: Crossed, condition: str) -> str:
    everybody = [name for pool, _, _ in crossed for name in pool]
    here = (speech.condition == condition) & ~speech.enrolment & np.isin(speech.speaker, everybody)
    return _pc(~np.isfinite(speech.unit[here, 0]), 1)


def _pc(part: Bools, digits: int = 2) -> str:
    return f"{100 * float(np.mean(part)):.{digits}f}" if part.size else "-"


def _with(part: Bools, speaks: npt.NDArray[np.str_], digits: int) -> str:
    """A share with its interval over the people who speak."""
    interval = share_bootstrap(part, speaks)
    low, high = (f"{100 * bound:.{digits}f}" for bound in (interval.low, interval.high))
    return f"{_pc(part, digits)} [{low}, {high}]"


def _eer(values: Floats, target: Bools, nontarget: Bools) -> str:
    return f"{100 * eer(values[target], values[nontarget]):.2f}"


if __name__ == "__main__":
    main()
