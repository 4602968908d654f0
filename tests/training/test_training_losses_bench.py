"""``python -m benchmarks.training.losses``: every loss from nothing, resumable, with intervals."""

from __future__ import annotations

import json

import pytest
from made import write_corpora

from benchmarks.training import losses
from benchmarks.training.interval import mean_and_half

SETTINGS = [
    *('data.sets=["talk"]', "data.speeds=[1.0]", "batch.seconds=4.0", "batch.most=6"),
    *("batch.short=[0.5]", "batch.long=[1.0]", "batch.late=[1.0]"),
]
ARGUMENTS = [
    *("--device", "cpu", "--steps", "1", "--seeds", "1", "--workers", "1", "--no-more"),
    *(word for each in SETTINGS for word in ("--set", each)),
]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return write_corpora(tmp_path_factory.mktemp("corpora"), takes=2)


def test_what_is_trained_is_not_trained_again(corpora, tmp_path, capsys):
    given = ["--corpora", str(corpora), "--out", str(tmp_path), *ARGUMENTS]
    assert losses.main([*given, "--heads", "softmax"]) == 0
    first = (tmp_path / "runs.jsonl").read_text()
    run = json.loads(first)
    assert (run["name"], run["fold"], run["steps"]) == ("softmax", "A", 1)
    assert set(run["eer"]["3 s"]) == {"talk"}
    # Broken off in the middle of a line.
    (tmp_path / "runs.jsonl").write_text(first + '{"key": "12')
    capsys.readouterr()
    assert losses.main([*given, "--heads", "softmax", "am_softmax"]) == 0
    printed = capsys.readouterr()
    assert "2 trainings, 1 of them done" in printed.err
    assert "decoding" not in printed.err
    assert "| am_softmax | 1 |" in printed.out
    assert losses.main(["--out", str(tmp_path), "--report", *ARGUMENTS]) == 0
    assert "| am_softmax | 1 |" in capsys.readouterr().out


def known(rates: dict[str, list[float]]) -> tuple[list[losses.Run], dict]:
    """Trainings of each loss on fold A, one a seed, and what they came to at 3 s."""
    given = losses.parsed(["--out", "x", "--report", "--steps", "1", "--seeds", "3"])
    runs = [run for run in losses.planned(given) if run.name in rates]
    found = {
        run.key: {
            "steps": 1,
            "device": "cpu",
            "eer": {"3 s": {losses.SETS[0]: rates[run.name][run.seed], "few people": 99.0}},
        }
        for run in runs
    }
    return runs, found


def test_a_change_is_that_of_pairs_of_one_seed():
    """Means of 11 and 10 with wide intervals; but each seed gained exactly one point."""
    rates = {"softmax": [10.0, 11.0, 12.0], "aam_softmax": [9.0, 10.0, 11.0]}
    lines = losses.report(*known(rates))
    assert "| softmax | 3 | 11.00 ± 2.48 |" in lines
    assert "| aam_softmax | 3 | 10.00 ± 2.48 |" in lines
    assert "| aam_softmax | 3 | -1.00 ± 0.00 |" in lines


def test_a_report_takes_what_is_there():
    runs, found = known({"softmax": [10.0, 11.0, 12.0]})
    kept = {run.key: found[run.key] for run in runs[:1]}
    assert "| softmax | 1 | 10.00 |" in losses.report(runs, kept)


def test_trainings_differ_in_their_keys():
    given = losses.parsed(["--out", "x", "--report", "--steps", "1", "--folds", "A", "B"])
    runs = list(losses.planned(given))
    assert len({run.key for run in runs}) == len(runs) == 2 * 3 * 7
    elsewhere = losses.parsed(
        ["--out", "x", "--report", "--steps", "1", "--folds", "A", "B", "--workers", "9"]
    )
    assert [run.key for run in losses.planned(elsewhere)] == [run.key for run in runs]


def test_the_interval_is_students():
    mean, half = mean_and_half([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert half == pytest.approx(4.30 / 3**0.5)
