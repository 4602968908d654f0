"""The embedding is that of the published network, on whatever onnxruntime is installed.

The comparison with PyTorch runs where torch is installed, which ``make test`` never does. What
PyTorch said of the synthetic utterances is stored beside this file (``python
test_published_network.py`` writes it anew), and compared everywhere.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from synthetic import LENGTHS, RATE, utterance

from voxprint import Encoder
from voxprint.audio.decode import decode
from voxprint.audio.fbank import fbank
from voxprint.encoder.checkpoint import read_checkpoint
from voxprint.encoder.sources import fetch
from voxprint.encoder.spec import DEFAULT_MODEL

STORED = Path(__file__).with_name("synthetic_embeddings.npy")
SHARED = Path(__file__).resolve().parents[3] / "shared" / "corpora"
CORPORA = Path(os.environ.get("VOXPRINT_CORPORA", SHARED))
RECORDINGS = (
    "librispeech_test_other/1688/1688-142285-0000.opus",
    "librispeech_test_other/1688/1688-142285-0005.opus",
    "aishell_samples/S0150/BAC009S0150W0023.opus",
)


def _published():
    """The whole utterance through PyTorch: what the network hears is not its own choice."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    from voxprint.training.network import CamPlusPlus

    torch.set_num_threads(1)
    state = read_checkpoint(fetch(DEFAULT_MODEL).read_bytes())
    network = CamPlusPlus()
    network.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    network.eval()

    def embed(samples):
        features = torch.from_numpy(fbank(samples, DEFAULT_MODEL.fbank))[None]
        with torch.no_grad():
            vector = network(features)[0].double().numpy()
        return vector / np.linalg.norm(vector)

    return embed


@pytest.fixture(scope="module")
def encoder():
    return Encoder()


@pytest.fixture(scope="module")
def published():
    return _published()


@pytest.mark.parametrize("row", range(len(LENGTHS)), ids=[f"{s}s" for s in LENGTHS])
def test_synthetic_utterance_has_its_stored_embedding(encoder, row):
    vector = encoder.embed_features(fbank(utterance(LENGTHS[row]), DEFAULT_MODEL.fbank))
    assert np.dot(vector, np.load(STORED)[row]) >= 0.99999


@pytest.mark.parametrize("seconds", LENGTHS)
def test_synthetic_utterance_equals_pytorch(encoder, published, seconds):
    samples = utterance(seconds)
    vector = encoder.embed_features(fbank(samples, DEFAULT_MODEL.fbank))
    assert np.dot(vector, published(samples)) >= 0.9999


@pytest.mark.corpora
@pytest.mark.parametrize("recording", RECORDINGS)
@pytest.mark.parametrize("seconds", [*LENGTHS, None], ids=lambda s: f"{s}s" if s else "whole")
def test_real_utterance_equals_pytorch(encoder, published, recording, seconds):
    if not CORPORA.is_dir():
        pytest.skip("the shared corpora are not here")
    samples = decode(CORPORA / "speech" / recording).samples
    if seconds is not None:
        start = len(samples) // 4
        samples = samples[start : start + round(seconds * RATE)]
    vector = encoder.embed_features(fbank(samples, DEFAULT_MODEL.fbank))
    assert np.dot(vector, published(samples)) >= 0.9999


if __name__ == "__main__":
    reference = _published()
    np.save(STORED, np.stack([reference(utterance(s)) for s in LENGTHS]).astype(np.float32))
