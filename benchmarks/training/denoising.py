"""Does taking noise off the features help an encoder that has heard noise in its training?

Run as ``python -m benchmarks.training.denoising --corpora C --work W``; prints Markdown. References
are whole and clean, probes under every condition, both through the same front end: none, spectral
subtraction, or the denoising autoencoder. Speech is found, and the frames to be heard are chosen,
before anything is taken off, as serving does it. Measured on speakers of fold B with noises nobody
was trained with; the autoencoder and the second network were trained on fold A.

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
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import default_corpora
from benchmarks.report import say
from benchmarks.training.compared import TEACHER, Draws, cells, record, speaker
from benchmarks.twins import twin_of
from voxprint.audio.decode import decode
from voxprint.audio.degrade import degrade
from voxprint.audio.fbank import fbank
from voxprint.audio.speech import heard_frames, pause_frames, speech_windows
from voxprint.audio.subtraction import SubtractionConfig
from voxprint.encoder.autoencoder import build_autoencoder
from voxprint.encoder.checkpoint import read_weights
from voxprint.encoder.denoiser import Denoiser, autoencoder, no_denoiser, subtraction
from voxprint.encoder.session import open_session
from voxprint.encoder.sources import load_graph
from voxprint.encoder.spec import CALLS_MODEL, DEFAULT_MODEL
from voxprint.errors import AudioError, VoxprintError
from voxprint.training.corpus import noise_paths, read_noises, speech_detector
from voxprint.training.measure import Trials, read_lists

CONDITIONS = ("full", "1s", "noise10", "noise0", "mulaw8k")
LISTS = (
    *("so762_adult", "so762_child", "librispeech_test_other"),
    *("dspspeech20_mandarin", "dspspeech20_crosslang", "arabic_words"),
)
WHOLE = ("fsdd_8k", "ravdess_emotion")
TUNED_LISTS, TUNED_CONDITIONS = (LISTS[0], LISTS[3]), ("full", "noise0")
#: Settings of the subtraction that ``--tune`` compares.
TUNED = [
    SubtractionConfig(over=over, floor=floor, quantile=quantile)
    for over, floor, quantile in (
        *((3.0, 0.1, 0.2), (3.0, 0.1, 0.05)),
        *((1.5, 0.3, 0.2), (1.5, 0.3, 0.05)),
    )
]
#: Recordings of a speaker, drawn evenly. Sentences are long, and told apart in all pairs.
_SENTENCES, _OTHERS = 3, 12
_ALL_PAIRS = ("so762_adult", "so762_child")
_FOLD_A = Path(__file__).with_name("raw") / "denoising_autoencoder_fold_a.npz"
#: Recordings after which what is done is written down.
_TOGETHER = 25
_DETECTOR = DEFAULT_MODEL

Vectors = dict[str, np.ndarray[Any, Any]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.training.denoising")
    parser.add_argument("--corpora", type=Path, default=default_corpora())
    parser.add_argument("--work", type=Path, required=True, help="folder for embeddings")
    parser.add_argument("--autoencoder", type=Path, default=_FOLD_A, help="trained on fold A")
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
    lists = _lists(given.corpora, TUNED_LISTS, (), "A")
    networks = {DEFAULT_MODEL.name: load_graph(DEFAULT_MODEL)}
    return _figures(given, lists, TUNED_CONDITIONS, {TEACHER: no_denoiser} | front, networks)


def _measured(given: argparse.Namespace) -> dict[str, Any]:
    weights = given.autoencoder.read_bytes()
    graph = build_autoencoder(read_weights(weights))
    front = {
        TEACHER: no_denoiser,
        "spectral_subtraction": subtraction(SubtractionConfig()),
        "autoencoder": autoencoder(graph, at_once=DEFAULT_MODEL.speech.at_once),
    }
    lists = _lists(given.corpora, LISTS, WHOLE, "B")
    calls = twin_of(CALLS_MODEL)
    networks = {
        DEFAULT_MODEL.name: load_graph(DEFAULT_MODEL),
        f"{CALLS_MODEL.name}, trained on fold A": load_graph(calls.spec, weights=calls.weights),
    }
    found = _figures(given, lists, CONDITIONS, front, networks)
    return found | {
        "subtraction": asdict(SubtractionConfig()),
        "autoencoder": hashlib.sha256(weights).hexdigest(),
    }


# -- trials ----------------------------------------------------------------------------------


def _lists(corpora: Path, names: Sequence[str], whole: Sequence[str], fold: str) -> list[Trials]:
    """Trials of which few recordings of a speaker are needed."""
    lists = read_lists(corpora, names, fold) + read_lists(corpora, whole, None)
    return [_fewer(each) for each in lists]


def _fewer(trials: Trials) -> Trials:
    every = trials.name in _ALL_PAIRS
    kept = set()
    for side in (trials.enrol, trials.test):
        by_speaker = defaultdict(list)
        for name in sorted(set(side)):
            by_speaker[speaker(name)].append(name)
        most = _SENTENCES if every else _OTHERS
        for own in by_speaker.values():
            kept.update(own[i * len(own) // most] for i in range(min(most, len(own))))
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
    networks: dict[str, bytes],
) -> dict[str, Any]:
    names = sorted({name for each in lists for name in (*each.enrol, *each.test)})
    say(f"{len(lists)} lists, {len(names)} recordings x {len(conditions)} conditions")
    vectors = _embedded(given, names, conditions, front, networks)
    draws = Draws.of(lists, given.replicates)
    rows = []
    for at, network in enumerate(networks):
        embedded = {who: vectors[:, :, at, i] for i, who in enumerate(front)}
        found = cells(lists, conditions, names, embedded, draws)
        rows += [{"network": network, **record(cell)} for cell in found]
    return {"replicates": given.replicates, "systems": list(front)[1:], "rows": rows}


def _embedded(
    given: argparse.Namespace,
    names: Sequence[str],
    conditions: tuple[str, ...],
    front: dict[str, Denoiser],
    networks: dict[str, bytes],
) -> np.ndarray[Any, Any]:
    """Unit embeddings, shape (conditions, names, networks, front ends, dim); NaN for none."""
    with ThreadPoolExecutor(1) as pool:
        noises = list(read_noises(noise_paths(given.corpora, "measure"), pool)[0].values())
    sessions = [open_session(graph) for graph in networks.values()]
    facts = [
        *names,
        *conditions,
        *front,
        *map(repr, TUNED if given.tune else [SubtractionConfig()]),
    ]
    facts += [hashlib.sha256(graph).hexdigest() for graph in networks.values()]
    if not given.tune:
        facts.append(hashlib.sha256(given.autoencoder.read_bytes()).hexdigest())
    given.work.mkdir(parents=True, exist_ok=True)
    file = given.work / f"{hashlib.sha256('|'.join(facts).encode()).hexdigest()[:16]}.npy"
    out = np.load(file) if file.exists() else None
    done = 0 if out is None else len(out)
    shape = (len(conditions), len(networks), len(front), DEFAULT_MODEL.dim)
    parts = [] if out is None else [out]
    for at in range(done, len(names), _TOGETHER):
        some = np.full((len(names[at : at + _TOGETHER]), *shape), np.nan, np.float32)
        for row, name in zip(some, names[at : at + _TOGETHER], strict=True):
            whole = decode(given.corpora / "speech" / name).samples
            for cell, condition in zip(row, conditions, strict=True):
                try:
                    samples = degrade(whole, condition, name, noises=noises)
                    if condition != "full" and samples is whole:  # nothing was cut
                        cell[:] = row[conditions.index("full")]
                        continue
                    heard = _features(samples, front)
                except AudioError:
                    continue  # counted as a failed trial
                for network, session in zip(cell, sessions, strict=True):
                    network[:] = [_unit(session, rows) for rows in heard]
        parts = [np.concatenate([*parts, some])]
        with file.with_suffix(".part").open("wb") as part:
            np.save(part, parts[0])
        file.with_suffix(".part").replace(file)
        say(f"  {len(parts[0])} of {len(names)} recordings embedded")
    return parts[0].transpose(1, 0, 2, 3, 4)


def _features(samples: np.ndarray[Any, Any], front: dict[str, Denoiser]) -> list[Any]:
    """What each front end lets the network hear."""
    config, limits = _DETECTOR.fbank, _DETECTOR.speech
    windows = speech_windows(speech_detector().probabilities(samples), limits)
    features = fbank(samples, replace(config, subtract_mean=False))
    pauses = pause_frames(windows, len(features), config)
    heard = heard_frames(windows, len(features), config, limits)
    return [denoise(features, pauses, heard) for denoise in front.values()]


def _unit(session: Any, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    centred = rows - rows.mean(axis=0, keepdims=True)
    (vector,) = session.run(["embedding"], {"features": centred[np.newaxis]})[0]
    return np.asarray(vector / np.linalg.norm(vector))


# -- report ----------------------------------------------------------------------------------


def _table(found: dict[str, Any]) -> list[str]:
    systems = found["systems"]
    lines = ["EER in %; change from none, 95 % interval from draws of people", ""]
    for mean in (True, False):
        head = ["network", "list", "probe", "none", *systems]
        lines += [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
        for row in found["rows"]:
            if (row["list"] == "mean") != mean:
                continue
            shown = [row["network"], row["list"], row["condition"]]
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
