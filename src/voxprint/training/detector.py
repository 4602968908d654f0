"""``python -m voxprint.training.detector``: trains our detector of speech, on a CPU, in minutes.

Its teacher is Silero's, as serving runs it. What is learned is the decision, by 10 ms: binary cross
entropy against it, over scenes (``voxprint.training.scenes``) that are made once and kept. The
same seed gives the same detector.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from voxprint.encoder.checkpoint import read_weights
from voxprint.encoder.framegraph import build_frame_detector
from voxprint.encoder.framevad import SILENCE, STEP, FrameDetector
from voxprint.encoder.sources import load_detector
from voxprint.encoder.spec import DEFAULT_MODEL, SILERO
from voxprint.encoder.vad import SpeechDetector
from voxprint.errors import ModelFileError, UsageError, VoxprintError
from voxprint.training.config import SHIPPABLE
from voxprint.training.corpus import noise_paths, read_noises
from voxprint.training.export import write_weights
from voxprint.training.framenet import FrameNetwork, frame_arrays, whitening
from voxprint.training.scenes import Scene, Scenes, read_recordings

_BATCH = 24
_RATE, _LEAST_RATE = 3e-3, 3e-3
_RISING = 0.05
#: In log powers: a scene is heard up to 13 dB louder or quieter, through a microphone whose highest
#: and lowest bin differ by up to 13 dB, with bumps of 3 dB (one standard deviation).
_SHIFT, _TILT, _BUMP, _BUMPS = 3.0, 1.5, 0.7, 4
#: Of a batch's scenes, those that are heard from somewhere in the middle, as a stream begins.
_CUT_SHARE, _LEAST_CUT = 0.4, 40
#: Added to the logits of what is written. The border between the decisions that are learned lies at
#: even odds; with this, ``SpeechConfig``'s thresholds of 0.3 and 0.15 stand for 0.66 and 0.44.
_SHARPER = -1.5
_LEAST_PARITY = 1e-4
_SAID_SECONDS = 20.0


@dataclass(frozen=True)
class Heard:
    """All scenes, one behind the other.

    Attributes:
        features: float16, shape (frames, bins).
        speech: bool, shape (frames,).
        length: int64, shape (scenes,).
    """

    features: npt.NDArray[np.float16]
    speech: npt.NDArray[np.bool_]
    length: npt.NDArray[np.int64]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; 0 where that went well."""
    given = _parser().parse_args(arguments)
    try:
        heard = scenes(given.corpora, given.work, given.sets, given.fold, given.scenes, given.seed)
        begin = None if given.begin is None else begun(given.begin)
        network = trained(heard, epochs=given.epochs, seed=given.seed, rate=given.rate, begin=begin)
        worst = export(network, given.out)
    except VoxprintError as error:
        sys.stderr.write(f"{error}\n{error.hint}\n" if error.hint else f"{error}\n")
        return 1
    digest = hashlib.sha256(given.out.read_bytes()).hexdigest()
    size = given.out.stat().st_size
    _say(f"{given.out}: {size} bytes, sha256 {digest}; graph and network differ by {worst:.1e}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m voxprint.training.detector",
        description="Train a detector of speech on scenes that Silero's has labelled.",
    )
    parser.add_argument("--corpora", type=Path, required=True, help="folder of the speech")
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps the scenes")
    parser.add_argument("--out", type=Path, required=True, help=".npz to write")
    parser.add_argument("--fold", choices=("A", "B", "both"), default="both")
    parser.add_argument("--sets", nargs="+", default=SHIPPABLE, metavar="SET")
    parser.add_argument(
        "--scenes", type=int, default=2400, help="of each fold, up to 12 s (default: 2400)"
    )
    parser.add_argument("--epochs", type=int, default=30, help="over all scenes (default: 30)")
    parser.add_argument("--rate", type=float, default=_RATE, help="highest learning rate")
    parser.add_argument("--begin", type=Path, help="weights to go on from (default: none)")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def scenes(
    corpora: Path, work: Path, sets: Sequence[str], fold: str, count: int, seed: int
) -> Heard:
    """Scenes to learn from, apart by fold; those made before are read from the work folder.

    Args:
        corpora: folder of speech and noise, as docs/training.md lays it out.
        work: where they are kept.
        sets, fold: whose voices.
        count: how many of each fold; a quarter more are sounds alone.
        seed: of all that is drawn.

    Raises:
        UsageError: there are no recordings, or no scene is asked for.
        VoxprintError: there is no room.
    """
    if count < 1:
        raise UsageError(f"expected at least one scene, got {count}")
    folds = ("A", "B") if fold == "both" else (fold,)
    parts = [_of_fold(corpora, work, sets, each, count, seed) for each in folds]
    return Heard(
        np.concatenate([each.features for each in parts]),
        np.concatenate([each.speech for each in parts]),
        np.concatenate([each.length for each in parts]),
    )


def _of_fold(
    corpora: Path, work: Path, sets: Sequence[str], fold: str, count: int, seed: int
) -> Heard:
    facts = [SILERO.sha256, repr(DEFAULT_MODEL.fbank), repr(DEFAULT_MODEL.speech)]
    facts += [str(corpora.absolute()), *sets, fold, str(count), str(seed), _SCENES_VERSION]
    file = work / f"scenes-{hashlib.sha256('|'.join(facts).encode()).hexdigest()[:16]}.npz"
    if not file.exists():
        try:
            work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _no_room(file, error) from error
        _keep(_made(corpora, sets, fold, count, seed), file)
    with np.load(file) as held:
        return Heard(held["features"], held["speech"], held["length"])


#: Raised whenever ``scenes`` or ``sounds`` would draw others: kept ones are not taken.
_SCENES_VERSION = "1"


def _made(corpora: Path, sets: Sequence[str], fold: str, count: int, seed: int) -> list[Scene]:
    recordings, skipped = read_recordings(corpora, sets, fold)
    with ThreadPoolExecutor(1) as pool:
        noises, unusable = read_noises(noise_paths(corpora, "train"), pool)
    for each in [*skipped, *(f"{path.name}: {why}" for path, why in unusable.items())]:
        _say(f"skipped {each}")
    hours = sum(map(len, recordings)) / 16000 / 3600
    _say(f"{len(recordings)} recordings, {hours:.2f} h; {len(noises)} noises")
    source = Scenes(recordings, list(noises.values()), teacher(), seed)
    found = []
    said = time.monotonic()
    for number in range(count):
        found.append(source.make())
        if time.monotonic() - said > _SAID_SECONDS:
            _say(f"  {number + 1} of {count} scenes")
            said = time.monotonic()
    return found + [source.make_voiceless() for _ in range(count // 4)]


def teacher() -> SpeechDetector:
    """Silero's detector, as a model that hears by it runs it."""
    spec = replace(DEFAULT_MODEL, detector=SILERO)
    return SpeechDetector(load_detector(spec), warm_up=spec.speech.warm_up)


def _keep(found: Sequence[Scene], file: Path) -> None:
    part = file.with_suffix(".part.npz")
    try:
        np.savez(
            part,
            features=np.concatenate([each.features for each in found]),
            speech=np.concatenate([each.speech for each in found]),
            length=np.array([len(each.features) for each in found], np.int64),
        )
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise _no_room(file, error) from error


def _no_room(file: Path, error: OSError) -> VoxprintError:
    return VoxprintError(
        f"expected room for scenes at {file}: {error.strerror}",
        hint="Name another --work folder, or fewer --scenes.",
    )


def begun(weights: Path) -> FrameNetwork:
    """A network with the weights of a file that :func:`export` wrote.

    Raises:
        UsageError: it cannot be read.
        ModelFileError: it holds those of another network.
    """
    try:
        arrays = read_weights(weights.read_bytes())
    except OSError as error:
        raise UsageError(f"expected weights in {weights}: {error.strerror}") from error
    build_frame_detector(arrays)  # says what is missing
    arrays["out.bias"] = arrays["out.bias"] - np.float32(_SHARPER)
    return FrameNetwork.of(arrays)


def trained(
    heard: Heard,
    *,
    epochs: int,
    seed: int,
    rate: float = _RATE,
    begin: FrameNetwork | None = None,
) -> FrameNetwork:
    """A network that has learned these scenes.

    AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), its rate rising in a line and falling
    by a cosine.

    Args:
        heard: scenes.
        epochs: times that each is heard.
        seed: of weights, order and cuts.
        rate: highest learning rate, > 0.
        begin: a network to go on from; None for weights that are drawn.

    Raises:
        UsageError: nothing is to be done.
        VoxprintError: the loss is no longer finite.
    """
    if epochs < 1 or not rate > 0:
        raise UsageError(f"expected at least one epoch at a rate above 0, got {epochs} at {rate}")
    torch.manual_seed(seed)
    random = np.random.default_rng([seed, 13])
    some = heard.features[:: max(1, len(heard.features) // 20000)]
    network = (begin or FrameNetwork(*whitening(some))).train()
    optimiser = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=0.01)
    total = epochs * -(-len(heard.length) // _BATCH)
    step = 0
    for epoch in range(epochs):
        losses = []
        for features, speech, counts in _batches(heard, random):
            for group in optimiser.param_groups:
                group["lr"] = rate * _rate(step / total)
            logits = network(features)
            each = functional.binary_cross_entropy_with_logits(logits, speech, reduction="none")
            loss = (each * counts).sum() / counts.sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            losses.append(float(loss.detach()))
            step += 1
        mean = float(np.mean(losses))
        if not math.isfinite(mean):
            raise VoxprintError(f"expected a finite loss in epoch {epoch + 1}, got {mean}")
        _say(f"  epoch {epoch + 1} of {epochs}: loss {mean:.4f}")
    return network.eval()


def _rate(done: float) -> float:
    """Of the highest learning rate, after this share of the training."""
    rise = min(1.0, done / _RISING + 0.05)
    return _LEAST_RATE + rise * 0.5 * (1 + math.cos(math.pi * done))


def _batches(heard: Heard, random: np.random.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Every scene once: features, speech, and which frames count, those of a length together.

    Yields:
        float32, shapes (batch, frames, bins), (batch, frames) and (batch, frames).
    """
    start = np.cumsum(heard.length) - heard.length
    order = np.lexsort([random.random(len(heard.length)), heard.length // 100])
    groups = [order[at : at + _BATCH] for at in range(0, len(order), _BATCH)]
    for number in random.permutation(len(groups)):
        group = groups[int(number)]
        longest = -(-int(heard.length[group].max()) // STEP) * STEP
        shape = (len(group), longest, heard.features.shape[1])
        x = np.full(shape, SILENCE, np.float32)
        y, counts = np.zeros(shape[:2], np.float32), np.zeros(shape[:2], np.float32)
        for row, scene in enumerate(group):
            first, count = int(start[scene]), int(heard.length[scene])
            if count > 2 * _LEAST_CUT and random.random() < _CUT_SHARE:
                cut = int(random.integers(count - _LEAST_CUT))
                first, count = first + cut, count - cut
            x[row, :count] = heard.features[first : first + count]
            x[row, :count] += _curve(random, shape[2])
            y[row, :count] = heard.speech[first : first + count]
            counts[row, :count] = 1
        np.maximum(x, SILENCE, out=x)
        yield torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(counts)


def _curve(random: np.random.Generator, bins: int) -> npt.NDArray[np.float32]:
    """What another microphone adds to log powers: level, slope and smooth bumps, shape (bins,)."""
    place = np.linspace(-1, 1, bins)
    curve = random.uniform(-_SHIFT, _SHIFT) + random.uniform(-_TILT, _TILT) * place
    for number in range(1, _BUMPS + 1):
        phase = random.uniform(0, 2 * np.pi)
        curve += _BUMP * random.standard_normal() * np.cos(np.pi * number * place / 2 + phase)
    return curve.astype(np.float32)


def export(network: FrameNetwork, out: Path) -> float:
    """Write its weights, half precision, after the graph of them was compared with the network.

    Args:
        network: trained.
        out: ``.npz`` to write.

    Returns:
        the largest difference of a probability.

    Raises:
        ModelFileError: it cannot be written, or the graph gives something else.
    """
    arrays = frame_arrays(network)
    arrays["out.bias"] = (arrays["out.bias"] + _SHARPER).astype(np.float16)
    rounded = {name: value.astype(np.float32) for name, value in arrays.items()}
    worst = parity(FrameNetwork.of(rounded), build_frame_detector(rounded))
    if not worst <= _LEAST_PARITY:
        raise ModelFileError(
            f"expected the graph to give what the network gives, they differ by {worst:.1e}"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_weights(arrays, out)
    return worst


@torch.no_grad()
def parity(network: FrameNetwork, graph: bytes) -> float:
    """Largest difference between probabilities of a network and of its graph, over odd lengths."""
    detector = FrameDetector(graph, DEFAULT_MODEL.fbank)
    random = np.random.default_rng(0)
    worst = 0.0
    for frames in (1, 4, 31, 98, 403, 1201):
        walk = np.cumsum(random.standard_normal((frames, len(network.mean))), axis=0)
        rows = np.asarray(np.clip(walk / 3 - 6, SILENCE, 10), np.float32)
        stream = detector.stream()
        there = np.concatenate([stream.push(rows), stream.finish()])
        padded = np.full((frames + -frames % STEP, rows.shape[1]), SILENCE, np.float32)
        padded[:frames] = rows
        here = network(torch.from_numpy(padded)[None])[0, :frames].sigmoid().numpy()
        worst = max(worst, float(np.abs(here - there).max()))
    return worst


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
