"""What recognition loses or gains where our speech detector stands in Silero's place.

Run as ``python -m benchmarks.training.detectortrials --corpora C --weights A.npz --fold B``; prints
Markdown. The same network hears the same recordings twice, what the one detector leaves of them and
what the other does: trials of the lists, references whole and clean, probes under every condition.
In the tables the teacher hears by Silero's, the student by ours. Recordings that a detector leaves
nothing of are counted. Embeddings are kept in the work folder by the features they are of: another
detector needs only those of what it leaves otherwise.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.accuracy import default_corpora
from benchmarks.report import say
from benchmarks.training.compared import TEACHER, Draws, cells, record, speaker
from benchmarks.training.detector import our_detector, silero_detector
from benchmarks.training.trialreport import report
from voxprint.audio.decode import decode
from voxprint.audio.degrade import degrade
from voxprint.audio.fbank import Float32, fbank
from voxprint.audio.speech import heard_frames, speech_seconds, speech_windows
from voxprint.encoder.detector import Detector
from voxprint.encoder.embedder import Encoder
from voxprint.encoder.spec import SILERO, find_model
from voxprint.errors import UsageError, VoxprintError
from voxprint.training.corpus import noise_paths, read_noises
from voxprint.training.measure import Trials, read_lists
from voxprint.types import Samples

_OURS = "ours"
_LISTS = ("so762_adult", "so762_child", "dspspeech20_mandarin", "dspspeech20_crosslang")
_MORE_LISTS = ("arabic_words", "fsdd_8k", "ravdess_emotion")
_CONDITIONS = ("full", "0.5s", "noise0", "mulaw8k")
#: As serving: less speech than this is none, in seconds; from so long on, than that.
_LEAST, _LONG, _LEAST_IN_LONG = 0.09, 3.0, 0.25
_SILENCE = 20.0


class Kept:
    """Embeddings by the digest of the features they are of, in a file.

    Args:
        encoder: makes those that are missing.
        file: ``.npz``.
    """

    def __init__(self, encoder: Encoder, file: Path) -> None:
        self._encoder, self._file = encoder, file
        self._vectors: dict[str, Float32] = {}
        if file.exists():
            with np.load(file) as held:
                self._vectors = dict(zip(held["digest"].tolist(), held["vector"], strict=True))

    def embed(self, features: Float32) -> Float32:
        """float32, shape (dim,)."""
        digest = hashlib.sha256(features.tobytes()).hexdigest()
        if digest not in self._vectors:
            self._vectors[digest] = self._encoder.embed_features(features)
        return self._vectors[digest]

    def save(self) -> None:
        """Write all of them, or nothing."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        part = self._file.with_suffix(".part.npz")
        vectors = np.stack(list(self._vectors.values()))
        np.savez(part, digest=np.array(list(self._vectors)), vector=vectors)
        part.replace(self._file)


@dataclass
class Heard:
    """Embeddings by detector, and what became of the recordings.

    Attributes:
        vectors: by detector, float32, shape (conditions, names, dim); NaN where nothing is left.
        refused: recordings by condition and detector of which nothing is left.
        alike: recordings of which both leave the same frames.
    """

    vectors: dict[str, Float32]
    refused: dict[str, dict[str, int]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(int))
    )
    alike: int = 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.training.detectortrials")
    parser.add_argument("--corpora", type=Path, default=default_corpora())
    parser.add_argument("--weights", type=Path, required=True, help="of our detector, .npz")
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps embeddings")
    parser.add_argument("--fold", choices=("A", "B"), required=True, help="to measure on")
    parser.add_argument("--model", help="the network (default: the default model)")
    parser.add_argument("--files", type=int, default=12, help="recordings a speaker; 0 for all")
    parser.add_argument("--replicates", type=int, default=1000, help="draws for the intervals")
    parser.add_argument("--out", type=Path, help="JSON of all figures")
    given = parser.parse_args(arguments)
    try:
        lines = _measured(given)
    except VoxprintError as error:
        parser.exit(1, f"{error}\n{error.hint}\n" if error.hint else f"{error}\n")
    print("\n".join(lines))


def _measured(given: argparse.Namespace) -> list[str]:
    whole = read_lists(given.corpora, (*_LISTS, *_MORE_LISTS), given.fold)
    lists = [each for each in (_fewer(trials, given.files) for trials in whole) if each]
    if not lists:
        raise UsageError("expected a list with trials of both kinds, got none")
    names = sorted({name for each in lists for name in (*each.enrol, *each.test)})
    say(f"{len(lists)} lists, {len(names)} recordings x {len(_CONDITIONS)} conditions")
    with ThreadPoolExecutor(1) as pool:
        noises = list(read_noises(noise_paths(given.corpora, "measure"), pool)[0].values())
    spec = replace(find_model(given.model), detector=SILERO)
    detectors: dict[str, Detector] = {
        TEACHER: silero_detector(),
        _OURS: our_detector(given.weights),
    }
    encoder = Encoder(spec)
    kept = Kept(encoder, given.work / f"embedded-{spec.hash[:12]}.npz")
    heard = _heard(given.corpora, names, noises, encoder, kept, detectors)
    draws = Draws.of(lists, given.replicates)
    records = [record(each) for each in cells(lists, _CONDITIONS, names, heard.vectors, draws)]
    facts = [f"measured on speakers of fold {given.fold}, {spec.name}, {given.replicates} draws"]
    total = len(names) * len(_CONDITIONS)
    facts.append(f"both detectors leave the same frames of {heard.alike} of {total} recordings")
    for condition in _CONDITIONS:
        said = ", ".join(f"{who} {heard.refused[condition][who]}" for who in detectors)
        facts.append(f"{condition}: nothing is left of, by {said}")
    if given.out is not None:
        content = {"fold": given.fold, "model": spec.name, "facts": facts, "rows": records}
        given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return list(report(facts, records, [_OURS]))


def _fewer(trials: Trials, most: int) -> Trials | None:
    """Trials between the first recordings of each speaker; None without both kinds."""
    if not most:
        return trials
    by_speaker = defaultdict(set)
    for name in (*trials.enrol, *trials.test):
        by_speaker[speaker(name)].add(name)
    kept = {name for names in by_speaker.values() for name in sorted(names)[:most]}
    pairs = zip(trials.enrol, trials.test, strict=True)
    rows = [row for row, pair in enumerate(pairs) if kept.issuperset(pair)]
    same = trials.same[rows]
    if not same.any() or same.all():
        return None
    enrol, test = ([side[i] for i in rows] for side in (trials.enrol, trials.test))
    return Trials(trials.name, enrol, test, same)


def _heard(
    corpora: Path,
    names: Sequence[str],
    noises: Sequence[Samples],
    encoder: Encoder,
    kept: Kept,
    detectors: dict[str, Detector],
) -> Heard:
    shape = (len(_CONDITIONS), len(names), encoder.spec.dim)
    heard = Heard({who: np.full(shape, np.nan, np.float32) for who in detectors})
    said = time.monotonic()
    for column, name in enumerate(names):
        whole = decode(corpora / "speech" / name).samples
        for row, condition in enumerate(_CONDITIONS):
            samples = degrade(whole, condition, name, noises=noises)
            rows = fbank(samples, replace(encoder.spec.fbank, subtract_mean=False))
            masks = {who: _mask(each, samples, rows, encoder) for who, each in detectors.items()}
            for who, mask in masks.items():
                if mask is None:
                    heard.refused[condition][who] += 1
                else:
                    heard.vectors[who][row, column] = kept.embed(rows[mask])
            theirs, ours = masks[TEACHER], masks[_OURS]
            heard.alike += theirs is not None and ours is not None and np.array_equal(theirs, ours)
        if time.monotonic() - said > _SILENCE:
            say(f"  {column + 1} of {len(names)} recordings")
            kept.save()
            said = time.monotonic()
    kept.save()
    return heard


def _mask(
    detector: Detector, samples: Samples, rows: Float32, encoder: Encoder
) -> npt.NDArray[np.bool_] | None:
    """Frames that are heard, as serving has it; None where nobody speaks."""
    limits = encoder.spec.speech
    windows = speech_windows(detector.probabilities(samples, rows), limits)
    net = speech_seconds(windows, len(samples), detector.window)
    if net < (_LEAST if len(samples) < _LONG * encoder.spec.sample_rate else _LEAST_IN_LONG):
        return None
    return heard_frames(windows, len(rows), encoder.spec.fbank, limits, detector.window)


if __name__ == "__main__":
    main()
