"""``python -m benchmarks.training.losses``: a small network from nothing under every loss.

Trains on one fold of the speakers, measures on the other, and prints Markdown. Speech is prepared
once and kept; a run that is done stays in ``OUT/runs.jsonl``, so a session that was broken off
goes on there. Runs come seed by seed: whenever it ends, every loss was trained as often.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import pickle
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.training.interval import mean_and_half
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import UsageError, VoxprintError
from voxprint.training.augment import Augmenter
from voxprint.training.batches import Batches
from voxprint.training.config import Config
from voxprint.training.corpus import Corpus, noise_paths, read_corpus, read_noises
from voxprint.training.features import Filterbank
from voxprint.training.heldout import Heldout
from voxprint.training.loop import Training, chosen_device
from voxprint.training.reading import read_config, shipped_config, with_overrides
from voxprint.training.speech import Speech
from voxprint.training.students import new_student
from voxprint.training.targets import no_targets
from voxprint.types import Samples

HEADS = ("softmax", "l2_softmax", "am_softmax", "aam_softmax", "sub_centre_aam")
#: What is changed about the best of them, in the report's words.
FOUR_MOMENTS, LATE = "four moments", "late large margin"
OTHER = {"A": "B", "B": "A"}
#: Sets with at least five speakers of several recordings in either fold: their mean is reported.
SETS = ("speechocean762", "dspspeech20", "arabic_speech_commands")
#: Steps of a training that only warms the device up.
_WARM = 12


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        name: of what is compared.
        fold: trained on.
        seed: of all that is drawn.
        config: all of it.
    """

    name: str
    fold: str
    seed: int
    config: Config

    @property
    def key(self) -> str:
        """The same for the same training, wherever it runs."""
        facts = asdict(self.config)
        for section, name in (("data", "workers"), ("train", "device"), ("measure", "blends")):
            facts[section].pop(name)
        whole = json.dumps([self.fold, facts], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()[:16]


def main(arguments: list[str] | None = None) -> int:
    """Train what is not trained yet, then print the report."""
    given = parsed(arguments)
    file = given.out / "runs.jsonl"
    runs = list(planned(given))
    if not given.report:
        given.out.mkdir(parents=True, exist_ok=True)
        _train(runs, given, file)
    print("\n".join(report(runs, _known(file))))
    return 0


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training.losses")
    parser.add_argument("--corpora", type=Path, help="folder of the labelled speech")
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--work", type=Path, help="folder of decoded speech, 400 MB (default: OUT)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--seconds", type=float, default=0.0, help="of each training")
    length.add_argument("--steps", type=int, default=0, help="of each training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", nargs="+", choices=("A", "B"), default=["A"])
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=list(HEADS))
    parser.add_argument(
        "--base", choices=HEADS, default="aam_softmax", help="what moments and margins are tried on"
    )
    parser.add_argument("--no-more", action="store_true", help="the heads alone")
    parser.add_argument("--at-once", type=int, default=1, help="trainings beside each other")
    parser.add_argument("--deadline", type=float, default=float("inf"), help="seconds to the last")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--report", action="store_true", help="print what is known")
    given = parser.parse_args(arguments)
    if not given.report and given.corpora is None:
        parser.error("expected --corpora to train, or --report")
    return given


def planned(given: argparse.Namespace) -> Iterator[Run]:
    """All of them, those of one seed and fold beside each other."""
    changes = {head: [f'loss.head="{head}"'] for head in given.heads}
    if not given.no_more:
        base = f'loss.head="{given.base}"'
        changes[f"{given.base}, {FOUR_MOMENTS}"] = [base, "network.moments=4"]
        changes[f"{given.base}, {LATE}"] = [base, "train.late_share=0.25"]
    plain = read_config(shipped_config("scratch-gpu"))
    for seed in range(given.seeds):
        for fold in given.folds:
            for name, change in changes.items():
                settings = [
                    'data.fold="both"',
                    f"data.workers={given.workers}",
                    f"train.steps={given.steps}",
                    f"train.max_seconds={given.seconds}",
                    f'train.device="{given.device}"',
                    f"train.seed={seed}",
                    *given.set,
                    *change,
                ]
                yield Run(name, fold, seed, with_overrides(plain, settings))


def _known(file: Path) -> dict[str, dict[str, Any]]:
    """What is done, by key; a last line that was broken off is not."""
    known = {}
    for line in file.read_text("utf-8").splitlines() if file.exists() else ():
        try:
            found = json.loads(line)
        except json.JSONDecodeError:
            continue
        known[found["key"]] = found
    return known


def _keep(found: dict[str, Any], file: Path) -> None:
    """One more line; a last one that was broken off is left behind as it is."""
    with file.open("a+b") as lines:
        if lines.tell():
            lines.seek(-1, 2)
            if lines.read(1) != b"\n":
                lines.write(b"\n")
        lines.write(json.dumps(found).encode() + b"\n")


# -- training ----------------------------------------------------------------------------------


def _train(runs: Sequence[Run], given: argparse.Namespace, file: Path) -> None:
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {line}", file=sys.stderr, flush=True)

    known = _known(file)
    todo = [run for run in runs if run.key not in known]
    say(f"{len(runs)} trainings, {len(runs) - len(todo)} of them done")
    if not todo:
        return
    store = _prepared(given, todo[0].config, say)
    with ProcessPoolExecutor(
        given.at_once,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(store, todo[0].config),
    ) as pool:
        waiting: dict[Future[dict[str, Any]], Run] = {}
        left = iter(todo)
        done = 0
        while True:
            while len(waiting) < given.at_once and time.monotonic() - began < given.deadline:
                if (run := next(left, None)) is None:
                    break
                waiting[pool.submit(_one, run)] = run
            if not waiting:
                break
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                run = waiting.pop(future)
                done += 1
                head = f"{done}/{len(todo)} {run.name}, fold {run.fold}, seed {run.seed}"
                try:
                    found = future.result()
                except VoxprintError as error:
                    say(f"{head} failed: {error}")
                    continue
                _keep(found, file)
                rates = ", ".join(f"{c} {_mean(e):.2f}" for c, e in found["eer"].items())
                say(f"{head}: {found['steps']} steps, EER in %: {rates}")


def _prepared(given: argparse.Namespace, config: Config, say: Any) -> Path:
    """Decoded speech and noises in a file; made where there is none for these settings."""
    data = config.data
    facts = [str(given.corpora.absolute()), data.sets, data.most_files, data.most_seconds]
    name = hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
    work = given.work or given.out
    store: Path = work / f"speech-{name}.pickle"
    if not store.exists():
        work.mkdir(parents=True, exist_ok=True)
        say(f"decoding with {data.workers} processes")
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(data.workers, mp_context=context) as pool:
            corpus = read_corpus(given.corpora, data, pool)
            paths = noise_paths(given.corpora, "all")
            found, _ = read_noises(paths, pool)
        noises = {
            which: [found[path] for path in noise_paths(given.corpora, which) if path in found]
            for which in ("train", "measure")
        }
        part = store.with_suffix(".part")
        with part.open("wb") as held:
            pickle.dump((corpus, noises), held, protocol=5)
        part.replace(store)
    say(f"speech is there, {store.stat().st_size >> 20} MB")
    return store


class Bench:
    """What all trainings of one process share."""

    def __init__(self, store: Path, config: Config) -> None:
        with store.open("rb") as held:
            read: tuple[Corpus, dict[str, list[Samples]]] = pickle.load(held)
        self.corpus, self.noises = read
        self.device = chosen_device(config.train.device)
        self.filterbank = Filterbank(DEFAULT_MODEL.fbank).to(self.device)
        self.speech = Speech(self.corpus, config.data.speeds, self.device)
        self.sets = [name.partition("/")[0] for name in self.corpus.names]

    @cache  # noqa: B019 - there is one of these a process
    def heldout(self, fold: str) -> Heldout:
        return Heldout(
            self.speech, self.sets, self._of(fold), self.noises["measure"], self.filterbank
        )

    def train(self, run: Run) -> dict[str, Any]:
        """One line of the results."""
        config, seed = run.config, run.seed
        augmenter = Augmenter(config.augment, self.noises["train"], self.device, seed)
        batches = Batches(self.speech, self._of(run.fold), config.batch, augmenter, seed)
        student = new_student(config.network, seed).to(self.device)
        targets = no_targets(self.speech, DEFAULT_MODEL.dim)
        training = Training(student, batches, targets, self.filterbank, config, say=lambda _: None)
        state = training.run()
        return {
            "key": run.key,
            "name": run.name,
            "fold": run.fold,
            "seed": seed,
            "steps": state.step,
            "seconds": round(state.seconds, 2),
            "device": _named(self.device),
            "loss": state.history[-1],
            "eer": self.heldout(OTHER[run.fold]).eer(student),
        }

    def _of(self, fold: str) -> npt.NDArray[np.int64]:
        return np.flatnonzero(self.corpus.fold == fold).astype(np.int64)


_BENCH: list[Bench] = []


def _begin(store: Path, config: Config) -> None:
    """In a process of its own; what the device does once, it does here."""
    _BENCH.append(Bench(store, config))
    if _BENCH[0].device.type == "cuda":
        brief = [f"train.steps={_WARM}", "train.max_seconds=0.0", 'loss.head="softmax"']
        _BENCH[0].train(Run("warm", "A", 0, with_overrides(config, brief)))


def _one(run: Run) -> dict[str, Any]:
    return _BENCH[0].train(run)


def _named(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else "cpu"


# -- reporting ---------------------------------------------------------------------------------


def report(runs: Sequence[Run], known: dict[str, dict[str, Any]]) -> list[str]:
    """Markdown: mean EER by what was trained and condition, and the change from softmax.

    Intervals are of the mean over trainings (Student's t); a change is the mean over pairs of
    trainings of one seed and fold. Of other speakers than these they say nothing.
    """
    found = {(run.name, run.fold, run.seed): known[run.key] for run in runs if run.key in known}
    names = list(dict.fromkeys(run.name for run in runs))
    trained = list(dict.fromkeys((run.fold, run.seed) for run in runs))
    if not found:
        raise UsageError("expected trainings to report, none of these is done")
    conditions = list(next(iter(found.values()))["eer"])
    lines = [
        f"EER in %, mean over {', '.join(SETS)}, 95 % interval over trainings:",
        "",
        "| | trainings | " + " | ".join(conditions) + " |",
        "| --- | --- |" + " --- |" * len(conditions),
    ]
    changes = [
        "Change from softmax in points, 95 % interval over pairs of one seed and fold:",
        "",
        "| | pairs | " + " | ".join(conditions) + " |",
        "| --- | --- |" + " --- |" * len(conditions),
    ]
    for name in names:
        mine = {each: found[name, *each]["eer"] for each in trained if (name, *each) in found}
        cells = [_interval([_mean(eer[c]) for eer in mine.values()]) for c in conditions]
        lines.append(f"| {name} | {len(mine)} | " + " | ".join(cells) + " |")
        plain = {
            each: found["softmax", *each]["eer"] for each in mine if ("softmax", *each) in found
        }
        if name != "softmax" and plain:
            cells = [
                _interval([_mean(mine[e][c]) - _mean(plain[e][c]) for e in plain], sign="+")
                for c in conditions
            ]
            changes.append(f"| {name} | {len(plain)} | " + " | ".join(cells) + " |")
    per_set = _by_set(found, names, conditions)
    steps = sorted(each["steps"] for each in found.values())
    device = ", ".join(sorted({each["device"] for each in found.values()}))
    return [*lines, "", *changes, "", *per_set, "", f"{steps[0]} to {steps[-1]} steps; {device}"]


def _by_set(
    found: dict[tuple[str, str, int], dict[str, Any]], names: list[str], conditions: list[str]
) -> list[str]:
    """The first condition by set, those that are few people too."""
    sets = sorted({name for each in found.values() for name in each["eer"][conditions[0]]})
    lines = [
        f"By set, {conditions[0]}, mean over trainings:",
        "",
        "| | " + " | ".join(sets) + " |",
        "| --- |" + " --- |" * len(sets),
    ]
    for name in names:
        rates = [each["eer"][conditions[0]] for (own, *_), each in found.items() if own == name]
        cells = []
        for one in sets:
            values = [rate[one] for rate in rates if one in rate]
            cells.append(f"{np.mean(values):.2f}" if values else "-")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _mean(rates: dict[str, float]) -> float:
    """Over the sets that are many people; over all, where none of those is there."""
    values = [rates[name] for name in SETS if name in rates] or list(rates.values())
    return float(np.mean(values))


def _interval(values: Sequence[float], sign: str = "") -> str:
    if not values:
        return "-"
    mean, half = mean_and_half(values)
    return f"{mean:{sign}.2f}" if np.isnan(half) else f"{mean:{sign}.2f} ± {half:.2f}"


if __name__ == "__main__":
    sys.exit(main())
