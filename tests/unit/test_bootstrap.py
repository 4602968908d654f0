"""tools/bootstrap.py: an environment that an interrupted ``make`` left is made anew."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_half_made_environment_is_noticed(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "tools" / "bootstrap.py")
    assert spec
    assert spec.loader
    bootstrap = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bootstrap)
    assert not bootstrap.works(str(tmp_path / "bin" / "python"))
    without_pip = tmp_path / "python"
    without_pip.write_text(f"#!/bin/sh\nexec {sys.executable} -S -I -c 'import pip'\n")
    without_pip.chmod(0o755)
    assert not bootstrap.works(str(without_pip))
    assert bootstrap.works(sys.executable)
