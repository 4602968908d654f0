"""``python -m benchmarks.training.trials``: students beside their teacher, and what is kept."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from made import CPU, write_corpora

from benchmarks.training import trials
from voxprint.encoder.sources import fetch
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.training.corpus import noise_paths
from voxprint.training.export import write_weights
from voxprint.training.measure import Heard, compare, read_lists
from voxprint.training.network import read_arrays
from voxprint.training.probes import start_probes

CONDITIONS = ("full", "0.5s", "noise0")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Twelve people, three recordings each; of one in fold B nothing can be heard."""
    folder = write_corpora(tmp_path_factory.mktemp("corpora"), people=range(1, 13), seconds=1.5)
    (folder / "speech/talk/2/0.wav").write_bytes(b"no sound")
    (folder / "noise/1.wav").write_bytes(b"no noise")
    return folder


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The published weights as a student's file has them."""
    file = tmp_path_factory.mktemp("good") / "good.npz"
    write_weights(read_arrays(fetch(DEFAULT_MODEL)), file)
    return file


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """Weights that tell voices apart by two of their embedding's numbers alone."""
    arrays = read_arrays(fetch(DEFAULT_MODEL))
    for name in ("linear.weight", "nonlinear.batchnorm.running_mean"):
        arrays[f"xvector.dense.{name}"][2:] = 0
    file = tmp_path_factory.mktemp("bad") / "bad.npz"
    write_weights(arrays, file)
    return file


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def measure(corpora, work, tmp_path, capsys):
    def measure(*arguments, fold="B", source=corpora, kept=work):
        out = tmp_path / "out.json"
        given = ["--corpora", source, "--work", kept, "--fold", fold, "--out", out]
        given += ["--lists", "pairs", "--whole", "", "--replicates", "200"]
        given += ["--conditions", ",".join(CONDITIONS), *arguments]
        capsys.readouterr()
        trials.main([str(each) for each in given])
        printed = capsys.readouterr()
        return json.loads(out.read_text()), printed.out, printed.err

    return measure


def cell(found, name="pairs", condition="full"):
    (row,) = [r for r in found["rows"] if (r["list"], r["condition"]) == (name, condition)]
    return row


def test_a_student_that_is_its_teacher_has_changed_nothing(measure, good):
    found, printed, _ = measure("--teacher", good, good)
    assert [(row["list"], row["condition"]) for row in found["rows"]] == [
        (name, condition) for name in ("pairs", "mean") for condition in CONDITIONS
    ]
    for row in found["rows"]:
        for who in ("good", "good on teacher"):
            for figure in ("eer", "min_dcf"):
                assert row["systems"][who][figure] == row["systems"]["teacher"][figure]
                change = row["systems"][who][f"{figure}_change"]
                assert (change["value"], change["low"], change["high"]) == (0, 0, 0)
    assert "## good" in printed
    assert printed.count("+0.0 % [+0.0 %, +0.0 %]") == 2 * 2 * len(CONDITIONS)


def test_a_clearly_better_student_is_told_from_its_teacher(measure, good, bad):
    found, printed, _ = measure("--teacher", bad, good, "--whole", "pairs", fold="all")
    for name in ("pairs", "mean"):
        change = cell(found, name)["systems"]["good"]["eer_change"]
        assert -1 <= change["low"] <= change["value"] <= change["high"] < 0
    assert found["weights"].keys() == {"teacher", "good"}
    assert "Mean over 1 lists: pairs." in printed


def test_where_nobody_errs_no_change_is_told_and_no_upper_end(measure, good, corpora, tmp_path):
    """Two people of whom one trial each way is tried: no error, and next to no evidence."""
    source = shutil.copytree(corpora, tmp_path / "corpora")
    rows = (source / "trials/pairs.tsv").read_text().splitlines()
    kept = {("talk/4/0.wav", "talk/4/1.wav"), ("talk/4/0.wav", "talk/6/0.wav")}
    some = [row for row in rows[1:] if tuple(row.split("\t")[1:]) in kept]
    (source / "trials/pairs.tsv").write_text("\n".join([rows[0], *some]) + "\n")
    found, printed, _ = measure(good, source=source, kept=tmp_path / "work")
    systems = cell(found)["systems"]
    assert systems["teacher"]["eer"] == {"value": 0, "low": 0, "high": None}
    assert systems["good"]["eer_change"] is None
    assert "| full | 0.00 | 0.00 | – | 0.00 | – | 0.000 → 0.000 → 0.000 |" in printed


def test_every_trial_is_counted_once_heard_or_not(measure, good):
    """Six people of fold B; one recording that cannot be decoded, in whatever trial it is."""
    row = cell(measure(good)[0])
    heard = 17
    assert row["people"] == 6
    assert row["targets"] == 5 * 3 + 1
    assert row["targets"] + row["nontargets"] == heard * (heard - 1) // 2
    assert row["failed"] == heard
    fewer = cell(measure(good, "--most", "10")[0])
    assert fewer["targets"] + fewer["nontargets"] + fewer["failed"] == 20


def test_the_rates_are_those_of_the_recipe(measure, corpora, teacher, work, good, tmp_path):
    found, _, told = measure(good)
    assert "skipped 1.wav" in told
    lists = read_lists(corpora, ["pairs"], "B")
    names = sorted({name for each in lists for name in (*each.enrol, *each.test)})
    noises = [path for path in noise_paths(corpora, "measure") if path.name != "1.wav"]
    with ThreadPoolExecutor(1) as pool:
        probes = start_probes(pool, corpora, names, CONDITIONS, noises, work / "probes")
    heard = Heard(probes, CPU)
    for row in compare(lists, heard, heard.embed(teacher), {}):
        mine = cell(found, condition=row["condition"])["systems"]["teacher"]
        assert 100 * mine["eer"]["value"] == pytest.approx(row["teacher"]["eer"], abs=0.5)
        assert mine["min_dcf"]["value"] == pytest.approx(row["teacher"]["min_dcf"], abs=0.05)


def test_what_took_long_is_not_done_again(measure, corpora, work, good, bad, tmp_path):
    before, printed, _ = measure(good)
    kept = shutil.copytree(work, tmp_path / "work")
    (corpora / "speech").rename(corpora / "speech away")
    (corpora / "speech").mkdir()
    for name in {name for each in ("enrol", "test") for name in names_of(corpora, each)}:
        (corpora / "speech" / name).parent.mkdir(parents=True, exist_ok=True)
        (corpora / "speech" / name).write_bytes(b"gone")
    try:
        again, text, told = measure(good, kept=kept)
        assert (again, text) == (before, printed)
        assert "features" not in told
        assert "embedded" not in told
        shutil.rmtree(kept / "embeddings")
        assert measure(good, kept=kept)[0] == before
    finally:
        shutil.rmtree(corpora / "speech")
        (corpora / "speech away").rename(corpora / "speech")


def names_of(corpora, column):
    rows = (corpora / "trials/pairs.tsv").read_text().splitlines()
    at = rows[0].split("\t").index(column)
    return [row.split("\t")[at] for row in rows[1:]]


def test_more_recordings_than_before_add_theirs(measure, good, corpora, tmp_path):
    kept = tmp_path / "work"
    few = measure(good, "--most", "6", kept=kept)[2]
    _, _, told = measure(good, kept=kept)
    assert "18 of 18" not in told
    assert "recordings embedded" in few
    assert "recordings embedded" in told
    assert cell(measure(good, kept=kept)[0]) == cell(measure(good)[0])


def test_two_cores_find_what_one_finds(measure, good, tmp_path):
    one, two = (
        cell(measure(good, "--cores", n, kept=tmp_path / n)[0])["systems"] for n in ("1", "2")
    )
    for who in one:
        assert one[who]["eer"]["value"] == pytest.approx(two[who]["eer"]["value"], abs=0.01)


def test_weights_of_other_bytes_are_embedded_anew_under_the_same_name(measure, good, bad, tmp_path):
    file = shutil.copy(good, tmp_path / "student.npz")
    first = cell(measure(file)[0])["systems"]
    shutil.copy(bad, file)
    then = cell(measure(file)[0])["systems"]
    assert first["teacher"] == then["teacher"]
    assert first["student"] != then["student"]


def test_students_of_one_name_are_named_by_their_folders(measure, good, bad, tmp_path):
    files = []
    for folder, source in (("one", good), ("two", bad)):
        (tmp_path / folder).mkdir()
        files.append(shutil.copy(source, tmp_path / folder / "student.npz"))
    found, printed, _ = measure(*files)
    assert list(found["weights"]) == ["teacher", "one/student", "two/student"]
    assert "## two/student" in printed


def test_the_teacher_alone_is_measured_and_nothing_tells_where(measure, tmp_path, corpora, work):
    found, printed, _ = measure()
    assert list(found["weights"]) == ["teacher"]
    assert "## teacher" in printed
    for place in (tmp_path, corpora, work):
        assert str(place) not in printed + json.dumps(found)


def test_a_student_of_both_folds_is_measured_on_what_nobody_trained_on(measure, good):
    found, printed, _ = measure(good, "--whole", "pairs", "--lists", "absent", fold="all")
    assert cell(found)["people"] == 12
    assert "measured on sets nobody trained on" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent.npz"], "expected weights to measure"),
        (["--conditions", "1s"], "expected full among the conditions"),
        (["--conditions", "full,loud"], "'loud'"),
        (["--lists", ""], "expected a list with trials"),
        (["--lists", "absent"], "absent.tsv"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_heard(
    measure, tmp_path, capsys, arguments, said
):
    with pytest.raises(SystemExit) as raised:
        measure(*arguments, kept=tmp_path / "new")
    assert raised.value.code == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new" / "probes").exists()


def test_a_file_that_is_no_network_is_said_before_anything_is_heard(measure, tmp_path, capsys):
    (tmp_path / "none.npz").write_bytes(b"no weights")
    np.savez(tmp_path / "other.npz", weight=np.zeros(3, np.float16))
    for name in ("none.npz", "other.npz"):
        with pytest.raises(SystemExit):
            measure(tmp_path / name, kept=tmp_path / "new")
        assert "expected" in capsys.readouterr().err
    assert not (tmp_path / "new" / "probes").exists()


def test_a_network_that_gives_no_numbers_is_not_measured(measure, tmp_path, capsys):
    arrays = read_arrays(fetch(DEFAULT_MODEL))
    last = "xvector.dense.linear.weight"
    write_weights({**arrays, last: np.full_like(arrays[last], np.nan)}, tmp_path / "nan.npz")
    with pytest.raises(SystemExit):
        measure(tmp_path / "nan.npz")
    assert "expected finite embeddings by nan" in capsys.readouterr().err
