"""``python -m voxprint.training.devicecheck``: is a device fit to train on, and how fast.

Compares front end, network and losses on the device with serving's own code on the CPU, asks
which codecs work, and times steps of the training under each way of computing convolutions. The
fastest is printed, and written as options for the recipe.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from voxprint.audio.fbank import fbank
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import ModelFileError
from voxprint.training.augment import Augmenter
from voxprint.training.coded import usable_codecs
from voxprint.training.config import Augment
from voxprint.training.export import build_graph, check_parity
from voxprint.training.features import Filterbank
from voxprint.training.loop import chosen_device
from voxprint.training.losses import contrastive, distillation
from voxprint.training.network import (
    CamPlusPlus,
    Head,
    arrays_of,
    campplus,
    read_arrays,
)

_TIMED = 5


def main(arguments: list[str] | None = None) -> int:
    """Check and time; 0 where all is well."""
    parser = argparse.ArgumentParser(prog="python -m voxprint.training.devicecheck")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, nargs="+", default=[1024.0, 1536.0])
    parser.add_argument("--options", type=Path, help="file for the recipe's fastest options")
    given = parser.parse_args(arguments)
    device = chosen_device(given.device)
    network = campplus(read_arrays(given.weights)).to(device)
    for line in itertools.chain(
        _parity(network, device), _speed(network, device, given.seconds, given.options)
    ):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    return 0


def _parity(network: CamPlusPlus, device: torch.device) -> Iterator[str]:
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    yield f"{name}, torch {torch.__version__}, numpy {np.__version__}"
    random = np.random.default_rng(1)
    samples = (0.1 * random.standard_normal((4, 32240))).astype(np.float32)
    filterbank = Filterbank(DEFAULT_MODEL.fbank).to(device)
    there = filterbank(torch.from_numpy(samples).to(device)).cpu().numpy()
    here = np.stack([fbank(row, DEFAULT_MODEL.fbank) for row in samples])
    yield f"features: largest difference {np.abs(there - here).max():.2e}"
    graph = build_graph(arrays_of(network.state_dict()))
    for short in (False, True):
        torch.backends.cudnn.allow_tf32 = short
        try:
            worst = f"smallest cosine {check_parity(network, graph):.7f}"
        except ModelFileError as error:
            worst = str(error)
        yield f"network against its graph, tf32 {short}: {worst}"
    rows = torch.from_numpy(there).to(device)
    with torch.no_grad():
        whole = torch.nn.functional.normalize(network(rows))
        with torch.autocast(device.type, torch.bfloat16):
            half = torch.nn.functional.normalize(network(rows).float())
    yield f"bfloat16 against float32: smallest cosine {float((whole * half).sum(1).min()):.6f}"
    yield f"codecs: {' '.join(dict.fromkeys(usable_codecs()))}"


def _speed(
    network: CamPlusPlus, device: torch.device, seconds: list[float], options: Path | None
) -> Iterator[str]:
    """Steps under every way of computing, then what the fastest does at other sizes."""
    took = {}
    for last in (False, True):
        Head.channels_last = last
        took[last] = _step_seconds(network, device, seconds[0], 192)
        yield f"channels_last {last}: {1000 * took[last]:.0f} ms a step"
    Head.channels_last = best = took[True] < took[False]
    for total, frames in itertools.product(seconds, (48, 192, 800)):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        try:
            once = _step_seconds(network, device, total, frames)
        except torch.OutOfMemoryError:
            yield f"{total:.0f} s in crops of {frames / 100:.2f} s: not enough memory"
            continue
        memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
        yield (
            f"{total:.0f} s in crops of {frames / 100:.2f} s: {1000 * once:.0f} ms a step, "
            f"{total / once:.0f} s of audio a second, {memory:.1f} GiB"
        )
    chosen = f"--set train.channels_last={'true' if best else 'false'}"
    yield f"fastest: {chosen}"
    if options is not None:
        options.write_text(chosen + "\n", encoding="utf-8")


def _step_seconds(network: CamPlusPlus, device: torch.device, seconds: float, frames: int) -> float:
    """Mean duration of a step: damage, features, network, losses, gradients, update."""
    length = 240 + 160 * frames
    count = max(2, round(seconds * 100 / frames))
    noise = [np.random.default_rng(0).standard_normal(160000).astype(np.float32)]
    augmenter = Augmenter(Augment(), noise, device, 0)
    filterbank = Filterbank(DEFAULT_MODEL.fbank).to(device)
    samples = 0.1 * torch.randn(count, length, device=device)
    target = torch.nn.functional.normalize(torch.randn(count, 192, device=device))
    speaker = torch.arange(count, device=device)
    clean = np.arange(count) % 4 == 0
    learned = list(network.parameters())
    optimiser = torch.optim.AdamW(learned, lr=0.0, weight_decay=0.0)

    def step() -> None:
        x = augmenter(samples, clean, lambda n, size: samples[:1].expand(n, -1)[:, :size])
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            vectors = network(filterbank(x))
        loss = distillation(vectors, target) + contrastive(vectors, target, speaker)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    times = 1 if device.type == "cpu" else _TIMED
    for _ in range(0 if device.type == "cpu" else 2):
        step()
    _finish(device)
    began = time.perf_counter()
    for _ in range(times):
        step()
    _finish(device)
    return (time.perf_counter() - began) / times


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main())
