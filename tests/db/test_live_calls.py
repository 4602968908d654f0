"""Calls watched through Python and the command line, by voices and a database."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import voxprint
from voxprint.audio.decode import decode
from voxprint.errors import SpeakerNotFound, UsageError
from voxprint.types import LiveEvent


@pytest.fixture(scope="module")
def sound(spoken: Path) -> dict[str, np.ndarray]:
    """What each speaker says in a call: three utterances that nobody is enrolled by."""
    return {
        folder.name: np.concatenate([decode(folder / f"{n}.wav").samples for n in (4, 5, 6)])
        for folder in spoken.iterdir()
    }


@pytest.fixture(scope="module")
def references(spoken: Path) -> dict[str, list[voxprint.Embedding]]:
    """Three other utterances of each, embedded once for all tests."""
    encoder = voxprint.Encoder()
    return {
        folder.name: [encoder.embed_file(folder / f"{n}.wav") for n in (1, 2, 3)]
        for folder in sorted(spoken.iterdir())
    }


@pytest.fixture
def gallery(conninfo: str, references):
    with voxprint.open(dsn=conninfo) as opened:
        for name, voices in references.items():
            opened.enroll_all(name, voices)
        yield opened


def play(session, samples: np.ndarray, size: int = 320) -> list[LiveEvent]:
    data = (samples * 32767).astype("<i2")
    return [
        event
        for at in range(0, len(data), size)
        for event in session.feed(data[at : at + size].tobytes())
    ]


def decided(events: list[LiveEvent]) -> list[str]:
    """Decisions in their order, each as often as it was made anew."""
    return [e.decision for e in events if e.decision_id is not None]


def test_the_registered_voice_is_accepted_while_it_speaks(gallery, sound) -> None:
    events = play(gallery.watch("Amy"), sound["Amy"])
    assert decided(events) == ["accept"]
    first = next(e for e in events if e.decision == "accept")
    assert first.llr >= first.accept_llr
    assert first.at < len(sound["Amy"]) / 16000 / 2
    assert [e.at for e in events] == sorted(e.at for e in events)
    assert events[-1].speech_seconds > events[0].speech_seconds > 0


def test_another_voice_is_rejected(gallery, sound) -> None:
    events = play(gallery.watch("Amy"), sound["Boris"])
    assert decided(events) == ["reject"]


def test_a_voice_that_takes_over_is_found_and_judged(gallery, sound) -> None:
    session = gallery.watch("Amy")
    assert decided(play(session, sound["Amy"])) == ["accept"]
    events = play(session, np.tile(sound["Boris"], 2))
    assert decided(events)[:2] == ["changed", "reject"]
    assert [row.decision for row in gallery.decisions()][-3:] == ["reject", "changed", "accept"]


def test_a_telephone_line_is_watched_as_well(gallery, sound) -> None:
    import soxr

    line = soxr.resample(sound["Amy"], 16000, 8000)
    session = gallery.watch("Amy", 8000, encoding="f32le")
    events = session.feed(line.astype("<f4").tobytes()) + session.finish()
    assert decided(events) == ["accept"]
    assert "narrowband" in events[-1].reasons


def test_silence_says_nothing(gallery) -> None:
    session = gallery.watch("Amy")
    assert session.feed(np.zeros(80000, np.float32)) == []
    assert session.finish() == []


def test_a_person_forgotten_during_the_call_is_no_longer_watched(gallery, sound) -> None:
    session = gallery.watch("Amy")
    play(session, sound["Amy"])
    gallery.forget("Amy")
    with pytest.raises(SpeakerNotFound):
        play(session, sound["Amy"])


def test_what_cannot_be_watched_is_refused_before_it_is_heard(gallery) -> None:
    with pytest.raises(SpeakerNotFound):
        gallery.watch("Nobody")
    for facts in ({"encoding": "g729"}, {"sample_rate": 1}, {"far": 0.0}, {"far": 0.6, "frr": 0.5}):
        with pytest.raises(UsageError):
            gallery.watch("Amy", **facts)


def command(conninfo: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "voxprint", "watch", "--dsn", conninfo, *arguments],
        input=stdin,
        capture_output=True,
        check=False,
    )


def test_the_command_plays_a_recording_and_exits_with_the_decision(gallery, conninfo, spoken):
    own = command(conninfo, "Amy", str(spoken / "Amy" / "5.wav"))
    assert (own.returncode, own.stderr) == (0, b"")
    assert b"accept" in own.stdout
    assert command(conninfo, "Amy", str(spoken / "Boris" / "5.wav")).returncode == 1


def test_the_command_reads_a_pipe_and_prints_json_lines(gallery, conninfo, sound) -> None:
    data = (sound["Amy"] * 32767).astype("<i2").tobytes()
    done = command(conninfo, "Amy", "-", "--raw", "16000", "--json", stdin=data)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert events[-1]["decision"] == "accept"
    assert set(events[0]) == set(LiveEvent.__dataclass_fields__)


def test_the_command_says_what_is_wrong(gallery, conninfo, spoken) -> None:
    for arguments in (
        ("Nobody", str(spoken / "Amy" / "5.wav")),
        ("Amy", str(spoken / "none.wav")),
        ("Amy", "-", "--raw", "8000:s16le:2"),
    ):
        done = command(conninfo, *arguments)
        assert done.returncode == 2
        assert b"Traceback" not in done.stderr
