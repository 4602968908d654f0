"""Features in, embedding out: one call for the networks of voxprint and for those of users."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from voxprint.encoder.onnxfile import parse_network
from voxprint.encoder.session import open_session
from voxprint.encoder.sources import load_graph
from voxprint.encoder.spec import LAYOUTS, ModelSpec, OnnxNetwork
from voxprint.errors import ModelError, ModelFileError

Float32 = npt.NDArray[np.float32]

#: Frames of the two runs that show whether a network takes any number of them.
_TRIED = (60, 147)
_FLOAT = "tensor(float)"


class Network(Protocol):
    """A network that is loaded."""

    def run(self, features: Float32) -> tuple[Float32, Float32]:
        """One run.

        Args:
            features: float32, shape (frames, bins), as the network wants them.

        Returns:
            The embedding, float32, shape (dim,), and those of parts of 1.5 s, shape (parts,
            dim), no rows where the network tells of no parts; neither is normalised.
        """
        ...


def open_network(
    spec: ModelSpec, *, weights: str | os.PathLike[str] | None, threads: int
) -> Network:
    """Load the network of a model.

    Raises:
        ModelFileError: it cannot be had, or is not what the spec says.
    """
    graph = load_graph(spec, weights=weights)
    if spec.network is None:
        return _Built(graph, threads)
    return _Brought(graph, spec, spec.network, threads)


class _Built:
    """A graph of ours."""

    def __init__(self, graph: bytes, threads: int) -> None:
        self._session = open_session(graph, threads)

    def run(self, features: Float32) -> tuple[Float32, Float32]:
        embedding, parts = self._session.run(
            ["embedding", "parts"], {"features": features[np.newaxis]}
        )
        return embedding[0], parts[0]


class _Brought:
    """A graph of the user's, looked at before it is believed.

    It tells of no parts. Pieces of 1.5 s by themselves would cost a second run, and agree less
    than our parts, which know the frames around them: the limit for those would call one person
    two.
    """

    def __init__(self, graph: bytes, spec: ModelSpec, network: OnnxNetwork, threads: int) -> None:
        self._spec, self._network = spec, network
        parse_network(graph, network.path)
        try:
            self._session = open_session(graph, threads)
        except Exception as error:
            # onnxruntime has a kind of exception for each reason, and no base of them.
            raise ModelFileError(
                f"onnxruntime cannot load {network.path}: {_first_line(error)}",
                hint="Export it again for an opset that the installed onnxruntime knows.",
            ) from error
        _check_input(self._session.get_inputs(), spec, network)
        _check_output(self._session.get_outputs(), spec, network)
        for frames in _TRIED:
            noise = np.random.default_rng(frames).standard_normal((frames, spec.fbank.mel_bins))
            try:
                self.run(noise.astype(np.float32))
            except ModelError as error:
                raise ModelFileError(str(error), hint=error.hint) from error

    def run(self, features: Float32) -> tuple[Float32, Float32]:
        given = features if self._network.layout == LAYOUTS[0] else features.T
        try:
            (answer,) = self._session.run(
                [self._network.output], {self._network.input: np.ascontiguousarray(given)[None]}
            )
        except Exception as error:
            if isinstance(error, MemoryError) or "alloc" in str(error):
                raise  # the recording is too long, which the caller says better
            raise ModelError(
                f"the network of {self._spec.name} fails on {len(features)} frames: "
                f"{_first_line(error)}",
                hint="Is the layout right, and was it exported with a dynamic number of frames?",
            ) from error
        dim = self._spec.dim
        if answer.shape != (1, dim):
            raise ModelError(
                f"expected an embedding of shape (1, {dim}) from {self._network.output!r} of "
                f"{self._spec.name}, got {answer.shape}",
                hint="'voxprint model describe' says what the file holds.",
            )
        if not np.isfinite(answer).all() or not answer.any():
            raise ModelError(
                f"expected an embedding of finite numbers from {self._spec.name}, got NaN, "
                "infinity or only zeros",
                hint="Look at scale and subtract_mean of [features], and at the export.",
            )
        return answer[0], np.empty((0, dim), np.float32)


def _check_input(inputs: Sequence[Any], spec: ModelSpec, network: OnnxNetwork) -> None:
    names = [each.name for each in inputs]
    if names != [network.input]:
        raise ModelFileError(
            f"expected one input {network.input!r} in {network.path}, got {', '.join(names)}",
            hint="Networks that also take lengths, states or samples are not supported.",
        )
    shape, kind = inputs[0].shape, inputs[0].type
    if kind != _FLOAT or len(shape) != 3:
        raise ModelFileError(
            f"expected the input {network.input!r} to be float32 of rank 3 (batch, "
            f"{network.layout}), got {kind} of shape {shape}",
            hint="Networks that take samples are not supported, nor those of half precision.",
        )
    bins = shape[2] if network.layout == LAYOUTS[0] else shape[1]
    if isinstance(bins, int) and bins != spec.fbank.mel_bins:
        raise ModelFileError(
            f"expected {spec.fbank.mel_bins} mel_bins at the input {network.input!r}, "
            f"its shape is {shape}",
            hint="Look at mel_bins of [features] and at layout of [input].",
        )


def _check_output(outputs: Sequence[Any], spec: ModelSpec, network: OnnxNetwork) -> None:
    found = {each.name: each for each in outputs}
    if network.output not in found:
        raise ModelFileError(
            f"expected an output {network.output!r} in {network.path}, got {', '.join(found)}"
        )
    kind, shape = found[network.output].type, found[network.output].shape
    declared = shape[-1] if shape else None
    if kind != _FLOAT or (isinstance(declared, int) and declared != spec.dim):
        raise ModelFileError(
            f"expected {spec.dim} numbers of float32 from {network.output!r}, got {kind} of "
            f"shape {shape}",
            hint="Look at name and dim of [output].",
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
