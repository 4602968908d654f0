"""What is trained is what is served: the same features, the same network, the same weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from talking import RATE, talk

from voxprint.audio.fbank import fbank
from voxprint.encoder.session import open_session
from voxprint.encoder.sources import load_graph
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import ModelFileError
from voxprint.training.export import build_graph, check_parity, export, half_precision
from voxprint.training.features import Filterbank
from voxprint.training.loop import weights_between
from voxprint.training.network import Head, arrays_of, campplus, read_arrays

#: About one, two and four segments of the context mask, and an odd number of frames.
FRAMES = (24, 61, 99, 100, 101, 199, 200, 203, 405)


@pytest.fixture(scope="module")
def graph():
    return open_session(load_graph(DEFAULT_MODEL))


@pytest.fixture(scope="module")
def features():
    return fbank(talk(3, 5.0), DEFAULT_MODEL.fbank)


@pytest.mark.parametrize("samples", [4000, 16037, 35999])
def test_features_are_those_of_serving(samples):
    utterances = np.stack([talk(person, 3.0)[:samples] for person in (1, 2)])
    there = Filterbank(DEFAULT_MODEL.fbank)(torch.from_numpy(utterances)).numpy()
    here = np.stack([fbank(each, DEFAULT_MODEL.fbank) for each in utterances])
    assert there.shape == here.shape
    assert there.dtype == np.float32
    assert np.abs(there - here).max() < 2e-3
    assert here.std() > 1


def test_features_stay_in_single_precision_where_the_network_does_not():
    sound = torch.from_numpy(talk(1, 1.0))[None]
    with torch.autocast("cpu", torch.bfloat16):
        half = Filterbank(DEFAULT_MODEL.fbank)(sound)
    assert torch.equal(half, Filterbank(DEFAULT_MODEL.fbank)(sound))


@pytest.fixture(params=[False, True], ids=str)
def way(request, monkeypatch):
    """Both layouts."""
    monkeypatch.setattr(Head, "channels_last", request.param)


@pytest.mark.parametrize("frames", FRAMES)
def test_the_network_is_the_published_graph_at_odd_lengths(teacher, graph, features, frames):
    assert cosine(teacher, graph, features[:frames]) > 0.999999


@pytest.mark.parametrize("frames", [101, 405])
def test_the_network_is_the_same_whichever_way_it_is_computed(
    teacher, graph, features, way, frames
):
    assert cosine(teacher, graph, features[:frames]) > 0.999999


def cosine(network, graph, rows):
    rows = rows - rows.mean(0)
    with torch.no_grad():
        there = network(torch.from_numpy(rows)[None])[0].double().numpy()
    here = graph.run(["embedding"], {"features": rows[None]})[0][0].astype(np.float64)
    return there @ here / np.linalg.norm(there) / np.linalg.norm(here)


def test_utterances_of_a_batch_do_not_hear_each_other(teacher, features):
    rows = torch.from_numpy(features[:202].reshape(2, 101, 80))
    with torch.no_grad():
        alone = torch.cat([teacher(rows[:1]), teacher(rows[1:])])
        assert torch.allclose(teacher(rows), alone, atol=1e-4)


def test_an_exported_student_is_what_half_precision_leaves_of_it(teacher, tmp_path, features):
    student = copy.deepcopy(teacher)
    with torch.no_grad():
        for weight in student.parameters():
            weight.mul_(1.01)
    weights, graph = tmp_path / "student.npz", tmp_path / "student.onnx"
    assert export(student, weights, graph) > 0.99999
    assert weights.stat().st_size < 15e6
    again = campplus(read_arrays(weights))
    assert cosine(again, open_session(graph.read_bytes()), features[:203]) > 0.999999
    expected = half_precision(arrays_of(student.state_dict()))
    for name, value in arrays_of(again.state_dict()).items():
        assert np.array_equal(value, expected[name].astype(np.float32)), name
    assert not list(tmp_path.glob("*.part"))


def test_a_graph_of_other_weights_fails_its_check(teacher):
    other = copy.deepcopy(teacher)
    with torch.no_grad():
        other.xvector.dense.linear.weight[:, ::2] *= -1
    with pytest.raises(ModelFileError, match="got cosine"):
        check_parity(teacher, build_graph(arrays_of(other.state_dict())))


def test_weights_that_cannot_be_written_leave_those_that_are_there(teacher, tmp_path):
    (tmp_path / "student.npz").mkdir()
    with pytest.raises(ModelFileError, match="expected room") as raised:
        export(teacher, tmp_path / "student.npz", tmp_path / "student.onnx")
    assert "checkpoint" in raised.value.hint
    assert [each.name for each in tmp_path.iterdir()] == ["student.npz"]


def test_weights_of_another_network_are_refused(teacher, tmp_path):
    arrays = arrays_of(teacher.state_dict())
    del arrays["head.conv1.weight"]
    with pytest.raises(ModelFileError, match=r"weights of CAM\+\+.*head\.conv1\.weight"):
        campplus(arrays)
    junk = tmp_path / "junk.npz"
    junk.write_bytes(b"PK no archive")
    for path in (junk, tmp_path / "absent.pt", junk.rename(tmp_path / "junk.pt")):
        with pytest.raises(ModelFileError, match=path.name):
            read_arrays(path)


def test_weights_between_teacher_and_student():
    teacher = {"w": torch.tensor([0.0, 2.0]), "n": torch.tensor(3)}
    student = {"w": torch.tensor([4.0, 2.0]), "n": torch.tensor(5)}
    assert weights_between(teacher, student, 0.25)["w"].tolist() == [1.0, 2.0]
    assert torch.equal(weights_between(teacher, student, 1.0)["w"], student["w"])
    assert torch.equal(weights_between(teacher, student, 0.0)["w"], teacher["w"])


def test_a_crop_of_the_training_has_whole_frames_of_serving():
    """The teacher hears as many frames of a crop as the student does."""
    sound = torch.from_numpy(talk(1, 2.0)[: 240 + 160 * 48])[None]
    assert Filterbank(DEFAULT_MODEL.fbank)(sound).shape[1] == 48
    assert DEFAULT_MODEL.sample_rate == RATE
