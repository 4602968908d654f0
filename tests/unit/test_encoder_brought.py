"""Encoders that users bring: read as their files say, refused before they are believed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from brought import BINS, WESPEAKER, answer, bring, network
from click.testing import CliRunner
from onnx import TensorProto, helper
from talking import talk

from voxprint import Encoder
from voxprint.audio.fbank import FbankConfig, fbank
from voxprint.cli import cli
from voxprint.encoder.spec import CALLS_MODEL, DEFAULT_MODEL, find_model, model_reference
from voxprint.errors import ModelError, ModelFileError, UsageError

RATE = 16000
PLAIN = 'window = "povey"\nscale = 1\nsubtract_mean = true'


# -- what it hears ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "front_end"),
    [
        (WESPEAKER, FbankConfig(window="hamming", scale=32768.0)),
        (PLAIN, FbankConfig()),
        (
            PLAIN + "\nsnip_edges = false\nhigh_hz = 7600",
            FbankConfig(snip_edges=False, high_hz=7600.0),
        ),
        (
            PLAIN.replace("true", "false") + "\nframe_length_ms = 20\npreemphasis = 0.9",
            FbankConfig(subtract_mean=False, frame_length_ms=20.0, preemphasis=0.9),
        ),
    ],
    ids=["wespeaker", "3d-speaker", "sherpa-onnx", "others"],
)
def test_it_hears_by_the_front_end_of_its_file(tmp_path, features, front_end):
    encoder = Encoder(bring(tmp_path, features=features))
    assert encoder.spec.fbank == front_end
    rows = fbank(talk(1, 3.0), front_end)
    assert encoder.embed_features(rows) @ answer(rows) > 0.99999


@pytest.mark.parametrize("dim", [64, 256, 512])
def test_embeddings_of_any_length(tmp_path, dim):
    encoder = Encoder(bring(tmp_path, dim=dim))
    vector = encoder.embed(talk(1), RATE)
    assert vector.shape == (dim,) == (encoder.spec.dim,)
    assert np.linalg.norm(vector.astype(np.float64)) == pytest.approx(1.0, abs=1e-6)


def test_bins_may_come_before_frames(tmp_path):
    turned = network(names=("x", "y"), shape=("B", BINS, "T"))
    encoder = Encoder(bring(tmp_path, turned, names=("x", "y"), layout="bins,frames"))
    straight = Encoder(bring(tmp_path, name="straight"))
    samples = talk(2)
    assert encoder.embed(samples, RATE) @ straight.embed(samples, RATE) > 0.99999


def test_quality_is_that_of_the_recording_whichever_encoder_hears_it(tmp_path):
    encoder = Encoder(bring(tmp_path, features=WESPEAKER + "\nhigh_hz = 3800"))
    samples = talk(1, 5.0)
    ours = Encoder().embed_samples(samples, RATE).quality
    theirs = encoder.embed_samples(samples, RATE).quality
    assert ours["agreement"] is not None
    assert theirs == ours | {"agreement": None}


# -- what its file says ----------------------------------------------------------------------


def test_hashes_of_our_own_models_are_what_calibrations_were_fitted_for():
    assert DEFAULT_MODEL.hash.startswith("c316a3d729733cc3203537499fad7253")
    assert CALLS_MODEL.hash.startswith("19087c9787b578c309ca0b28d2410653")


def test_the_hash_is_of_all_that_decides_and_not_of_the_folder(tmp_path):
    (tmp_path / "other").mkdir()
    spec = find_model(bring(tmp_path))
    assert find_model(bring(tmp_path / "other")).hash == spec.hash
    assert find_model(bring(tmp_path / "other", more='licence = "MIT"')).hash == spec.hash
    others = (
        {"features": PLAIN},
        {"features": WESPEAKER + "\nsnip_edges = false"},
        {"model": network(256, metadata={"a": 1})},
        {"names": ("feats", "other")},
        {"dim": 64},
    )
    hashes = {find_model(bring(tmp_path / "other", **other)).hash for other in others}
    assert len(hashes | {spec.hash}) == 6
    assert replace(spec, threshold=0.1).hash == spec.hash


def test_it_is_named_by_its_file_everywhere(tmp_path, monkeypatch):
    path = bring(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOXPRINT_MODEL", "brought.toml")
    assert find_model() == find_model(str(path)) == find_model(path)
    assert Encoder().spec.name == "brought"
    assert model_reference() == model_reference("brought.toml") == str(path)
    assert model_reference(CALLS_MODEL.name) == CALLS_MODEL.name
    shown = CliRunner().invoke(cli, ["model", "path", "--model", str(path)])
    assert shown.output.strip() == str(tmp_path / "brought.onnx")
    facts = CliRunner().invoke(cli, ["model", "show", "--model", str(path)]).output
    assert find_model(path).hash in facts


@pytest.mark.parametrize(
    ("was", "becomes", "words"),
    [
        ("mel_bins", "melbins", "expected one of .*mel_bins.* got 'melbins'"),
        ("[input]", "[inputs]", "expected one of .*input.* got 'inputs'"),
        ("threshold = 0.5", "", "threshold is not there"),
        ("threshold = 0.5", "threshold = 2", "a cosine from -1 to 1, got 2.0"),
        ('window = "hamming"', "", "window is not there"),
        ('window = "hamming"', 'window = "hann"', '"povey" or "hamming", got \'hann\''),
        ("scale = 32768", "scale = 2", "1 or 32768, got 2.0"),
        ("mel_bins = 80", 'mel_bins = "80"', "expected int, got '80'"),
        ("mel_bins = 80", "mel_bins = 80\nsample_rate = 8000", "16000, no other rate, got 8000"),
        ("mel_bins = 80", "mel_bins = 80\nhigh_hz = nan", "high_hz"),
        ('"fbank"', '"mfcc"', "expected fbank, got 'mfcc'"),
        ('network = "brought', 'network = "../brought', "the name of a file beside this one"),
        ('network = "brought', 'network = "/tmp/brought', "the name of a file beside this one"),
        ('name = "brought"', 'name = "a b"', "letters, digits"),
        ('name = "brought"', 'name = "campplus_zh_en_192"', "another name than those of voxprint"),
        ("dim = 256", "dim = 2001", "1 to 2000 numbers, got 2001"),
        ('"frames,bins"', '"bins"', "layout: expected"),
        ("threshold", "threshold = = ", "expected a TOML file"),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path, was, becomes, words):
    path = bring(tmp_path)
    text = path.read_text()
    assert was in text
    path.write_text(text.replace(was, becomes))
    with pytest.raises(UsageError, match=words):
        find_model(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="expected a TOML file"):
        find_model(tmp_path / "none.toml")
    path = bring(tmp_path)
    (tmp_path / "brought.onnx").unlink()
    with pytest.raises(ModelFileError, match=r"expected the network in .*brought\.onnx"):
        Encoder(path)


# -- what the network is ---------------------------------------------------------------------


def test_a_network_that_changed_is_refused(tmp_path):
    path = bring(tmp_path)
    (tmp_path / "brought.onnx").write_bytes(network(64).SerializeToString())
    with pytest.raises(ModelFileError, match="sha256") as caught:
        Encoder(path)
    assert "another name" in caught.value.hint


def test_other_weights_are_no_part_of_it(tmp_path):
    path = bring(tmp_path)
    with pytest.raises(UsageError, match="no weights beside the network"):
        Encoder(path, weights=path)


def _elsewhere() -> onnx.ModelProto:
    model = network()
    weights = model.graph.initializer[-1]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    place = weights.external_data.add()
    place.key, place.value = "location", "../../etc/passwd"
    return model


def _elsewhere_in_a_branch() -> onnx.ModelProto:
    """The weights of a constant inside the branch of a condition."""
    model = network()
    constant = _elsewhere().graph.initializer[-1]
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=constant)],
        "branch",
        [],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, None)],
    )
    condition = helper.make_node(
        "If", ["condition"], ["unused"], then_branch=branch, else_branch=branch
    )
    model.graph.node.append(condition)
    return model


def _of_others() -> onnx.ModelProto:
    product = helper.make_node("MatMul", ["deviation", "matrix"], ["embs"], domain="com.evil")
    return network(last=(product,))


def _not_a_number() -> onnx.ModelProto:
    return network(
        last=(
            helper.make_node("MatMul", ["deviation", "matrix"], ["product"]),
            helper.make_node("Sub", ["product", "product"], ["zero"]),
            helper.make_node("Div", ["zero", "zero"], ["embs"]),
        )
    )


def _two_inputs() -> onnx.ModelProto:
    model = network()
    model.graph.input.append(helper.make_tensor_value_info("length", TensorProto.INT64, ["B"]))
    return model


def _functions() -> onnx.ModelProto:
    model = network()
    model.functions.append(
        helper.make_function(
            "own", "f", ["a"], ["b"], [helper.make_node("Identity", ["a"], ["b"])], []
        )
    )
    return model


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (_elsewhere, "expected all weights inside"),
        (_elsewhere_in_a_branch, "expected all weights inside"),
        (_of_others, "only ONNX's own operators .* got some of com.evil"),
        (_functions, "only ONNX's own operators .* got some of own"),
        (_not_a_number, "finite numbers"),
        (_two_inputs, "one input 'feats' .* got feats, length"),
        (lambda: network(names=("x", "embs")), "one input 'feats' .* got x"),
        (lambda: network(names=("feats", "y")), "an output 'embs' .* got y"),
        (lambda: network(shape=("B", 100, BINS)), "fails on 60 frames"),
        (lambda: network(shape=("B", "T")), "rank 3|cannot load"),
        (lambda: network(64), "expected 256 numbers of float32 from 'embs', got .*64"),
        (lambda: b"", "expected an ONNX model"),
        (lambda: os.urandom(1000), "expected an ONNX model"),
        (lambda: network().SerializeToString()[:-100], "expected an ONNX model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_network_that_is_not_what_is_said_is_refused(tmp_path, made, words):
    with pytest.raises(ModelFileError, match=words):
        Encoder(bring(tmp_path, made()))


def test_a_network_for_other_features_is_refused(tmp_path):
    path = bring(tmp_path)
    path.write_text(path.read_text().replace("mel_bins = 80", "mel_bins = 40"))
    with pytest.raises(ModelFileError, match="expected 40 mel_bins at the input 'feats'"):
        Encoder(path)


def test_a_network_that_is_too_large_is_not_read(tmp_path):
    path = bring(tmp_path)
    with (tmp_path / "brought.onnx").open("wb") as file:
        file.truncate((512 << 20) + 1)
    with pytest.raises(ModelFileError, match="at most 512 MiB"):
        Encoder(path)


def test_nan_in_the_middle_of_the_work_is_refused(tmp_path):
    """The root of a negative number: only what is loud enough shows it."""
    rest = (
        helper.make_node("ReduceMax", ["energy"], ["loudest"], keepdims=0),
        helper.make_node("Sub", ["limit", "loudest"], ["room"]),
        helper.make_node("Sqrt", ["room"], ["root_of_room"]),
        helper.make_node("MatMul", ["deviation", "matrix"], ["product"]),
        helper.make_node("Mul", ["product", "root_of_room"], ["embs"]),
    )
    model = network(last=rest)
    limit = onnx.numpy_helper.from_array(np.array(1e4, np.float32), "limit")
    model.graph.initializer.append(limit)
    encoder = Encoder(bring(tmp_path, model))
    with pytest.raises(ModelError, match="finite numbers from brought"):
        encoder.embed_features(np.linspace(0, 1000, 100 * BINS, dtype=np.float32).reshape(100, -1))


# -- describing ------------------------------------------------------------------------------


def described(path) -> str:
    done = CliRunner().invoke(cli, ["model", "describe", str(path)], standalone_mode=False)
    if done.exception:
        raise done.exception
    return path.with_suffix(".toml").read_text()


SHERPA = {"framework": "3d-speaker", "sample_rate": 16000, "output_dim": 512}


@pytest.mark.parametrize(
    ("model", "front_end"),
    [
        (network(256), FbankConfig(window="hamming", scale=32768.0)),
        (network(512, names=("feature", "embedding")), FbankConfig()),
        (network(512, names=("x", "embedding"), metadata=SHERPA), FbankConfig()),
        (
            network(256, metadata={"framework": "wespeaker", "normalize_samples": 0}),
            FbankConfig(window="hamming", scale=32768.0),
        ),
    ],
    ids=["wespeaker", "3d-speaker", "sherpa-onnx 3d-speaker", "sherpa-onnx wespeaker"],
)
def test_what_a_file_says_is_written_down(tmp_path, model, front_end):
    path = tmp_path / "voxceleb resnet34.onnx"
    onnx.save(model, path)
    text = described(path)
    with pytest.raises(UsageError, match="threshold is not there"):
        find_model(path.with_suffix(".toml"))
    path.with_suffix(".toml").write_text(text.replace("# threshold", "threshold"))
    encoder = Encoder(path.with_suffix(".toml"))
    assert encoder.spec.name == "voxceleb_resnet34"
    assert encoder.spec.fbank == front_end
    assert encoder.embed(talk(1), RATE).shape == (encoder.spec.dim,)


def test_what_nobody_knows_is_asked_for(tmp_path):
    path = tmp_path / "unknown.onnx"
    onnx.save(network(names=("a", "b"), shape=("B", BINS, "T")), path)
    text = described(path)
    for line in ("# threshold", "# window", "# scale", "# subtract_mean", 'licence = ""'):
        assert line in text
    assert 'layout = "bins,frames"' in text


def test_text_in_a_file_stays_text(tmp_path):
    path = tmp_path / "a.onnx"
    hostile = 'x"\n[output]\ndim = 3 \x1b[2J\\'
    onnx.save(network(metadata={"comment": hostile, "framework": "wespeaker"}), path)
    text = described(path).replace("# threshold", "threshold")
    assert "\x1b" not in text
    path.with_suffix(".toml").write_text(text)
    assert find_model(path.with_suffix(".toml")).dim == 256


def test_a_description_does_not_overwrite_another(tmp_path):
    path = bring(tmp_path)
    before = path.read_text()
    with pytest.raises(UsageError, match="expected to write"):
        described(path.with_suffix(".onnx"))
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"framework": "nemo"}, "NeMo"),
        ({"framework": "other"}, "wespeaker or 3d-speaker"),
        ({"sample_rate": 8000}, "16000 Hz"),
    ],
)
def test_what_needs_another_front_end_is_not_described(tmp_path, metadata, words):
    onnx.save(network(metadata=metadata), tmp_path / "a.onnx")
    with pytest.raises(ModelFileError, match=words):
        described(tmp_path / "a.onnx")
    assert not (tmp_path / "a.toml").exists()


def test_reading_a_description_loads_no_network(tmp_path):
    path = bring(tmp_path)
    code = (
        "import sys; from voxprint.encoder.spec import find_model; find_model(sys.argv[1]).hash;"
        "print([m for m in ('onnx', 'onnxruntime', 'av', 'soxr') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
