"""The denoising autoencoder: what it learns, and that serving runs what was trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made import CPU, corpus, write_corpora

from voxprint.encoder.autoencoder import build_autoencoder
from voxprint.encoder.checkpoint import read_weights
from voxprint.encoder.session import open_session
from voxprint.encoder.sources import packaged_path
from voxprint.encoder.spec import AUTOENCODER
from voxprint.errors import ModelFileError
from voxprint.training.autoencoder import (
    DenoisingAutoencoder,
    export_autoencoder,
    largest_difference,
)
from voxprint.training.denoiser import Pairs, main, train
from voxprint.training.speech import Speech


def shipped() -> DenoisingAutoencoder:
    network = DenoisingAutoencoder()
    state = read_weights(packaged_path(AUTOENCODER).read_bytes())
    network.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    return network


def pairs(seed: int = 0) -> Pairs:
    hiss = 0.1 * np.random.default_rng(5).standard_normal(48000).astype(np.float32)
    return Pairs(Speech(corpus(), (1.0,), CPU), [hiss], seed)


def test_the_graph_that_ships_is_the_network():
    network = shipped()
    assert largest_difference(network, read_weights(packaged_path(AUTOENCODER).read_bytes())) < 1e-4
    rows = torch.randn(1, 50, 80)
    assert (network(rows) - rows).abs().max() > 0.1


def test_an_untrained_network_leaves_everything_as_it_is():
    rows = torch.randn(2, 50, 80)
    assert torch.equal(DenoisingAutoencoder()(rows), rows)


def test_a_graph_of_other_weights_is_noticed():
    state = {name: value.numpy() for name, value in shipped().state_dict().items()}
    state["layer1.weight"] = state["layer1.weight"] + 0.1
    assert largest_difference(shipped(), state) > 1e-2


def test_pairs_differ_by_noise_and_some_by_none():
    noisy, clean = pairs().draw(64, 240 + 160 * 100)
    assert noisy.shape == clean.shape == (64, 100, 80)
    assert noisy.mean(1).abs().max() < 1e-3
    apart = (noisy - clean).square().mean((1, 2))
    assert 3 <= (apart < 1e-2).sum() <= 30
    assert (apart > 0.1).sum() >= 30


def test_training_takes_noise_off(tmp_path):
    torch.manual_seed(0)
    network = train(
        pairs(), steps=100, seed=0, say=lambda line: None, crops=4, length=240 + 160 * 96
    )
    noisy, clean = pairs(seed=1).draw(16, 240 + 160 * 200)
    with torch.no_grad():
        made = network(noisy)
    made = made - made.mean(1, keepdim=True)
    assert (made - clean).square().mean() < 0.95 * (noisy - clean).square().mean()
    assert export_autoencoder(network, tmp_path / "a.npz") < 1e-3
    graph = build_autoencoder(read_weights((tmp_path / "a.npz").read_bytes()))
    (served,) = open_session(graph).run(["denoised"], {"features": noisy[:1].numpy()})
    assert np.abs(served - network(noisy[:1]).detach().numpy()).max() < 1e-3


def test_a_network_that_gives_no_numbers_is_not_exported(tmp_path):
    network = DenoisingAutoencoder()
    network.layer1.weight.data.fill_(float("nan"))
    with pytest.raises(ModelFileError, match="expected the exported graph"):
        export_autoencoder(network, tmp_path / "a.npz")
    assert not (tmp_path / "a.npz").exists()


def test_the_command_trains_and_says_what_it_skipped(tmp_path, capsys):
    corpora = write_corpora(tmp_path / "corpora", people=range(1, 5), takes=2)
    (corpora / "speech/talk/1/9.wav").write_bytes(b"no sound")
    out = tmp_path / "a.npz"
    given = ["--corpora", str(corpora), "--sets", "talk", "--fold", "A", "--steps", "2"]
    assert main([*given, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "skipped talk/1/9.wav" in said
    assert "4 recordings, 2 speakers, 2 noises" in said
    assert set(read_weights(out.read_bytes())) == set(shipped().state_dict())


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--corpora", str(tmp_path), "--out", str(tmp_path / "a.npz")])
    assert ended.value.code == 1
    assert "speakers.tsv" in capsys.readouterr().err
