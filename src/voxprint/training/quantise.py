"""An encoder's weights -> the same network in integers, rounded so that its embeddings stay.

``python -m voxprint.training.quantise --corpora C --weights CAMPPLUS.npz --out INT8.npz`` writes
what ``voxprint.encoder.campplus_int8`` builds a graph from. Nothing is trained: real speech, clean
and damaged, says which range each channel of each layer needs.

A bias takes off what rounding changes on average (Nagel and others 2019, arXiv 1906.04721): without
it the network is another one. Two neighbouring weights of one sign never exceed 128 together:
processors without integer dot products add such pairs in 16 bits, and 255 times more would be cut
off there and nowhere else.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from voxprint.audio.decode import decode
from voxprint.audio.degrade import degrade
from voxprint.audio.fbank import fbank
from voxprint.encoder.campplus import BLOCKS, build_campplus
from voxprint.encoder.campplus_int8 import build_campplus_int8
from voxprint.encoder.checkpoint import StateDict
from voxprint.encoder.session import open_session
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import UsageError, VoxprintError
from voxprint.training.corpus import noise_paths, people
from voxprint.training.export import write_arrays
from voxprint.training.network import CamPlusPlus, Residual, campplus, read_arrays

Floats = npt.NDArray[np.float64]

#: Of which a shipped network may know anything, with utterances to draw from each.
_SETS = {
    "speechocean762": 300,
    "librispeech_train_clean_100": 60,
    "dspspeech20": 120,
    "arabic_speech_commands": 120,
}
_SECONDS = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
_CONDITIONS = ("full", "full", "noise10", "noise0", "mulaw8k")
#: Positions of each layer that are looked at, an utterance.
_POSITIONS = 48
#: Ranges are that much wider than what was seen: what is cut off costs more than coarser steps.
_MARGIN = 1.15
#: No step is smaller.
_LEAST = 1e-6


@dataclass(frozen=True)
class _Range:
    """Numbers from 0 to 255 stand for ``low + step * number``; float64, shape (channels,) each."""

    step: Floats
    low: Floats

    @classmethod
    def of(cls, seen: Floats, low: Floats) -> _Range:
        """From ``low`` to a little more than what was seen, shape (channels, n)."""
        return cls(np.maximum((seen.max(1) - low) * _MARGIN / 255, _LEAST), low)

    @classmethod
    def rectified(cls, seen: Floats) -> _Range:
        """Of what is left of it by a ReLU."""
        return cls.of(seen, np.zeros(len(seen)))

    @classmethod
    def symmetric(cls, seen: Floats) -> _Range:
        """Of both signs."""
        return cls.around_zero(np.maximum(np.abs(seen).max(1) * _MARGIN / 127, _LEAST))

    @classmethod
    def around_zero(cls, step: Floats) -> _Range:
        """128 stands for nothing."""
        return cls(step, -128 * step)

    def part(self, first: int, count: int) -> _Range:
        """That of some channels."""
        return _Range(self.step[first : first + count], self.low[first : first + count])

    def repeated(self, times: int) -> _Range:
        """That of all channels, so many times one after the other."""
        return _Range(np.tile(self.step, times), np.tile(self.low, times))

    def numbers(self, values: Floats) -> Floats:
        """Values, shape (channels, n) -> whole numbers."""
        return np.clip(np.round((values - self.low[:, None]) / self.step[:, None]), 0, 255)


# -- what layers hear ----------------------------------------------------------------------


def calibration_features(
    corpora: Path, fold: str | None = None, *, seed: int = 0, share: float = 1.0
) -> list[npt.NDArray[np.float32]]:
    """Features of crops of real speech, clean and damaged.

    Args:
        corpora: folder of the corpora.
        fold: whose people are heard; None for everybody.
        seed: of the draw.
        share: of the utterances that are drawn, in (0, 1].

    Returns:
        float32, shape (frames, 80) each, their mean over time taken off.

    Raises:
        UsageError: the corpora hold none of it.
    """
    random = np.random.default_rng(seed)
    noises = [decode(path).samples for path in noise_paths(corpora, "train")]
    rows = people(corpora)
    found = []
    for name, count in _SETS.items():
        who = [r["speaker"] for r in rows if r["set"] == name and fold in (None, r["fold"])]
        folder = corpora / "speech" / name
        paths = sorted(path for each in who for path in (folder / each).glob("*.opus"))
        drawn = random.permutation(len(paths))[: max(1, round(share * count))]
        for path in (paths[i] for i in drawn):
            samples = decode(path).samples
            length = round(DEFAULT_MODEL.sample_rate * random.choice(_SECONDS))
            start = int(random.integers(max(1, len(samples) - length)))
            condition = str(random.choice(_CONDITIONS))
            cut = degrade(samples[start : start + length], condition, path.name, noises=noises)
            features = fbank(cut, DEFAULT_MODEL.fbank)
            if len(features) >= 40:
                found.append(features)
    if not found:
        raise UsageError(f"expected speech of {', '.join(_SETS)} in {corpora}, got none")
    return found


class _Heard:
    """What layers take at random positions, float64, shape (inputs, n), by the layer's name."""

    def __init__(self, network: CamPlusPlus, features: Sequence[npt.NDArray[np.float32]]) -> None:
        self._random = torch.Generator().manual_seed(0)
        self._parts: dict[str, list[Tensor]] = {}
        handles = []
        for name, module in network.named_modules():
            convolves = isinstance(module, nn.Conv1d | nn.Conv2d) and module.kernel_size[-1] > 1
            if convolves or name.endswith("shortcut.0"):
                handles.append(module.register_forward_pre_hook(self._patches(name)))
            elif name.startswith("xvector.transit") and name.endswith(".nonlinear"):
                handles.append(module.register_forward_pre_hook(self._columns(name)))
            elif isinstance(module, Residual):
                handles.append(module.register_forward_hook(self._outputs(name)))
        with torch.no_grad():
            for each in features:
                network(torch.from_numpy(each)[None])
        for handle in handles:
            handle.remove()

    def __getitem__(self, name: str) -> Floats:
        return torch.cat(self._parts[name], dim=1).double().numpy()

    def _keep(self, name: str, columns: Tensor, count: int = _POSITIONS) -> None:
        at = torch.randint(columns.shape[1], (count,), generator=self._random)
        self._parts.setdefault(name, []).append(columns[:, at].half())

    def _columns(self, name: str) -> Callable[[nn.Module, Any], None]:
        return lambda _module, given: self._keep(name, given[0][0])

    def _outputs(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _module, _given, out: self._keep(name, out[0].flatten(1), 4 * _POSITIONS)

    def _patches(self, name: str) -> Callable[[nn.Module, Any], None]:
        """Of a convolution's input, (taps * channels) each."""

        def keep(module: Any, given: Any) -> None:
            x = given[0][0]
            if x.ndim == 2:
                x = x[:, None]
            # As of a convolution over frequency and time, whatever it is.
            one = (1,) if isinstance(module, nn.Conv1d) else ()
            size, stride = (*one, *module.kernel_size), (*one, *module.stride)
            apart = (*one, *module.dilation)
            high, wide = ((0,) if one else ()) + tuple(module.padding)
            padded = functional.pad(x, (wide, wide, high, high))
            at = []
            for axis in (0, 1):
                count = (padded.shape[1 + axis] - apart[axis] * (size[axis] - 1) - 1) // stride[
                    axis
                ]
                places = torch.randint(count + 1, (_POSITIONS,), generator=self._random)
                at.append(places * stride[axis])
            taps = [
                padded[:, at[0] + apart[0] * i, at[1] + apart[1] * j]
                for i in range(size[0])
                for j in range(size[1])
            ]
            self._parts.setdefault(name, []).append(torch.cat(taps).half())

        return keep


# -- rounding ------------------------------------------------------------------------------


def round_weights(weight: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """Whole numbers for the weights of one layer.

    Args:
        weight: shape (outputs, n); columns 2 i and 2 i + 1 are neighbours.

    Returns:
        int8, shape (outputs, n), neighbours of one sign at most 128 together; and the step of
        every output, float64, shape (outputs,).
    """
    pairs = weight.reshape(len(weight), -1, 2)
    of_sign = np.maximum(np.maximum(pairs, 0).sum(2), np.maximum(-pairs, 0).sum(2))
    # Rounding adds a half to each of two at most.
    step = np.maximum(of_sign.max(1) / 127, 1e-12)
    return np.round(weight / step[:, None]).astype(np.int8), step


class _Quantiser:
    """Puts the integer network together, layer by layer, into ``arrays``."""

    def __init__(self, state: StateDict, heard: _Heard) -> None:
        self._state = {name: value.astype(np.float64) for name, value in state.items()}
        self._heard = heard
        self.arrays: dict[str, npt.NDArray[Any]] = {}
        inside = [self._block_range(number) for number in range(1, len(BLOCKS) + 1)]
        self._head()
        for number, (layers, _) in enumerate(BLOCKS, start=1):
            self._block(number, layers, inside[number - 1])
            after = inside[number] if number < len(BLOCKS) else None
            frames = self._transit(number, inside[number - 1], after)
        self._first_delay(inside[0])
        self._dense(frames)

    # -- layers

    def _head(self) -> None:
        weight, bias = self._folded("head.conv1", "head.bn1")
        seen = self._through("head.conv1", weight, bias)
        x = _Range.rectified(seen)
        first = weight[:, 0] / x.step[:, None]
        self.arrays["head.conv1.weight"] = first.reshape(-1, 3, 3).astype(np.float32)
        self.arrays["head.conv1.bias"] = (bias / x.step).astype(np.float32)
        for layer in ("head.layer1", "head.layer2"):
            step = self._shared_step(layer)
            for block in (f"{layer}.0", f"{layer}.1"):
                x = self._residual(block, x, step)
        self._bins = self._conv("head.conv2", "head.bn2", x, _Range.rectified)

    def _residual(self, name: str, x: _Range, step: Floats) -> _Range:
        def added(seen: Floats) -> _Range:
            return _Range.around_zero(float((np.abs(seen).max(1) / 127 / step).max()) * step)

        between = self._conv(f"{name}.conv1", f"{name}.bn1", x, _Range.rectified)
        scales = [self._conv(f"{name}.conv2", f"{name}.bn2", between, added).step]
        if f"{name}.shortcut.0.weight" in self._state:
            scales.append(self._conv(f"{name}.shortcut.0", f"{name}.shortcut.1", x, added).step)
        else:
            scales.append(x.step)
        self.arrays[f"{name}.scales"] = np.array([s[0] / step[0] for s in scales], np.float32)
        return _Range(step, np.zeros(len(step)))

    def _shared_step(self, layer: str) -> Floats:
        """One step for both residual blocks of a layer, whose outputs are added to each other.

        It is so coarse that what is added fits into twice the step.
        """
        step = np.zeros(1)
        for block in (f"{layer}.0", f"{layer}.1"):
            step = np.maximum(step, _MARGIN * self._heard[block].max(1) / 255)
            for name, norm in (("conv2", "bn2"), ("shortcut.0", "shortcut.1")):
                if f"{block}.{name}.weight" in self._state:
                    folded = self._folded(f"{block}.{name}", f"{block}.{norm}")
                    seen = self._through(f"{block}.{name}", *folded)
                    step = np.maximum(step, np.abs(seen).max(1) / 127 / 2)
        return np.maximum(step, _LEAST)

    def _first_delay(self, inside: _Range) -> None:
        """Of 10 bins with 32 channels each, which lie channel by channel in the weights."""
        weight, bias = self._folded("xvector.tdnn.linear", "xvector.tdnn.nonlinear.batchnorm")
        channels = len(self._bins.step)
        bins = weight.shape[1] // channels
        columns = self._heard["xvector.tdnn.linear"].reshape(weight.shape[2], channels, bins, -1)
        heard = columns.swapaxes(1, 2).reshape(weight.shape[2] * channels * bins, -1)
        apart = weight.reshape(len(bias), channels, bins, -1).swapaxes(1, 2)
        weight = apart.reshape(len(bias), channels * bins, -1)
        wide = self._bins.repeated(bins)
        seen = _flat(weight) @ heard + bias[:, None]
        numbers = wide.repeated(weight.shape[2]).numbers(heard)
        out = inside.part(0, len(bias))
        self._rounded("xvector.tdnn.linear", weight * wide.step[None, :, None], numbers, seen, out)

    def _block_range(self, number: int) -> _Range:
        """Of all channels of a dense block; what every layer's threshold cuts off is not seen."""
        x = self._heard[f"xvector.transit{number}.nonlinear"]
        lowest = np.full(len(x), np.inf)
        layers = BLOCKS[number - 1][0]
        norms = [f"xvector.block{number}.tdnnd{n + 1}.nonlinear1" for n in range(layers)]
        for norm in (*norms, f"xvector.transit{number}.nonlinear"):
            scale, shift = self._scale_shift(f"{norm}.batchnorm")
            rising = scale > _LEAST
            at = np.where(rising, -shift / np.where(rising, scale, 1), -np.inf)
            lowest[: len(at)] = np.minimum(lowest[: len(at)], at)
        if number == 1:
            lowest = np.maximum(lowest, np.where(np.arange(len(x)) < 128, 0, -np.inf))
        floor = np.minimum(np.maximum(lowest, x.min(1)), x.max(1))
        return _Range.of(np.maximum(x, floor[:, None]), floor)

    def _block(self, number: int, layers: int, inside: _Range) -> None:
        x = self._heard[f"xvector.transit{number}.nonlinear"]
        for layer in range(layers):
            name = f"xvector.block{number}.tdnnd{layer + 1}"
            channels = self._state[f"{name}.linear1.weight"].shape[1]
            h = self._after_threshold(
                f"{name}.nonlinear1",
                f"{name}.linear1",
                f"{name}.nonlinear2.batchnorm",
                x[:channels],
                inside.part(0, channels),
                None,
            )
            cam = f"{name}.cam_layer"
            local = self._conv(f"{cam}.linear_local", None, h, _Range.symmetric)
            out = inside.part(channels, len(local.step))
            self._mask(cam, h, local, out)

    def _mask(self, cam: str, h: _Range, local: _Range, out: _Range) -> None:
        first = self._state[f"{cam}.linear1.weight"][:, :, 0] * h.step
        second = self._state[f"{cam}.linear2.weight"][:, :, 0]
        for name, weight in (("linear1", first), ("linear2", second)):
            self.arrays[f"{cam}.{name}.weight"] = weight.astype(np.float32)
            self.arrays[f"{cam}.{name}.bias"] = self._state[f"{cam}.{name}.bias"].astype(np.float32)
        self.arrays[f"{cam}.gain"] = (local.step / out.step).astype(np.float32)
        self.arrays[f"{cam}.shift"] = (-out.low / out.step).astype(np.float32)

    def _transit(self, number: int, inside: _Range, after: _Range | None) -> _Range:
        name = f"xvector.transit{number}"
        x = self._heard[f"{name}.nonlinear"]
        count = self._state[f"{name}.linear.weight"].shape[0]
        norm = "xvector.out_nonlinear.batchnorm" if after is None else None
        out = None if after is None else after.part(0, count)
        return self._after_threshold(f"{name}.nonlinear", f"{name}.linear", norm, x, inside, out)

    def _after_threshold(
        self,
        before: str,
        name: str,
        norm: str | None,
        x: Floats,
        inside: _Range,
        out: _Range | None,
    ) -> _Range:
        """Normalisation and ReLU, of which a threshold is left, then a layer of one frame.

        ``relu(scale * x + shift)`` is ``scale * max(x - t, 0)``; the scale goes into the weights.
        A scale that is not positive belongs to a handful of channels: their mean stays.
        """
        scale, shift = self._scale_shift(f"{before}.batchnorm")
        rising = scale > 0
        at = -shift / np.where(rising, scale, 1)
        cut = np.where(rising, np.clip(np.round((at - inside.low) / inside.step), 0, 255), 0)
        self.arrays[f"{before}.threshold"] = cut.astype(np.uint8)
        weight, bias = self._folded(name, norm)
        heard = np.maximum(scale[:, None] * x + shift[:, None], 0)
        seen = weight[:, :, 0] @ heard + bias[:, None]
        numbers = np.maximum(inside.numbers(x) - cut[:, None], 0)
        effective = weight * np.where(rising, scale * inside.step, 0)[None, :, None]
        out = _Range.rectified(seen) if out is None else out
        self._rounded(name, effective, numbers, seen, out)
        return out

    def _dense(self, frames: _Range) -> None:
        name = "xvector.dense"
        weight, bias = self._folded(f"{name}.linear", f"{name}.nonlinear.batchnorm")
        both = np.concatenate([frames.step, frames.step])
        self.arrays[f"{name}.weight"] = (weight[:, :, 0] * both).astype(np.float32)
        self.arrays[f"{name}.bias"] = bias.astype(np.float32)

    # -- what layers have in common

    def _conv(
        self, name: str, norm: str | None, x: _Range, of_seen: Callable[[Floats], _Range]
    ) -> _Range:
        weight, bias = self._folded(name, norm)
        seen = self._through(name, weight, bias)
        out = of_seen(seen)
        numbers = x.repeated(weight.shape[2]).numbers(self._heard[name])
        self._rounded(name, weight * x.step[None, :, None], numbers, seen, out)
        return out

    def _through(self, name: str, weight: Floats, bias: Floats) -> Floats:
        return np.asarray(_flat(weight) @ self._heard[name] + bias[:, None])

    def _rounded(
        self, name: str, weight: Floats, numbers: Floats, seen: Floats, out: _Range
    ) -> None:
        """Whole weights of a layer, and what makes its sums whole numbers of the next one's.

        Args:
            name: of the layer.
            weight: for whole inputs, shape (outputs, channels, taps).
            numbers: its inputs, shape (taps * channels, n).
            seen: what it gives for them, shape (outputs, n).
            out: range of what it gives.
        """
        whole, step = round_weights(_flat(weight))
        bias = seen.mean(1) - step * (whole @ numbers.mean(1)) - out.low
        shape = (len(whole), weight.shape[2], weight.shape[1])
        self.arrays[f"{name}.weight"] = whole.reshape(shape).swapaxes(1, 2)
        self.arrays[f"{name}.bias"] = np.clip(np.round(bias / step), -(2**30), 2**30).astype(
            np.int32
        )
        self.arrays[f"{name}.scale"] = (step / out.step).astype(np.float32)

    def _folded(self, name: str, norm: str | None) -> tuple[Floats, Floats]:
        """Weight, shape (outputs, channels, taps), and bias with the normalisation after it."""
        weight = self._state[f"{name}.weight"]
        weight = weight.reshape(*weight.shape[:2], -1)
        bias = np.zeros(len(weight))
        if norm is not None:
            scale, shift = self._scale_shift(norm)
            weight, bias = weight * scale[:, None, None], shift
        return weight, bias

    def _scale_shift(self, norm: str) -> tuple[Floats, Floats]:
        scale = 1 / np.sqrt(self._state[f"{norm}.running_var"] + 1e-5)
        scale = scale * self._state.get(f"{norm}.weight", 1.0)
        bias = self._state.get(f"{norm}.bias", 0.0)
        return scale, bias - self._state[f"{norm}.running_mean"] * scale


def _flat(weight: Floats) -> Floats:
    """(outputs, channels, taps) -> (outputs, taps * channels), as integers are multiplied."""
    return weight.swapaxes(1, 2).reshape(len(weight), -1)


# -- all of it -----------------------------------------------------------------------------


def quantise(state: StateDict, features: Sequence[npt.NDArray[np.float32]]) -> StateDict:
    """The arrays of an integer network.

    Args:
        state: weights of CAM++.
        features: as :func:`calibration_features` gives them.

    Returns:
        what ``voxprint.encoder.campplus_int8.build_campplus_int8`` takes.

    Raises:
        ModelFileError: the weights are those of another network.
    """
    network = campplus(state)
    arrays = _Quantiser(state, _Heard(network, features)).arrays
    # What is left of all roundings on average is taken off the embedding.
    wanted = _embeddings(build_campplus(state), features)
    got = _embeddings(build_campplus_int8(arrays), features)
    bias = arrays["xvector.dense.bias"] + (wanted - got).mean(0)
    return {**arrays, "xvector.dense.bias": bias.astype(np.float32)}


def _embeddings(graph: bytes, features: Sequence[npt.NDArray[np.float32]]) -> Floats:
    session = open_session(graph)
    rows = [session.run(["embedding"], {"features": each[np.newaxis]})[0][0] for each in features]
    return np.stack(rows).astype(np.float64)


def main(arguments: Sequence[str] | None = None) -> None:
    """Quantise, write, and say how alike embeddings of other utterances are."""
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="voxprint.training.quantise", description=about)
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help=".npz or published .pt")
    parser.add_argument("--out", type=Path, required=True, help=".npz to write")
    parser.add_argument("--fold", choices=("A", "B"), help="whose people are heard (default: all)")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        state = read_arrays(given.weights)
        arrays = quantise(state, calibration_features(given.corpora, given.fold))
        others = calibration_features(given.corpora, given.fold, seed=1, share=0.2)
        write_arrays(arrays, given.out)
    except VoxprintError as error:
        parser.exit(1, f"{error}\n{error.hint}\n" if error.hint else f"{error}\n")
    wanted = _embeddings(build_campplus(state), others)
    got = _embeddings(build_campplus_int8(read_arrays(given.out)), others)
    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(got, axis=1)
    cosines = (wanted * got).sum(1) / lengths
    low = np.percentile(cosines, 5)
    digest = hashlib.sha256(given.out.read_bytes()).hexdigest()
    print(f"{given.out}: {given.out.stat().st_size} bytes, sha256 {digest}")  # noqa: T201
    print(f"cosine to its own fp32: mean {cosines.mean():.4f}, 5 % below {low:.4f}")  # noqa: T201


if __name__ == "__main__":
    main()
