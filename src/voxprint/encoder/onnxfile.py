"""An ONNX file that somebody else made: read whole, and refused unless it is one plain graph."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from voxprint.audio.files import read_regular
from voxprint.encoder.cache import sha256_hex
from voxprint.errors import ModelFileError

if TYPE_CHECKING:
    import onnx

#: The largest published speaker encoders that are one file have about 200 MB.
MAX_BYTES = 512 << 20
#: The operators that onnxruntime brings for everybody; those of others would be code to load.
_DOMAINS = ("", "ai.onnx")


def read_network(path: str | os.PathLike[str], sha256: str | None = None) -> bytes:
    """Content of an ONNX file.

    Args:
        path: of a regular file.
        sha256: the hex digest that it must have; None for any.

    Raises:
        ModelFileError: not readable, over 512 MiB, or of another digest.
    """
    try:
        too_large = Path(path).stat().st_size > MAX_BYTES
        data = b"" if too_large else read_regular(path, MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"expected the network in {os.fspath(path)}: {error}",
            hint="It lies beside the TOML file that names it.",
        ) from error
    if too_large or len(data) > MAX_BYTES:
        raise ModelFileError(
            f"expected a network of at most {MAX_BYTES >> 20} MiB, {os.fspath(path)} is larger"
        )
    if sha256 is not None and sha256_hex(data) != sha256:
        raise ModelFileError(
            f"expected {os.fspath(path)} with sha256 {sha256}, got {sha256_hex(data)}",
            hint="The file has changed. If that was meant, describe it under another name: "
            "embeddings of two networks are never compared.",
        )
    return data


def parse_network(data: bytes, where: str | os.PathLike[str]) -> onnx.ModelProto:
    """The parsed model, without a file beside it being opened.

    Raises:
        ModelFileError: not ONNX, weights in other files, operators that are not ONNX's own.
    """
    import onnx
    from google.protobuf.message import DecodeError

    name = Path(where).name
    try:
        model = onnx.load_from_string(data)
    except DecodeError as error:
        raise ModelFileError(f"expected an ONNX model in {name}: {error}") from error
    if not model.graph.node:
        raise ModelFileError(f"expected an ONNX model in {name}, got one without a graph")
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ModelFileError(
                f"expected all weights inside {name}, those of {tensor.name!r} are in other files",
                hint="Save it as one file: onnx.save_model(model, path, save_as_external_data="
                "False).",
            )
    foreign = {node.domain for node in _nodes(model.graph)} - {*_DOMAINS}
    if foreign or model.functions:
        named = ", ".join(sorted(foreign or {each.domain for each in model.functions}))
        raise ModelFileError(
            f"expected only ONNX's own operators in {name}, got some of {named}",
            hint="Export it again with standard operators (opset 17 or so), without functions "
            "of its own.",
        )
    return model


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of branches and loops too."""
    waiting = [graph]
    while waiting:
        for node in waiting.pop().node:
            yield node
            for attribute in node.attribute:
                waiting.extend([attribute.g] if attribute.HasField("g") else attribute.graphs)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All tensors that a file can bring: initial values, and constants in nodes."""
    graphs = [graph]
    for node in _nodes(graph):
        for attribute in node.attribute:
            graphs.extend([attribute.g] if attribute.HasField("g") else attribute.graphs)
            yield from [attribute.t] if attribute.HasField("t") else attribute.tensors
            sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
            for each in [*sparse, *attribute.sparse_tensors]:
                yield from (each.values, each.indices)
    for each_graph in graphs:
        yield from each_graph.initializer
        for each in each_graph.sparse_initializer:
            yield from (each.values, each.indices)
