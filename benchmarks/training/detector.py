"""Our speech detector beside Silero's: agreement by condition, and what each costs.

Run as ``python -m benchmarks.training.detector --corpora C --weights A.npz --fold B``; prints
Markdown. The weights are of fold A where fold B is measured on, and the other way round; noises are
those that were not trained with. Agreement is by frames of 10 ms, after the two thresholds.

Silero judges windows of 32 ms that begin with the recording: in the same recording half a window
later, speech begins and ends elsewhere. How far Silero agrees with itself then, says what
agreement can be had.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.accuracy import default_corpora
from benchmarks.report import say
from benchmarks.speech import RATE, Speech
from benchmarks.timing import in_turns, median, one_core
from voxprint.audio.degrade import degrade
from voxprint.audio.fbank import fbank, frame_count
from voxprint.audio.speech import frames_within, speech_windows
from voxprint.encoder.checkpoint import read_weights
from voxprint.encoder.detector import Detector
from voxprint.encoder.embedder import Encoder
from voxprint.encoder.framegraph import build_frame_detector
from voxprint.encoder.framevad import FrameDetector
from voxprint.encoder.sources import load_detector
from voxprint.encoder.spec import DEFAULT_MODEL, SILERO
from voxprint.encoder.vad import SpeechDetector
from voxprint.errors import VoxprintError
from voxprint.training.config import SHIPPABLE
from voxprint.training.corpus import noise_paths, read_noises
from voxprint.training.scenes import read_recordings
from voxprint.training.sounds import KINDS
from voxprint.types import Samples

Bools = npt.NDArray[np.bool_]
#: What befalls speech, as ``voxprint.audio.degrade`` has it.
_CONDITIONS = ("full", "0.5s", "noise20", "noise10", "noise5", "noise0")
_LINES = ("mulaw8k", "gsm", "amr", "opus6k", "noise10+gsm")
#: Peaks that recordings are brought to, in dB of full scale; what is above is clipped.
_LEVELS_DB = (-40.0, 10.0)
_LONGEST_SECONDS = 6.0
_SOUNDS, _SCENES, _NOISE_SECONDS = 12, 25, 8.0
_COST_SECONDS = (1, 3, 10)
_BEGIN = DEFAULT_MODEL.speech


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.training.detector")
    parser.add_argument("--corpora", type=Path, default=default_corpora())
    parser.add_argument("--weights", type=Path, required=True, help="of our detector, .npz")
    parser.add_argument("--fold", choices=("A", "B"), required=True, help="to measure on")
    parser.add_argument("--rounds", type=int, default=40, help="of timing; 0 for none")
    parser.add_argument("--out", type=Path, help="JSON of all figures")
    given = parser.parse_args(arguments)
    try:
        ours, silero = our_detector(given.weights), silero_detector()
        found = {
            name: _agreement(samples, ours, silero)
            for name, samples in _conditions(given.corpora, given.fold)
        }
    except VoxprintError as error:
        parser.exit(1, f"{error}\n{error.hint}\n" if error.hint else f"{error}\n")
    costs = list(_costs(ours, given.rounds)) if given.rounds else []
    if given.out is not None:
        facts = {"weights": str(given.weights.name), "fold": given.fold}
        given.out.write_text(json.dumps({**facts, "agreement": found, "cost": costs}, indent=1))
    print("\n".join([*_agreement_table(found), "", *_cost_table(costs)]))


def our_detector(weights: Path) -> FrameDetector:
    """Ours with these weights."""
    graph = build_frame_detector(read_weights(weights.read_bytes()))
    return FrameDetector(graph, DEFAULT_MODEL.fbank)


def silero_detector() -> SpeechDetector:
    """Silero's as serving runs it."""
    spec = replace(DEFAULT_MODEL, detector=SILERO)
    return SpeechDetector(load_detector(spec), warm_up=spec.speech.warm_up)


# -- agreement -----------------------------------------------------------------------------


def _conditions(corpora: Path, fold: str) -> Iterator[tuple[str, list[Samples]]]:
    recordings, _ = read_recordings(corpora, SHIPPABLE, fold, 1)
    with ThreadPoolExecutor(1) as pool:
        noises = list(read_noises(noise_paths(corpora, "measure"), pool)[0].values())
    most = round(_LONGEST_SECONDS * RATE)
    voices = [(each[:most] / 32768).astype(np.float32) for each in recordings[::2]]
    say(f"{len(voices)} recordings, {len(noises)} noises")
    for condition in (*_CONDITIONS, *_LINES):
        yield (
            condition,
            [degrade(each, condition, f"{n}", noises=noises) for n, each in enumerate(voices)],
        )
    for level in _LEVELS_DB:
        yield f"peak {level:+.0f} dB", [_at_level(each, level) for each in voices]
    yield "several, with pauses, noise 5 to 20", list(_several(voices, noises))
    size = round(_NOISE_SECONDS * RATE)
    pieces = [each[at : at + size] for each in noises for at in range(0, len(each) - RATE, size)]
    yield "noise alone", pieces
    random = np.random.default_rng(5)
    for kind, make in KINDS.items():
        lengths = random.integers(RATE, 8 * RATE, _SOUNDS)
        yield f"{kind} alone", [make(random, int(n)).astype(np.float32) for n in lengths]


def _at_level(samples: Samples, level_db: float) -> Samples:
    gain = np.float32(10 ** (level_db / 20) / np.abs(samples).max())
    return np.clip(samples * gain, -1, 1)


def _several(voices: Sequence[Samples], noises: Sequence[Samples]) -> Iterator[Samples]:
    """Six voices each, 4 s at most, pauses of up to 2 s, half a minute in all."""
    random = np.random.default_rng(6)
    for number in range(_SCENES):
        parts: list[Samples] = []
        for _ in range(6):
            parts.append(voices[int(random.integers(len(voices)))][: 4 * RATE])
            parts.append(np.zeros(round(random.uniform(0.2, 2.0) * RATE), np.float32))
        snr = random.uniform(5, 20)
        yield degrade(np.concatenate(parts), f"noise{snr:.0f}", f"several{number}", noises=noises)


def _agreement(
    recordings: Sequence[Samples], ours: FrameDetector, silero: SpeechDetector
) -> dict[str, float]:
    """Shares in percent: of all frames, and of those that Silero takes for speech and for none."""
    pairs = []
    for samples in recordings:
        late = _decided(silero, np.pad(samples, (silero.window // 2, 0)), silero.window // 2)
        pairs.append((_decided(silero, samples), _decided(ours, samples), late))
    theirs, found, late = (np.concatenate(each) for each in zip(*pairs, strict=True))
    return {
        "frames": len(theirs),
        "speech": 100 * float(theirs.mean()),
        "agreement": 100 * float((theirs == found).mean()),
        "miss": 100 * float((theirs & ~found).sum() / max(1, theirs.sum())),
        "false_alarm": 100 * float((~theirs & found).sum() / max(1, (~theirs).sum())),
        "silero_late": 100 * float((theirs == late).mean()),
    }


def _decided(detector: Detector, samples: Samples, ahead: int = 0) -> Bools:
    """Frames of speech, of the recording that begins after so many samples."""
    windows = speech_windows(detector.probabilities(samples), _BEGIN)
    count = frame_count(len(samples) - ahead, DEFAULT_MODEL.fbank)
    if not ahead:
        return frames_within(windows, count, DEFAULT_MODEL.fbank, detector.window)
    fbank_ = DEFAULT_MODEL.fbank
    middles = ahead + np.arange(count) * fbank_.frame_shift + fbank_.frame_length // 2
    return np.asarray(windows[np.minimum(middles // detector.window, len(windows) - 1)])


def _agreement_table(found: dict[str, dict[str, float]]) -> Iterator[str]:
    yield "| condition | speech | agreement | miss | false alarm | Silero, 16 ms later |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, row in found.items():
        shown = ("speech", "agreement", "miss", "false_alarm", "silero_late")
        yield f"| {name} | {' | '.join(f'{row[each]:.2f} %' for each in shown)} |"
    frames = np.array([row["frames"] for row in found.values()])
    agreed = np.array([row["agreement"] for row in found.values()])
    self_agreed = np.array([row["silero_late"] for row in found.values()])
    for name, weight in (("mean over conditions", None), ("all frames", frames)):
        agreement = np.average(agreed, weights=weight)
        late = np.average(self_agreed, weights=weight)
        yield f"| {name} | | {agreement:.2f} % | | | {late:.2f} % |"


# -- cost ----------------------------------------------------------------------------------


def _costs(ours: FrameDetector, rounds: int) -> Iterator[dict[str, float]]:
    """Share of the embedding's time that each detector takes, on one core, in one run."""
    speech = Speech(seed=1)
    with one_core():
        silero = silero_detector()
        encoder = Encoder(replace(DEFAULT_MODEL, detector=SILERO))
        for seconds in _COST_SECONDS:
            samples = speech.samples(seconds)
            features = fbank(samples, replace(DEFAULT_MODEL.fbank, subtract_mean=False))
            times = in_turns(
                {
                    "all": partial(encoder.embed_samples, samples, RATE),
                    "ours": partial(ours.probabilities, samples, features),
                    "silero": partial(silero.probabilities, samples),
                },
                rounds,
            )
            shares = {
                name: 100 * median([a / b for a, b in zip(times[name], times["all"], strict=True)])
                for name in ("ours", "silero")
            }
            yield {"seconds": seconds, "embedding_ms": 1000 * median(times["all"]), **shares}


def _cost_table(costs: Sequence[dict[str, float]]) -> Iterator[str]:
    if not costs:
        return
    yield "| seconds | embedding | ours ÷ embedding | Silero ÷ embedding |"
    yield "| --- | --- | --- | --- |"
    for row in costs:
        yield (
            f"| {row['seconds']:.0f} | {row['embedding_ms']:.1f} ms | {row['ours']:.2f} % "
            f"| {row['silero']:.2f} % |"
        )


if __name__ == "__main__":
    main()
