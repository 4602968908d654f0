"""A corpora folder of made-up voices, and the same voices as the training holds them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from talking import RATE, talk, wav

from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.training.augment import Augmenter
from voxprint.training.batches import Batches
from voxprint.training.config import Augment, Batch, Config, Data, Loss, Measure, Train
from voxprint.training.corpus import Corpus
from voxprint.training.features import Filterbank
from voxprint.training.loop import Training
from voxprint.training.network import CamPlusPlus
from voxprint.training.speech import Speech
from voxprint.training.targets import Targets

CPU = torch.device("cpu")
DIM = 8
#: What takes a second on one core: few steps of short crops, at two speeds.
TINY = Config(
    data=Data(sets=("talk",), fold="A", speeds=(1.0, 0.9), coded=False, workers=1),
    batch=Batch(seconds=4.0, most=6, short=(0.5, 0.75), long=(1.0,)),
    augment=Augment(),
    loss=Loss(),
    train=Train(steps=6, rate=1e-3, device="cpu", checkpoint_seconds=0.0),
    measure=Measure(lists=("pairs",), whole=(), conditions=("full", "1s"), blends=(1.0,)),
)


def write_corpora(
    folder: Path, *, people: Iterable[int] = range(1, 7), takes: int = 3, seconds: float = 2.0
) -> Path:
    """Odd people are in fold A, even ones in B; every pair of recordings is a trial."""
    rows = ["set\tspeaker\tfold"]
    names = []
    for person in people:
        rows.append(f"talk\t{person}\t{'A' if person % 2 else 'B'}")
        home = folder / "speech" / "talk" / str(person)
        home.mkdir(parents=True)
        for take in range(takes):
            (home / f"{take}.wav").write_bytes(wav(talk(person, seconds, take=take)))
            names.append(f"talk/{person}/{take}.wav")
    (folder / "speakers.tsv").write_text("\n".join(rows) + "\n")
    write_noises(folder / "noise")
    trials = ["label\tenrol\ttest"]
    trials += [f"{int(a.split('/')[1] == b.split('/')[1])}\t{a}\t{b}" for a, b in pairs(names)]
    (folder / "trials").mkdir()
    (folder / "trials" / "pairs.tsv").write_text("\n".join(trials) + "\n")
    return folder


def pairs(names: list[str]) -> list[tuple[str, str]]:
    return list(combinations(names, 2))


def write_noises(folder: Path, count: int = 4) -> None:
    folder.mkdir()
    random = np.random.default_rng(5)
    for number in range(count):
        sound = np.clip(0.1 * random.standard_normal(3 * RATE), -1, 1)
        (folder / f"{number}.wav").write_bytes(wav(sound))
    lines = [f"{number}.wav\tnoise" for number in range(count)]
    (folder / "files.tsv").write_text("\n".join(["path\tkind", *lines]) + "\n")


def corpus(people: int = 4, takes: int = 2, seconds: float = 2.0) -> Corpus:
    heard = [
        np.round(talk(person, seconds, take=take) * 32767).astype(np.int16)
        for person in range(people)
        for take in range(takes)
    ]
    owner = np.repeat(np.arange(people), takes)
    return Corpus(
        names=[f"talk/{person}/{i}.wav" for i, person in enumerate(owner)],
        speaker=owner,
        speakers=[f"talk/{person}" for person in range(people)],
        fold=np.where(owner % 2, "A", "B"),
        heard=heard,
        speech=[np.ones(-(-len(each) // 512), bool) for each in heard],
        skipped=[],
    )


def batches(
    config: Config = TINY, speech: Speech | None = None, recordings: np.ndarray | None = None
) -> Batches:
    held = speech or Speech(corpus(), config.data.speeds, CPU)
    seed = config.train.seed
    augmenter = Augmenter(config.augment, [], CPU, seed)
    chosen = np.arange(held.length.shape[1]) if recordings is None else recordings
    return Batches(held, chosen, config.batch, augmenter, seed)


def targets(dim: int = DIM) -> Targets:
    """For the recordings of :func:`corpus` at two speeds: every speaker has a direction."""
    random = torch.Generator().manual_seed(3)
    own = torch.nn.functional.normalize(torch.randn(4, dim, generator=random))
    nothing = torch.zeros(2, 8, dtype=torch.int64)
    return Targets(own.repeat_interleave(2, 0).repeat(2, 1, 1), None, nothing, nothing)


def student(dim: int = DIM) -> CamPlusPlus:
    """CAM++ with an eighth of the layers' width."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return CamPlusPlus(dim=dim, growth=4)


def training(
    config: Config = TINY,
    network: CamPlusPlus | None = None,
    goal: Targets | None = None,
    drawn: Batches | None = None,
    **more,
) -> Training:
    chosen = network or student()
    return Training(
        chosen,
        drawn or batches(config),
        targets(chosen.xvector.dense.linear.out_channels) if goal is None else goal,
        Filterbank(DEFAULT_MODEL.fbank),
        config,
        **{"say": lambda line: None, **more},
    )
