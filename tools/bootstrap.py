"""Make the virtual environment and install voxprint from the lock. Standard library only.

Run by ``make`` with whatever ``python3`` the machine has, so it must also *parse* on an old one
(ASCII only, no annotations) and say what is missing instead of failing in the middle.
"""

import subprocess
import sys
from pathlib import Path


def missing():
    """Return what this Python lacks, in words with the remedy, or None."""
    if sys.version_info < (3, 11):
        have = "%d.%d" % sys.version_info[:2]
        return (
            "voxprint needs Python 3.11 or newer, this is " + have + ": make demo PYTHON=python3.12"
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        package = "python%d.%d-venv" % sys.version_info[:2]
        return (
            "python3 -m venv is missing here. Install the package that holds it, then run make "
            "again:\n  Debian, Ubuntu: apt-get install "
            + package
            + "\n  Fedora, RHEL: dnf install "
            "python3"
        )
    return None


def works(python):
    """Return whether an environment is there and has its pip."""
    try:
        return not subprocess.run(
            [python, "-m", "pip", "--version"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        ).returncode
    except OSError:
        return False


def install(root, target):
    """Make the environment ``target``, anew where an earlier attempt broke off, and fill it."""
    python = str(target / "bin" / "python")
    if not works(python):
        print("creating " + str(target), flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(target)], check=True)
    print("installing voxprint and its locked dependencies: 625 MB, a minute or two", flush=True)
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "--require-hashes", "-r", str(root / "requirements.lock")], check=True)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "-e", str(root)], check=True)


def main():
    """Install into the environment named on the command line, one make at a time."""
    problem = missing()
    if problem:
        sys.exit(problem)
    import fcntl

    root = Path(__file__).resolve().parent.parent
    target = Path(sys.argv[1])
    stamp = target / ".installed"
    with Path(str(target) + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = max(
            (root / name).stat().st_mtime for name in ("requirements.lock", "pyproject.toml")
        )
        if stamp.exists() and stamp.stat().st_mtime > wanted:
            return  # another make has just done it
        try:
            install(root, target)
        except KeyboardInterrupt:
            sys.exit("\ninterrupted; run make again")
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(
                "installing failed: " + str(error) + "\nSee above. pip needs a package index "
                "(PIP_INDEX_URL, or your proxy's settings); then run make again."
            )
        stamp.touch()


if __name__ == "__main__":
    main()
