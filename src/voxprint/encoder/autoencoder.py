"""The denoising autoencoder as an ONNX graph, built from its weights.

Lu, Tsao, Matsuda and Hori 2013, "Speech Enhancement Based on Deep Denoising Autoencoder": a
network is shown log-mel frames with their neighbours, in noise, and asked for the clean ones.
This one convolves over time, so that neighbouring frames share their work, and says only what is
to be added to the frames, so that it begins by leaving them as they are.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from voxprint.encoder.checkpoint import StateDict
from voxprint.errors import ModelFileError

#: As ``voxprint.encoder.campplus`` has them.
_OPSET = 17
_IR_VERSION = 8
#: Frames from one tap of a layer to the next: together, five taps see 0.16 s before and after one.
DILATIONS = (1, 2, 4, 1)


def build_autoencoder(state: StateDict) -> bytes:
    """The network as a serialised ONNX model.

    Input ``features``: log-mel rows, float32, shape (batch, frames, bins), mean over time
    subtracted. Output ``denoised``, of the same shape: what of them is speech; its mean over time
    may be any.

    Args:
        state: ``layer<n>.weight``, shape (out, in, taps), taps odd, and ``layer<n>.bias``, shape
            (out,), for every n of ``DILATIONS`` from 1.

    Raises:
        ModelFileError: the weights are those of another network.
    """
    nodes = [helper.make_node("Transpose", ["features"], ["hidden0"], perm=[0, 2, 1])]
    constants, width = [], 0
    for number, dilation in enumerate(DILATIONS, start=1):
        try:
            weight, bias = state[f"layer{number}.weight"], state[f"layer{number}.bias"]
        except KeyError as error:
            raise ModelFileError(
                f"expected the weights of a denoising autoencoder, got none called {error}"
            ) from error
        if weight.ndim != 3 or (width and weight.shape[1] != width) or weight.shape[2] % 2 == 0:
            raise ModelFileError(
                f"expected layer{number}.weight of shape (out, {width or 'bins'}, odd), "
                f"got {weight.shape}"
            )
        width = len(weight)
        for name, value in ((f"weight{number}", weight), (f"bias{number}", bias)):
            constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        names = [f"hidden{number - 1}", f"weight{number}", f"bias{number}"]
        around = weight.shape[2] // 2 * dilation
        last = number == len(DILATIONS)
        out = "correction" if last else f"convolved{number}"
        nodes.append(
            helper.make_node("Conv", names, [out], dilations=[dilation], pads=[around, around])
        )
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"hidden{number}"]))
    nodes.append(helper.make_node("Transpose", ["correction"], ["back"], perm=[0, 2, 1]))
    nodes.append(helper.make_node("Add", ["features", "back"], ["denoised"]))
    shape = ["batch", "frames", width]
    graph = helper.make_graph(
        nodes,
        "denoising_autoencoder",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("denoised", TensorProto.FLOAT, shape)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = _IR_VERSION
    model.producer_name = "voxprint"
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())
