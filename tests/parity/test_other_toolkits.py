"""Foreign encoders are heard as the toolkits that they come from hear them.

sherpa-onnx runs a whole encoder: samples in, embedding out. torchaudio's Kaldi features are what
WeSpeaker and 3D-Speaker train on. Neither is installed by ``make test``; the docs say how.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from brought import bring
from onnx import helper
from synthetic import LENGTHS, RATE, utterance

from voxprint import Encoder
from voxprint.audio.fbank import FbankConfig, fbank
from voxprint.encoder.sources import load_graph
from voxprint.encoder.spec import DEFAULT_MODEL

#: What sherpa-onnx says of a file, and the front end that it hears such a file by
#: (``features.h``, ``speaker-embedding-extractor-general-impl.h``).
SHERPA = {
    "3d-speaker": (
        {"normalize_samples": 1, "feature_normalize_type": "global-mean"},
        "scale = 1\nsubtract_mean = true",
    ),
    "wespeaker": ({"normalize_samples": 0}, "scale = 32768\nsubtract_mean = false"),
}


def _with_metadata(framework: str, facts: dict[str, object]) -> onnx.ModelProto:
    """The published CAM++ as sherpa-onnx takes it: one output, and what its scripts add."""
    model = onnx.load_from_string(load_graph(DEFAULT_MODEL))
    del model.graph.output[1:]
    known = {"framework": framework, "language": "English", "sample_rate": RATE, "output_dim": 192}
    helper.set_model_props(model, {key: str(value) for key, value in (known | facts).items()})
    return model


@pytest.mark.parametrize("framework", SHERPA)
def test_the_embedding_is_the_one_of_sherpa_onnx(tmp_path: Path, framework: str) -> None:
    sherpa = pytest.importorskip("sherpa_onnx", reason="sherpa-onnx is not installed")
    facts, differs = SHERPA[framework]
    path = bring(
        tmp_path,
        _with_metadata(framework, facts),
        dim=192,
        names=("features", "embedding"),
        features=f'window = "povey"\nsnip_edges = false\nhigh_hz = 7600\n{differs}',
    )
    encoder = Encoder(path)
    config = sherpa.SpeakerEmbeddingExtractorConfig(model=str(path.with_suffix(".onnx")))
    extractor = sherpa.SpeakerEmbeddingExtractor(config)
    for seconds in LENGTHS:
        samples = utterance(seconds)
        stream = extractor.create_stream()
        stream.accept_waveform(RATE, samples)
        stream.input_finished()
        theirs = np.array(extractor.compute(stream))
        ours = encoder.embed_features(fbank(samples, encoder.spec.fbank))
        assert ours @ theirs / np.linalg.norm(theirs) > 0.99999, seconds


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (FbankConfig(window="hamming", scale=32768.0), {"window_type": "hamming"}),
        (FbankConfig(), {}),
    ],
    ids=["wespeaker", "3d-speaker"],
)
def test_the_features_are_those_that_the_toolkits_train_on(config, options) -> None:
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi", reason="torchaudio is not installed")
    import torch

    for seconds in LENGTHS:
        samples = utterance(seconds)
        theirs = kaldi.fbank(
            torch.from_numpy(samples)[None] * config.scale,
            num_mel_bins=80,
            frame_length=25,
            frame_shift=10,
            dither=0.0,
            sample_frequency=RATE,
            **options,
        ).numpy()
        ours = fbank(samples, config)
        assert ours.shape == theirs.shape
        assert np.abs(ours - (theirs - theirs.mean(axis=0))).max() < 2e-3, seconds
