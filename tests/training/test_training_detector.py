"""A detector of speech is learned, written, and runs as the graph that serving runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made import write_corpora
from talking import RATE, talk

from voxprint.audio.fbank import fbank
from voxprint.encoder.checkpoint import read_weights
from voxprint.encoder.framegraph import build_frame_detector
from voxprint.encoder.framevad import FrameDetector
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import UsageError, VoxprintError
from voxprint.training import detector
from voxprint.training.framenet import FrameNetwork, frame_arrays, whitening
from voxprint.training.scenes import Scenes, labelled, read_recordings
from voxprint.training.sounds import KINDS, sound

TINY = ["--sets", "talk", "--scenes", "12", "--epochs", "2"]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return write_corpora(tmp_path_factory.mktemp("corpora"), people=range(1, 5), takes=2)


@pytest.fixture(scope="module")
def heard(corpora, tmp_path_factory):
    return detector.scenes(corpora, tmp_path_factory.mktemp("work"), ["talk"], "both", 40, 3)


def network(seed: int = 0) -> FrameNetwork:
    torch.manual_seed(seed)
    rows = np.random.default_rng(seed).standard_normal((500, 80)) * 3 - 5
    return FrameNetwork(*whitening(rows))


def command(corpora, folder, *more):
    places = ["--corpora", str(corpora), "--work", str(folder / "work")]
    return detector.main([*places, "--out", str(folder / "vad.npz"), *TINY, *more])


def test_the_command_writes_weights_that_run(corpora, tmp_path, capsys):
    assert command(corpora, tmp_path) == 0
    assert "epoch 2 of 2: loss" in capsys.readouterr().err
    graph = build_frame_detector(read_weights((tmp_path / "vad.npz").read_bytes()))
    likely = FrameDetector(graph, DEFAULT_MODEL.fbank).probabilities(talk(3, 1.0))
    assert likely.shape == (100,)
    assert np.isfinite(likely).all()


def test_the_same_seed_gives_the_same_detector_and_keeps_its_scenes(corpora, tmp_path):
    (tmp_path / "other").mkdir()
    assert command(corpora, tmp_path) == 0
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").iterdir()}
    first = (tmp_path / "vad.npz").read_bytes()
    assert command(corpora, tmp_path) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "work").iterdir()} == made
    assert (tmp_path / "vad.npz").read_bytes() == first
    assert command(corpora, tmp_path / "other") == 0
    arrays, others = (
        read_weights((folder / "vad.npz").read_bytes()) for folder in (tmp_path, tmp_path / "other")
    )
    assert all(np.array_equal(arrays[name], others[name]) for name in arrays)
    assert command(corpora, tmp_path, "--seed", "1") == 0
    # Another seed draws other scenes, of either fold.
    assert len(list((tmp_path / "work").iterdir())) == 2 * len(made)


def test_speech_and_silence_are_told_apart_after_a_few_epochs(heard):
    learned = detector.trained(heard, epochs=12, seed=0)
    with torch.no_grad():
        x = torch.from_numpy(heard.features[: len(heard.features) // 4 * 4].astype(np.float32))
        found = (learned(x[None])[0] > 0).numpy()
    assert 0.1 < heard.speech.mean() < 0.9
    assert (found == heard.speech[: len(found)]).mean() > 0.85


def test_a_training_goes_on_from_weights(corpora, tmp_path):
    """At next to no rate it ends where it began."""
    assert command(corpora, tmp_path) == 0
    (tmp_path / "vad.npz").rename(tmp_path / "first.npz")
    further = ["--begin", str(tmp_path / "first.npz"), "--rate", "1e-9"]
    assert command(corpora, tmp_path, *further) == 0
    first, second = (read_weights((tmp_path / f"{n}.npz").read_bytes()) for n in ("first", "vad"))
    assert all(np.allclose(first[name], second[name], atol=2e-3) for name in first)


def test_the_graph_gives_what_the_network_gives():
    arrays = {name: each.astype(np.float32) for name, each in frame_arrays(network()).items()}
    rounded = FrameNetwork.of(arrays)
    assert detector.parity(rounded, build_frame_detector(arrays)) < 1e-5
    assert detector.parity(network(1).eval(), build_frame_detector(arrays)) > 1e-3


def test_a_batch_of_recordings_is_heard_one_by_one():
    some = network().eval()
    rows = torch.from_numpy(np.stack([fbank(talk(p, 1.0), DEFAULT_MODEL.fbank) for p in (1, 2)]))
    rows = rows[:, :96]
    with torch.no_grad():
        together = some(rows)
        alone = torch.cat([some(each[None]) for each in rows])
    assert together.shape == (2, 96)
    assert torch.allclose(together, alone, atol=1e-5)


def test_whitened_features_vary_alike_in_all_directions():
    random = np.random.default_rng(0)
    level = 5 * random.standard_normal((4000, 1))
    rows = level + random.standard_normal((4000, 80)) - 6
    mean, matrix = whitening(rows)
    white = (torch.from_numpy(rows.astype(np.float32)) - mean) @ matrix
    covariance = np.cov(white.numpy(), rowvar=False)
    assert np.allclose(covariance, np.eye(80), atol=0.1)


def test_scenes_are_labelled_by_frames(corpora):
    recordings, skipped = read_recordings(corpora, ["talk"], "A", 1)
    assert (len(recordings), skipped) == (2, [])
    teacher = detector.teacher()
    noise = np.random.default_rng(1).standard_normal(RATE).astype(np.float32) / 10
    source, again = (Scenes(recordings, [noise], teacher, 5) for _ in range(2))
    for _ in range(6):
        scene, same = source.make(), again.make()
        assert scene.features.shape == (len(scene.speech), 80)
        assert scene.features.dtype == np.float16
        assert np.array_equal(scene.features, same.features)
        assert np.array_equal(scene.speech, same.speech)
    quiet = np.zeros(RATE, np.float32)
    speech = labelled(np.concatenate([quiet, talk(1, 2.0), quiet]), teacher).speech
    assert speech[120:280].mean() > 0.8
    assert not speech[:80].any()


@pytest.mark.parametrize("kind", list(KINDS))
def test_sounds_are_as_long_as_asked_and_within_range(kind):
    for length in (1, 100, RATE):
        made = KINDS[kind](np.random.default_rng(2), length)
        assert made.shape == (length,)
        assert np.isfinite(made).all()
    _, drawn = sound(np.random.default_rng(3), RATE)
    assert drawn.dtype == np.float32
    assert np.abs(drawn).max() <= 1


def test_what_cannot_be_trained_is_said(corpora, tmp_path, heard, capsys):
    assert command(corpora, tmp_path, "--sets", "nobody") == 1
    assert "expected recordings of nobody" in capsys.readouterr().err
    assert command(tmp_path, tmp_path) == 1
    assert "speakers.tsv" in capsys.readouterr().err
    assert command(corpora, tmp_path, "--begin", str(tmp_path / "none.npz")) == 1
    assert "expected weights in" in capsys.readouterr().err
    with pytest.raises(UsageError, match="at least one epoch"):
        detector.trained(heard, epochs=0, seed=0)
    with pytest.raises(UsageError, match="at a rate above 0"):
        detector.trained(heard, epochs=1, seed=0, rate=0.0)
    with pytest.raises(UsageError, match="at least one scene"):
        detector.scenes(corpora, tmp_path, ["talk"], "both", 0, 0)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(VoxprintError, match="expected room for scenes"):
        detector.scenes(corpora, tmp_path / "file", ["talk"], "both", 1, 0)
