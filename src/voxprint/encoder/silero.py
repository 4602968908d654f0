"""Silero's speech detector, made to hear some windows twice.

A recurrent layer that has heard nothing yet finds no speech in one of five short telephone
clips. What it is fed, features of single windows, is by far the most of the work; so that
warming it up costs next to nothing, the graph repeats only the layer.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from voxprint.errors import ModelFileError

_LSTM = "LSTM"


def build_detector(published: bytes) -> bytes:
    """The published graph with one more input.

    Inputs ``input``, ``h`` and ``c`` are the published ones; ``order``, int64, shape (heard,),
    numbers the windows in the order in which they are heard, each as often as one likes. Output
    ``speech_probs`` has a probability for each time that one is heard.

    Raises:
        ModelFileError: this is no graph with one recurrent layer.
    """
    model = onnx.load_from_string(published)
    graph = model.graph
    layers = [at for at, node in enumerate(graph.node) if node.op_type == _LSTM]
    if len(layers) != 1:
        raise ModelFileError(f"expected one recurrent layer in the detector, got {len(layers)}")
    layer = graph.node[layers[0]]
    graph.input.append(helper.make_tensor_value_info("order", TensorProto.INT64, ["heard"]))
    gather = helper.make_node("Gather", [layer.input[0], "order"], ["in_order"], axis=0)
    layer.input[0] = "in_order"
    graph.node.insert(layers[0], gather)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
