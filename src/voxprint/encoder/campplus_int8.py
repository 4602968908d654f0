"""CAM++ in whole numbers, as an ONNX graph built from what ``voxprint.training.quantise`` wrote.

The network is that of ``voxprint.encoder.campplus``. Convolutions multiply numbers of 8 bits;
the first layer, the context masks and the last layer stay in floating point. Channels lie side by
side in every frame, so that nothing is laid out anew: onnxruntime's integer kernels are fastest so.

Each channel has a range of its own. Where it is to be multiplied, that range is already in the
weights, so the graph sees whole numbers alone, whose scale is 1. Of a normalisation with its ReLU
a subtraction is left that stops at 0: its scale is in the weights that follow. Sums of pairs of
products fit into 16 bits, so processors with and without integer dot products give the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from voxprint.encoder.campplus import BLOCKS, PART_FRAMES, SEGMENT
from voxprint.encoder.checkpoint import StateDict
from voxprint.errors import ModelFileError

_OPSET = 17
_IR_VERSION = 8
#: Bins of the first layer that one product gives.
_TOGETHER = 4
#: Of numbers that have both signs.
_MIDDLE = 128
_END = 2**62


def build_campplus_int8(arrays: StateDict, *, mel_bins: int = 80) -> bytes:
    """The integer network as a serialised ONNX model.

    Inputs and outputs are those of ``voxprint.encoder.campplus.build_campplus``.

    Raises:
        ModelFileError: the arrays are those of something else.
    """
    missing = {"head.conv1.bias", "xvector.dense.weight", "head.conv2.scale"} - arrays.keys()
    if missing:
        raise ModelFileError(
            f"expected CAM++ in whole numbers, got no array called {min(missing)}",
            hint="Weights in floating point are made into it by voxprint.training.quantise.",
        )
    return _Graph(arrays).build(mel_bins)


class _Graph:
    """Nodes and constants while they are put together; values are known by their names.

    Whole numbers have shape (batch, frames, bins or 1, channels).
    """

    def __init__(self, arrays: StateDict) -> None:
        self._arrays = arrays
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def build(self, mel_bins: int) -> bytes:
        x = self._head(mel_bins)
        self._segments(x)
        for number, (layers, dilation) in enumerate(BLOCKS, start=1):
            for layer in range(1, layers + 1):
                x = self._dense_layer(x, f"xvector.block{number}.tdnnd{layer}", dilation)
            transit = f"xvector.transit{number}"
            x = self._conv(self._threshold(x, f"{transit}.nonlinear"), f"{transit}.linear")
        self._outputs(self._frames_of(x))
        return self._serialise(mel_bins)

    # -- the parts of the network ---------------------------------------------------------

    def _head(self, mel_bins: int) -> str:
        x = self._first(mel_bins)
        for layer in ("head.layer1", "head.layer2"):
            x = self._residual(x, f"{layer}.0", stride=2)
            x = self._residual(x, f"{layer}.1", stride=1)
        x = self._plane(x, "head.conv2", stride=2)
        channels = self._arrays["xvector.tdnn.linear.weight"].shape[1]
        x = self._op("Reshape", [x, self._ints([0, 0, 1, channels])])
        return self._conv(x, "xvector.tdnn.linear", stride=2)

    def _first(self, mel_bins: int) -> str:
        """The layer with one input channel, as products of three frames of a few bins.

        A convolution of one channel would use a fraction of what a product of whole rows does.
        """
        kernel = self._arrays["head.conv1.weight"]  # (channels, bins, frames)
        channels = len(kernel)
        wide = np.zeros((3, _TOGETHER + 2, _TOGETHER, channels), np.float32)
        for n in range(_TOGETHER):
            wide[:, n : n + 3, n] = kernel.transpose(2, 1, 0)
        starts = np.arange(0, mel_bins, _TOGETHER, dtype=np.int64)
        window = self._constant(starts[:, None] + np.arange(_TOGETHER + 2))
        padded = self._op("Pad", ["features", self._ints([0, 1, 1, 0, 1, 1])])
        cut = self._op("Gather", [padded, window], axis=2)
        ends = (-2, -1, _END)
        frames = [
            self._op("Slice", [cut, self._ints([n]), self._ints([ends[n]]), self._ints([1])])
            for n in range(3)
        ]
        rows = self._op("Concat", frames, axis=3)
        weight = self._constant(wide.reshape(-1, _TOGETHER * channels))
        bias = self._constant(np.tile(self._arrays["head.conv1.bias"], _TOGETHER))
        x = self._whole(self._op("Add", [self._op("MatMul", [rows, weight]), bias]))
        return self._op("Reshape", [x, self._ints([0, 0, mel_bins, channels])])

    def _residual(self, x: str, name: str, stride: int) -> str:
        y = self._plane(self._plane(x, f"{name}.conv1", stride=stride), f"{name}.conv2")
        zero = 0
        if stride > 1:
            x, zero = self._plane(x, f"{name}.shortcut.0", stride=stride), _MIDDLE
        of_y, of_x = (float(each) for each in self._arrays[f"{name}.scales"])
        return self._sum((y, of_y, _MIDDLE), (x, of_x, zero))

    def _segments(self, x: str) -> None:
        """Values that every context mask shares, from the number of frames of ``x``."""
        segment = self._ints([SEGMENT])
        frames = self._op("Slice", [self._op("Shape", [x]), self._ints([1]), self._ints([2])])
        count = self._op("Div", [self._op("Add", [frames, self._ints([SEGMENT - 1])]), segment])
        number = self._op("Unsqueeze", [self._range(count), self._ints([1])])
        of_frame = self._op("Div", [self._range(frames), segment])
        within = self._float(self._op("Equal", [number, of_frame]))
        starts = self._op("Mul", [number, segment])
        length = self._op("Min", [self._op("Sub", [frames, starts]), segment])
        in_segment = self._op("Mul", [within, self._op("Reciprocal", [self._float(length)])])
        per_frame = self._op("Reciprocal", [self._float(frames)])
        #: (segments, frames): weights of the mean over the segment plus that over all.
        self._gather = self._op("Add", [in_segment, per_frame])
        #: (frames, segments): 1 where a frame is in a segment.
        self._spread = self._op("Transpose", [within], perm=[1, 0])
        self._frames = frames
        but_one = self._op("Sub", [frames, self._ints([1])])
        self._per_frame_but_one = self._op("Reciprocal", [self._float(but_one)])

    def _dense_layer(self, x: str, name: str, dilation: int) -> str:
        h = self._conv(self._threshold(x, f"{name}.nonlinear1"), f"{name}.linear1")
        cam = f"{name}.cam_layer"
        local = self._real(self._conv(h, f"{cam}.linear_local", dilation=dilation), _MIDDLE)
        context = self._op("MatMul", [self._gather, self._frames_of(h)])
        mask = self._op("Relu", [self._linear(context, f"{cam}.linear1")])
        mask = self._op("Sigmoid", [self._linear(mask, f"{cam}.linear2")])
        mask = self._op("Mul", [mask, self._constant(self._arrays[f"{cam}.gain"])])
        mask = self._op("MatMul", [self._spread, mask])
        masked = self._op("Mul", [local, self._op("Unsqueeze", [mask, self._ints([2])])])
        masked = self._op("Add", [masked, self._constant(self._arrays[f"{cam}.shift"])])
        return self._op("Concat", [x, self._whole(masked)], axis=3)

    def _outputs(self, frames: str) -> None:
        weight = self._constant(self._arrays["xvector.dense.weight"].T)
        bias = self._constant(self._arrays["xvector.dense.bias"])
        statistics = self._statistics(frames, 1, self._per_frame_but_one)
        self._nodes.append(helper.make_node("Gemm", [statistics, weight, bias], ["embedding"]))
        part = self._ints([PART_FRAMES])
        count = self._op("Div", [self._frames, part])
        whole = self._op("Mul", [count, part])
        cut = self._op("Slice", [frames, self._ints([0]), whole, self._ints([1])])
        channels = self._arrays["xvector.dense.weight"].shape[1] // 2
        shape = self._op("Concat", [self._ints([0]), count, part, self._ints([channels])], axis=0)
        cut = self._op("Reshape", [cut, shape])
        per = self._constant(np.array([1 / (PART_FRAMES - 1)], np.float32))
        rows = self._op("MatMul", [self._statistics(cut, 2, per), weight])
        self._nodes.append(helper.make_node("Add", [rows, bias], ["parts"]))

    def _statistics(self, x: str, axis: int, per: str) -> str:
        """Mean and unbiased standard deviation over time, one after the other."""
        mean = self._op("ReduceMean", [x], axes=[axis], keepdims=1)
        centred = self._op("Sub", [x, mean])
        squares = self._op(
            "ReduceSum", [self._op("Mul", [centred, centred]), self._ints([axis])], keepdims=0
        )
        deviation = self._op("Sqrt", [self._op("Mul", [squares, per])])
        mean = self._op("Squeeze", [mean, self._ints([axis])])
        return self._op("Concat", [mean, deviation], axis=-1)

    # -- layers ---------------------------------------------------------------------------

    def _plane(self, x: str, name: str, *, stride: int = 1) -> str:
        """A convolution over time and frequency, of which only frequency is strided."""
        weight = self._arrays[f"{name}.weight"]
        size = round(weight.shape[2] ** 0.5)
        # Weights are over frequency first.
        weight = weight.reshape(*weight.shape[:2], size, size).swapaxes(2, 3)
        return self._product(x, name, weight, [1, stride], 1)

    def _conv(self, x: str, name: str, *, stride: int = 1, dilation: int = 1) -> str:
        """A convolution over time."""
        weight = self._arrays[f"{name}.weight"][:, :, :, np.newaxis]
        return self._product(x, name, weight, [stride, 1], dilation)

    def _product(
        self, x: str, name: str, weight: npt.NDArray[np.int8], strides: list[int], dilation: int
    ) -> str:
        kernel = weight.shape[2:]
        around = [(size - 1) // 2 * dilation for size in kernel]
        zeros = self._constant(np.zeros(len(weight), np.int8))
        one, zero = self._one(), self._byte(0)
        scale = self._constant(self._arrays[f"{name}.scale"])
        bias = self._constant(self._arrays[f"{name}.bias"])
        return self._extra(
            "QLinearConv",
            [x, one, zero, self._constant(weight), scale, zeros, one, zero, bias],
            channels_last=1,
            kernel_shape=list(kernel),
            strides=strides,
            dilations=[dilation, dilation],
            pads=around * 2,
        )

    def _threshold(self, x: str, name: str) -> str:
        """What is left above a threshold: the threshold is added, as a number below zero."""
        rest = self._constant(255 - self._arrays[f"{name}.threshold"])
        return self._sum((x, 1.0, 0), (rest, 1.0, 255))

    def _sum(self, first: tuple[str, float, int], second: tuple[str, float, int]) -> str:
        """Of values with their scale and their zero, cut off below 0 and above 255."""
        given = [
            each
            for name, scale, zero in (first, second)
            for each in (name, self._number(scale), self._byte(zero))
        ]
        return self._extra("QLinearAdd", [*given, self._one(), self._byte(0)])

    def _linear(self, x: str, name: str) -> str:
        product = self._op("MatMul", [x, self._constant(self._arrays[f"{name}.weight"].T)])
        return self._op("Add", [product, self._constant(self._arrays[f"{name}.bias"])])

    def _whole(self, x: str) -> str:
        return self._op("QuantizeLinear", [x, self._one(), self._byte(0)])

    def _real(self, x: str, zero: int) -> str:
        return self._op("DequantizeLinear", [x, self._one(), self._byte(zero)])

    def _frames_of(self, x: str) -> str:
        """(batch, frames, 1, channels) -> (batch, frames, channels) in floating point."""
        return self._op("Squeeze", [self._real(x, 0), self._ints([2])])

    # -- ONNX -----------------------------------------------------------------------------

    def _op(self, kind: str, inputs: Sequence[str], **attributes: object) -> str:
        output = f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _extra(self, kind: str, inputs: Sequence[str], **attributes: object) -> str:
        """One of onnxruntime's own operators."""
        return self._op(kind, inputs, domain="com.microsoft", **attributes)

    def _float(self, x: str) -> str:
        return self._op("Cast", [x], to=TensorProto.FLOAT)

    def _range(self, count: str) -> str:
        """0, 1, ... below a count that comes with shape (1,)."""
        stop = self._op("Squeeze", [count, self._ints([0])])
        zero, one = (self._shared(f"int_{n}", np.array(n, np.int64)) for n in (0, 1))
        return self._op("Range", [zero, stop, one])

    def _ints(self, values: Sequence[int]) -> str:
        return self._shared("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def _one(self) -> str:
        return self._number(1.0)

    def _number(self, value: float) -> str:
        return self._shared(f"number_{value!r}", np.array(value, np.float32))

    def _byte(self, value: int) -> str:
        return self._shared(f"byte_{value}", np.array(value, np.uint8))

    def _constant(self, values: npt.NDArray[np.generic]) -> str:
        return self._shared(f"weight_{len(self._constants)}", np.ascontiguousarray(values))

    def _shared(self, name: str, values: npt.NDArray[np.generic]) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(values, name)
        return name

    def _serialise(self, mel_bins: int) -> bytes:
        dim = len(self._arrays["xvector.dense.weight"])
        graph = helper.make_graph(
            self._nodes,
            "campplus_int8",
            [_value("features", ["batch", "frames", mel_bins])],
            [_value("embedding", ["batch", dim]), _value("parts", ["batch", "parts", dim])],
            list(self._constants.values()),
        )
        domains = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=domains)
        model.ir_version = _IR_VERSION
        model.producer_name = "voxprint"
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())


def _value(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
