"""A training from nothing: batch statistics learn, margins grow, the last part is another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made import CPU, TINY, batches, corpus, training

from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import UsageError
from voxprint.training.augment import Augmenter
from voxprint.training.batches import Batches
from voxprint.training.config import Loss, Network
from voxprint.training.ecapa import Ecapa
from voxprint.training.features import Filterbank
from voxprint.training.loop import margin_at
from voxprint.training.losses import HEADS
from voxprint.training.speech import Speech
from voxprint.training.targets import no_targets

#: No teacher is asked: its targets say nothing.
NOTHING = no_targets(Speech(corpus(), TINY.data.speeds, CPU), 8)


def scratch(head: str = "aam_softmax", loss: dict | None = None, **train):
    asked = Loss(cosine=0.0, contrastive=0.0, head=head, head_weight=1.0, **(loss or {}))
    return replace(
        TINY,
        network=Network(kind="ecapa", begin="nothing"),
        loss=asked,
        train=replace(TINY.train, **train),
        batch=replace(TINY.batch, late=(1.5,)),
    )


def small() -> Ecapa:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Ecapa(dim=8, moments=4, channels=16)


def run(config, network=None, **more):
    network = network or small()
    return network, training(config, network, NOTHING, **more).run()


def told_apart(network) -> float:
    """Share of recordings of four speakers whose nearest other is of the same speaker."""
    which = torch.arange(8)
    sound = Speech(corpus(), (1.0,), CPU).cut(0, which, torch.zeros_like(which), 16000, coded=False)
    with torch.no_grad():
        vectors = torch.nn.functional.normalize(network(Filterbank(DEFAULT_MODEL.fbank)(sound)))
    nearest = (vectors @ vectors.T - 2 * torch.eye(8)).argmax(1)
    return float((nearest // 2 == which // 2).float().mean())


@pytest.mark.parametrize("head", HEADS)
def test_voices_are_told_apart_by_a_classification_head_alone(head):
    network, state = run(scratch(head, steps=40, rate=1e-2, head_rate=1e-2, average=0.8))
    assert "cosine" not in state.history[0]
    assert state.history[-1]["head"] < state.history[0]["head"]
    assert told_apart(network) >= 0.75


def test_batch_statistics_are_learned_and_averaged_as_the_weights_are():
    network, _ = run(scratch(steps=3, average=0.9))
    last, _ = run(scratch(steps=3, average=0.0))
    first = small()
    assert not network.training
    moved = [
        name
        for name, value in first.named_buffers()
        if value.is_floating_point() and not torch.equal(value, network.get_buffer(name))
    ]
    assert len(moved) == sum(b.is_floating_point() for b in first.buffers())
    for name in moved:
        # The mean over steps lies behind the last step.
        assert not torch.equal(network.get_buffer(name), last.get_buffer(name)), name


def test_the_average_so_far_hears_an_utterance_as_it_hears_a_batch():
    running = training(scratch(steps=3), small(), NOTHING)
    seen = []
    running.run(lambda: seen.append(running.averaged()))
    for network in (running.averaged(), *seen):
        rows = torch.randn(2, 60, 80, generator=torch.Generator().manual_seed(0))
        alone = torch.cat([network(rows[:1]), network(rows[1:])])
        assert torch.allclose(network(rows), alone, atol=1e-4)


def test_a_training_from_nothing_goes_on_where_it_was_broken_off(tmp_path):
    config = scratch(steps=6, late_share=0.4, loss={"margin_whole": 0.5})
    straight, _ = run(config)

    class Broken(Exception):
        pass

    lines = []

    def say(line):
        lines.append(line)
        if len(lines) == 4:
            raise Broken

    with pytest.raises(Broken):
        run(config, checkpoint=tmp_path / "c.pt", say=say)
    resumed, state = run(config, checkpoint=tmp_path / "c.pt")
    assert state.step == 6
    for (name, value), other in zip(
        straight.state_dict().items(), resumed.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name


def margins(config) -> list[float]:
    return [round(margin_at(tenth / 10, config), 6) for tenth in range(10)]


def test_the_margin_waits_then_grows_then_stays():
    loss = {"margin": 0.4, "margin_from": 0.2, "margin_whole": 0.6}
    assert margins(scratch(loss=loss)) == [0, 0, 0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4]


def test_without_growth_the_margin_is_there_at_once():
    assert margins(scratch(loss={"margin": 0.4})) == [0.4] * 10
    loss = {"margin": 0.4, "margin_from": 0.3, "margin_whole": 0.3}
    assert margins(scratch(loss=loss)) == [0.0] * 3 + [0.4] * 7


def test_the_last_part_has_a_margin_of_its_own():
    config = scratch(loss={"margin": 0.2, "late_margin": 0.5}, late_share=0.3)
    assert margins(config) == [0.2] * 7 + [0.5] * 3


def test_the_margin_of_its_time_is_what_the_head_is_asked_for():
    """Two steps: the first without a margin, the second with none or with a large one."""
    losses = []
    for late_margin in (0.0, 1.5):
        loss = {"margin": 0.0, "late_margin": late_margin}
        _, state = run(scratch(steps=2, late_share=0.5, loss=loss))
        losses.append([step["head"] for step in state.history])
    assert losses[0][0] == losses[1][0]
    assert losses[1][1] > losses[0][1] + 5


def test_the_last_part_has_lengths_of_its_own():
    made = batches(scratch())
    before, late = (
        {made.draw(late=late).samples.shape[1] for _ in range(30)} for late in (False, True)
    )
    assert late == {240 + 160 * 144}
    assert before == {240 + 160 * frames for frames in (48, 80, 96)}


def test_lengths_of_the_last_part_that_no_recording_has_are_refused():
    config = scratch()
    speech = Speech(corpus(), (1.0,), CPU)
    with pytest.raises(UsageError, match="crops of 9") as raised:
        Batches(
            speech,
            np.arange(8),
            replace(config.batch, late=(9.0,)),
            Augmenter(config.augment, [], CPU, 0),
            0,
        )
    assert "batch.late" in raised.value.hint
