"""Speakers that are not trained on, heard while others are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made import CPU, corpus, student
from torch import nn

from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import UsageError
from voxprint.training.features import Filterbank
from voxprint.training.heldout import CONDITIONS, Heldout, Watch
from voxprint.training.speech import Speech

NOISE = np.random.default_rng(0).standard_normal(16000).astype(np.float32)


def heldout(recordings=range(8), noises=(NOISE,), sets=None, **more) -> Heldout:
    held = corpus()
    return Heldout(
        Speech(held, (1.0, 0.9), CPU),
        sets or ["talk"] * 8,
        np.array(recordings),
        noises,
        Filterbank(DEFAULT_MODEL.fbank),
        **more,
    )


class Spectrum(nn.Module):
    """Tells made-up voices apart by how their bins go together."""

    def forward(self, features):
        return features.std(1)


class Deaf(nn.Module):
    """The same for everybody, but for something drawn."""

    def __init__(self):
        super().__init__()
        self.random = torch.Generator().manual_seed(0)

    def forward(self, features):
        return torch.randn(len(features), 16, generator=self.random)


def test_who_hears_well_errs_less_than_who_hears_nothing():
    speakers = heldout()
    well, deaf = speakers.eer(Spectrum()), speakers.eer(Deaf())
    assert set(well) == set(CONDITIONS)
    assert well["3 s"]["talk"] < 10 < deaf["3 s"]["talk"]
    assert well["3 s"]["talk"] <= well["noise"]["talk"]


def test_the_same_is_heard_again():
    assert heldout().eer(student()) == heldout().eer(student())


def test_only_speakers_of_one_set_are_compared():
    found = heldout(sets=["one"] * 4 + ["two"] * 4).eer(Spectrum())
    assert set(found["1 s"]) == {"one", "two"}


def test_without_noises_the_others_are_measured():
    assert set(heldout(noises=()).eer(Spectrum())) == set(CONDITIONS) - {"noise"}


def test_every_speaker_comes_before_anybodys_second_recording():
    """With four of eight there is one each, so there are no same-speaker trials."""
    with pytest.raises(UsageError, match="two speakers"):
        heldout(most=4)
    assert set(heldout(most=6).eer(Spectrum())["3 s"]) == {"talk"}


@pytest.mark.parametrize("recordings", [[0, 1], [0, 2, 4]])
def test_without_both_kinds_of_trials_there_is_nothing_to_watch(recordings):
    with pytest.raises(UsageError, match="two speakers with two recordings"):
        heldout(recordings)


def test_a_look_is_told_beside_the_teachers():
    lines = []
    watch = Watch(heldout(), Spectrum(), 1000.0, lines.append)
    assert not watch.is_due
    watch.look(Deaf(), 5)
    assert "%)" not in lines[0]
    assert "telephone" in lines[1]
    assert "%)" in lines[1]
    assert [each["step"] for each in watch.history] == [0, 5]
