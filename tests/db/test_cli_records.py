"""The command line on what stands behind decisions: log, report, settings, calibrations."""

from __future__ import annotations

import json
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

import voxprint
from voxprint.cli import main
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import NotCalibrated, UsageError
from voxprint.score.shipped import shipped

MODEL = DEFAULT_MODEL.name
ERROR = 2


@dataclass(frozen=True)
class Finished:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(conninfo: str, tmp_path: Path, monkeypatch, capsys):
    """Run the command line on this test's database, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOXPRINT_DATA", raising=False)
    monkeypatch.setenv("VOXPRINT_DSN", conninfo)

    def call(*arguments: object) -> Finished:
        monkeypatch.setattr(sys, "argv", ["voxprint", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Finished(int(ended.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture
def log(db: psycopg.Connection) -> list[int]:
    """Five decisions: of three the truth is known, and one was wrong."""
    statement = "SELECT voxprint._record(jsonb_populate_record(NULL::voxprint.decisions, %s))"
    facts: dict[str, Any] = {"kind": "verify", "reasons": [], "model": MODEL, "target_rate": 0.01}
    ids = [
        db.execute(statement, [Jsonb(facts | more)]).fetchone()[0]
        for more in (
            {"decision": "accept", "score": 0.71, "llr": 4.5, "channel": "wideband"},
            {"decision": "accept", "score": 0.66, "llr": 3.5, "channel": "wideband"},
            {"decision": "reject", "score": 0.1, "reasons": ["noisy", "short"]},
            {"decision": "inconclusive", "score": 0.4, "reasons": ["noisy"]},
            {"decision": "reject", "kind": "identify"},
        )
    ]
    for number, same in zip(ids, (True, False, True), strict=False):
        db.execute("SELECT voxprint.label_decision(%s, %s)", [number, same])
    return ids


def test_decisions_are_listed_and_labelled(run, log) -> None:
    listed = run("decisions", "list", "--decision", "reject", "--kind", "verify")
    assert listed.returncode == 0, listed.stderr
    (row,) = listed.stdout.splitlines()[2:]
    assert row.split()[0] == str(log[2])
    assert "0.100" in row
    assert "noisy, short" in row
    last = json.loads(run("decisions", "list", "--limit", 1, "--json").stdout)
    assert [one["decision_id"] for one in last] == [log[4]]
    first = run("decisions", "label", log[3], "same")
    assert first.stdout == f"decision {log[3]}: same\n"
    again = run("decisions", "label", log[3], "different").stdout
    assert again.startswith(f"decision {log[3]}: different, was same by ")
    for arguments in (["label", 10**6, "same"], ["list", "--speaker", "nobody"]):
        failed = run("decisions", *arguments)
        assert failed.returncode == ERROR
        assert "Traceback" not in failed.stderr
    assert run("decisions", "list", "--until", "2000-01-01").stdout.startswith("no such decision")


def test_a_report_gives_rates_with_what_stands_behind_them(run, log) -> None:
    shown = run("report")
    assert shown.returncode == 0, shown.stderr
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    for line in (
        "verify: 4 decisions",
        "wideband 2 100.0 0.0 0.0",
        "unknown 2 0.0 50.0 50.0",
        "noisy 2 0.0 50.0 50.0",
        "(none) 2 100.0 0.0 0.0",
        "0.01 false accepts 1 1 100.00 20.65 to 100.00",
        "0.01 false rejects 1 2 50.00 9.45 to 90.55",
        "identify: 1 decisions",
        "no decision is labelled: nobody knows how many were wrong",
    ):
        assert line in lines, shown.stdout
    summary = json.loads(run("report", "--since", "2020-01-01", "--json").stdout)
    (whole,) = summary["decisions"]["verify"]["all"]
    assert whole["accepted"] == {"count": 2, "rate": 0.5}
    assert whole["false_rejects"]["trials"] == 2
    assert summary["decisions"]["identify"]["all"][0]["false_accepts"] is None


def test_a_report_of_nothing_says_so_and_has_no_rates(run) -> None:
    assert run("report").stdout == "no decision is recorded\n"
    shown = run("report", "--until", "2020-01-01").stdout
    assert shown == "no decision is recorded before 2020-01-01 00:00 UTC\n"
    assert json.loads(run("report", "--json").stdout)["decisions"] == {}
    assert run("report", "--png", "nothing.png").returncode == ERROR
    for wrong in (["--since", "yesterday"], ["--since", "2026-01-02", "--until", "2026-01-01"]):
        failed = run("report", *wrong)
        assert failed.returncode == ERROR
        assert failed.stdout == ""
        assert "Traceback" not in failed.stderr


def test_a_report_is_drawn(run, log, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = run("report", "--png", "report.png")
    assert done.returncode == 0, done.stderr
    assert "verify: 4 decisions" in done.stdout
    picture = (tmp_path / "report.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", picture[16:24])
    assert min(width, height) > 600
    failed = run("report", "--png", "no/such/folder.png")
    assert failed.returncode == ERROR
    assert "no/such/folder.png cannot be written" in failed.stderr


def test_without_matplotlib_a_picture_is_a_clear_error(run, log, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    failed = run("report", "--png", "report.png")
    assert failed.returncode == ERROR
    assert "expected matplotlib" in failed.stderr
    assert "voxprint[evaluate]" in failed.stderr


def test_settings_are_shown_and_set(run) -> None:
    assert "far" in run("config", "show").stdout
    assert run("config", "set", "far", "0.001").returncode == 0
    settings = {one["name"]: one for one in json.loads(run("config", "show", "--json").stdout)}
    assert (settings["far"]["value"], settings["far"]["default"]) == ("0.001", "0.01")
    for name, value in (("far", "2"), ("colour", "blue")):
        failed = run("config", "set", name, value)
        assert failed.returncode == ERROR
        assert name in failed.stderr
        assert "hint:" in failed.stderr


def test_calibrations_are_listed_shown_and_chosen(run, conninfo: str) -> None:
    with voxprint.open(dsn=conninfo) as gallery:
        parameters = shipped().calibration.to_json()
        first = gallery.add_calibration(
            MODEL, DEFAULT_MODEL.hash, parameters | {"kappa": 7.5}, report={"cllr": 0.1}
        )
        second = gallery.add_calibration(MODEL, DEFAULT_MODEL.hash, parameters)
    listed = {
        one["calibration_id"]: one
        for one in json.loads(run("calibrations", "list", "--json").stdout)
    }
    assert (listed[first]["active"], listed[second]["active"]) == (False, True)
    assert run("calibrations", "use", first).stdout == f"calibration {first} is in use\n"
    shown = run("calibrations", "show", first).stdout
    assert '"kappa": 7.5' in shown
    assert "in use: yes" in shown
    for arguments in (["use", 10**6], ["show", 10**6]):
        failed = run("calibrations", *arguments)
        assert failed.returncode == ERROR
        assert "no calibration 1000000" in failed.stderr


def test_python_refuses_a_calibration_of_another_model(conninfo: str, db) -> None:
    db.execute("SELECT voxprint.register_model(%s, 192, %s)", [MODEL, "5" * 64])
    with voxprint.open(dsn=conninfo) as gallery:
        with pytest.raises(NotCalibrated):
            gallery.add_calibration(MODEL, "6" * 64, shipped().calibration.to_json())
        with pytest.raises(UsageError):
            gallery.add_calibration(MODEL, "5" * 64, {})
        assert gallery.labelled_decisions() == []
