"""What students are worth beside their teacher, on trial lists, with intervals.

Run as ``python -m benchmarks.training.trials --corpora C --work W --fold B STUDENT.npz ...``;
prints Markdown. References are whole and clean, probes under every condition. Fold B is what a
student of fold A is measured on, and the other way round; a student of both is measured on
``--whole`` lists alone, of sets that nobody trained on (``--fold all``).

What takes long is kept in the work folder: features of the probes (the recipe's, where it had the
same work folder), and embeddings by the bytes of the weights. Broken off, it goes on; a
second student needs only its own embeddings.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.accuracy import default_corpora
from benchmarks.report import say
from benchmarks.training.compared import TEACHER, Draws, cells, record
from benchmarks.training.embedded import Embedded, Weights
from benchmarks.training.trialreport import report
from voxprint.audio.degrade import check_condition
from voxprint.encoder.download import locate
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import UsageError, VoxprintError
from voxprint.training.config import Measure
from voxprint.training.corpus import noise_paths, read_noises
from voxprint.training.measure import read_lists
from voxprint.training.probes import Probes, probe_setting, start_probes

#: From one line about progress to the next, in seconds.
_SILENCE = 15.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        lines = _measured(given)
    except VoxprintError as error:
        parser.exit(1, f"{error}\n{error.hint}\n" if error.hint else f"{error}\n")
    print("\n".join(lines))


def _parser() -> argparse.ArgumentParser:
    default = Measure()
    parser = argparse.ArgumentParser(
        prog="benchmarks.training.trials", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("students", nargs="*", type=Path, help="weights; none: teacher alone")
    parser.add_argument("--corpora", type=Path, default=default_corpora())
    parser.add_argument("--work", type=Path, required=True, help="folder for what takes long")
    parser.add_argument("--fold", choices=("A", "B", "all"), required=True, help="to measure on")
    parser.add_argument("--teacher", type=Path, help="weights (default: those that serve)")
    for name, names, about in (
        ("--lists", default.lists, "trial lists, of which those of the fold count"),
        ("--whole", default.whole, "trial lists that nobody trained on, which count whole"),
        ("--conditions", default.conditions, "of the probes"),
    ):
        about += f", separated by commas (default: {','.join(names)})"
        parser.add_argument(name, type=_names, default=names, metavar="NAME,...", help=about)
    parser.add_argument("--most", type=int, default=0, help="trials of a list and kind; 0: all")
    parser.add_argument("--replicates", type=int, default=1000, help="draws for the intervals")
    parser.add_argument("--cores", type=int, default=1, help="of the processor, at once")
    parser.add_argument("--out", type=Path, help="JSON of all figures")
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(each for each in text.split(",") if each)


def _measured(given: argparse.Namespace) -> list[str]:
    conditions = tuple(check_condition(each) for each in given.conditions)
    if "full" not in conditions:
        raise UsageError("expected full among the conditions: references are whole")
    fold = None if given.fold == "all" else given.fold
    lists = [] if fold is None else read_lists(given.corpora, given.lists, fold, given.most)
    lists += read_lists(given.corpora, given.whole, None, given.most)
    if not lists:
        raise UsageError("expected a list with trials of both kinds, got none")
    networks = _networks(given)
    names = sorted({name for each in lists for name in (*each.enrol, *each.test)})
    say(f"{len(lists)} lists, {len(names)} recordings x {len(conditions)} conditions")
    with _pool(given.cores) as pool:
        noises = _noises(given.corpora, pool)
        setting = probe_setting(given.corpora, conditions, noises)
        kept = [Embedded(each, given.work / "embeddings", setting) for each in networks]
        # In the order of all names, whichever network lacks them.
        lacking = {name for each in kept for name in each.missing(names)}
        if lacking:
            wanted = [name for name in names if name in lacking]
            folder = given.work / "probes"
            probes = start_probes(pool, given.corpora, wanted, conditions, noises, folder)
            _await(probes)
            for each in kept:
                each.embed(probes, given.cores)
    draws = Draws.of(lists, given.replicates)
    embedded = {each.weights.name: each.of(names) for each in kept}
    records = [record(cell) for cell in cells(lists, conditions, names, embedded, draws)]
    students = [each.name for each in networks[1:]]
    if given.out is not None:
        _write(given, networks, records)
    return list(report(_facts(given, networks), records, students))


def _networks(given: argparse.Namespace) -> list[Weights]:
    """The teacher first."""
    teacher = given.teacher or locate(DEFAULT_MODEL.weights, None, lambda *_: None)[0]
    stems = Counter(path.stem for path in given.students)
    named = {TEACHER: teacher}
    for path in given.students:
        name = path.stem if stems[path.stem] == 1 else f"{path.absolute().parent.name}/{path.stem}"
        if name in named:
            raise UsageError(f"expected weights with names of their own, got {name} twice")
        named[name] = path
    try:
        return [Weights.of(name, path) for name, path in named.items()]
    except OSError as error:
        raise UsageError(f"expected weights to measure: {error}") from error


@contextmanager
def _pool(cores: int) -> Iterator[Executor]:
    """One process does it itself; several know nothing of each other."""
    if cores == 1:
        pool: Executor = ThreadPoolExecutor(1)
    else:
        pool = ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _noises(corpora: Path, pool: Executor) -> list[Path]:
    """Those that no student was trained with and that can be decoded, as the recipe has them."""
    paths = noise_paths(corpora, "measure")
    usable, skipped = read_noises(paths, pool)
    for path, reason in skipped.items():
        say(f"skipped {path.name}: {reason}")
    return [path for path in paths if path in usable]


def _await(probes: Probes) -> None:
    began = said = time.monotonic()
    for done, future in enumerate(as_completed(probes.made), start=1):
        future.result()
        now = time.monotonic()
        if now - said > _SILENCE or done == len(probes.made):
            share = done / len(probes.made)
            say(
                f"  features: {100 * share:.0f} %, {(now - began) / share * (1 - share):.0f} s left"
            )
            said = now


def _facts(given: argparse.Namespace, networks: Sequence[Weights]) -> Iterator[str]:
    people = "sets nobody trained on" if given.fold == "all" else f"speakers of fold {given.fold}"
    yield f"measured on {people}, {given.replicates} draws"
    for each in networks:
        yield f"{each.name}: weights {each.sha256[:16]}"


def _write(
    given: argparse.Namespace, networks: Sequence[Weights], records: list[dict[str, Any]]
) -> None:
    content = {
        "fold": given.fold,
        "most": given.most,
        "replicates": given.replicates,
        "weights": {each.name: each.sha256 for each in networks},
        "rows": records,
    }
    given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
