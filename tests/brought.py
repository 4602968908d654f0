"""Small networks as users bring them: an embedding out of how much every bin moves."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WESPEAKER = 'window = "hamming"\nscale = 32768\nsubtract_mean = true'
BINS = 80


def projection(dim: int) -> np.ndarray:
    return np.random.default_rng(dim).standard_normal((BINS, dim)).astype(np.float32)


def network(
    dim: int = 256,
    *,
    names: tuple[str, str] = ("feats", "embs"),
    shape: tuple[str | int, ...] = ("B", "T", BINS),
    metadata: dict[str, object] | None = None,
    last: tuple[onnx.NodeProto, ...] | None = None,
) -> onnx.ModelProto:
    """Deviation of every bin over the frames, less their mean, times a matrix.

    Args:
        last: nodes from ``("deviation", "matrix")`` to the output, in place of the product.
    """
    given, output = names
    frames = 1 if shape[1] != BINS else 2
    axes = numpy_helper.from_array(np.array([frames], np.int64), "frames")
    bins = numpy_helper.from_array(np.array([1], np.int64), "bins")
    graph = helper.make_graph(
        [
            helper.make_node("Mul", [given, given], ["power"]),
            helper.make_node("ReduceSum", ["power", "frames"], ["energy"], keepdims=0),
            helper.make_node("Sqrt", ["energy"], ["root"]),
            helper.make_node("ReduceSum", ["root", "bins"], ["sum"], keepdims=1),
            helper.make_node("Div", ["sum", "count"], ["mean"]),
            helper.make_node("Sub", ["root", "mean"], ["deviation"]),
            *(last or (helper.make_node("MatMul", ["deviation", "matrix"], [output]),)),
        ],
        "network",
        [helper.make_tensor_value_info(given, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["B", None])],
        [
            axes,
            bins,
            numpy_helper.from_array(np.array(BINS, np.float32), "count"),
            numpy_helper.from_array(projection(dim), "matrix"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {key: str(value) for key, value in (metadata or {}).items()})
    return model


def answer(features: np.ndarray, dim: int = 256) -> np.ndarray:
    """What the network says of features, in NumPy: a unit vector."""
    root = np.sqrt(np.square(features.astype(np.float64)).sum(axis=0))
    vector = (root - root.mean()) @ projection(dim)
    return vector / np.linalg.norm(vector)


def bring(
    folder: Path,
    model: onnx.ModelProto | bytes | None = None,
    *,
    name: str = "brought",
    dim: int = 256,
    features: str = WESPEAKER,
    more: str = "",
    names: tuple[str, str] = ("feats", "embs"),
    layout: str = "frames,bins",
) -> Path:
    """Write network and TOML file; the path of the TOML file."""
    if model is None:
        model = network(dim, names=names)
    data = model if isinstance(model, bytes) else model.SerializeToString()
    (folder / f"{name}.onnx").write_bytes(data)
    path = folder / f"{name}.toml"
    path.write_text(
        f'name = "{name}"\nnetwork = "{name}.onnx"\n'
        f'sha256 = "{hashlib.sha256(data).hexdigest()}"\nthreshold = 0.5\n{more}\n'
        f'[input]\nname = "{names[0]}"\nlayout = "{layout}"\n'
        f'[features]\nkind = "fbank"\nmel_bins = {BINS}\n{features}\n'
        f'[output]\nname = "{names[1]}"\ndim = {dim}\n'
    )
    return path
