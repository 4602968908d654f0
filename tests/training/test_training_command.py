"""``voxprint train`` from a folder of recordings to weights and figures, and what stops it."""

from __future__ import annotations

import gc
import json
import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from made import write_corpora

from voxprint.cli import cli
from voxprint.errors import ModelFileError, UsageError, VoxprintError
from voxprint.training.ecapa import Ecapa
from voxprint.training.network import campplus, read_arrays

CONFIG = """
[data]
sets = ["talk"]
fold = "A"
speeds = [1.0, 0.9]
workers = 1

[batch]
seconds = 4.0
most = 16
short = [0.5, 0.75]
long = [1.0]

[train]
steps = 3
device = "cpu"

[measure]
lists = ["pairs"]
whole = []
conditions = ["full", "0.5s"]
blends = [1.0, 0.5]
"""


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Six people, two recordings each, one of which cannot be read; and a noise that cannot."""
    folder = write_corpora(tmp_path_factory.mktemp("corpora"), takes=2)
    (folder / "speech/talk/1/9.wav").write_bytes(b"no sound")
    (folder / "noise/0.wav").write_bytes(b"no noise")
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "tiny.toml"
    file.write_text(CONFIG)
    return file


@pytest.fixture(scope="module")
def train(corpora, config):
    def train(out, *arguments, source=corpora):
        given = ["train", config, "--corpora", source, "--out", out, *arguments]
        done = CliRunner().invoke(cli, [str(each) for each in given], standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        return done

    return train


@pytest.fixture(scope="module")
def finished(train, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished")
    return out, train(out)


def facts(out):
    return json.loads((out / "results.json").read_text())


def test_a_student_comes_out_whose_weights_every_reader_takes(finished, teacher):
    out, done = finished
    assert done.stdout == f"{out / 'student-A.npz'}\n"
    student = campplus(read_arrays(out / "student-A.npz")).state_dict()
    moved = [
        name
        for name, value in teacher.state_dict().items()
        if not torch.allclose(student[name].float(), value.float(), atol=1e-2, rtol=1e-2)
    ]
    assert len(moved) < len(student), "a few steps away from its teacher"
    assert any(
        not torch.equal(student[n].half(), v.half()) for n, v in teacher.state_dict().items()
    )
    assert facts(out)["training A"]["step"] == 3


def test_what_comes_out_may_lie_between_teacher_and_student(finished, train, tmp_path, teacher):
    """Not at all a student: the teacher. A quarter of one: a quarter of the way."""
    whole = read_arrays(finished[0] / "student-A.npz")
    name = "xvector.dense.linear.weight"
    begin = teacher.state_dict()[name].half().numpy()
    for share in (0.0, 0.25):
        out = shutil.copytree(finished[0], tmp_path / str(share))
        train(out, "--set", f"train.blend={share}")
        there = read_arrays(out / "student-A.npz")[name]
        expected = begin + share * (whole[name] - begin)
        assert np.abs(there - expected).max() < 1e-3 * np.abs(begin).max()
    assert np.abs(whole[name] - begin).max() > 0


def test_every_stage_is_told_of_as_it_begins(finished):
    _, done = finished
    stages = ("stage 1", "stage 2", "stages 3 and 4", "stages 5 and 6", "stage 7")
    places = [done.stderr.index(stage) for stage in stages]
    assert places == sorted(places)
    assert (finished[0] / "log.txt").read_text() == done.stderr


def test_a_training_is_watched_on_those_it_never_hears(train, tmp_path):
    often = ("--set", "measure.watch=6", "--set", "measure.watch_seconds=0.001")
    done = train(tmp_path, *often, "--set", "measure.lists=[]")
    watched = facts(tmp_path)["training A"]["watched"]
    assert watched[0]["step"] == 0
    assert watched[-1]["step"] == 3
    assert all(0 <= rate <= 50 for each in watched for rate in each["eer"]["1 s"].values())
    assert done.stderr.count("held out, EER in %") == len(watched)


def test_what_could_not_be_used_is_named_and_counted(finished):
    out, done = finished
    assert "6 recordings of 3 speakers" in done.stderr
    assert "1 skipped" in done.stderr
    assert "skipped talk/1/9.wav" in done.stderr
    assert "skipped 0.wav" in done.stderr
    corpus = facts(out)["corpus"]
    assert corpus["recordings"] == 6
    assert [line.partition(":")[0] for line in corpus["skipped"]] == ["talk/1/9.wav"]
    assert corpus["noises"] == 3


def test_the_student_is_measured_beside_its_teacher_on_the_other_fold(finished):
    rows = facts(finished[0])["measured A"]
    assert [(row["list"], row["condition"]) for row in rows] == [
        ("pairs", "full"),
        ("pairs", "0.5s"),
    ]
    for row in rows:
        for who in ("teacher", "student 1", "student 1 on teacher", "student 0.5"):
            assert 0 <= row[who]["eer"] <= 100
            # Three people of fold B with two recordings each.
            assert (row[who]["targets"], row[who]["nontargets"], row[who]["failed"]) == (3, 12, 0)


def test_the_same_command_again_goes_on_from_what_is_done(finished, train, tmp_path):
    out = shutil.copytree(finished[0], tmp_path / "out")
    before = read_arrays(out / "student-A.npz")
    done = train(out, "--set", "train.checkpoint_seconds=1")
    assert facts(out)["training A"]["step"] == 3
    assert " step " not in done.stderr
    after = read_arrays(out / "student-A.npz")
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_checkpoint_of_another_configuration_is_refused_at_once_and_nothing_is_lost(
    finished, train, tmp_path
):
    out = shutil.copytree(finished[0], tmp_path / "out")
    known = {each.name: each.read_bytes() for each in out.iterdir() if each.is_file()}
    with pytest.raises(ModelFileError, match=r"train\.rate was 0\.0002, is 0\.001"):
        train(out, "--set", "train.rate=1e-3")
    with pytest.raises(UsageError, match=r"speakers\.tsv"):
        train(out, source=tmp_path)
    now = {each.name: each.read_bytes() for each in out.iterdir() if each.is_file()}
    assert now.pop("log.txt").startswith(known.pop("log.txt"))
    assert now == known


def test_features_made_for_other_conditions_are_not_taken(finished, train, tmp_path):
    out = shutil.copytree(finished[0], tmp_path / "out")
    train(out, "--set", 'measure.conditions=["full", "1s", "noise10"]')
    rows = facts(out)["measured A"]
    assert [row["condition"] for row in rows] == ["full", "1s", "noise10"]
    assert all(row["teacher"]["failed"] == 0 for row in rows)


def test_a_probe_that_cannot_be_heard_is_a_failed_trial(train, corpora, tmp_path):
    source = shutil.copytree(corpora, tmp_path / "corpora")
    (source / "speech/talk/2/0.wav").write_bytes(b"no sound")
    train(tmp_path / "out", "--set", "data.coded=false", source=source)
    full = facts(tmp_path / "out")["measured A"][0]["teacher"]
    assert (full["targets"], full["nontargets"], full["failed"]) == (2, 8, 5)


def test_a_student_from_nothing_is_measured_beside_the_teacher_and_not_with_it(train, tmp_path):
    settings = {
        "network.kind": '"ecapa"',
        "network.begin": '"nothing"',
        "network.moments": "4",
        "measure.blends": "[1.0]",
        "loss.head": '"am_softmax"',
        "loss.cosine": "0.0",
        "loss.contrastive": "0.0",
        "data.coded": "false",
    }
    given = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    done = train(tmp_path, *given)
    assert "targets made" not in done.stderr
    assert "no graph" in done.stderr
    weights = read_arrays(tmp_path / "student-A.npz")
    network = Ecapa(moments=4)
    network.load_state_dict({n: torch.from_numpy(v) for n, v in weights.items()}, strict=False)
    assert set(weights) == {n for n in network.state_dict() if "num_batches" not in n}
    for row in facts(tmp_path)["measured A"]:
        assert 0 <= row["student 1"]["eer"] <= 100
        assert row["student 1"]["failed"] == 0
        assert "student 1 on teacher" not in row


def test_without_trials_there_is_a_student_and_nothing_to_measure(train, tmp_path):
    done = train(tmp_path, "--set", "measure.lists=[]", "--set", "data.coded=false")
    assert "nothing to measure on" in done.stderr
    assert (tmp_path / "student-A.npz").is_file()
    assert "measured A" not in facts(tmp_path)


def test_three_students_on_each_fold_and_on_both(train, tmp_path):
    settings = [
        "--set",
        "train.steps=2",
        "--set",
        "data.coded=false",
        "--set",
        "measure.blends=[1.0]",
    ]
    done = train(tmp_path, "--folds", "60", "60", "60", "--deadline", "600", *settings, "--json")
    printed = json.loads(done.stdout)
    names = [f"student-{run}.npz" for run in ("A", "B", "both")]
    assert printed["students"] == [str(tmp_path / name) for name in names]
    assert all((tmp_path / name).is_file() for name in names)
    found = facts(tmp_path)
    assert found["config"]["data"]["fold"] == "both"
    assert len(found["measured A"]) == len(found["measured B"]) == 2
    assert "measured both" not in found


def test_a_run_that_fails_does_not_stop_the_next_and_is_an_error_in_the_end(
    train, corpora, tmp_path
):
    """Fold A has one speaker only: nothing to train on; fold B and both are whole."""
    source = shutil.copytree(corpora, tmp_path / "corpora")
    for person in (1, 3):
        shutil.rmtree(source / "speech/talk" / str(person))
    settings = ["--set", "train.steps=1", "--set", "data.coded=false", "--set", "measure.lists=[]"]
    with pytest.raises(VoxprintError, match="run A: expected at least two speakers in fold A"):
        train(tmp_path / "out", "--folds", "60", "60", "60", *settings, source=source)
    assert not (tmp_path / "out/student-A.npz").exists()
    assert (tmp_path / "out/student-B.npz").is_file()
    assert (tmp_path / "out/student-both.npz").is_file()


def test_too_little_memory_halves_the_batch_and_lets_go_of_the_first_try(
    train, tmp_path, monkeypatch
):
    step, others = torch.optim.AdamW.step, []

    def without_memory(self, *arguments, **more):
        if not others:
            others.append(self)
            raise torch.OutOfMemoryError("of 80 GiB none is free")
        if len(others) == 1:
            others[0] = None  # what still holds it now would hold it on the device
            others.append(sum(type(each) is torch.optim.AdamW for each in gc.get_objects()))
        return step(self, *arguments, **more)

    monkeypatch.setattr(torch.optim.AdamW, "step", without_memory)
    quick = ["--set", "measure.lists=[]", "--set", "data.coded=false"]
    done = train(tmp_path, *quick)
    assert "batches of half the size, 2 s" in done.stderr
    assert others == [None, 1]
    batch = facts(tmp_path)["training A"]["batch"]
    assert (batch["seconds"], batch["most"]) == (2.0, 8)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_demanded_and_missing_is_said_at_once(train, tmp_path):
    with pytest.raises(UsageError, match="expected a GPU"):
        train(tmp_path / "out", "--set", 'train.device="cuda"')
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--deadline", "10"], "--folds"),
        (["--set", "train.pace=3"], "'pace'"),
        (["--set", 'measure.lists=["absent"]'], r"absent\.tsv"),
        (["--weights", "absent.pt"], r"absent\.pt"),
        (["--work", "/dev/null/below"], "folder to write to"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_decoded(train, tmp_path, arguments, named):
    with pytest.raises(VoxprintError, match=named):
        train(tmp_path / "out", *arguments)
    log = tmp_path / "out" / "log.txt"
    assert not log.exists() or "stage 1" not in log.read_text()


def test_no_corpora_is_said(train, tmp_path):
    with pytest.raises(UsageError, match=r"speakers\.tsv"):
        train(tmp_path / "out", source=tmp_path / "absent")


def test_a_device_is_checked_against_serving(capsys, tmp_path):
    """``python -m voxprint.training.devicecheck``, as it is run before a GPU is trusted."""
    from voxprint.encoder.sources import fetch
    from voxprint.encoder.spec import DEFAULT_MODEL
    from voxprint.training import devicecheck

    weights, options = str(fetch(DEFAULT_MODEL)), tmp_path / "options.txt"
    arguments = ["--weights", weights, "--device", "cpu", "--seconds", "2"]
    assert devicecheck.main([*arguments, "--options", str(options)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("smallest cosine 1.000000") == 2
    assert "codecs: gsm opus6k" in printed
    assert options.read_text().startswith("--set train.channels_last=")
