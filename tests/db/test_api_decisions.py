"""Decisions through Python: what is asked for, what comes back, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

import voxprint
from voxprint.errors import FailureToEnroll, GroupNotFound, UsageError


@pytest.fixture
def gallery(conninfo: str):
    with voxprint.open(dsn=conninfo) as opened:
        yield opened


@pytest.fixture(scope="module")
def heard(spoken: Path) -> dict[str, list[voxprint.Embedding]]:
    """Each speaker's first four utterances, embedded once for all tests."""
    encoder = voxprint.Encoder()
    return {
        name: [encoder.embed_file(spoken / name / f"{n}.wav") for n in (1, 2, 3, 4)]
        for name in ("Amy", "Boris", "Fei")
    }


def short(voice: voxprint.Embedding, seconds: float = 1.0) -> voxprint.Embedding:
    return replace(voice, speech_seconds=seconds)


def doubtful(voice: voxprint.Embedding) -> voxprint.Embedding:
    return replace(voice, quality={**voice.quality, "reasons": ["more_than_one_speaker"]})


def test_enrolment_says_how_much_more_speech_it_needs(gallery, heard) -> None:
    first, second, third, _ = heard["Amy"]
    began = gallery.enroll("Amy", short(first))
    assert (began.ready, began.speech_needed) == (False, pytest.approx(2.0))
    assert gallery.verify("Amy", third).decision == "inconclusive"
    done = gallery.enroll("Amy", short(second, 2.0))
    assert (done.ready, done.speech_needed, done.reasons) == (True, 0.0, ())


def test_a_recording_that_is_no_reference_is_refused_with_its_reasons(gallery, heard) -> None:
    bad = doubtful(heard["Amy"][0])
    with pytest.raises(FailureToEnroll) as caught:
        gallery.enroll("Amy", bad)
    assert caught.value.reasons == ("more_than_one_speaker",)
    assert caught.value.code == "failure_to_enroll"
    assert gallery.speakers() == []
    assert gallery.enroll("Amy", bad, overrule=True).added


def test_of_several_recordings_a_refused_one_enrols_none(gallery, heard) -> None:
    good, other, *_ = heard["Amy"]
    with pytest.raises(FailureToEnroll):
        gallery.enroll_all("Amy", [good, doubtful(other)])
    assert gallery.speakers() == []
    results = gallery.enroll_all("Amy", [good, doubtful(other)], overrule=True)
    assert [each.utterances for each in results] == [1, 2]


def test_a_voice_with_another_name_is_pointed_out(gallery, heard) -> None:
    gallery.enroll("Amy", heard["Amy"][0])
    gallery.enroll("Boris", heard["Boris"][0])
    # The very recording again, as a re-encoded copy of it would be: another digest.
    twice = gallery.enroll("Anna", replace(heard["Amy"][0], sha256=64 * "0"))
    assert [each.speaker for each in twice.duplicates] == ["Amy"]
    assert twice.duplicates[0].score == pytest.approx(1.0, abs=1e-6)
    (pair,) = gallery.find_duplicates()
    assert (pair.speaker, pair.other) == ("Amy", "Anna")


def test_a_second_name_is_found_where_few_are_enrolled(gallery, heard) -> None:
    gallery.enroll_all("Amy", heard["Amy"][:2])
    gallery.enroll_all("Boris", heard["Boris"][:2])
    for utterance in heard["Amy"][2:4]:  # the second time, Anna is no stranger to herself
        twice = gallery.enroll("Anna", utterance)
        assert [each.speaker for each in twice.duplicates] == ["Amy"]
    assert [(pair.speaker, pair.other) for pair in gallery.find_duplicates()] == [("Amy", "Anna")]


def test_two_recordings_of_somebody_enrolled_are_of_one_voice(gallery, heard) -> None:
    gallery.enroll_all("Amy", heard["Amy"][:2])
    gallery.enroll_all("Boris", heard["Boris"][:2])
    assert gallery.compare(*heard["Amy"][2:4]).decision == "accept"
    assert gallery.compare(heard["Amy"][2], heard["Boris"][2]).decision == "reject"


def test_one_recording_of_somebody_else_is_named_and_removed(gallery, heard) -> None:
    amy, boris = heard["Amy"], heard["Boris"]
    gallery.enroll_all("Amy", [*amy[:3], boris[0]])
    bad = [each for each in gallery.cohesion("Amy") if each.outlier]
    assert [each.score < 0.4 for each in bad] == [True]
    spoilt = gallery.verify("Amy", amy[3]).score
    removal = gallery.remove_utterance("Amy", bad[0].utterance_id)
    assert (removal.removed["utterances"], removal.scrub_pending) == (1, False)
    assert not any(each.outlier for each in gallery.cohesion("Amy"))
    assert gallery.verify("Amy", amy[3]).score > spoilt
    with pytest.raises(UsageError):
        gallery.remove_utterance("Amy", bad[0].utterance_id)


def test_a_verification_looks_into_the_watchlists_named(gallery, heard) -> None:
    gallery.create_group("fraud", watchlist=True)
    gallery.create_group("desk")
    gallery.enroll("Amy", heard["Amy"][0])
    gallery.enroll("Fei", heard["Fei"][0], groups=["fraud"])
    probe = replace(heard["Fei"][0], sha256="")
    assert gallery.verify("Amy", probe, watchlists=["fraud"]).watchlists == ("fraud",)
    assert gallery.verify("Amy", probe).watchlists == ()
    assert gallery.verify("Amy", heard["Amy"][1], watchlists=["fraud"]).watchlists == ()
    for unusable, error in (("desk", UsageError), ("nowhere", GroupNotFound)):
        with pytest.raises(error):
            gallery.verify("Amy", probe, watchlists=[unusable])
    assert [(g.name, g.watchlist) for g in gallery.groups()] == [("desk", False), ("fraud", True)]


def test_an_outsider_is_nobody(gallery, heard) -> None:
    for name in ("Amy", "Boris"):
        gallery.enroll_all(name, heard[name][:3])
    found = gallery.identify(heard["Fei"][0], fpir=0.001)
    assert {each.decision for each in found} <= {"reject", "inconclusive"}
    assert found[0].margin is not None
    assert found[-1].margin is None


def test_a_threshold_of_one_s_own_takes_the_place_of_the_calibration(gallery, heard) -> None:
    gallery.enroll_all("Amy", heard["Amy"][:2])
    probe = heard["Amy"][3]
    score = gallery.verify("Amy", probe).score
    lower = gallery.verify("Amy", probe, threshold=score - 0.01)
    higher = gallery.verify("Amy", probe, threshold=score + 0.01)
    assert (lower.decision, higher.decision) == ("accept", "reject")
    assert lower.threshold_llr is lower.reject_llr is lower.far is None
    assert "fixed_threshold" in lower.reasons
    by_pair = gallery.compare(probe, heard["Amy"][0], threshold=-1)
    assert by_pair.decision == "accept"
    assert gallery.identify(probe, threshold=1.0)[0].decision == "reject"


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 2.0, math.nan, math.inf])
def test_a_rate_lies_between_none_and_all(gallery, heard, rate: float) -> None:
    gallery.enroll("Amy", heard["Amy"][0])
    probe = heard["Amy"][1]
    for ask in (
        lambda: gallery.verify("Amy", probe, far=rate),
        lambda: gallery.compare(probe, probe, far=rate),
        lambda: gallery.identify(probe, fpir=rate),
        lambda: gallery.find_duplicates(rate),
    ):
        with pytest.raises(UsageError):
            ask()


def test_what_is_recorded_tells_of_the_probe_and_holds_none_of_it(gallery, heard) -> None:
    gallery.enroll("Amy", heard["Amy"][0])
    probe = heard["Amy"][1]
    silent = gallery.verify("Amy", probe)
    kept = gallery.verify("Amy", probe, far=0.02, record=True)
    found = gallery.identify(probe, record=True)
    assert silent.decision_id is None
    by_id = {each.decision_id: each for each in gallery.decisions()}
    assert by_id.keys() == {kept.decision_id, found[0].decision_id}
    logged = by_id[kept.decision_id]
    assert (logged.target_rate, logged.speaker) == (0.02, "Amy")
    assert logged.speech_seconds == pytest.approx(probe.speech_seconds)
    assert logged.quality["codec"] == "pcm_s16le"


def test_a_group_in_place_of_a_list_of_them_is_named(gallery, heard) -> None:
    gallery.enroll("Amy", heard["Amy"][0])
    for ask in (
        lambda: gallery.verify("Amy", heard["Amy"][1], watchlists="fraud"),
        lambda: gallery.identify(heard["Amy"][1], groups="desk"),
        lambda: gallery.enroll("Amy", heard["Amy"][1], groups="desk"),
    ):
        with pytest.raises(UsageError, match="expected a list of groups, got the text"):
            ask()
