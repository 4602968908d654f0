"""Make the virtual environment and install voxprint from the lock. Standard library only.

Run by ``make`` with whatever ``python3`` the machine has, so it must also *parse* on an old one
and say what is missing instead of failing in the middle.
"""

import subprocess
import sys
from pathlib import Path


def missing():
    """Return what this Python lacks, in words with the remedy, or None."""
    if sys.version_info < (3, 11):
        have = "%d.%d" % sys.version_info[:2]
        return "voxprint needs Python 3.11 or newer, this is " + have + ": make PYTHON=python3.12 …"
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
            "python3\n  Alpine is not supported (glibc is needed)"
        )
    return None


def main():
    """Create the environment named on the command line and install the locked packages."""
    problem = missing()
    if problem:
        sys.exit(problem)
    root = Path(__file__).resolve().parent.parent
    target = Path(sys.argv[1])
    python = target / "bin" / "python"
    if not python.exists():
        print("creating " + str(target), flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(target)], check=True)
    print("installing voxprint and its locked dependencies (about 400 MB)", flush=True)
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "--require-hashes", "-r", str(root / "requirements.lock")], check=True)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "-e", str(root)], check=True)


if __name__ == "__main__":
    main()
