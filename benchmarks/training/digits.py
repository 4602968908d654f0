"""``python -m benchmarks.training.digits``: what a margin does, seen in two dimensions.

Handwritten digits, a small network whose embedding has two numbers, trained with the heads of
``voxprint.training.losses``. Prints Markdown for docs/training.md and draws docs/digits.png.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.training.interval import mean_and_half
from voxprint.training.losses import Classifier

PICTURE = Path(__file__).parents[2] / "docs" / "digits.png"
#: Heads and their margins; in two dimensions ten classes have 36 degrees each: at most 0.63
#: radians of angle, or 0.19 of cosine, lie between one and the next.
HEADS = (
    ("softmax", 0.0),
    ("l2_softmax", 0.0),
    ("am_softmax", 0.0),
    ("am_softmax", 0.2),
    ("aam_softmax", 0.5),
)
#: The third is what the last two are without a margin, and says what that does.
_DRAWN = (0, 1, 3, 4)
_SCALE = 15.0
_EPOCHS, _BATCH, _RATE = 40, 64, 5e-3
#: Share of the training in which the margin grows: at once it would be too hard to begin with.
_GROWING = 0.8
_CLASSES = 10
#: Every fourth image is tested with.
_TESTED = 4

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Digits:
    """Images, float32, shape (n, 1, 8, 8) in [0, 1], and what they show, int64, shape (n,)."""

    image: Tensor
    label: Tensor


@dataclass(frozen=True)
class Found:
    """What one training came to.

    Attributes:
        feature: of the tested images, shape (n, 2).
        within, half: angle in degrees between a tested image and the centre of its digit: mean,
            and median, which the images that are told wrong leave alone.
        least, mean: smallest and mean angle in degrees between the centres of two digits.
        right: share of the tested images that are told right.
    """

    feature: Floats
    within: float
    half: float
    least: float
    mean: float
    right: float


def main(arguments: list[str] | None = None) -> int:
    """Train, print, draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training.digits")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=_EPOCHS)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    train, test = digits()
    found = []
    for kind, margin in HEADS:
        seeds = range(given.seeds)
        found.append([one(kind, margin, train, test, seed, given.epochs) for seed in seeds])
        print(f"{kind}, margin {margin:g}: done", file=sys.stderr, flush=True)
    print("\n".join(table(found)))
    draw([each[0].feature for each in found], test, given.picture)
    return 0


def digits() -> tuple[Digits, Digits]:
    """To train with and to test with."""
    whole = load_digits()
    image = torch.from_numpy(whole.images.astype(np.float32) / 16)[:, None]
    label = torch.from_numpy(whole.target.astype(np.int64))
    tested = torch.arange(len(label)) % _TESTED == 0
    return Digits(image[~tested], label[~tested]), Digits(image[tested], label[tested])


def network() -> nn.Module:
    """(batch, 1, 8, 8) -> (batch, 2)."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.PReLU()),
        *(nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32), nn.PReLU()),
        nn.Flatten(),
        *(nn.Linear(512, 64), nn.BatchNorm1d(64), nn.PReLU()),
        nn.Linear(64, 2),
    )


def one(kind: str, margin: float, train: Digits, test: Digits, seed: int, epochs: int) -> Found:
    """Train one network with one head."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    net = network()
    head = Classifier(kind, 2, _CLASSES, scale=_SCALE, margin=0.0, seed=seed)
    parameters = [*net.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=_RATE)
    steps = epochs * (len(train.label) // _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    done = 0
    for _ in range(epochs):
        order = torch.randperm(len(train.label), generator=random)
        for rows in order[: len(order) // _BATCH * _BATCH].split(_BATCH):
            head.margin = margin * min(1.0, done / (_GROWING * steps))
            loss = head(net(train.image[rows]), train.label[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            done += 1
    return measured(net.eval(), head, train, test)


@torch.no_grad()
def measured(net: nn.Module, head: Classifier, train: Digits, test: Digits) -> Found:
    """Angles of tested images to the centres of the trained ones, and between those."""
    centre = functional.normalize(
        torch.stack(
            [
                functional.normalize(net(train.image[train.label == digit])).mean(0)
                for digit in range(_CLASSES)
            ]
        )
    )
    feature = net(test.image)
    within = _degrees((functional.normalize(feature) * centre[test.label]).sum(1))
    between = _degrees((centre @ centre.T)[*torch.triu_indices(_CLASSES, _CLASSES, 1)])
    right = (head.logits(feature).argmax(1) == test.label).double().mean()
    return Found(
        feature.double().numpy(),
        float(within.mean()),
        float(within.median()),
        float(between.min()),
        float(between.mean()),
        float(right),
    )


def _degrees(cosine: Tensor) -> Tensor:
    return torch.rad2deg(cosine.double().clamp(-1, 1).acos())


def table(found: Sequence[Sequence[Found]]) -> list[str]:
    """Markdown, mean and half the 95 % interval over trainings."""
    lines = [
        "| head | margin | within, mean | median | between, smallest | mean | right |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (kind, margin), each in zip(HEADS, found, strict=True):
        cells = [
            f"`{kind}`",
            f"{margin:g}" if kind in ("am_softmax", "aam_softmax") else "",
            _cell([one.within for one in each], "°"),
            _cell([one.half for one in each], "°"),
            _cell([one.least for one in each], "°"),
            _cell([one.mean for one in each], "°"),
            _cell([100 * one.right for one in each], " %"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _cell(values: Sequence[float], unit: str) -> str:
    mean, half = mean_and_half(values)
    return f"{mean:.1f} ± {half:.1f}{unit}"


def draw(features: Sequence[Floats], test: Digits, path: Path) -> None:
    """Four panels, a colour a digit, every digit's name where it lies."""
    figure = Figure(figsize=(8, 8.3), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    label = test.label.numpy()
    for axes, number in zip(figure.subplots(2, 2).flat, _DRAWN, strict=True):
        (kind, margin), feature = HEADS[number], features[number]
        reach = np.quantile(np.linalg.norm(feature, axis=1), 0.99)
        for digit in range(_CLASSES):
            mine = feature[label == digit] / reach
            colour = f"C{digit}"
            axes.scatter(*mine.T, s=7, color=colour, alpha=0.6, linewidths=0)
            unit = (mine / np.linalg.norm(mine, axis=1, keepdims=True)).mean(0)
            x, y = 1.22 * unit / np.linalg.norm(unit)
            axes.text(x, y, str(digit), color=colour, ha="center", va="center", weight="bold")
        axes.set(xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), aspect="equal", xticks=[], yticks=[])
        axes.set_title(kind + (f", margin {margin:g}" if margin else ""))
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
