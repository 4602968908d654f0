"""CAM++ as an ONNX graph, built from the published weights without PyTorch.

The network (Wang and others 2023, "CAM++: A Fast and Efficient Network for Speaker
Verification Using Context-Aware Masking", arXiv 2303.00332): a residual convolutional head
over frequency and time, a time-delay layer that halves the frame rate, three densely connected
blocks whose layers mask their output by its context, mean and standard deviation over time,
and one linear layer to the embedding.

Every batch normalisation that follows a convolution is folded into it.

The context of a frame is the mean over the utterance plus the mean over its segment of 100
frames; the last segment is divided by its real length. ONNX's average pooling leaves that
division to flags that runtimes have read differently, so the graph says it in matrices that it
works out once from the number of frames: one that weighs frames for each segment, and one that
gives each frame what its segment has.

Time-delay layers are convolutions in two dimensions, of which the first has one row: onnxruntime
lays out what such ones take and give in blocks of channels, in which a normalisation with its ReLU
is one pass and appending channels copies them side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from voxprint.encoder.checkpoint import StateDict
from voxprint.errors import ModelFileError

#: Old enough for onnxruntime 1.20 and for every runtime since.
_OPSET = 17
_IR_VERSION = 8

#: Layers and dilation of the three dense blocks.
BLOCKS = ((12, 1), (24, 2), (16, 2))
SEGMENT = 100
#: Frames, after the layer that halves their rate, that a part of an utterance has: 1.5 s.
PART_FRAMES = 75
_EPSILON = 1e-5

Array = npt.NDArray[np.float32]


def build_campplus(state: StateDict, *, mel_bins: int = 80) -> bytes:
    """The network as a serialised ONNX model.

    Input ``features``: float32, shape (batch, frames, ``mel_bins``), mean over time
    subtracted. Outputs, not normalised: ``embedding``, float32, shape (batch, dim); ``parts``,
    float32, shape (batch, parts, dim), one for every 1.5 s, from the same frames by their
    statistics in that part alone. A frame knows its context, so parts of one utterance are more
    alike than the same pieces by themselves.

    Raises:
        ModelFileError: the weights are those of another network.
    """
    try:
        return _Graph(state).build(mel_bins)
    except KeyError as error:
        raise ModelFileError(f"expected the weights of CAM++, got none called {error}") from error


class _Graph:
    """Nodes and constants while they are put together; values are known by their names."""

    def __init__(self, state: StateDict) -> None:
        self._state = state
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def build(self, mel_bins: int) -> bytes:
        x = self._head("features", mel_bins)
        x = self._relu(self._conv(x, "xvector.tdnn.linear", "xvector.tdnn.nonlinear", stride=2))
        self._segments(x)
        for number, (layers, dilation) in enumerate(BLOCKS, start=1):
            for layer in range(1, layers + 1):
                x = self._dense_layer(x, f"xvector.block{number}.tdnnd{layer}", dilation)
            transit = f"xvector.transit{number}"
            last = number == len(BLOCKS)
            # The normalisation after the last block is the one before the statistics.
            after = "xvector.out_nonlinear" if last else None
            x = self._conv(self._norm_relu(x, f"{transit}.nonlinear"), f"{transit}.linear", after)
        frames = self._op("Squeeze", [self._relu(x), self._ints([2])])
        self._embedding(self._statistics(frames))
        self._parts(frames)
        return self._serialise(mel_bins)

    # -- the parts of the network ---------------------------------------------------------

    def _head(self, features: str, mel_bins: int) -> str:
        """(batch, frames, bins) -> (batch, 320, 1, frames): bins are height, time is width."""
        x = self._op("Transpose", [features], perm=[0, 2, 1])
        x = self._op("Unsqueeze", [x, self._ints([1])])
        x = self._relu(self._conv(x, "head.conv1", "head.bn1"))
        for layer in ("head.layer1", "head.layer2"):
            x = self._residual(x, f"{layer}.0", stride=2)
            x = self._residual(x, f"{layer}.1", stride=1)
        x = self._relu(self._conv(x, "head.conv2", "head.bn2", stride=2))
        channels = self._weight("head.conv2").shape[0] * (mel_bins // 8)
        return self._op("Reshape", [x, self._ints([0, channels, 1, -1])])

    def _residual(self, x: str, name: str, stride: int) -> str:
        y = self._relu(self._conv(x, f"{name}.conv1", f"{name}.bn1", stride=stride))
        y = self._conv(y, f"{name}.conv2", f"{name}.bn2")
        if stride > 1:
            x = self._conv(x, f"{name}.shortcut.0", f"{name}.shortcut.1", stride=stride)
        return self._relu(self._op("Add", [y, x]))

    def _segments(self, x: str) -> None:
        """Values that every context mask shares, from the number of frames of ``x``."""
        segment = self._ints([SEGMENT])
        frames = self._op("Slice", [self._op("Shape", [x]), self._ints([3]), self._ints([4])])
        count = self._op("Div", [self._op("Add", [frames, self._ints([SEGMENT - 1])]), segment])
        of_frame = self._op("Div", [self._range(frames), segment])
        number = self._range(count)
        within = self._op(
            "Equal",
            [
                self._op("Unsqueeze", [of_frame, self._ints([1])]),
                self._op("Unsqueeze", [number, self._ints([0])]),
            ],
        )
        within = self._float(within)
        starts = self._op("Mul", [number, segment])
        length = self._op("Min", [self._op("Sub", [frames, starts]), segment])
        in_segment = self._op("Mul", [within, self._op("Reciprocal", [self._float(length)])])
        per_frame = self._op("Reciprocal", [self._float(frames)])
        #: (frames, segments): weights of the mean over the segment plus that over all.
        self._gather = self._op("Add", [in_segment, per_frame])
        #: (segments, frames): 1 where a frame is in a segment.
        self._spread = self._op("Transpose", [within], perm=[1, 0])
        self._frames = frames
        but_one = self._op("Sub", [frames, self._ints([1])])
        self._per_frame_but_one = self._op("Reciprocal", [self._float(but_one)])

    def _dense_layer(self, x: str, name: str, dilation: int) -> str:
        h = self._norm_relu(x, f"{name}.nonlinear1")
        h = self._relu(self._conv(h, f"{name}.linear1", f"{name}.nonlinear2"))
        cam = f"{name}.cam_layer"
        local = self._conv(h, f"{cam}.linear_local", dilation=dilation)
        context = self._op("MatMul", [h, self._gather])
        mask = self._relu(self._conv(context, f"{cam}.linear1"))
        mask = self._op("Sigmoid", [self._conv(mask, f"{cam}.linear2")])
        masked = self._op("Mul", [local, self._op("MatMul", [mask, self._spread])])
        return self._op("Concat", [x, self._in_blocks(masked)], axis=1)

    def _in_blocks(self, x: str) -> str:
        """The same values, laid out as a convolution gives them.

        A product comes out row by row, and with it whatever it is appended to: every later layer
        would lay out all channels anew.
        """
        channels = self._weight("xvector.block1.tdnnd1.cam_layer.linear_local").shape[0]
        ones = self._shared("ones", np.ones((channels, 1, 1, 1), np.float32))
        return self._op("Conv", [x, ones], group=channels, kernel_shape=[1, 1])

    def _statistics(self, x: str) -> str:
        """Mean and unbiased standard deviation over time, one after the other."""
        mean = self._op("ReduceMean", [x], axes=[2], keepdims=1)
        centred = self._op("Sub", [x, mean])
        squares = self._op("ReduceSum", [self._op("Mul", [centred] * 2), self._ints([2])])
        deviation = self._op("Sqrt", [self._op("Mul", [squares, self._per_frame_but_one])])
        return self._op("Concat", [mean, deviation], axis=1)

    def _embedding(self, statistics: str) -> None:
        flat = self._op("Flatten", [statistics])
        weight, bias = self._folded("xvector.dense.linear", "xvector.dense.nonlinear.batchnorm")
        self._dense = self._constant(weight[:, :, 0].T), self._constant(bias)
        self._nodes.append(helper.make_node("Gemm", [flat, *self._dense], ["embedding"]))

    def _parts(self, frames: str) -> None:
        """One embedding for each whole part of ``PART_FRAMES``; of none, no rows."""
        part = self._ints([PART_FRAMES])
        count = self._op("Div", [self._frames, part])
        whole = self._op("Mul", [count, part])
        cut = self._op("Slice", [frames, self._ints([0]), whole, self._ints([2])])
        shape = self._op("Concat", [self._ints([0, 0]), count, part], axis=0)
        cut = self._op("Reshape", [cut, shape])
        mean = self._op("ReduceMean", [cut], axes=[3], keepdims=1)
        squares = self._op("Mul", [self._op("Sub", [cut, mean])] * 2)
        sums = self._op("ReduceSum", [squares, self._ints([3])], keepdims=1)
        per = self._shared("per_part_but_one", np.array([1 / (PART_FRAMES - 1)], np.float32))
        deviation = self._op("Sqrt", [self._op("Mul", [sums, per])])
        statistics = self._op("Concat", [mean, deviation], axis=1)
        rows = self._op(
            "Transpose", [self._op("Squeeze", [statistics, self._ints([3])])], perm=[0, 2, 1]
        )
        product = self._op("MatMul", [rows, self._dense[0]])
        self._nodes.append(helper.make_node("Add", [product, self._dense[1]], ["parts"]))

    # -- layers ---------------------------------------------------------------------------

    def _conv(
        self, x: str, name: str, norm: str | None = None, *, stride: int = 1, dilation: int = 1
    ) -> str:
        """A convolution that keeps its rate up to ``stride``, with ``norm`` folded in.

        Over frequency and time, only frequency, the first, is strided.
        """
        weight, bias = self._folded(name, self._batchnorm(norm))
        strides = [stride, 1]
        if weight.ndim == 3:
            weight, strides = weight[:, :, np.newaxis], [1, stride]
        kernel = weight.shape[2:]
        around = [(size - 1) // 2 * dilation for size in kernel]
        return self._op(
            "Conv",
            [x, self._constant(weight), self._constant(bias)],
            kernel_shape=list(kernel),
            strides=strides,
            dilations=[dilation, dilation],
            pads=around * 2,
        )

    def _norm_relu(self, x: str, name: str) -> str:
        """A normalisation with no convolution before it, then ReLU."""
        parts = ("weight", "bias", "running_mean", "running_var")
        values = [self._constant(self._state[f"{name}.batchnorm.{part}"]) for part in parts]
        return self._relu(self._op("BatchNormalization", [x, *values], epsilon=_EPSILON))

    def _relu(self, x: str) -> str:
        return self._op("Relu", [x])

    # -- weights --------------------------------------------------------------------------

    def _weight(self, name: str) -> npt.NDArray[np.float32]:
        return self._state[f"{name}.weight"]

    def _batchnorm(self, norm: str | None) -> str | None:
        if norm is None or f"{norm}.running_mean" in self._state:
            return norm
        return f"{norm}.batchnorm"

    def _scale_shift(self, norm: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """A batch normalisation at inference is ``scale * x + shift``; worked out in float64."""
        mean = self._state[f"{norm}.running_mean"].astype(np.float64)
        variance = self._state[f"{norm}.running_var"].astype(np.float64)
        scale = 1.0 / np.sqrt(variance + _EPSILON)
        if f"{norm}.weight" not in self._state:
            return scale, -mean * scale
        scale = scale * self._state[f"{norm}.weight"]
        return scale, self._state[f"{norm}.bias"] - mean * scale

    def _folded(self, name: str, norm: str | None) -> tuple[Array, Array]:
        """Weight and bias of a convolution together with the normalisation after it."""
        weight = self._weight(name).astype(np.float64)
        bias = np.zeros(len(weight)) + self._state.get(f"{name}.bias", 0.0)
        if norm is not None:
            scale, shift = self._scale_shift(norm)
            weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
            bias = bias * scale + shift
        return weight.astype(np.float32), bias.astype(np.float32)

    # -- ONNX -----------------------------------------------------------------------------

    def _op(self, kind: str, inputs: Sequence[str], **attributes: object) -> str:
        output = f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _float(self, x: str) -> str:
        return self._op("Cast", [x], to=TensorProto.FLOAT)

    def _range(self, count: str) -> str:
        """0, 1, ... below a count that comes with shape (1,)."""
        stop = self._op("Squeeze", [count, self._ints([0])])
        return self._op("Range", [self._scalar(0), stop, self._scalar(1)])

    def _ints(self, values: Sequence[int]) -> str:
        return self._shared("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def _scalar(self, value: int) -> str:
        return self._shared(f"int_{value}", np.array(value, np.int64))

    def _constant(self, values: Array) -> str:
        return self._shared(f"weight_{len(self._constants)}", np.ascontiguousarray(values))

    def _shared(self, name: str, values: npt.NDArray[np.generic]) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(values, name)
        return name

    def _serialise(self, mel_bins: int) -> bytes:
        dim = self._weight("xvector.dense.linear").shape[0]
        graph = helper.make_graph(
            self._nodes,
            "campplus",
            [_value("features", ["batch", "frames", mel_bins])],
            [_value("embedding", ["batch", dim]), _value("parts", ["batch", "parts", dim])],
            list(self._constants.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
        model.ir_version = _IR_VERSION
        model.producer_name = "voxprint"
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())


def _value(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
