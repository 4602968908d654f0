"""The command line as a user meets it: in its own process, with its exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import psycopg
import pytest
from brought import bring

from voxprint.cli import cli
from voxprint.demo.recordings import joined
from voxprint.encoder.spec import find_model

VOXPRINT = Path(sys.executable).with_name("voxprint")
ACCEPT, REJECT, ERROR, INCONCLUSIVE = 0, 1, 2, 3


def cut_short(path: Path, seconds: float) -> None:
    """Leave the beginning of a WAVE file of 16-bit mono samples."""
    with wave.open(str(path)) as whole:
        rate = whole.getframerate()
        samples = whole.readframes(int(seconds * rate))
    with wave.open(str(path), "wb") as cut:
        cut.setnchannels(1)
        cut.setsampwidth(2)
        cut.setframerate(rate)
        cut.writeframes(samples)


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


def test_a_decision_is_printed_with_what_it_rests_on(run, voices: Path) -> None:
    run("enroll", "Amy", voices / "Amy" / "1.wav", voices / "Amy" / "2.wav")
    done = run("verify", "Amy", voices / "Amy" / "5.wav", "--far", "0.02", "--record")
    first, *rest = done.stdout.splitlines()
    assert first.startswith(("accept: score 0.", "inconclusive: "))
    assert "s of speech" in done.stdout
    assert "compared with the" in rest[-1]
    assert "decision 1" in rest[-1]
    fixed = run("verify", "Amy", voices / "Amy" / "5.wav", "--threshold", "0.99")
    assert fixed.returncode == REJECT
    assert "by the score threshold given" in fixed.stdout
    assert run("verify", "Amy", voices / "Amy" / "5.wav", "--far", "1").returncode == ERROR
    assert run("verify", "Amy", voices / "Amy" / "5.wav", "--far", "often").returncode == ERROR


def test_too_little_speech_is_inconclusive_and_says_so(run, voices: Path) -> None:
    cut_short(voices / "Amy" / "1.wav", 1.5)
    enrolled = run("enroll", "Amy", voices / "Amy" / "1.wav")
    assert enrolled.returncode == 0
    assert "Amy is not ready: 1." in enrolled.stdout
    asked = run("verify", "Amy", voices / "Amy" / "5.wav")
    assert asked.returncode == INCONCLUSIVE
    assert asked.stdout.startswith("inconclusive: ")
    assert "too little speech of this person is enrolled" in asked.stdout
    assert run("enroll", "Amy", voices / "Amy" / "2.wav").stdout.endswith("Amy is ready\n")
    folder = run("enroll", "--folder", voices)
    assert "not ready" not in folder.stdout + folder.stderr


def test_identify_answers_with_a_person_or_nobody(run, voices: Path) -> None:
    assert run("identify", voices / "Fei" / "1.wav").returncode == REJECT
    for name in ("Amy", "Boris"):
        run("enroll", name, *(voices / name / f"{n}.wav" for n in (1, 2, 3)))
    nobody = run("identify", voices / "Fei" / "1.wav", "--fpir", "0.001", "-k", "1")
    assert nobody.returncode in (REJECT, INCONCLUSIVE)
    assert nobody.stdout.startswith(("nobody\n", "inconclusive: perhaps "))
    assert "margin" in nobody.stdout
    assert "Amy" in run("identify", voices / "Amy" / "5.wav").stdout.splitlines()[0]


def test_a_watchlist_is_looked_into_where_asked(run, voices: Path) -> None:
    assert run("group", "create", "fraud", "--watchlist").returncode == 0
    run("enroll", "Amy", voices / "Amy" / "1.wav")
    run("enroll", "Fei", voices / "Fei" / "1.wav", "--group", "fraud")
    watched = run("verify", "Amy", voices / "Fei" / "1.wav", "--watchlist", "fraud")
    assert "on watchlist: fraud" in watched.stdout
    assert "yes" in run("group", "list").stdout


def test_a_spoilt_reference_is_found_and_mended(run, voices: Path) -> None:
    run("enroll", "Amy", *(voices / "Amy" / f"{n}.wav" for n in (1, 2, 3)))
    spoilt = run("enroll", "Amy", voices / "Boris" / "1.wav")
    assert "warning: unlike what is enrolled of this person" in spoilt.stdout
    assert run("cohesion", "Amy").stdout.count("of another voice") == 1
    (bad,) = [u for u in json.loads(run("cohesion", "Amy", "--json").stdout) if u["outlier"]]
    removed = run("forget", "Amy", "--utterance", bad["utterance_id"])
    assert "1 utterances" in removed.stdout, removed.stderr
    assert "of another voice" not in run("cohesion", "Amy").stdout
    assert run("duplicates").stdout == "every name seems to have a voice of its own\n"


def test_two_people_in_one_recording_are_refused_by_name(run, voices: Path) -> None:
    both = voices / "both.wav"
    both.write_bytes(joined([voices / "Amy" / "1.wav", voices / "Boris" / "1.wav"]))
    done = run("enroll", "Amy", voices / "Amy" / "2.wav", both)
    assert done.returncode == ERROR
    assert done.stderr.count(str(both)) == 1
    assert "hint:" in done.stderr
    told = json.loads(run("enroll", "Amy", both, "--json").stdout)["error"]
    assert told["code"] == "failure_to_enroll"
    assert told["reasons"] == ["more_than_one_speaker"]
    assert json.loads(run("list", "--json").stdout) == []
    overruled = run("enroll", "Amy", both, "--overrule")
    assert "warning: seems to hold more than one speaker" in overruled.stdout


def test_quality_tells_of_recordings_without_a_database(run, voices: Path) -> None:
    (voices / "bad.wav").write_text("words")
    done = run("quality", voices / "Amy" / "1.wav", voices / "bad.wav", dsn="host=/nowhere")
    assert done.returncode == ERROR
    assert "bad.wav" in done.stderr
    assert "SNR dB" in done.stdout
    told = json.loads(run("quality", voices / "Amy" / "1.wav", "--json", dsn=None).stdout)
    assert 3 < told[0]["speech_seconds"] < told[0]["seconds"]
    assert told[0]["quality"]["bandwidth_hz"] > 4200
    assert told[0]["quality"]["reasons"] == []


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
            ("cohesion", "Amy"),
            ("duplicates",),
            ("forget", "Amy"),
        )
    }
    assert answers["enroll"][0]["result"]["added"] is True
    assert answers["enroll"][0]["result"]["ready"] is True
    assert answers["verify"]["decision"] == "accept"
    assert {"llr", "threshold_llr", "reject_llr", "reasons", "probe"} <= answers["verify"].keys()
    assert answers["verify"]["probe"]["speech_seconds"] > 3
    assert answers["cohesion"][0]["outlier"] is False
    assert answers["duplicates"] == []
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
        (("calibrate",), "TRIALS"),
        (("calibrate", "nowhere.tsv"), "--root"),
        (("calibrate", "--from-decisions", "--far", "2"), "between 0 and 1"),
        (("calibrate", "--from-decisions"), "calibration"),
        (("cohesion", "nobody"), "nobody"),
        (("duplicates", "--far", "0"), "far"),
        (("group", "create", ""), "group"),
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


def test_up_serves_a_model_of_ones_own_by_its_name(open_folder: Path, run, voices: Path) -> None:
    data, model = open_folder / "data", bring(open_folder, name="own")
    with subprocess.Popen(
        [str(VOXPRINT), "up", "--data", str(data), "--model", str(model), "--json"],
        stdout=subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if k != "VOXPRINT_DSN"},
    ) as process:
        try:
            assert process.stdout is not None
            dsn = json.loads(process.stdout.readline())["dsn"]
            with psycopg.connect(dsn, autocommit=True) as db:
                db.execute("SELECT voxprint.configure('default_model', 'own')")
                recording = (voices / "Amy" / "1.wav").read_bytes()
                db.execute("SELECT voxprint.enroll('Amy', %s::bytea)", [recording])
                said = db.execute(
                    "SELECT name, spec_hash FROM voxprint.models WHERE name = 'own'"
                    " AND EXISTS (SELECT FROM voxprint.list_utterances('Amy') u"
                    " WHERE u.model = 'own')"
                ).fetchone()
            assert said == ("own", find_model(model).hash)
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0


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
