"""CAM++ in whole numbers gives the embeddings of the network it was made from."""

from __future__ import annotations

import numpy as np
import pytest

from tests.talking import talk
from voxprint.audio.fbank import fbank
from voxprint.encoder.campplus import build_campplus
from voxprint.encoder.campplus_int8 import build_campplus_int8
from voxprint.encoder.download import packaged_path
from voxprint.encoder.session import open_session
from voxprint.encoder.spec import CALLS_MODEL
from voxprint.errors import ModelFileError
from voxprint.training.network import read_arrays
from voxprint.training.quantise import quantise, round_weights


@pytest.fixture(scope="module")
def state():
    return read_arrays(packaged_path(CALLS_MODEL.weights))


def _features(seconds):
    return fbank(talk(3, seconds), CALLS_MODEL.fbank)


@pytest.fixture(scope="module")
def sessions(state):
    heard = [_features(seconds) for seconds in (0.7, 1.0, 1.5, 2.0, 3.0, 4.5)]
    whole = build_campplus_int8(quantise(state, heard))
    return open_session(build_campplus(state)), open_session(whole)


def _cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("seconds", [0.3, 0.5, 1.01, 2.03, 5.0, 20.0])
def test_embedding_and_parts_are_near_those_of_the_network(sessions, seconds):
    (there, parts), (here, whole_parts) = (
        each.run(["embedding", "parts"], {"features": _features(seconds)[np.newaxis]})
        for each in sessions
    )
    # Ranges are those of six utterances; of real speech it is 0.99.
    assert _cosine(there[0], here[0]) >= 0.9
    assert whole_parts.shape == parts.shape


def test_utterances_of_one_length_may_come_together(sessions):
    whole = sessions[1]
    two = np.stack([_features(2.0), _features(2.0)[::-1]])
    (together,) = whole.run(["embedding"], {"features": two})
    (alone,) = whole.run(["embedding"], {"features": two[1:]})
    assert _cosine(together[1], alone[0]) >= 0.99999


def test_pairs_of_products_fit_into_sixteen_bits():
    random = np.random.default_rng(0)
    weight = random.standard_normal((40, 64)) * random.uniform(0.1, 5, 64)
    whole, step = round_weights(weight)
    pairs = whole.astype(int).reshape(40, -1, 2)
    assert 255 * np.maximum(pairs, 0).sum(2).max() <= 32767
    assert 255 * np.minimum(pairs, 0).sum(2).min() >= -32768
    assert np.abs(whole).max() > 100
    assert np.abs(weight - whole * step[:, None]).max() <= 0.51 * step.max()


def test_weights_in_floating_point_are_no_integer_network(state):
    with pytest.raises(ModelFileError, match="whole numbers"):
        build_campplus_int8(state)
