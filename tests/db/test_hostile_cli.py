"""What somebody careless or hostile gives to the commands that measure and calibrate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import psycopg
import pytest
import soundfile
from click.testing import CliRunner

from voxprint.cli import cli
from voxprint.errors import EmptyTrials, UsageError

TRIALS = "label\tenrol\ttest\n1\ta.wav\tb.wav\n0\ta.wav\tc.wav\n"


@pytest.fixture
def run():
    def run(*arguments: object) -> str:
        done = CliRunner().invoke(cli, [*map(str, arguments)], standalone_mode=False)
        if isinstance(done.exception, Exception):
            raise done.exception
        return done.output

    return run


@pytest.fixture
def kaldi(tmp_path: Path) -> Path:
    (tmp_path / "k.trials").write_text("a x target\na y nontarget\nb x nontarget\nb y target\n")
    return tmp_path


@pytest.fixture
def noises(tmp_path: Path) -> Path:
    """A list whose recordings hold no speech; its name is hostile, too."""
    for number, name in enumerate("abc"):
        noise = 0.1 * np.random.default_rng(number).standard_normal(32000)
        soundfile.write(tmp_path / f"{name}.wav", noise, 16000)
    (tmp_path / "{x}{}.tsv").write_text(TRIALS)
    return tmp_path


@pytest.mark.parametrize("rates", ["", ",", "1e-320", "1e-10", "0.01,nan"])
def test_rates_that_cannot_be_measured_are_refused(run, kaldi, rates) -> None:
    (kaldi / "s").write_text("a x 1\na y 0\nb x 0\nb y 1\n")
    with pytest.raises(UsageError, match="--far"):
        run("evaluate", kaldi / "k.trials", "--scores", kaldi / "s", "--far", rates)


def test_no_condition_is_refused(run, noises) -> None:
    with pytest.raises(UsageError, match="at least one condition"):
        run("evaluate", noises / "{x}{}.tsv", "--root", noises, "--condition", ",")


@pytest.mark.filterwarnings("error")
def test_the_largest_scores_are_scores(run, kaldi) -> None:
    (kaldi / "s").write_text("a x 1e308\na y -1e308\nb x -1e308\nb y 1e308\n")
    facts = json.loads(
        run("evaluate", kaldi / "k.trials", "--scores", kaldi / "s", "--llr", "--json")
    )
    (result,) = facts["results"]
    assert (result["unscored_target"], result["unscored_nontarget"]) == (0, 0)
    assert result["eer"]["value"] == 0


def test_trials_without_speech_are_refused_with_the_reason(run, noises, conninfo) -> None:
    with pytest.raises(EmptyTrials, match=r"no target trial of \{x\}\{\}\.tsv") as caught:
        run("calibrate", noises / "{x}{}.tsv", "--root", noises, "--dsn", conninfo)
    assert caught.value.hint == "recordings not acquired: 3 no_speech"


def test_nothing_is_stored_where_the_picture_cannot_be_drawn(
    run, voices: Path, conninfo, db: psycopg.Connection, tmp_path: Path
) -> None:
    files = {who: sorted((voices / who).iterdir()) for who in ("Amy", "Fei")}
    rows = [(1, *files[who][:2]) for who in files] + [(0, files["Amy"][0], files["Fei"][0])]
    lines = [f"{s}\t{a.relative_to(voices)}\t{b.relative_to(voices)}" for s, a, b in rows]
    (tmp_path / "list.tsv").write_text("\n".join(["label\tenrol\ttest", *lines, ""]))
    arguments = ["calibrate", tmp_path / "list.tsv", "--root", voices, "--dsn", conninfo]
    with pytest.raises(UsageError, match="cannot write the plot"):
        run(*arguments, "--plot", tmp_path / "missing" / "det.png")
    stored = "SELECT count(*) FROM voxprint.list_calibrations()"
    assert db.execute(stored).fetchone() == (2,)
    run(*arguments, "--plot", tmp_path / "det.anything")
    assert (tmp_path / "det.anything").read_bytes().startswith(b"\x89PNG")
    assert db.execute(stored).fetchone() == (3,)
