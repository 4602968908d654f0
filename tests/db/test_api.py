"""The Python door: the same verbs, the same answers as SQL, on real (if synthetic) speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psycopg
import pytest

import voxprint
from voxprint.audio.decode import Limits
from voxprint.errors import (
    AudioError,
    AudioTooLarge,
    DecodeError,
    EnrolledElsewhere,
    ExtensionVersionError,
    GroupNotFound,
    ModelMismatch,
    SpeakerNotFound,
    UsageError,
    VoxprintError,
)


@pytest.fixture
def gallery(conninfo: str):
    with voxprint.open(dsn=conninfo) as opened:
        yield opened


def test_names_are_few_and_all_there() -> None:
    assert len(voxprint.__all__) <= 8
    for name in voxprint.__all__:
        assert getattr(voxprint, name) is not None


def test_enrolled_people_are_recognised_and_others_are_not(gallery, voices: Path) -> None:
    for name in sorted(folder.name for folder in voices.iterdir()):
        gallery.enroll_all(name, [voices / name / f"{number}.wav" for number in (1, 2)])
    assert gallery.verify("Amy", voices / "Amy" / "5.wav").decision == "accept"
    assert gallery.verify("Amy", voices / "Boris" / "5.wav").decision == "reject"
    ranked = gallery.identify(voices / "Boris" / "6.wav", k=2)
    assert [(c.rank, c.speaker, c.decision) for c in ranked] == [
        (1, "Boris", "accept"),
        (2, "Emil", "reject"),
    ]
    assert gallery.compare(voices / "Amy" / "3.wav", voices / "Amy" / "4.wav").decision == "accept"
    assert gallery.compare(voices / "Amy" / "3.wav", voices / "Fei" / "4.wav").decision != "accept"


def test_bytes_path_and_embedding_are_one_voice(gallery, voices: Path) -> None:
    path = voices / "Amy" / "1.wav"
    gallery.enroll("Amy", path)
    scores = {
        gallery.verify("Amy", form).score
        for form in (path, str(path), path.read_bytes(), gallery.encoder.embed_file(path))
    }
    assert len(scores) == 1
    assert scores.pop() == pytest.approx(1.0, abs=1e-6)


def test_score_is_the_cosine_with_the_unit_mean(gallery, voices: Path) -> None:
    enrolled = [gallery.encoder.embed_file(voices / "Amy" / f"{n}.wav") for n in (1, 2, 3)]
    for embedding in enrolled:
        gallery.enroll("Amy", embedding)
    mean = np.mean([e.vector.astype(np.float64) for e in enrolled], axis=0)
    probe = gallery.encoder.embed_file(voices / "Boris" / "1.wav")
    expected = probe.vector @ (mean / np.linalg.norm(mean))
    assert gallery.verify("Amy", probe).score == pytest.approx(expected, abs=1e-6)


def test_same_recording_twice_is_a_no_op_that_says_so(gallery, voices: Path) -> None:
    first = gallery.enroll("Amy", voices / "Amy" / "1.wav")
    again = gallery.enroll("Amy", voices / "Amy" / "1.wav")
    assert (first.added, again.added) == (True, False)
    assert (again.utterances, again.utterance_id) == (1, first.utterance_id)


def test_same_recording_under_another_person_is_refused(gallery, voices: Path) -> None:
    gallery.enroll("Amy", voices / "Amy" / "1.wav")
    with pytest.raises(EnrolledElsewhere, match="Amy"):
        gallery.enroll("Boris", voices / "Amy" / "1.wav")
    assert [s.speaker for s in gallery.speakers()] == ["Amy"]


def test_folder_is_enrolled_and_a_bad_file_does_not_stop_it(gallery, voices: Path) -> None:
    bad = voices / "bad.wav"
    bad.write_text("no audio")
    files = [("Amy", voices / "Amy" / "1.wav"), ("Amy", bad), ("Fei", voices / "Fei" / "1.wav")]
    results = [result for _, _, result in gallery.enroll_files(files)]
    assert isinstance(results[1], DecodeError)
    assert [s.speaker for s in gallery.speakers()] == ["Amy", "Fei"]


def test_filters_by_group_and_attributes(gallery, voices: Path) -> None:
    gallery.create_group("desk")
    gallery.enroll("Amy", voices / "Amy" / "1.wav", groups=["desk"], attributes={"age": 40})
    gallery.enroll("Boris", voices / "Boris" / "1.wav", attributes={"age": 50})
    probe = voices / "Amy" / "2.wav"

    def found(**conditions: object) -> list[str]:
        return [c.speaker for c in gallery.identify(probe, **conditions)]

    assert found() == ["Amy", "Boris"]
    assert found(groups=["desk"]) == ["Amy"]
    assert found(attributes={"age": 50}) == ["Boris"]
    assert found(attributes_path="$.age > 45") == ["Boris"]
    gallery.set_attributes("Boris", {"age": 30})
    assert found(attributes_path="$.age > 45") == []
    gallery.leave_group("Amy", "desk")
    assert found(groups=["desk"]) == []
    gallery.join_group("Boris", "desk")
    assert gallery.speakers(groups=["desk"])[0].groups == ("desk",)
    gallery.drop_group("desk")
    with pytest.raises(GroupNotFound):
        gallery.identify(probe, groups=["desk"])


def test_suspended_people_are_not_compared(gallery, voices: Path) -> None:
    gallery.enroll("Amy", voices / "Amy" / "1.wav")
    gallery.set_status("Amy", "suspended")
    assert gallery.identify(voices / "Amy" / "2.wav") == []
    with pytest.raises(VoxprintError, match="suspended"):
        gallery.verify("Amy", voices / "Amy" / "2.wav")


def test_recording_is_stored_only_where_asked(gallery, voices: Path) -> None:
    gallery.enroll("Amy", voices / "Amy" / "1.wav")
    gallery.enroll("Amy", voices / "Amy" / "2.wav", keep_audio=True)
    with gallery.connection() as connection:
        kept = connection.execute(
            "SELECT audio FROM voxprint.utterances ORDER BY utterance_id"
        ).fetchall()
    assert kept == [(None,), ((voices / "Amy" / "2.wav").read_bytes(),)]
    with pytest.raises(AudioError):
        gallery.enroll("Amy", "/dev/zero", keep_audio=True)
    with pytest.raises(UsageError):
        gallery.enroll("Amy", gallery.encoder.embed_file(voices / "Amy" / "3.wav"), keep_audio=True)


def test_forgotten_person_is_gone(gallery, voices: Path) -> None:
    gallery.enroll("Amy", voices / "Amy" / "1.wav")
    removal = gallery.forget("Amy")
    assert removal.removed["utterances"] == 1
    assert removal.scrub_pending is False
    assert gallery.speakers() == []
    with pytest.raises(SpeakerNotFound):
        gallery.verify("Amy", voices / "Amy" / "2.wav")
    with pytest.raises(SpeakerNotFound):
        gallery.forget("Amy")


def test_forgetting_without_scrub_says_that_bytes_may_remain(gallery, voices: Path) -> None:
    gallery.enroll("Amy", voices / "Amy" / "1.wav")
    assert gallery.forget("Amy", scrub=False).scrub_pending is True


def test_embeddings_of_another_model_are_never_compared(gallery, voices: Path) -> None:
    from dataclasses import replace

    own = gallery.encoder.embed_file(voices / "Amy" / "1.wav")
    other = replace(own, model="another")
    gallery.enroll("Amy", own)
    for refused in (
        lambda: gallery.verify("Amy", other),
        lambda: gallery.identify(other),
        lambda: gallery.compare(own, other),
        lambda: gallery.enroll("Amy", other),
        lambda: gallery.verify("Amy", replace(own, vector=own.vector[:100])),
    ):
        with pytest.raises(ModelMismatch):
            refused()


def test_bad_audio_changes_nothing(gallery, voices: Path) -> None:
    with pytest.raises(DecodeError):
        gallery.enroll("Amy", b"")
    assert gallery.speakers() == []


def test_limits_are_the_gallery_s(conninfo: str, voices: Path) -> None:
    path = voices / "Amy" / "1.wav"
    for limits in (Limits(max_bytes=1000), Limits(max_seconds=1.0)):
        with voxprint.open(dsn=conninfo, limits=limits) as small:
            with pytest.raises(AudioTooLarge):
                small.enroll("Amy", path)
            ((_, _, refused),) = small.enroll_files([("Amy", path)])
            assert isinstance(refused, AudioTooLarge)
            assert small.speakers() == []


def test_sql_agrees_with_python(gallery, worker, voices: Path) -> None:
    probe = (voices / "Amy" / "3.wav").read_bytes()
    gallery.enroll("Amy", voices / "Amy" / "1.wav")
    with gallery.connection() as connection:
        row = connection.execute(
            "SELECT decision, score FROM voxprint.verify('Amy', %s::bytea)", (probe,)
        ).fetchone()
    own = gallery.verify("Amy", probe)
    assert row is not None
    assert row[0] == own.decision
    assert row[1] == pytest.approx(own.score, abs=1e-6)


def test_data_and_dsn_exclude_each_other() -> None:
    with pytest.raises(UsageError):
        voxprint.open("here", dsn="host=there")


def test_database_without_the_extension_is_named(server) -> None:
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE bare TEMPLATE template0")
    with pytest.raises(ExtensionVersionError, match="bare"):
        voxprint.open(dsn=server.conninfo("bare"))


def test_embedded_server_starts_for_the_life_of_the_gallery(open_folder: Path, voices) -> None:
    data = open_folder / "data"
    with voxprint.open(data) as gallery:
        gallery.enroll("Amy", voices / "Amy" / "1.wav")
        with voxprint.open(data) as joined:
            assert [s.speaker for s in joined.speakers()] == ["Amy"]
    from voxprint.api import embedded_server

    assert not embedded_server(data).running
