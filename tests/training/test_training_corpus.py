"""A folder of speech is read with the ears of serving; what cannot be used is named and counted."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from made import TINY, write_corpora
from talking import RATE, talk, wav

from voxprint.errors import UsageError
from voxprint.training.corpus import noise_paths, read_corpus, read_noises

BOTH = replace(TINY.data, fold="both")


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(1) as running:
        yield running


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_corpora(tmp_path_factory.mktemp("whole"), people=range(1, 5), takes=2)


@pytest.fixture
def corpora(tmp_path, whole):
    """A copy to do damage to."""
    return shutil.copytree(whole, tmp_path / "corpora")


def test_every_recording_is_heard_with_its_speaker_and_fold(pool, whole):
    found = read_corpus(whole, BOTH, pool)
    assert found.names == [f"talk/{p}/{t}.wav" for p in (1, 2, 3, 4) for t in (0, 1)]
    assert [found.speakers[i] for i in found.speaker] == [n.rpartition("/")[0] for n in found.names]
    assert found.fold.tolist() == ["A", "A", "B", "B"] * 2
    assert found.skipped == []
    for pcm, speech in zip(found.heard, found.speech, strict=True):
        assert pcm.dtype == np.int16
        assert len(speech) == -(-len(pcm) // 512)
        assert speech.mean() > 0.5


def test_silence_is_cut_out_before_anything_is_cropped(pool, corpora):
    quiet = np.zeros(3 * RATE, np.float32)
    held = np.concatenate([quiet, talk(1, 2.0), quiet])
    (corpora / "speech/talk/1/0.wav").write_bytes(wav(held))
    found = read_corpus(corpora, BOTH, pool)
    assert 1.5 < len(found.heard[0]) / RATE < 4


def test_a_recording_gives_at_most_so_many_seconds_and_a_speaker_so_many_files(pool, whole):
    found = read_corpus(whole, replace(BOTH, most_seconds=0.5, most_files=1), pool)
    assert [len(each) for each in found.heard] == [RATE // 2] * 4


def test_one_fold_alone(pool, whole):
    found = read_corpus(whole, replace(BOTH, fold="A"), pool)
    assert found.speakers == ["talk/1", "talk/3"]


def test_unusable_recordings_are_named_skipped_and_counted(pool, corpora):
    home = corpora / "speech" / "talk"
    (home / "1/0.wav").write_bytes(b"")
    (home / "1/2.wav").write_bytes(wav(np.zeros(2 * RATE)))
    (home / "2/0.wav").write_bytes(b"this is no sound" * 100)
    (home / "2/sub").mkdir()
    (home / "3/0.wav").unlink()
    (home / "3/0.wav").symlink_to("nowhere.wav")
    shutil.rmtree(home / "4")
    found = read_corpus(corpora, BOTH, pool)
    assert found.names == ["talk/1/1.wav", "talk/2/1.wav", "talk/3/1.wav"]
    reasons = dict(line.split(": ", 1) for line in found.skipped)
    assert sorted(reasons) == [
        "talk/1/0.wav",
        "talk/1/2.wav",
        "talk/2/0.wav",
        "talk/2/sub",
        "talk/3/0.wav",
        "talk/4",
    ]
    assert reasons["talk/1/2.wav"] == "nobody speaks in it"
    assert reasons["talk/4"] == "no recordings"
    assert "not a regular file" in reasons["talk/2/sub"]


def test_one_speaker_is_refused_and_what_was_skipped_is_said(pool, corpora):
    for person in (1, 2, 4):
        for file in (corpora / "speech/talk" / str(person)).iterdir():
            file.write_bytes(b"")
    with pytest.raises(UsageError, match=r"at least two speakers .* got 1") as raised:
        read_corpus(corpora, BOTH, pool)
    assert "6 could not be used: talk/1/0.wav" in raised.value.hint


def test_a_set_that_is_not_there_is_named_beside_those_that_are(pool, whole):
    with pytest.raises(UsageError, match=r"\(talk\), got song$"):
        read_corpus(whole, replace(BOTH, sets=("talk", "song")), pool)


def test_a_folder_that_is_none_and_tables_that_are_none_are_refused(pool, corpora):
    with pytest.raises(UsageError, match=r"speakers\.tsv"):
        read_corpus(corpora / "speech", BOTH, pool)
    (corpora / "speakers.tsv").write_text("set,speaker,fold\ntalk,1,A\n")
    with pytest.raises(UsageError, match="columns set, speaker, fold"):
        read_corpus(corpora, BOTH, pool)
    (corpora / "speakers.tsv").write_text("set\tspeaker\tfold\ntalk\t1\n")
    with pytest.raises(UsageError, match="as many columns"):
        read_corpus(corpora, BOTH, pool)
    (corpora / "noise/files.tsv").unlink()
    with pytest.raises(UsageError, match=r"files\.tsv"):
        noise_paths(corpora, "all")


def test_noises_are_parted_between_training_and_measuring(whole):
    train, measure = noise_paths(whole, "train"), noise_paths(whole, "measure")
    assert len(train) == len(measure) == 2
    assert sorted([*train, *measure]) == sorted(noise_paths(whole, "all"))


def test_noise_that_cannot_be_decoded_is_named_and_the_rest_serves(pool, corpora):
    (corpora / "noise/1.wav").write_bytes(b"hum")
    (corpora / "noise/2.wav").write_bytes(wav(np.zeros(0)))
    usable, unusable = read_noises(noise_paths(corpora, "all"), pool)
    assert [path.name for path in usable] == ["0.wav", "3.wav"]
    assert [path.name for path in unusable] == ["1.wav", "2.wav"]
    assert all(unusable.values())
