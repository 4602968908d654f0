"""``voxprint train`` where the training is not installed: what it needs is said at once."""

from __future__ import annotations

import sys

import pytest
from click.testing import CliRunner

from voxprint.cli import cli
from voxprint.errors import UsageError, VoxprintError


@pytest.fixture
def train(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # as where it is not installed

    def train(*arguments):
        places = ["--corpora", str(tmp_path), "--out", str(tmp_path / "out")]
        done = CliRunner().invoke(cli, ["train", *arguments, *places], standalone_mode=False)
        assert not (tmp_path / "out").exists()
        raise done.exception

    return train


def test_without_pytorch_it_says_what_to_install(train):
    with pytest.raises(VoxprintError, match="expected PyTorch") as raised:
        train("distil-small")
    assert raised.value.hint == "pip install 'voxprint[train]'"


def test_a_wrong_configuration_is_said_first(train):
    with pytest.raises(UsageError, match="distil-gpu, distil-small"):
        train("distil-huge")
    with pytest.raises(UsageError, match="most_files"):
        train("distil-small", "--set", "data.files=3")
