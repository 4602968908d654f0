"""The encoder's graph, built from its weights, and the speech detector's.

``VOXPRINT_WEIGHTS`` gives a path or an https address of the weights, ``VOXPRINT_VAD`` of the
speech detector; ``voxprint.encoder.download`` says where else they are looked for.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from voxprint.encoder.cache import read_own, sha256_hex, store
from voxprint.encoder.checkpoint import read_checkpoint
from voxprint.encoder.download import (
    Progress,
    cache_path,
    cached,
    from_path,
    given_source,
    is_address,
    locate,
)
from voxprint.encoder.spec import ModelSpec

#: Raised whenever ``campplus`` would build another graph, so that cached ones are not used.
GRAPH_VERSION = 2


def fetch(
    spec: ModelSpec,
    *,
    weights: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make sure that weights, graph and speech detector are there.

    Args:
        spec: of which model.
        weights: path or https address; ``VOXPRINT_WEIGHTS`` where it is None.
        progress: see ``Progress``.

    Returns:
        Where the weights are.

    Raises:
        ModelFileError: one of them cannot be had or is not the published one; names every
            source tried and why it failed.
    """
    path, data = locate(spec.weights, weights, progress or _quiet)
    if _cached_graph(spec) is None:
        _build_graph(spec, data, progress or _quiet)
    load_detector(spec, progress=progress)
    return path


def load_graph(
    spec: ModelSpec,
    *,
    weights: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> bytes:
    """The model's ONNX graph, from the cache or built from the weights.

    Raises:
        ModelFileError: as :func:`fetch`.
    """
    given = given_source(spec.weights, weights)
    # A path that is given is read even so: it may hold other weights.
    checked = None
    if given is not None and not is_address(given):
        checked = from_path(spec.weights, Path(given))
    held = _cached_graph(spec)
    if held is not None:
        return held[1]
    _, data = checked or locate(spec.weights, weights, progress or _quiet)
    return _build_graph(spec, data, progress or _quiet)


def load_detector(spec: ModelSpec, *, progress: Progress | None = None) -> bytes:
    """The ONNX graph of the speech detector that a model hears by.

    Raises:
        ModelFileError: as :func:`fetch`.
    """
    return locate(spec.detector, None, progress or _quiet)[1]


def is_fetched(spec: ModelSpec) -> bool:
    """Whether an encoder needs nothing to be fetched or built: all is in its place."""
    given = given_source(spec.detector, None)
    detector = (given and not is_address(given)) or cached(spec.detector) is not None
    return bool(detector) and _cached_graph(spec) is not None


def weights_path(spec: ModelSpec) -> Path:
    """Where the cache keeps (or would keep) the weights."""
    return cache_path(spec.weights)


def detector_path(spec: ModelSpec) -> Path:
    """Where the cache keeps (or would keep) the speech detector."""
    return cache_path(spec.detector)


def graph_folder(spec: ModelSpec) -> Path:
    """Where the cache keeps (or would keep) the built graph."""
    return weights_path(spec).parent


def cached_graph_path(spec: ModelSpec) -> Path | None:
    """The built graph in the cache; None where there is no whole one."""
    held = _cached_graph(spec)
    return held[0] if held else None


def _quiet(_what: str, _done: int, _total: int) -> None:
    """No progress is asked for."""


# -- graph ---------------------------------------------------------------------------------


def _graph_path(spec: ModelSpec, digest: str) -> Path:
    name = f"{spec.name}.{spec.weights_sha256[:16]}.graph{GRAPH_VERSION}.{digest}.onnx"
    return weights_path(spec).with_name(name)


def _build_graph(spec: ModelSpec, weights: bytes, progress: Progress) -> bytes:
    progress("building the network", 0, 0)
    # The builder imports onnx, which only the first use of a model needs.
    from voxprint.encoder.campplus import build_campplus

    graph = build_campplus(read_checkpoint(weights), mel_bins=spec.fbank.mel_bins)
    store(_graph_path(spec, sha256_hex(graph)), graph)
    return graph


def _cached_graph(spec: ModelSpec) -> tuple[Path, bytes] | None:
    """The built graph whose digest is the one in its name; damaged ones are removed."""
    pattern = _graph_path(spec, "*")
    for path in sorted(pattern.parent.glob(pattern.name)):
        data = read_own(path)
        if data is None:
            continue
        if path == _graph_path(spec, sha256_hex(data)):
            return path, data
        with contextlib.suppress(OSError):  # a read-only cache keeps its damaged file
            path.unlink()
    return None
