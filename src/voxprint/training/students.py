"""The network that a training begins with."""

from __future__ import annotations

import copy

import torch
from torch import nn

from voxprint.training.config import Network
from voxprint.training.ecapa import Ecapa
from voxprint.training.network import CamPlusPlus


def new_student(settings: Network, seed: int, teacher: CamPlusPlus | None = None) -> nn.Module:
    """A network to train, every weight of which learns.

    Args:
        settings: which, and what it begins as.
        seed: of its weights, where it begins from nothing; no other stream of random numbers
            moves.
        teacher: what it is a copy of, where it begins as the teacher.

    Returns:
        a module from features, float32, shape (batch, frames, 80), to embeddings, shape
        (batch, 192), on the teacher's device, or on the CPU without one.
    """
    if settings.begin == "teacher":
        assert teacher is not None  # noqa: S101 - who says so has one
        return copy.deepcopy(teacher).requires_grad_(True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student: nn.Module = (
            Ecapa(moments=settings.moments) if settings.kind == "ecapa" else CamPlusPlus()
        )
    return student if teacher is None else student.to(next(teacher.parameters()).device)
