"""How our networks are run: one thread unless asked, and no memory kept for later."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime


def open_session(graph: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session on a serialised ONNX model.

    Args:
        graph: the model.
        threads: that one run uses, >= 1.
    """
    # Its newer wheels report to their maker from the moment they are imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Both keep memory for every length of input ever seen, and lengths hardly repeat.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
