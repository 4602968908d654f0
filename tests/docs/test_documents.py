"""The documents are true: their code runs, and every command stands in the reference."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from voxprint.encoder.specfile import read_spec

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def test_command_line_reference_is_current() -> None:
    printed = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "cli_reference.py")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert (ROOT / "docs" / "cli.md").read_text("utf-8") == printed, "run: make docs"


def test_encoders_that_are_written_out_are_read(tmp_path: Path) -> None:
    found = re.findall(
        r"^```toml\n(.*?)^```", (ROOT / "docs" / "encoders.md").read_text("utf-8"), re.M | re.S
    )
    specs = []
    for text in found:
        (tmp_path / "model.toml").write_text(text, "utf-8")
        specs.append(read_spec(tmp_path / "model.toml"))
    assert [(spec.fbank.window, spec.fbank.scale) for spec in specs] == [
        ("hamming", 32768.0),
        ("povey", 1.0),
    ]


@pytest.fixture
def tour(open_folder: Path) -> Path:
    """A folder where the tour of the README can be run, with the commands on the path."""
    folder = open_folder / "tour"
    folder.mkdir(mode=0o755)
    return folder


def test_tour_of_the_readme_runs_as_it_stands(tour: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "VOXPRINT_DATA": str(tour / "data"),
    }
    printed = {}
    for number, (language, code) in enumerate(
        re.findall(
            r"^```(bash|sql|python)\n(.*?)^```", README.partition("## A tour")[2], re.M | re.S
        )
    ):
        runner = {
            "bash": ["bash", "-euo", "pipefail", "-c", code],
            "sql": ["voxprint", "sql", "-X", "-v", "ON_ERROR_STOP=1", "-f", "-"],
            "python": [sys.executable, "-c", code],
        }[language]
        done = subprocess.run(
            runner,
            input=code if language == "sql" else "",
            cwd=tour,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"block {number}:\n{code}\n{done.stdout}\n{done.stderr}"
        printed[number] = done.stdout
    whole = "\n".join(printed.values())
    assert "accept: score" in whole
    assert "reject: score" in whole
    assert "exit code 1" in whole
    assert "Chen" in whole
    assert "forgotten:" in whole


def test_relative_links_of_the_documents_lead_somewhere() -> None:
    dead = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8"))
        if not (page.parent / link).exists()
    ]
    assert dead == []
