"""A student's weights -> the graph that serving runs, checked against the network they are of."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from voxprint.encoder.campplus import build_campplus
from voxprint.encoder.checkpoint import StateDict
from voxprint.encoder.session import open_session
from voxprint.errors import ModelFileError
from voxprint.training.network import CamPlusPlus, arrays_of, campplus

#: Frame counts about the borders of the context's segments, where exports have gone wrong.
LENGTHS = (48, 97, 101, 198, 203, 399, 405, 801)
_LEAST_COSINE = 0.99999


def half_precision(arrays: StateDict) -> StateDict:
    """Weights as they ship: float16."""
    return {
        name: value.astype(np.float16) if value.dtype.kind == "f" else value
        for name, value in arrays.items()
    }


def write_weights(arrays: StateDict, path: Path) -> None:
    """An ``.npz`` of half-precision weights, all of it or nothing.

    Raises:
        ModelFileError: it cannot be written.
    """
    write_arrays(half_precision(arrays), path)


def write_arrays(arrays: StateDict, path: Path) -> None:
    """An ``.npz`` of arrays as they are, all of it or nothing.

    Raises:
        ModelFileError: it cannot be written.
    """
    held = io.BytesIO()
    np.savez_compressed(held, **arrays)  # type: ignore[arg-type]
    _write(held.getvalue(), path)


def _write(data: bytes, path: Path) -> None:
    part = path.with_suffix(path.suffix + ".part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ModelFileError(
            f"expected room for {len(data) >> 20} MB at {path}: {error.strerror}",
            hint="Make room and run again: the training goes on from its checkpoint.",
        ) from error


def build_graph(arrays: StateDict) -> bytes:
    """The ONNX model of a student, as ``voxprint.encoder.campplus`` builds it."""
    return build_campplus({name: np.asarray(value, np.float32) for name, value in arrays.items()})


def check_parity(network: CamPlusPlus, graph: bytes) -> float:
    """Smallest cosine between the network's embeddings and the graph's, over odd lengths.

    Raises:
        ModelFileError: below 0.99999.
    """
    session = open_session(graph)
    random = np.random.default_rng(0)
    device = next(network.parameters()).device
    worst = 1.0
    for frames in LENGTHS:
        # Features are correlated over time and bins, and of about this spread.
        rows = np.cumsum(random.standard_normal((frames, 80)), axis=0).astype(np.float32)
        rows = 3 * (rows - rows.mean(0)) / rows.std(0)
        with torch.no_grad():
            there = network(torch.from_numpy(rows)[None].to(device))[0].double().cpu().numpy()
        here = session.run(["embedding"], {"features": rows[None]})[0][0].astype(np.float64)
        worst = min(worst, float(there @ here / np.linalg.norm(there) / np.linalg.norm(here)))
    if not worst >= _LEAST_COSINE:
        raise ModelFileError(
            f"expected the exported graph to give what the network gives, got cosine {worst:.6f}"
        )
    return worst


def export(network: CamPlusPlus, weights: Path, graph: Path) -> float:
    """Write a student's weights and its graph; what ships is what half precision leaves.

    Args:
        network: the student.
        weights: ``.npz`` to write.
        graph: ``.onnx`` to write.

    Returns:
        the smallest cosine of :func:`check_parity`.

    Raises:
        ModelFileError: one of them cannot be written, or the graph fails its check.
    """
    arrays = arrays_of(network.state_dict())
    rounded = {key: value.astype(np.float32) for key, value in half_precision(arrays).items()}
    model = build_graph(rounded)
    worst = check_parity(campplus(rounded), model)
    write_weights(arrays, weights)
    _write(model, graph)
    return worst
