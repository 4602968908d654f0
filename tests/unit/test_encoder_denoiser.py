from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from talking import RATE, talk, wav

from voxprint import Encoder
from voxprint.audio.degrade import degrade
from voxprint.audio.fbank import fbank
from voxprint.audio.subtraction import SubtractionConfig
from voxprint.cli import cli
from voxprint.encoder.autoencoder import DILATIONS, build_autoencoder
from voxprint.encoder.checkpoint import read_weights
from voxprint.encoder.denoiser import autoencoder
from voxprint.encoder.sources import fetch, is_fetched, load_denoiser, packaged_path, weights_path
from voxprint.encoder.spec import AUTOENCODER, DENOISERS, MODELS, find_model
from voxprint.errors import ModelFileError, NotCalibrated, UsageError
from voxprint.score.shipped import shipped
from voxprint.service.judging import Judging

NAMES = [f"{model}+{denoiser}" for model in MODELS for denoiser in DENOISERS]


@pytest.fixture(scope="module", params=sorted(DENOISERS))
def denoised(request):
    return Encoder(f"campplus_zh_en_192+{request.param}")


@pytest.mark.parametrize("name", NAMES)
def test_a_derived_model_has_its_name_and_a_hash_of_its_own(name, monkeypatch):
    spec, network = find_model(name), MODELS[name.partition("+")[0]]
    assert spec.name == name
    assert spec.hash not in {each.hash for each in MODELS.values()}
    assert weights_path(spec) == weights_path(network)
    assert replace(spec, name=network.name, denoise=None) == network
    monkeypatch.setenv("VOXPRINT_MODEL", name)
    assert find_model() == spec


def test_every_derived_model_is_another():
    assert len({find_model(name).hash for name in NAMES}) == len(NAMES)
    spec = find_model(NAMES[0])
    other = replace(spec, denoise=SubtractionConfig(floor=0.9))
    assert other.hash != spec.hash


@pytest.mark.parametrize("model", sorted(MODELS))
def test_models_without_a_denoiser_are_what_calibrations_were_made_for(model):
    assert MODELS[model].denoise is None
    assert shipped(model).spec_hash == MODELS[model].hash


@pytest.mark.parametrize(
    "name",
    [
        *("campplus_zh_en_192+", "campplus_zh_en_192+wiener", "campplus_calls_192+Autoencoder"),
        "campplus_zh_en_192+autoencoder+spectral_subtraction",
    ],
)
def test_a_denoiser_that_is_none_is_named_with_those_that_are(name):
    with pytest.raises(UsageError) as refused:
        find_model(name)
    assert all(known in str(refused.value) for known in DENOISERS)
    assert repr(name.partition("+")[2]) in str(refused.value)


def test_a_network_that_is_none_before_a_denoiser():
    with pytest.raises(UsageError, match="campplus_calls_192"):
        find_model("resnet+autoencoder")


def test_no_calibration_of_another_model_judges(denoised):
    with pytest.raises(NotCalibrated, match="calibration comes with"):
        Judging.shipped(denoised.spec)


def test_the_embedding_changes_and_what_is_told_of_the_recording_does_not(denoised):
    plain, noisy = Encoder("campplus_zh_en_192"), degrade(talk(7, 4.0), "noise5", "seed")
    before, after = (each.embed_file(wav(noisy)) for each in (plain, denoised))
    assert after.model == denoised.spec.name
    assert np.linalg.norm(after.vector.astype(np.float64)) == pytest.approx(1, abs=1e-6)
    assert after.vector @ before.vector < 0.995
    assert after.speech_seconds == before.speech_seconds
    told = [{**each.quality, "agreement": None} for each in (before, after)]
    assert told[0] == told[1]


def test_clean_speech_keeps_its_voice(denoised):
    # Whoever speaks pauses; and no room is without any sound.
    pause = 1e-4 * np.random.default_rng(3).standard_normal(RATE)
    samples = np.concatenate([pause, talk(7, 4.0), pause]).astype(np.float32)
    vector = Encoder("campplus_zh_en_192").embed(samples, RATE)
    assert denoised.embed(samples, RATE) @ vector > 0.8
    assert np.array_equal(denoised.embed(samples, RATE), denoised.embed(samples, RATE))


def test_features_are_denoised_as_well(denoised):
    spec = replace(denoised.spec.fbank, subtract_mean=False)
    features = fbank(degrade(talk(7, 4.0), "noise5", "seed"), spec)
    plain = Encoder("campplus_zh_en_192").embed_features(features)
    assert denoised.embed_features(features) @ plain < 0.995


def test_the_autoencoder_is_small_and_comes_with_the_package():
    data = packaged_path(AUTOENCODER).read_bytes()
    assert len(data) == AUTOENCODER.bytes <= 400_000
    assert sum(value.size for value in read_weights(data).values()) <= 200_000
    spec = find_model("campplus_zh_en_192+autoencoder")
    assert fetch(spec) == weights_path(spec)
    assert is_fetched(spec)


def test_long_speech_goes_through_the_autoencoder_in_parts():
    graph, random = load_denoiser(AUTOENCODER), np.random.default_rng(5)
    rows = (3 * random.standard_normal((1000, 80)) - 5).astype(np.float32)
    pauses, heard = np.zeros(1000, bool), np.arange(1000) % 10 > 0
    whole = autoencoder(graph, at_once=1000)(rows, pauses, heard)
    parts = autoencoder(graph, at_once=450)(rows, pauses, heard)
    assert whole.shape == (900, 80)
    reach = 2 * sum(DILATIONS)
    far = np.abs(np.arange(900) - 450) > reach
    assert np.abs(whole - parts)[far].max() < 1e-4
    assert np.abs(whole - parts).max() > 1e-4


def test_silence_through_the_autoencoder_is_finite():
    denoise = autoencoder(load_denoiser(AUTOENCODER), at_once=6000)
    rows = np.full((1, 80), -15.9, np.float32)
    assert np.isfinite(denoise(rows, np.ones(1, bool), np.ones(1, bool))).all()


@pytest.mark.parametrize("fault", ["missing", "shape"])
def test_weights_of_something_else(fault):
    state = read_weights(packaged_path(AUTOENCODER).read_bytes())
    if fault == "missing":
        del state["layer2.bias"]
    else:
        state["layer2.weight"] = state["layer2.weight"][:, :-1]
    with pytest.raises(ModelFileError, match="layer2"):
        build_autoencoder(state)


def test_the_command_line_shows_denoisers_and_takes_them(tmp_path):
    shown = json.loads(CliRunner().invoke(cli, ["model", "show", "--json"]).output)
    assert [(each["name"], each["denoise"]) for each in shown] == [(name, None) for name in MODELS]
    name = "campplus_calls_192+spectral_subtraction"
    (one,) = json.loads(
        CliRunner().invoke(cli, ["model", "show", "--model", name, "--json"]).output
    )
    assert (one["name"], one["hash"]) == (name, find_model(name).hash)
    assert one["denoise"]["floor"] == SubtractionConfig().floor
    (tmp_path / "a.wav").write_bytes(wav(talk(7, 2.0)))
    heard = CliRunner().invoke(cli, ["embed", str(tmp_path / "a.wav"), "--model", name, "--json"])
    assert json.loads(heard.output)[0]["embedding"]["model"] == name
