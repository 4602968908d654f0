"""What the teacher makes of whole recordings, and which piece of it belongs to which crop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made import CPU, TINY, batches, corpus, student, training
from torch.nn.functional import normalize

from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.training.config import Augment
from voxprint.training.features import Filterbank
from voxprint.training.losses import frame_error
from voxprint.training.speech import Speech
from voxprint.training.targets import teacher_targets

PLAIN = Augment(noise=0, reverb=0, tilt=0, clip=0, telephone=0, loss=0, gain=(0.0, 0.0))


@pytest.fixture(scope="module")
def held():
    return corpus()


@pytest.fixture(scope="module")
def speech(held):
    return Speech(held, (1.0, 0.9), CPU)


@pytest.fixture(scope="module")
def filterbank():
    return Filterbank(DEFAULT_MODEL.fbank)


def test_targets_lie_between_an_utterance_and_the_mean_of_its_speaker(
    held, speech, teacher, filterbank
):
    own, mixed, mean = (
        teacher_targets(speech, teacher, filterbank, share).vectors for share in (0.0, 0.5, 1.0)
    )
    assert own.shape == (2, 8, 192)
    for each in (own, mixed, mean):
        assert torch.allclose(each.norm(dim=-1), torch.ones(2, 8), atol=1e-5)
    assert torch.allclose(mean[:, 0], mean[:, 1], atol=1e-6)
    expected = normalize(own[1, 2] + own[1, 3], dim=0)
    assert torch.allclose(mean[1, 2], expected, atol=1e-4)
    assert ((mixed * own).sum(-1) > (mean * own).sum(-1)).all()
    with torch.no_grad():
        # An eighth of the power of two below: what the teacher hears of 2 s is 192 of 198.
        sound = torch.from_numpy(held.heard[5][: 240 + 160 * 192].astype(np.float32) / 32768)
        vector = normalize(teacher(filterbank(sound[None])))[0]
    assert float(vector @ own[0, 5]) > 0.9999


def test_frames_are_those_of_the_crop(speech, teacher, filterbank):
    """A network hears a crop without what is around it: alike, not equal."""
    targets = teacher_targets(speech, teacher, filterbank, 0.5, frames=True)
    drawn = batches(replace(TINY, augment=PLAIN), speech)
    for _ in range(4):
        crops = drawn.draw()
        with torch.no_grad():
            heard = teacher.frames(filterbank(crops.samples))
        first, count = crops.at // 320, heard.shape[-1]
        errors = []
        for shift in (-6, 0, 6):
            right, known = targets.frames_of(
                crops.speed, crops.recording, (first + shift).clamp_min(0), count
            )
            assert right.shape == heard.shape
            errors.append(float(frame_error(heard, right, known)))
        assert errors[1] < 0.9 * min(errors[0], errors[2])


def test_beyond_the_end_of_a_recording_there_are_no_frames(speech, filterbank):
    targets = teacher_targets(speech, student(), filterbank, 0.5, frames=True)
    one = torch.tensor([1])
    count = int(targets.count[1, 1])
    right, known = targets.frames_of(one, one, one * (count - 5), 8)
    assert known[0].tolist() == [True] * 5 + [False] * 3
    assert torch.isfinite(right).all()
    wrong = right.clone()
    wrong[..., 5:] = 1000
    assert float(frame_error(wrong, right, known)) == 0
    assert float(frame_error(torch.zeros_like(right), right, known)) == pytest.approx(1)


def test_a_student_is_taught_its_teachers_frames(speech, filterbank):
    """Of the frames alone: a student that begins elsewhere comes nearer to them."""
    config = replace(
        TINY,
        augment=PLAIN,
        loss=replace(TINY.loss, cosine=0.0, contrastive=0.0, frames=1.0),
        train=replace(TINY.train, steps=30, rate=3e-3, average=0.0),
    )
    targets = teacher_targets(speech, student(), filterbank, 0.5, frames=True)
    learner = student()
    with torch.no_grad():
        learner.xvector.transit3.linear.weight.mul_(-1)
    history = training(config, learner, targets, say=lambda line: None).run().history
    assert history[-1]["frames"] < 0.8 * history[0]["frames"]


@pytest.mark.parametrize("head", ["softmax", "am_softmax", "sub_centre_aam"])
def test_a_head_that_does_not_learn_stays_where_the_speakers_are(speech, filterbank, head):
    """Perfect embeddings are told apart by it at once: it began with the means."""
    targets = teacher_targets(speech, student(), filterbank, 1.0)
    config = replace(
        TINY,
        loss=replace(TINY.loss, head=head, margin=0.0),
        train=replace(TINY.train, steps=1, head_rate=0.0),
    )
    running = training(config, goal=targets)
    before = [p.clone() for p in running.head.parameters()]
    running.run()
    assert all(torch.equal(a, b) for a, b in zip(before, running.head.parameters(), strict=True))
    logits = running.head.logits(targets.vectors.flatten(0, 1))
    classes = torch.arange(4).repeat_interleave(2) + 4 * torch.arange(2)[:, None]
    assert torch.equal(logits.argmax(1), classes.flatten())


def test_a_head_knows_only_those_it_is_trained_on(speech, filterbank):
    targets = teacher_targets(speech, student(), filterbank, 1.0)
    config = replace(TINY, loss=replace(TINY.loss, head="aam_softmax"))
    some = batches(config, speech, recordings=np.arange(2, 6))
    running = training(config, goal=targets, drawn=some)
    assert len(running.head.weight) == 4  # two speakers at two speeds
    assert running.run().step == 6
