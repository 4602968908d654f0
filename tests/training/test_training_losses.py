"""Losses by hand: every head gives the logit that its paper writes down."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from voxprint.errors import UsageError
from voxprint.training.losses import HEADS, Classifier, contrastive, distillation

S, M = 10.0, 0.3


def head(kind: str, weights: torch.Tensor, margin: float = M, **more) -> Classifier:
    made = Classifier(kind, weights.shape[1], len(weights), scale=S, margin=margin, **more)
    with torch.no_grad():
        made.weight.copy_(weights.repeat_interleave(len(made.weight) // len(weights), 0))
    return made


def turned(degrees: float, length: float = 1.0) -> torch.Tensor:
    angle = math.radians(degrees)
    return length * torch.tensor([[math.cos(angle), math.sin(angle)]])


AXES = torch.eye(2)
FIRST = torch.tensor([0])


def test_softmax_is_the_linear_layer():
    made = head("softmax", torch.tensor([[1.0, 2.0], [3.0, -1.0]]))
    with torch.no_grad():
        made.bias.copy_(torch.tensor([0.5, -0.5]))
    x = torch.tensor([[2.0, 1.0]])
    assert made.logits(x, FIRST)[0].tolist() == [4.5, 4.5]
    assert made(x, FIRST).item() == pytest.approx(math.log(2))


def test_l2_softmax_forgets_the_length_of_an_embedding_but_not_of_a_weight():
    made = head("l2_softmax", torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    logits = made.logits(torch.tensor([[3.0, 4.0]]), FIRST)[0]
    assert logits.tolist() == pytest.approx([S * 2 * 0.6, S * 0.8])
    assert torch.allclose(logits, made.logits(torch.tensor([[30.0, 40.0]]), FIRST)[0])


def test_am_softmax_takes_exactly_the_margin_off_the_own_logit():
    x = turned(40, length=5)
    own, other = head("am_softmax", 3 * AXES).logits(x, FIRST)[0].tolist()
    assert own == pytest.approx(S * (math.cos(math.radians(40)) - M), abs=1e-5)
    assert other == pytest.approx(S * math.sin(math.radians(40)), abs=1e-5)
    unhindered = head("am_softmax", AXES, margin=0.0).logits(x, FIRST)[0].tolist()
    assert unhindered[0] - own == pytest.approx(S * M, abs=1e-5)
    assert unhindered[1] == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize("kind", ["am_softmax", "aam_softmax", "sub_centre_aam"])
def test_without_a_margin_it_is_the_scaled_softmax_of_unit_vectors(kind):
    random = torch.Generator().manual_seed(2)
    weights = functional.normalize(torch.randn(5, 4, generator=random))
    x = functional.normalize(torch.randn(7, 4, generator=random))
    label = torch.arange(7) % 5
    expected = functional.cross_entropy(S * x @ weights.T, label)
    assert head(kind, weights, margin=0.0)(x, label).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("degrees", [10, 75, 120, 160])
def test_aam_softmax_turns_the_own_angle_by_the_margin(degrees):
    own = head("aam_softmax", AXES).logits(turned(degrees), FIRST)[0, 0]
    assert own.item() == pytest.approx(S * math.cos(math.radians(degrees) + M), abs=1e-4)


def test_aam_softmax_goes_on_falling_beyond_the_half_turn():
    angles = torch.linspace(0, math.pi, 400)
    x = torch.stack([angles.cos(), angles.sin()], 1)
    own = head("aam_softmax", AXES).logits(x, torch.zeros(400, dtype=torch.int64))[:, 0]
    assert (own.diff() < 0).all()


def test_sub_centres_count_by_the_nearest():
    made = head("sub_centre_aam", AXES, centres=2)
    with torch.no_grad():
        made.weight.copy_(torch.cat([turned(0), turned(50), turned(180), turned(270)]))
    own, other = made.logits(turned(40), FIRST)[0].tolist()
    assert own == pytest.approx(S * math.cos(math.radians(10) + M), abs=1e-4)
    assert other == pytest.approx(S * math.cos(math.radians(130)), abs=1e-4)


@pytest.mark.parametrize("kind", HEADS)
def test_without_the_right_answer_there_is_no_margin(kind):
    x = turned(40)
    assert torch.allclose(
        head(kind, AXES).logits(x), head(kind, AXES, margin=0.0).logits(x, FIRST), atol=1e-5
    )


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("degrees", [0, 180])
def test_gradients_are_finite_at_a_cosine_of_one_and_minus_one(kind, degrees):
    made = head(kind, AXES)
    x = turned(degrees, length=3).requires_grad_(True)
    made(x, FIRST).backward()
    for gradient in (x.grad, *(p.grad for p in made.parameters())):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("kind", HEADS)
def test_a_step_against_the_gradient_lowers_the_loss(kind):
    made = head(kind, AXES)
    x = turned(50).requires_grad_(True)
    before = made(x, FIRST)
    before.backward()
    assert made(x - 1e-2 * x.grad, FIRST) < before


def test_first_weights_come_from_the_seed():
    first, again = (Classifier("am_softmax", 4, 3, seed=1).weight for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, Classifier("am_softmax", 4, 3, seed=2).weight)


@pytest.mark.parametrize(
    ("kind", "more", "named"),
    [
        ("arcface", {}, "aam_softmax"),
        ("am_softmax", {"scale": 0.0}, "scale above 0"),
        ("am_softmax", {"margin": 2.0}, "margin in"),
        ("softmax", {"speakers": 1}, "two speakers"),
    ],
)
def test_a_head_that_cannot_be_is_refused(kind, more, named):
    with pytest.raises(UsageError, match=named):
        Classifier(kind, 4, more.pop("speakers", 3), **more)


def test_distillation_is_one_minus_the_cosine():
    student = torch.cat([turned(60, length=4), turned(90)])
    target = torch.cat([turned(0), turned(90)])
    assert float(distillation(student, target)) == pytest.approx((0.5 + 0) / 2, abs=1e-6)


def test_contrastive_by_hand():
    student, target = torch.cat([turned(0), turned(90)]), torch.cat([turned(60), turned(90)])
    loss = contrastive(student, target, torch.tensor([0, 1]), scale=2.0)
    first = math.log(1 + math.exp(2 * (0 - 0.5)))
    second = math.log(1 + math.exp(2 * (math.sin(math.radians(60)) - 1)))
    assert float(loss) == pytest.approx((first + second) / 2, abs=1e-5)


def test_contrastive_leaves_out_others_of_the_same_speaker():
    random = torch.Generator().manual_seed(0)
    student, target = torch.randn(2, 3, 4, generator=random).unbind(0)
    target = functional.normalize(target)
    speaker = torch.tensor([5, 5, 8])
    loss = contrastive(student, target, speaker)
    moved = target.clone()
    moved[1] = -moved[1]
    rows = slice(0, 1)
    # What the second of one speaker is asked for does not bear upon the first.
    assert torch.equal(
        loss_of_row(student, target, speaker, rows), loss_of_row(student, moved, speaker, rows)
    )
    assert not torch.equal(
        loss_of_row(student, target, torch.tensor([5, 6, 8]), rows),
        loss_of_row(student, moved, torch.tensor([5, 6, 8]), rows),
    )
    assert torch.isfinite(loss)
    assert float(contrastive(student, target, torch.zeros(3, dtype=torch.int64))) == 0


def loss_of_row(student, target, speaker, rows):
    """The gradient of the whole loss with respect to one student."""
    x = student.clone().requires_grad_(True)
    contrastive(x, target, speaker).backward()
    return x.grad[rows]
