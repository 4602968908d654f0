"""The loop learns, goes on where it was broken off, and never spoils its last good checkpoint."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from made import CPU, TINY, corpus, student, targets, training

from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import ModelFileError, TrainingDiverged, UsageError
from voxprint.training.features import Filterbank
from voxprint.training.loop import chosen_device
from voxprint.training.losses import distillation
from voxprint.training.speech import Speech


def tiny(**train):
    return replace(TINY, train=replace(TINY.train, **train))


def distance(network) -> float:
    """Mean of one minus the cosine between undamaged seconds of speech and their targets."""
    which = torch.arange(8)
    speech = Speech(corpus(), (1.0,), CPU)
    sound = speech.cut(0, which, torch.zeros_like(which), 16000, coded=False)
    with torch.no_grad():
        return float(
            distillation(
                network.eval()(Filterbank(DEFAULT_MODEL.fbank)(sound)), targets().vectors[0]
            )
        )


@pytest.mark.parametrize("head", ["none", "am_softmax"])
def test_a_tiny_training_lowers_its_loss(head):
    config = tiny(steps=40, rate=5e-3, average=0.8)
    config = replace(config, loss=replace(config.loss, head=head))
    network = student()
    before = distance(network)
    state = training(config, network).run()
    assert state.step == 40
    assert distance(network) < 0.6 * before
    assert ("head" in state.history[0]) == (head != "none")


def test_batch_statistics_are_held():
    network = student()
    before = {name: value.clone() for name, value in network.named_buffers()}
    training(tiny(steps=2), network).run()
    assert all(torch.equal(before[name], value) for name, value in network.named_buffers())
    assert not network.training


class Broken(Exception):
    """Somebody pulled the plug."""


def breaks_off(at: int):
    """Said a line a step: one that is never heard of again is where the training was ended."""
    lines = []

    def say(line: str) -> None:
        lines.append(line)
        if len(lines) == at:
            raise Broken

    return say


@pytest.mark.parametrize("head", ["none", "aam_softmax"])
def test_a_training_that_was_broken_off_ends_as_one_that_was_not(tmp_path, head):
    config = replace(tiny(steps=7), loss=replace(TINY.loss, head=head))
    straight, resumed = student(), student()
    whole = training(config, straight).run()
    with pytest.raises(Broken):
        training(config, student(), checkpoint=tmp_path / "c.pt", say=breaks_off(5)).run()
    again = training(config, resumed, checkpoint=tmp_path / "c.pt")
    assert again.state.step == 4
    state = again.run()
    assert state.step == whole.step == 7
    assert state.seconds > 0
    for (name, mine), other in zip(
        straight.state_dict().items(), resumed.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, other), name


def test_a_finished_training_is_not_trained_again(tmp_path):
    first, again = student(), student()
    training(tiny(steps=3), first, checkpoint=tmp_path / "c.pt").run()
    lines = []
    state = training(tiny(steps=3), again, checkpoint=tmp_path / "c.pt", say=lines.append).run()
    assert (state.step, lines) == (3, [])
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)
    )


def test_a_training_may_be_made_longer_and_its_batches_smaller(tmp_path):
    training(tiny(steps=2), checkpoint=tmp_path / "c.pt").run()
    longer = tiny(steps=4)
    longer = replace(longer, batch=replace(longer.batch, seconds=2.0, most=3))
    assert training(longer, checkpoint=tmp_path / "c.pt").run().step == 4


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (tiny(rate=5e-4), "train.rate was 0.001, is 0.0005"),
        (replace(TINY, loss=replace(TINY.loss, head="softmax")), "loss.head was 'none'"),
        (replace(TINY, batch=replace(TINY.batch, short=(0.5,))), "batch.short was (0.5, 0.75)"),
        (replace(TINY, data=replace(TINY.data, fold="B")), "data.fold was 'A', is 'B'"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(tmp_path, other, named):
    training(tiny(steps=1), checkpoint=tmp_path / "c.pt").run()
    with pytest.raises(ModelFileError, match="of another") as raised:
        training(other, checkpoint=tmp_path / "c.pt")
    assert named in str(raised.value)
    assert str(tmp_path / "c.pt") in str(raised.value)
    assert "remove the file" in raised.value.hint


def test_a_checkpoint_of_other_corpora_is_refused(tmp_path):
    training(tiny(steps=1), checkpoint=tmp_path / "c.pt").run()
    with pytest.raises(ModelFileError, match="of 9 recordings at 2 speeds, got one of 8") as raised:
        training(
            tiny(steps=1),
            goal=replace(targets(), vectors=targets().vectors[:, [*range(8), 0]]),
            checkpoint=tmp_path / "c.pt",
        )
    assert "corpora" in raised.value.hint


def test_a_checkpoint_of_another_network_or_of_none_is_refused(tmp_path):
    file = tmp_path / "c.pt"
    training(tiny(steps=1), student(dim=4), checkpoint=file).run()
    with pytest.raises(ModelFileError, match="of this network") as raised:
        training(tiny(steps=1), student(dim=8), checkpoint=file)
    assert "dense" in str(raised.value)
    assert len(str(raised.value)) < 500
    whole = file.read_bytes()
    torch.save({"student": {}}, tmp_path / "foreign.pt")
    for content in (whole[: len(whole) // 2], b"", (tmp_path / "foreign.pt").read_bytes()):
        file.write_bytes(content)
        with pytest.raises(ModelFileError, match="checkpoint of a training"):
            training(tiny(steps=1), checkpoint=file)


_FULL_DISK = """
import resource, sys
from pathlib import Path
from dataclasses import replace
from made import TINY, training

file, lines = Path(sys.argv[1]), []
config = replace(TINY, train=replace(TINY.train, steps=5, checkpoint_seconds=3600.0))
running = training(config, checkpoint=file, say=lines.append)
# As a disk that fills up half-way: no file may grow beyond this.
resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size // 2,) * 2)
running.run()
sys.stdout.write(lines[-1])
"""


def test_a_disk_that_is_full_in_mid_checkpoint_leaves_the_last_good_one(tmp_path):
    file = tmp_path / "c.pt"
    training(tiny(steps=3), checkpoint=file).run()
    good = file.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(file)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "the last good one stays" in done.stdout
    assert str(tmp_path) in done.stdout
    assert file.read_bytes() == good
    assert list(tmp_path.iterdir()) == [file], "nothing half-written is left"
    assert training(tiny(steps=4), checkpoint=file).run().step == 4


def test_a_loss_that_is_not_finite_ends_the_training_before_it_is_saved(tmp_path):
    file = tmp_path / "c.pt"
    training(tiny(steps=2), checkpoint=file).run()
    good = file.read_bytes()
    # What a learning rate that is too high comes to in the end.
    running = training(
        tiny(steps=6),
        goal=replace(targets(), vectors=targets().vectors * float("nan")),
        checkpoint=file,
    )
    with pytest.raises(TrainingDiverged, match="step 3") as raised:
        running.run()
    assert "train.rate" in raised.value.hint
    assert file.read_bytes() == good


def test_without_an_end_there_is_no_beginning():
    with pytest.raises(UsageError, match=r"train\.steps or train\.max_seconds"):
        training(tiny(steps=0))


def test_time_ends_a_training_too(tmp_path):
    state = training(tiny(steps=0, max_seconds=0.5)).run()
    assert state.step >= 1
    assert 0.5 <= state.seconds < 30


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_is_not_demanded_in_vain():
    assert chosen_device("auto") == chosen_device("cpu") == CPU
    with pytest.raises(UsageError, match="expected a GPU") as raised:
        chosen_device("cuda")
    assert "train.device" in raised.value.hint


def test_a_device_that_nobody_knows_is_refused():
    with pytest.raises(UsageError, match="auto, cpu or cuda"):
        chosen_device("tpu")
