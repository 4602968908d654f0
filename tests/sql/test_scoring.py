"""SQL decides as ``voxprint.score`` does, and as its documents say."""

from __future__ import annotations

import numpy as np
import pytest
from domain_gallery import call, refused

from voxprint.score.calibration import Costs
from voxprint.score.evidence import Evidence, cohort_statistics
from voxprint.score.shipped import shipped
from voxprint.types import vector_text

DIM = 192
QUALITY = '{"snr_db": 12.5, "bandwidth_hz": 3400}'


def people(count: int, seed: int = 7) -> np.ndarray:
    """Voices with the spread of the shipped background, unit rows."""
    known, rng = shipped().background, np.random.default_rng(seed)
    drawn = rng.standard_normal((count, len(known.weights))) * np.sqrt(known.weights)
    rest = rng.standard_normal((count, DIM)) * np.sqrt(known.rest)
    units = known.mean + drawn @ known.directions + rest
    return units / np.linalg.norm(units, axis=1, keepdims=True)


def enrol(db, units: np.ndarray, seconds: float = 6.0) -> None:
    with db.cursor() as cursor:
        cursor.executemany(
            "SELECT voxprint.enroll(speaker => %s, embedding => %s, speech_seconds => %s)",
            [(f"p{i:03}", vector_text(unit), seconds) for i, unit in enumerate(units)],
        )


def evidence(probe: np.ndarray, units: np.ndarray, who: int, **facts: float) -> Evidence:
    """What is known of one probe against person ``who`` of a gallery."""
    known, scores = shipped().background, (probe @ units.T)[None]
    mean, variance, size = cohort_statistics(scores)
    values = {
        "score": scores[0, who],
        "cohort_mean": mean[0, who],
        "cohort_variance": variance[0, who],
        "cohort_size": size[0, who],
        "probe_level": known.level(probe[None])[0],
        "probe_spread": known.spread(probe[None])[0],
        "reference_level": known.level(units[who : who + 1])[0],
        "reference_speech": 6.0,
        "probe_speech": np.nan,
        "snr_db": np.nan,
        "telephone": 0.0,
    }
    return Evidence(**{name: np.array([value]) for name, value in (values | facts).items()})


@pytest.mark.parametrize("count", [1, 2, 5, 6, 30])
@pytest.mark.parametrize("facts", [{}, {"probe_speech": 1.7, "snr_db": 12.5, "telephone": 1.0}])
def test_python_and_sql_judge_alike(db, count, facts):
    units = people(count + 1).astype(np.float32).astype(np.float64)
    gallery, stranger = units[:count], units[count]
    enrol(db, gallery)
    probe = gallery[0] + 0.8 * stranger
    probe = (probe / np.linalg.norm(probe)).astype(np.float32).astype(np.float64)
    given = {
        "probe": vector_text(probe.astype(np.float32)),
        "speech": facts.get("probe_speech"),
        "quality": QUALITY if facts else None,
    }
    for far in (0.05, 0.001):
        (row,) = call(
            db,
            "SELECT * FROM voxprint.verify('p000', embedding => %(probe)s, far => %(far)s,"
            " speech_seconds => %(speech)s, quality => %(quality)s::jsonb)",
            far=far,
            **given,
        )
        judged = shipped().calibration.judge(
            evidence(probe, gallery, 0, **facts), far, costs=Costs()
        )
        assert row["llr"] == pytest.approx(judged.llr[0], abs=1e-4)
        assert row["threshold_llr"] == pytest.approx(judged.threshold_llr[0], abs=1e-4)
        assert row["reject_llr"] == pytest.approx(judged.reject_llr[0], abs=1e-4)
        decided = {True: "accept", False: "inconclusive"}[bool(judged.accepted[0])]
        assert row["decision"] == ("reject" if judged.rejected[0] else decided)
        assert row["cohort"] == (count - 1 if count < 6 else count - 2)


def test_a_search_asks_for_more_the_more_people_it_looks_at(db):
    units = people(40).astype(np.float32)
    enrol(db, units)
    for fpir in (0.1, 0.01):
        rows = call(
            db,
            "SELECT * FROM voxprint.identify(embedding => %(probe)s, k => 3, fpir => %(fpir)s)",
            probe=vector_text(units[3]),
            fpir=fpir,
        )
        judged = shipped().calibration.judge(
            evidence(units[3].astype(np.float64), units.astype(np.float64), 3), fpir, searched=40
        )
        assert rows[0]["speaker"] == "p003"
        assert rows[0]["threshold_llr"] == pytest.approx(judged.threshold_llr[0], abs=1e-3)


def test_few_people_to_compare_with_are_said_and_widen_the_zone(db):
    units = people(30).astype(np.float32)
    enrol(db, units[:1])
    probe = {"probe": vector_text(units[0])}
    ask = "SELECT * FROM voxprint.verify('p000', embedding => %(probe)s)"
    (alone,) = call(db, ask, **probe)
    assert "no_cohort" in alone["reasons"]
    assert alone["cohort"] == 0
    enrol(db, units[:5])
    (few,) = call(db, ask, **probe)
    assert "small_cohort" in few["reasons"]
    enrol(db, units)
    (many,) = call(db, ask, **probe)
    assert not {"no_cohort", "small_cohort"} & set(many["reasons"])
    assert many["decision"] == "accept"
    assert alone["llr"] < few["llr"] < many["llr"]


def test_what_a_caller_says_of_a_recording_is_bounded(db):
    enrol(db, people(3))
    for seconds in (1e-300, 1e9):
        (row,) = call(
            db,
            "SELECT * FROM voxprint.verify('p000', embedding => %(probe)s,"
            " speech_seconds => %(seconds)s,"
            ' quality => \'{"snr_db": 1e400, "bandwidth_hz": "wide", "reasons": 5}\'::jsonb)',
            probe=vector_text(people(3)[1].astype(np.float32)),
            seconds=seconds,
        )
        assert np.isfinite([row["llr"], row["threshold_llr"], row["reject_llr"]]).all()
    for far in (0, 1, -0.5, float("nan"), float("inf")):
        with refused("VX006", "far"):
            call(
                db,
                "SELECT * FROM voxprint.verify('p000', embedding => %(probe)s, far => %(far)s)",
                probe=vector_text(people(3)[1].astype(np.float32)),
                far=far,
            )


def test_costs_move_the_zone_and_the_rate_does_not(db):
    units = people(20).astype(np.float32)
    enrol(db, units)
    probe = vector_text((0.35 * units[0] + units[19]).astype(np.float32))
    ask = "SELECT * FROM voxprint.verify('p000', embedding => %(probe)s, speech_seconds => 0.5)"
    (before,) = call(db, ask, probe=probe)
    call(db, "SELECT voxprint.configure('cost_inconclusive', '1.9')")
    (dear,) = call(db, ask, probe=probe)
    call(db, "SELECT voxprint.configure('cost_inconclusive', '100')")
    (never,) = call(db, ask, probe=probe)
    assert before["reject_llr"] < dear["reject_llr"] <= dear["threshold_llr"]
    assert never["reject_llr"] == never["threshold_llr"] == before["threshold_llr"]
    assert never["decision"] in ("accept", "reject")
