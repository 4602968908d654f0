"""The command line as a user meets it: in its own process, with its exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from voxprint.cli import cli

VOXPRINT = Path(sys.executable).with_name("voxprint")
ACCEPT, REJECT, ERROR = 0, 1, 2


@pytest.fixture
def run(conninfo: str, tmp_path: Path):
    """Run the command line on this test's database; gives the finished process."""

    def call(*arguments: object, dsn: str | None = conninfo, **options: object):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("VOXPRINT_D")}
        if dsn:
            environment["VOXPRINT_DSN"] = dsn
        return subprocess.run(
            [str(VOXPRINT), *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment | options.pop("env", {}),
            **options,
        )

    return call


def test_every_command_answers_help_without_heavy_imports() -> None:
    script = (
        "import sys; from voxprint.cli import cli; cli.main(['--help'], standalone_mode=False);"
        "print([m for m in ('numpy','onnxruntime','onnx','av','psycopg') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr
    assert {"enroll", "verify", "identify", "compare", "forget"} <= set(cli.commands)


def test_verify_tells_by_its_exit_code(run, voices: Path) -> None:
    done = run("enroll", "Amy", voices / "Amy" / "1.wav", voices / "Amy" / "2.wav")
    assert done.returncode == 0, done.stderr
    assert run("verify", "Amy", voices / "Amy" / "5.wav").returncode == ACCEPT
    assert run("verify", "Amy", voices / "Fei" / "5.wav").returncode == REJECT
    unknown = run("verify", "O'Neil", voices / "Amy" / "5.wav")
    assert unknown.returncode == ERROR
    assert "O'Neil" in unknown.stderr
    assert "Traceback" not in unknown.stderr


def test_json_everywhere(run, voices: Path) -> None:
    amy = voices / "Amy"
    answers = {
        command: json.loads(run(command, *arguments, "--json").stdout)
        for command, *arguments in (
            ("enroll", "Amy", amy / "1.wav"),
            ("verify", "Amy", amy / "2.wav"),
            ("identify", amy / "2.wav"),
            ("compare", amy / "2.wav", amy / "3.wav"),
            ("embed", amy / "1.wav"),
            ("list",),
            ("forget", "Amy"),
        )
    }
    assert answers["enroll"][0]["result"]["added"] is True
    assert answers["verify"]["decision"] == "accept"
    assert answers["identify"][0]["speaker"] == "Amy"
    assert answers["compare"]["decision"] == "accept"
    assert len(answers["embed"][0]["embedding"]["vector"]) == 192
    assert answers["list"][0]["utterances"] == 1
    assert answers["forget"]["removed"]["utterances"] == 1
    failed = run("verify", "Amy", amy / "2.wav", "--json")
    assert failed.returncode == ERROR
    assert json.loads(failed.stdout)["error"]["code"] == "speaker_not_found"


def test_folder_reports_what_it_refused(run, voices: Path) -> None:
    (voices / "Amy" / "7.wav").write_text("no audio")
    done = run("enroll", "--folder", voices)
    assert done.returncode == ERROR
    assert "36 utterances of 6 speakers enrolled" in done.stdout
    assert "7.wav: refused" in done.stderr


def test_names_can_neither_forge_rows_nor_steer_the_terminal(run, voices: Path) -> None:
    forged = "Boris\n   1  Amy      accept      0.999\x1b]0;owned\x07"
    assert run("enroll", forged, voices / "Boris" / "1.wav").returncode in (0, ERROR)
    (voices / "Boris").rename(voices / forged.replace("/", "_"))
    run("enroll", "--folder", voices)
    shown = "".join(
        done.stdout + done.stderr
        for done in (run("list"), run("identify", voices / "Amy" / "2.wav"), run("forget", forged))
    )
    assert "\x1b" not in shown
    assert not [line for line in shown.splitlines() if line.endswith("0.999")]


def test_groups_are_made_joined_and_listed(run, voices: Path) -> None:
    assert run("group", "create", "desk", "--description", "telesales").returncode == 0
    enrolled = run("enroll", "Amy", voices / "Amy" / "1.wav", "--group", "desk")
    assert enrolled.returncode == 0, enrolled.stderr
    run("enroll", "Fei", voices / "Fei" / "1.wav")
    found = json.loads(
        run("identify", voices / "Fei" / "2.wav", "--group", "desk", "--json").stdout
    )
    assert [row["speaker"] for row in found] == ["Amy"]
    assert run("group", "leave", "Amy", "desk").returncode == 0
    assert run("group", "join", "Fei", "desk").returncode == 0
    listed = json.loads(run("group", "list", "--json").stdout)
    desk = {"name": "desk", "description": "telesales", "speakers": 1, "watchlist": False}
    assert listed == [desk]
    assert run("group", "drop", "desk").returncode == 0
    assert "desk" in run("list", "--group", "desk").stderr


def test_raw_samples_are_taken_with_their_format(run, voices: Path, tmp_path: Path) -> None:
    wav = (voices / "Amy" / "1.wav").read_bytes()
    raw = tmp_path / "amy.raw"
    raw.write_bytes(wav[44:])
    rate = int.from_bytes(wav[24:28], "little")
    assert run("enroll", "Amy", raw, "--raw", f"{rate}:s16le:1").returncode == 0
    shown = json.loads(run("verify", "Amy", voices / "Amy" / "1.wav", "--json").stdout)
    assert shown["score"] == pytest.approx(1.0, abs=1e-6)
    assert run("verify", "Amy", raw).returncode == ERROR
    assert "RATE" in run("verify", "Amy", raw, "--raw", "fast").stderr


def test_a_bad_file_is_named(run, voices: Path) -> None:
    bad = voices / "bad.wav"
    bad.write_text("words")
    for command in (
        ("compare", voices / "Amy" / "1.wav", bad),
        ("enroll", "Amy", bad),
        ("enroll", "Amy", voices / "Amy" / "1.wav", bad, "--keep-audio"),
    ):
        done = run(*command)
        assert done.returncode == ERROR
        assert done.stderr.count(str(bad)) == 1
    assert json.loads(run("list", "--json").stdout) == []


def test_the_command_line_goes_before_the_environment(open_folder: Path, run) -> None:
    done = run("list", "--data", open_folder / "data", dsn="host=/nowhere")
    assert done.returncode == 0, done.stderr
    both = run("list", "--data", open_folder / "data", "--dsn", "host=/nowhere")
    assert both.returncode == ERROR
    assert "both came" in both.stderr


def test_one_bad_file_among_several_enrols_none(run, voices: Path) -> None:
    (voices / "bad.wav").write_bytes(b"")
    done = run("enroll", "Amy", voices / "Amy" / "1.wav", voices / "bad.wav")
    assert done.returncode == ERROR
    assert json.loads(run("list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("enroll", "Amy"), "FILE"),
        (("enroll", "", "FILE"), "speaker"),
        (("enroll", "x" * 10_000, "FILE"), "10000"),
        (("enroll", "Amy", "FILE", "--attributes", "[1]"), "JSON object"),
        (("enroll", "Amy", "FILE", "--group", "nowhere"), "nowhere"),
        (("enroll", "--folder", "nowhere"), "nowhere"),
        (("verify", "Amy", "nowhere.wav"), "nowhere.wav"),
        (("identify", "FILE", "-k", "0"), "0"),
        (("identify", "FILE", "--path", "$.("), "jsonpath"),
        (("forget", "nobody"), "nobody"),
        (("evaluate", "nowhere.tsv", "--root", "."), "nowhere.tsv"),
        (("nonsense",), "nonsense"),
    ],
)
def test_errors_say_what_came_and_leave_no_traceback(run, voices, arguments, word) -> None:
    file = str(voices / "Amy" / "1.wav")
    done = run(*(file if part == "FILE" else part for part in arguments))
    assert done.returncode == ERROR
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(run("list", "--json").stdout) == []


def test_unreachable_server_is_an_error_with_a_hint(run) -> None:
    done = run("list", dsn="host=127.0.0.1 port=1 user=nobody password=secret-word")
    assert done.returncode == ERROR
    assert "hint:" in done.stderr
    assert "secret-word" not in done.stderr


def test_weights_that_cannot_be_had_name_all_that_was_tried(run, voices, tmp_path) -> None:
    wrong = tmp_path / "weights.pt"
    wrong.write_bytes(b"not the weights")
    done = run("embed", voices / "Amy" / "1.wav", "--weights", wrong)
    assert done.returncode == ERROR
    assert "sha256" in done.stderr


def test_up_serves_psql_and_stops_on_interrupt(open_folder: Path, run, voices: Path) -> None:
    data = open_folder / "data"
    with subprocess.Popen(
        [str(VOXPRINT), "up", "--data", str(data), "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "VOXPRINT_DSN"},
    ) as process:
        try:
            assert process.stdout is not None
            dsn = json.loads(process.stdout.readline())["dsn"]
            enrolled = run("enroll", "Amy", voices / "Amy" / "1.wav", "--data", data, dsn=None)
            assert enrolled.returncode == 0, enrolled.stderr
            script = (
                rf"\set call `od -An -v -tx1 '{voices}/Amy/2.wav' | tr -d ' \n'`" + "\n"
                "SELECT decision FROM voxprint.verify('Amy', decode(:'call', 'hex'));\n"
            )
            answer = run("sql", "--data", data, "-X", "-At", "-f", "-", dsn=None, input=script)
            assert answer.stdout.strip() == "accept", answer.stderr
            assert run("doctor", "--dsn", dsn, dsn=None).returncode == 0
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
    deadline = time.monotonic() + 10
    while (data / "postgres" / "postmaster.pid").exists():
        assert time.monotonic() < deadline, "the server outlived `voxprint up`"
        time.sleep(0.05)


def test_sql_passes_psql_exit_code_on(run) -> None:
    assert run("sql", "-X", "-c", "SELECT 1").returncode == 0
    assert run("sql", "-X", "-c", "SELECT 1/0").returncode == 1


def test_evaluate_prints_error_rates(run, voices: Path, tmp_path: Path) -> None:
    rows = [f"{int(a == b)}\t{a}/1.wav\t{b}/2.wav" for a in ("Amy", "Fei") for b in ("Amy", "Fei")]
    trials = tmp_path / "trials.tsv"
    trials.write_text("label\tenrol\ttest\n" + "\n".join(rows) + "\n")
    done = run("evaluate", trials, "--root", voices, "--json", dsn=None)
    assert done.returncode == 0, done.stderr
    assert "eer" in json.loads(done.stdout)
