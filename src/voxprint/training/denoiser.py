"""``python -m voxprint.training.denoiser``: trains the denoising autoencoder, on a CPU in minutes.

It sees crops of speech through other microphones and telephones, with noise added as
``voxprint.training.augment`` has it, and is asked for the same crops without the noise. Rooms and
clipping are left out: it shall take noise off, nothing else. A share of the crops stays as it is,
so that it learns to leave clean speech alone.

What is compared has its mean over time taken off, as the encoder will hear it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import UsageError, VoxprintError
from voxprint.training.augment import Augmenter
from voxprint.training.autoencoder import DenoisingAutoencoder, export_autoencoder
from voxprint.training.config import SHIPPABLE, Augment, Data
from voxprint.training.corpus import noise_paths, read_corpus, read_noises
from voxprint.training.features import Filterbank
from voxprint.training.speech import Speech
from voxprint.types import Samples

#: Samples of a crop: 298 frames, and a number that divides by 4, as a telephone wants it.
_LENGTH = 240 + 160 * 300
_CROPS = 8
_CLEAN_SHARE = 0.2
_RATE = 2e-3
_WARM_UP = 0.1
#: What every crop goes through, before noise is added to a copy.
_LINES = Augment(noise=0.0, reverb=0.0, tilt=0.3, clip=0.0, telephone=0.3, loss=0.0)
_NOISES = replace(_LINES, noise=1.0, tilt=0.0, telephone=0.0)
_SECONDS_BETWEEN_LINES = 15.0

#: Crops of speech: how many, how many samples each -> float32, shape (count, samples).
_Crops = Callable[[int, int], Tensor]


class Pairs:
    """Features of crops in noise and of the same crops without it.

    Args:
        speech: where crops come from, and the voices of babble.
        noises: recorded, float32 at 16 kHz.
        seed: of all that is drawn.
    """

    def __init__(self, speech: Speech, noises: Sequence[Samples], seed: int) -> None:
        self._speech = speech
        self._random = np.random.default_rng([seed, 1])
        self._lines = Augmenter(_LINES, [], speech.device, seed)
        self._noises = Augmenter(_NOISES, noises, speech.device, seed + 1)
        self._filterbank = Filterbank(DEFAULT_MODEL.fbank).to(speech.device)

    def draw(self, count: int, length: int) -> tuple[Tensor, Tensor]:
        """So many pairs of so many samples.

        Returns:
            noisy and clean log-mel rows, mean over time subtracted: float32, shape (count,
            frames, bins).
        """
        none = np.zeros(count, bool)
        clean = self._lines(self._cut(count, length), none, self._cut)
        kept = self._random.random(count) < _CLEAN_SHARE
        noisy = self._noises(clean, kept, self._cut)
        return self._filterbank(noisy), self._filterbank(clean)

    def _cut(self, count: int, length: int) -> Tensor:
        which = torch.from_numpy(self._random.integers(len(self._speech.speaker), size=count))
        size = self._speech.length[0, which.to(self._speech.device)]
        share = torch.from_numpy(self._random.random(count)).to(size.device)
        room = (size - length).clamp_min(0) + 1
        at = (share * room).long()
        return self._speech.cut(0, which.to(size.device), at, length, coded=False)


def train(
    pairs: Pairs,
    *,
    steps: int,
    seed: int,
    say: Callable[[str], None],
    crops: int = _CROPS,
    length: int = _LENGTH,
) -> DenoisingAutoencoder:
    """A trained network.

    Args:
        pairs: what it is shown.
        steps: of the training.
        seed: of the first weights.
        say: told every quarter of a minute how large the errors are.
        crops: of a step.
        length: of a crop in samples, a multiple of 4.
    """
    torch.manual_seed(seed)
    network = DenoisingAutoencoder()
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.01)
    warm_up = max(1, round(_WARM_UP * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm_up, 0.5 + 0.5 * np.cos(np.pi * step / steps))
    )
    errors: list[tuple[float, float]] = []
    said = time.monotonic()
    for step in range(1, steps + 1):
        noisy, clean = pairs.draw(crops, length)
        made = network(noisy)
        loss = (made - made.mean(1, keepdim=True) - clean).square().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        errors.append((float(loss.detach()), float((noisy - clean).square().mean())))
        if time.monotonic() - said > _SECONDS_BETWEEN_LINES or step == steps:
            after, before = np.mean(errors, axis=0)
            say(f"step {step} of {steps}: squared error {after:.3f}, as it was {before:.3f}")
            errors, said = [], time.monotonic()
    return network


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and export; 0 where all is well."""
    parser = argparse.ArgumentParser(
        prog="python -m voxprint.training.denoiser",
        description="Trains the denoising autoencoder.",
    )
    parser.add_argument("--corpora", type=Path, required=True, help="folder of labelled speech")
    parser.add_argument("--out", type=Path, required=True, help=".npz to write")
    parser.add_argument("--fold", choices=("A", "B", "both"), default="both", help="speakers")
    parser.add_argument(
        "--sets", nargs="+", default=SHIPPABLE, help="of the corpora (default: those that may ship)"
    )
    parser.add_argument(
        "--most-files", type=int, default=0, help="recordings a speaker, drawn evenly; 0: all"
    )
    parser.add_argument("--steps", type=int, default=1000, help="of 24 s of speech each")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        if given.steps < 1:
            raise UsageError(f"expected at least one step, got {given.steps}")
        _train_and_export(given)
    except VoxprintError as error:
        parser.exit(1, f"{error}\n{error.hint}\n" if error.hint else f"{error}\n")
    return 0


def _train_and_export(given: argparse.Namespace) -> None:
    with ThreadPoolExecutor(1) as pool:
        data = Data(sets=tuple(given.sets), fold=given.fold, most_files=given.most_files)
        corpus = read_corpus(given.corpora, data, pool)
        noises, unusable = read_noises(noise_paths(given.corpora, "train"), pool)
    for reason in (*corpus.skipped, *(f"{path.name}: {why}" for path, why in unusable.items())):
        _say(f"skipped {reason}")
    _say(f"{len(corpus.names)} recordings, {len(corpus.speakers)} speakers, {len(noises)} noises")
    speech = Speech(corpus, (1.0,), torch.device("cpu"))
    pairs = Pairs(speech, list(noises.values()), given.seed)
    network = train(pairs, steps=given.steps, seed=given.seed, say=_say)
    worst = export_autoencoder(network, given.out)
    _say(f"{given.out}: {given.out.stat().st_size} bytes, at most {worst:.1e} beside PyTorch")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
