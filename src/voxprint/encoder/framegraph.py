"""Our detector of speech as an ONNX graph: a convolution and a gated recurrent unit.

It hears log-mel frames of 10 ms as the encoder has them, four at a time. The convolution sees
them, four before and four after; so a probability comes four to seven frames late, at most 70 ms.
What it has to remember is an input and an output of the graph: a stream that is handed on from
call to call gets what one call gets.

The recurrent unit is that of Cho and others 2014 (arXiv 1406.1078), its reset gate applied after
the recurrent product, as cuDNN and PyTorch have it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from voxprint.encoder.checkpoint import StateDict
from voxprint.encoder.framevad import STEP
from voxprint.errors import ModelFileError

_OPSET = 17
_IR_VERSION = 8

Array = npt.NDArray[np.float32]


def build_frame_detector(state: StateDict, *, mel_bins: int = 80) -> bytes:
    """The detector as a serialised ONNX model.

    Inputs: ``features``, float32, shape (1, frames, ``mel_bins``), log-mel, mean not subtracted,
    the number of frames a multiple of ``STEP``; ``context``, float32, shape (1, before,
    ``mel_bins``), the frames before those; ``hidden``, float32, shape (1, 1, units). A recording
    begins with the context filled with the logarithm of the least float32 step (digital silence)
    and ``hidden`` with zeros.

    Outputs: ``speech``, float32, shape (frames,), in [0, 1], of the frames ``LOOK_AHEAD`` before
    the features; ``context_out`` and ``hidden_out``, for the next call.

    Args:
        state: ``mean``, shape (mel_bins,), is taken off, and ``whitening``, shape (mel_bins,
            mel_bins), multiplied with; ``conv``, ``gru`` and ``out`` as PyTorch names and shapes
            their weights.
        mel_bins: width of a feature row.

    Raises:
        ModelFileError: the weights are those of another network.
    """
    try:
        constants = _constants(state, mel_bins)
    except (KeyError, ValueError) as error:
        raise ModelFileError(
            f"expected the weights of a detector of speech, got others: {error}"
        ) from error
    units = constants["recurrent"].shape[-1]
    before = constants["kernel"].shape[2] - STEP
    nodes = _nodes(constants["kernel"].shape[2], mel_bins, units)
    graph = helper.make_graph(
        nodes,
        "voxprint_vad",
        [
            _value("features", [1, "frames", mel_bins]),
            _value("context", [1, before, mel_bins]),
            _value("hidden", [1, 1, units]),
        ],
        [
            _value("speech", ["frames"]),
            _value("context_out", [1, before, mel_bins]),
            _value("hidden_out", [1, 1, units]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = _IR_VERSION
    model.producer_name = "voxprint"
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _nodes(kernel: int, bins: int, units: int) -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Concat", ["context", "features"], ["heard"], axis=1),
        node("Slice", ["heard", "from", "to", "one"], ["context_out"]),
        node("Unsqueeze", ["heard", "one"], ["image"]),
        node(
            "Conv",
            ["image", "kernel", "kernel_bias"],
            ["convolved"],
            kernel_shape=[kernel, bins],
            strides=[STEP, 1],
        ),
        node("Relu", ["convolved"], ["seen"]),
        node("Squeeze", ["seen", "three"], ["channels"]),
        node("Transpose", ["channels"], ["steps"], perm=[2, 0, 1]),
        node(
            "GRU",
            ["steps", "input", "recurrent", "gate_bias", "", "hidden"],
            ["remembered", "hidden_out"],
            hidden_size=units,
            linear_before_reset=1,
        ),
        node("MatMul", ["remembered", "out"], ["product"]),
        node("Add", ["product", "out_bias"], ["logits"]),
        node("Sigmoid", ["logits"], ["likely"]),
        node("Reshape", ["likely", "flat"], ["speech"]),
    ]


def _constants(state: StateDict, mel_bins: int) -> dict[str, npt.NDArray[np.generic]]:
    if len(state["mean"]) != mel_bins:
        raise ValueError(f"{len(state['mean'])} bins in place of {mel_bins}")
    kernel, bias = _folded(state)
    gates = state["gru.bias_ih_l0"], state["gru.bias_hh_l0"]
    constants = {
        "kernel": kernel,
        "kernel_bias": bias,
        "input": _gates(state["gru.weight_ih_l0"])[None],
        "recurrent": _gates(state["gru.weight_hh_l0"])[None],
        "gate_bias": np.concatenate([_gates(each) for each in gates])[None],
        "out": np.ascontiguousarray(state["out.weight"].T, np.float32),
        "out_bias": state["out.bias"].astype(np.float32),
    }
    ints = {"from": -(kernel.shape[2] - STEP), "to": 1 << 40, "one": 1, "three": 3, "flat": -1}
    return {**constants, **{name: np.array([each], np.int64) for name, each in ints.items()}}


def _folded(state: StateDict) -> tuple[Array, Array]:
    """Kernel and bias of the convolution with mean and whitening of the bins taken into them."""
    # (channels, bins, frames) -> (channels, 1, frames, bins): features need not be turned over.
    weight = np.swapaxes(state["conv.weight"].astype(np.float64), 1, 2)[:, np.newaxis]
    weight = weight @ state["whitening"].astype(np.float64).T
    bias = state["conv.bias"] - np.sum(weight * state["mean"], axis=(1, 2, 3))
    return weight.astype(np.float32), bias.astype(np.float32)


def _gates(values: Array) -> Array:
    """PyTorch has reset, update and new gate in this order, ONNX update, reset and new."""
    reset, update, new = np.split(values.astype(np.float32), 3)
    return np.concatenate([update, reset, new])


def _value(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
