"""Does taking noise off the features help an encoder that has heard noise in its training?

Run as ``python -m benchmarks.training.denoising --corpora C --work W``; prints Markdown. References
are whole and clean, probes under every condition, both through the same front end: none, spectral
subtraction, or the denoising autoencoder. Speech is found, and the frames to be heard are chosen,
before anything is taken off, as serving does it. Measured on speakers of fold B with noises nobody
was trained with; the autoencoder was trained on fold A, and so was the twin that stands in for
campplus_calls_192.

``--tune`` measures settings of the spectral subtraction on fold A instead; what ships was chosen
by that. Embeddings are kept in the work folder; broken off, it goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import default_corpora
from benchmarks.report import say
from benchmarks.training.compared import TEACHER, Draws, cells, record, speaker
from benchmarks.training.frontends import Floats, embed
from benchmarks.twins import twin_of
from voxprint.audio.subtraction import SubtractionConfig
from voxprint.encoder.autoencoder import build_autoencoder
from voxprint.encoder.checkpoint import read_weights
from voxprint.encoder.denoiser import Denoiser, autoencoder, no_denoiser, subtraction
from voxprint.encoder.sources import load_graph
from voxprint.encoder.spec import DEFAULT_MODEL, MODELS
from voxprint.errors import VoxprintError
from voxprint.training.corpus import noise_paths, read_noises
from voxprint.training.measure import Trials, read_lists

CONDITIONS = ("full", "1s", "noise10", "noise0", "mulaw8k")
#: Left out for their time: LibriSpeech, whose four people are hardly ever confused, and the actors.
LISTS = (
    *("so762_adult", "so762_child", "dspspeech20_mandarin", "dspspeech20_crosslang"),
    *("arabic_words", "fsdd_8k"),
)
#: Of sets that nobody trained on: all speakers count.
WHOLE = ("fsdd_8k", "ravdess_emotion", "ravdess_neutral_enrol")
TUNED_LISTS, TUNED_CONDITIONS = ("so762_adult", "dspspeech20_mandarin"), ("full", "noise0")
#: Settings of the subtraction that ``--tune`` compares.
TUNED = [
    SubtractionConfig(over=over, floor=floor, quantile=quantile)
    for over, floor, quantile in (
        *((3.0, 0.1, 0.2), (3.0, 0.1, 0.05)),
        *((1.5, 0.3, 0.2), (1.5, 0.3, 0.05)),
    )
]
#: Recordings of a speaker, drawn evenly. Sentences are long, and told apart in all pairs.
_SENTENCES, _OTHERS = 3, 10
_ALL_PAIRS = ("so762_adult", "so762_child")
_FOLD_A = Path(__file__).with_name("raw") / "denoising_autoencoder_fold_a.npz"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.training.denoising")
    parser.add_argument("--corpora", type=Path, default=default_corpora())
    parser.add_argument("--work", type=Path, required=True, help="folder for embeddings")
    parser.add_argument("--autoencoder", type=Path, default=_FOLD_A, help="trained on fold A")
    parser.add_argument("--model", choices=sorted(MODELS), default=DEFAULT_MODEL.name)
    parser.add_argument("--lists", nargs="+", default=LISTS, help="of trials (default: six)")
    parser.add_argument("--speakers", type=int, default=0, help="first so many of a set; 0: all")
    parser.add_argument("--tune", action="store_true", help="settings, on fold A")
    parser.add_argument("--replicates", type=int, default=1000, help="draws for the intervals")
    parser.add_argument("--out", type=Path, help="JSON of all figures")
    given = parser.parse_args(arguments)
    try:
        found = _tuned(given) if given.tune else _measured(given)
    except VoxprintError as error:
        parser.exit(1, f"{error}\n{error.hint}\n" if error.hint else f"{error}\n")
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n".join(_table(found)))


def _tuned(given: argparse.Namespace) -> dict[str, Any]:
    front = {f"{c.over:g}/{c.floor:g}/{c.quantile:g}": subtraction(c) for c in TUNED}
    lists = _lists(given.corpora, TUNED_LISTS, "A", given.speakers)
    return _figures(given, lists, TUNED_CONDITIONS, {TEACHER: no_denoiser} | front)


def _measured(given: argparse.Namespace) -> dict[str, Any]:
    weights = given.autoencoder.read_bytes()
    graph = build_autoencoder(read_weights(weights))
    front = {
        TEACHER: no_denoiser,
        "spectral_subtraction": subtraction(SubtractionConfig()),
        "autoencoder": autoencoder(graph, at_once=DEFAULT_MODEL.speech.at_once),
    }
    lists = _lists(given.corpora, given.lists, "B", given.speakers)
    found = _figures(given, lists, CONDITIONS, front)
    return found | {
        "subtraction": asdict(SubtractionConfig()),
        "autoencoder": hashlib.sha256(weights).hexdigest(),
    }


# -- trials ----------------------------------------------------------------------------------


def _lists(corpora: Path, names: Sequence[str], fold: str, most: int) -> list[Trials]:
    """Trials of which few recordings of a speaker are needed."""
    lists = read_lists(corpora, [name for name in names if name not in WHOLE], fold)
    lists += read_lists(corpora, [name for name in names if name in WHOLE], None)
    speakers = sorted({speaker(name) for each in lists for name in (*each.enrol, *each.test)})
    of_set = defaultdict(list)
    for who in speakers:
        of_set[who.partition("/")[0]].append(who)
    among = {who for own in of_set.values() for who in own[: most or None]}
    return [_fewer(each, among) for each in lists]


def _fewer(trials: Trials, among: set[str]) -> Trials:
    """Trials between recordings of these speakers, few of each."""
    every = trials.name in _ALL_PAIRS
    most = _SENTENCES if every else _OTHERS
    kept = set()
    for side in (trials.enrol, trials.test):
        by_speaker = defaultdict(list)
        for name in sorted(set(side)):
            by_speaker[speaker(name)].append(name)
        for who in among & set(by_speaker):
            own = by_speaker[who]
            count = min(most, len(own))
            kept.update(own[i * len(own) // count] for i in range(count))
    if every:
        few = sorted(kept)
        pairs = [(a, b) for a in few for b in few if a != b]
    else:
        rows = zip(trials.enrol, trials.test, strict=True)
        pairs = [(a, b) for a, b in rows if a in kept and b in kept]
    same = np.array([speaker(a) == speaker(b) for a, b in pairs])
    return Trials(trials.name, [a for a, _ in pairs], [b for _, b in pairs], same)


# -- embeddings ------------------------------------------------------------------------------


def _figures(
    given: argparse.Namespace,
    lists: list[Trials],
    conditions: tuple[str, ...],
    front: dict[str, Denoiser],
) -> dict[str, Any]:
    names = sorted({name for each in lists for name in (*each.enrol, *each.test)})
    say(f"{len(lists)} lists, {len(names)} recordings x {len(conditions)} conditions")
    vectors = _embedded(given, names, conditions, front)
    embedded = {who: vectors[:, :, i] for i, who in enumerate(front)}
    draws = Draws.of(lists, given.replicates)
    rows = [record(cell) for cell in cells(lists, conditions, names, embedded, draws)]
    about = {"model": given.model, "replicates": given.replicates}
    return about | {"systems": list(front)[1:], "rows": rows}


def _embedded(
    given: argparse.Namespace,
    names: Sequence[str],
    conditions: tuple[str, ...],
    front: dict[str, Denoiser],
) -> Floats:
    network = twin_of(MODELS[given.model])
    graph = load_graph(network.spec, weights=network.weights)
    with ThreadPoolExecutor(1) as pool:
        noises = list(read_noises(noise_paths(given.corpora, "measure"), pool)[0].values())
    settings = TUNED if given.tune else [SubtractionConfig()]
    facts = [*names, *conditions, *front, *map(repr, settings), hashlib.sha256(graph).hexdigest()]
    if not given.tune:
        facts.append(hashlib.sha256(given.autoencoder.read_bytes()).hexdigest())
    given.work.mkdir(parents=True, exist_ok=True)
    file = given.work / f"{hashlib.sha256('|'.join(facts).encode()).hexdigest()[:16]}.npy"
    paths = [given.corpora / "speech" / name for name in names]
    return embed(paths, conditions, front, graph, noises, file)


# -- report ----------------------------------------------------------------------------------


def _table(found: dict[str, Any]) -> list[str]:
    systems = found["systems"]
    lines = [
        f"{found['model']}: EER in %; change from none, 95 % interval from draws of people",
        "",
    ]
    for mean in (True, False):
        head = ["list", "probe", "none", *systems]
        lines += [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
        for row in found["rows"]:
            if (row["list"] == "mean") != mean:
                continue
            shown = [row["list"], row["condition"]]
            shown.append(_percent(row["systems"][TEACHER]["eer"]))
            for who in systems:
                rates = row["systems"][who]
                shown.append(f"{_percent(rates['eer'])} {_change(rates['eer_change'])}".strip())
            lines.append(f"| {' | '.join(shown)} |")
        lines.append("")
    return lines


def _percent(rate: dict[str, float] | None) -> str:
    return "–" if rate is None else f"{100 * rate['value']:.2f}"


def _change(change: dict[str, float | None] | None) -> str:
    if change is None:
        return ""
    value, low, high = (
        "∞" if each is None else f"{100 * each:+.0f} %".replace("-", "−")
        for each in (change["value"], change["low"], change["high"])
    )
    return f"({value} [{low}, {high}])"


if __name__ == "__main__":
    main()
