"""Tests of the training. They need PyTorch: ``make test-train`` runs them where it is installed.

Fixtures: ``teacher``, CAM++ with the published weights out of the package's own cache.
"""

from __future__ import annotations

import pytest
import torch

from voxprint.encoder.sources import fetch
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.training.network import CamPlusPlus, campplus, read_arrays


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def teacher() -> CamPlusPlus:
    return campplus(read_arrays(fetch(DEFAULT_MODEL)))
