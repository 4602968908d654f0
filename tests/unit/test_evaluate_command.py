"""``voxprint evaluate`` on scores made elsewhere: no recording, no encoder, all it writes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from brought import bring
from click.testing import CliRunner
from talking import talk, wav

from voxprint.cli import cli
from voxprint.errors import EmptyTrials, UsageError


@pytest.fixture
def run():
    def run(*arguments):
        done = CliRunner().invoke(cli, ["evaluate", *map(str, arguments)], standalone_mode=False)
        if isinstance(done.exception, Exception):
            raise done.exception
        return done.output

    return run


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A key of NIST and scores of Kaldi: 20 models, 40 segments, one without a score."""
    folder = tmp_path_factory.mktemp("scores")
    random = np.random.default_rng(0)
    key = ["modelid\tsegmentid\tside\ttargettype\tgender"]
    scores = []
    for model in range(20):
        for segment in range(40):
            same = segment // 2 == model
            gender = "f" if model % 2 else "m"
            word = "target" if same else "nontarget"
            key.append(f"m{model}\ts{segment}\ta\t{word}\t{gender}")
            if (model, segment) != (0, 0):
                scores.append(f"m{model} s{segment} {random.normal(2 if same else -2, 1):.4f}")
    (folder / "key.tsv").write_text("\n".join(key) + "\n")
    (folder / "scores.txt").write_text("\n".join(scores) + "\n")
    return folder


def test_scores_are_measured_for_the_list_and_its_parts(run, files):
    arguments = [files / "key.tsv", "--scores", files / "scores.txt", "--by", "gender"]
    facts = json.loads(run(*arguments, "--far", "0.05", "--json"))
    whole, women, men = facts["results"]
    assert (whole["n_target"], whole["n_nontarget"]) == (39, 760)
    assert (whole["unscored_target"], whole["unscored_nontarget"]) == (1, 0)
    assert (women["value"], men["value"]) == ("f", "m")
    assert women["n_target"] + men["n_target"] == 39
    assert 0 < whole["eer"]["value"] < 0.1
    assert list(whole["frr_at_far"]) == ["0.05"]
    assert whole["llr"] is None
    assert (facts["model"], facts["speakers"]) == (None, 20)
    text = run(*arguments)
    assert "gender=f" in text
    assert "cosine" not in text


def test_llrs_are_measured_as_such(run, files):
    llr = json.loads(run(files / "key.tsv", "--scores", files / "scores.txt", "--llr", "--json"))[
        "llr"
    ]
    assert 0 < llr["min_cllr"] <= llr["cllr"] < 0.3
    assert llr["act_dcf"] >= llr["min_dcf"]
    assert "actDCF" in run(files / "key.tsv", "--scores", files / "scores.txt", "--llr")


def test_all_that_is_written(run, files, tmp_path):
    run(
        files / "key.tsv",
        *("--scores", files / "scores.txt", "--llr", "--out-format", "nist"),
        *("--scores-out", tmp_path / "llrs.tsv", "--trials-out", tmp_path / "key.tsv"),
        *("--plot", tmp_path / "plots", "--markdown", tmp_path / "tables.md"),
    )
    assert (tmp_path / "llrs.tsv").read_text().startswith("modelid\tsegmentid\tside\tLLR\nm0\ts1\t")
    assert (tmp_path / "key.tsv").read_text().startswith("modelid\tsegmentid\tside\ttargettype\n")
    pictures = {path.name for path in (tmp_path / "plots").iterdir()}
    assert pictures == {"det.png", "scores.png", "llrs.png"}
    assert "| 39 / 760 |" in (tmp_path / "tables.md").read_text()
    again = run(tmp_path / "key.tsv", "--scores", tmp_path / "llrs.tsv", "--json")
    assert json.loads(again)["llr"] is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected --root with the recordings, or --scores"),
        (("--scores", "{scores}", "--condition", "1s"), "got both: conditions"),
        (("--scores", "{scores}", "--gallery", "10"), "got both: galleries"),
        (("--root", ".", "--far", "2"), "rates between 0 and 1 after --far, got 2"),
        (("--root", ".", "--far", "low"), "expected rates such as"),
        (("--root", ".", "--gallery", "some"), "numbers of people, or all"),
        (("--scores", "{scores}", "--by", "age"), "got 'age'; it has gender"),
        (("--scores", "{scores}", "--format", "tsv"), "expected the format tsv"),
        (("--scores", "{scores}", "--markdown", "no/where.md"), "in a folder that is there"),
        (("--scores", "{scores}", "--out-format", "nist", "--scores-out", "{key}x"), "log-likeli"),
        (("--scores", "nowhere"), "cannot read the score file nowhere"),
    ],
)
def test_what_cannot_be_done_is_said(run, files, arguments, message):
    places = {"{scores}": files / "scores.txt", "{key}x": files / "out.tsv"}
    with pytest.raises(UsageError, match=message):
        run(files / "key.tsv", *(places.get(each, each) for each in arguments))


def test_an_unknown_condition_is_refused_before_the_encoder_is_there(run, tmp_path):
    (tmp_path / "1.wav").touch()
    (tmp_path / "2.wav").touch()
    (tmp_path / "3.wav").touch()
    trials = tmp_path / "list"
    trials.write_text("1 1.wav 2.wav\n0 1.wav 3.wav\n")
    with pytest.raises(UsageError, match="expected a condition of the steps full, <seconds>s"):
        run(trials, "--root", tmp_path, "--condition", "full,loud", "--weights", "/nowhere")


def test_scores_of_one_kind_of_trial_make_no_rate(run, files, tmp_path):
    few = tmp_path / "few.txt"
    few.write_text("m0 s1 2.0\n")
    with pytest.raises(EmptyTrials, match=r"no nontarget trial of key\.tsv has a score"):
        run(files / "key.tsv", "--scores", few)


def test_a_network_of_ones_own_is_measured_without_a_calibration(run, tmp_path):
    for person in range(3):
        for take in range(2):
            (tmp_path / f"{person}{take}.wav").write_bytes(wav(talk(person, take=take)))
    rows = [f"{int(a == b)}\t{a}0.wav\t{b}1.wav" for a in range(3) for b in range(3)]
    (tmp_path / "trials.tsv").write_text("label\tenrol\ttest\n" + "\n".join(rows) + "\n")
    arguments = [tmp_path / "trials.tsv", "--root", tmp_path, "--model", bring(tmp_path), "--json"]
    facts = json.loads(run(*arguments))
    (result,) = facts["results"]
    assert (facts["model"], facts["threshold"]) == ("brought", 0.5)
    assert (result["n_target"], result["n_nontarget"]) == (3, 6)
    assert 0 <= result["eer"]["value"] <= 1
    assert result["llr"] is None
