"""Moments by hand, and the small network that pools them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from made import student

from voxprint.errors import UsageError
from voxprint.training.config import Network
from voxprint.training.ecapa import Ecapa
from voxprint.training.pooling import Moments
from voxprint.training.students import new_student


def test_moments_are_those_of_the_formulae():
    x = np.random.default_rng(0).gamma(2.0, size=(3, 5, 200))
    mean, std = x.mean(-1), x.std(-1)
    unit = (x - mean[..., None]) / std[..., None]
    skewness, excess = (unit**3).mean(-1), (unit**4).mean(-1) - 3
    expected = np.concatenate([mean, std, np.arcsinh(skewness), np.arcsinh(excess)], 1)
    found = Moments(4)(torch.from_numpy(x))
    assert found.dtype == torch.float32
    assert np.allclose(found.numpy(), expected, atol=1e-3)
    for count in (2, 3):
        assert torch.equal(Moments(count)(torch.from_numpy(x)), found[:, : 5 * count])


def test_moments_stand_still_where_everything_is_moved_and_stretched():
    x = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0))
    plain, moved = (Moments(4)(each)[:, 6:] for each in (x, 7 + 3 * x))
    assert torch.allclose(plain, moved, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 1000])
@pytest.mark.parametrize("kind", ["silent", "constant", "one peak"])
def test_moments_and_their_gradients_are_finite(frames, kind):
    x = torch.full((1, 2, frames), 1e4 if kind == "constant" else 0.0)
    if kind == "one peak":
        x[..., 0] = 1e4
    x.requires_grad_(True)
    found = Moments(4)(x)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(x.grad).all()
    assert float(found.detach()[:, 4:].abs().max()) <= math.asinh(1000)


def test_moments_keep_single_precision_where_the_network_does_not():
    x = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0)) + 100
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Moments(4)(x), Moments(4)(x.clone()))
        assert Moments(4)(x).dtype == torch.float32


@pytest.mark.parametrize("count", [1, 5])
def test_other_moments_are_refused(count):
    with pytest.raises(UsageError, match="2, 3 or 4"):
        Moments(count)


@pytest.mark.parametrize(("moments", "millions"), [(2, 1.6), (3, 1.75), (4, 1.9)])
def test_the_network_is_small_and_hears_any_length(moments, millions):
    network = Ecapa(moments=moments).eval()
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    random = torch.Generator().manual_seed(0)
    for frames in (2, 48, 101):
        with torch.no_grad():
            found = network(torch.randn(3, frames, 80, generator=random))
        assert found.shape == (3, 192)
        assert torch.isfinite(found).all()


def test_utterances_of_a_batch_do_not_hear_each_other():
    network = Ecapa(moments=4).eval()
    rows = torch.randn(2, 60, 80, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        alone = torch.cat([network(rows[:1]), network(rows[1:])])
        assert torch.allclose(network(rows), alone, atol=1e-5)


def test_weights_come_from_the_seed_and_move_no_other_stream():
    settings = Network(kind="ecapa", begin="nothing")
    before = torch.get_rng_state()
    first, again, other = (new_student(settings, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["dense.weight"], other["dense.weight"])


def test_a_student_that_begins_as_its_teacher_is_a_copy_that_learns():
    teacher = student().requires_grad_(False)
    made = new_student(Network(), 0, teacher)
    assert all(p.requires_grad for p in made.parameters())
    assert not any(p.requires_grad for p in teacher.parameters())
    for (name, value), other in zip(
        teacher.state_dict().items(), made.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name
