"""Every damage does what it says, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from talking import RATE, talk

from voxprint.audio.degrade import degrade
from voxprint.audio.recode import CODECS, through
from voxprint.training.augment import (
    Augmenter,
    companded_a,
    companded_mu,
    mixed,
    packets_lost,
    pink,
    reverberant,
    telephone,
)
from voxprint.training.config import Augment

CPU = torch.device("cpu")
NEVER = Augment(noise=0, reverb=0, tilt=0, clip=0, telephone=0, loss=0)
N = 32000


@pytest.fixture
def voices() -> torch.Tensor:
    return torch.from_numpy(np.stack([talk(person, 2.0) for person in (1, 2, 3)]))


def white(rows: int, length: int = N, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, length, generator=torch.Generator().manual_seed(seed))


def decibel(ratio):
    return 10 * np.log10(ratio)


def speech_power(samples: np.ndarray) -> float:
    """Mean power of the frames of 25 ms within 30 dB of the loudest."""
    power = np.square(samples[: len(samples) // 400 * 400].reshape(-1, 400)).mean(1)
    return power[power >= power.max() / 1000].mean()


def no_voices(count: int, length: int) -> torch.Tensor:
    raise AssertionError("babble was not asked for")


def damaged(settings: Augment, x: torch.Tensor, clean=None, *, noises=(), seed: int = 0):
    mask = np.zeros(len(x), bool) if clean is None else np.array(clean)
    augmenter = Augmenter(settings, noises, CPU, seed)
    return augmenter(x, mask, lambda n, size: x[:1, :size].expand(n, -1))


def test_the_snr_is_the_one_asked_for(voices):
    asked = torch.tensor([-5.0, 0.0, 17.0])
    noise = 7 * white(3)
    heard = mixed(voices, noise, asked)
    for row in range(3):
        added = (heard - voices)[row].double().numpy()
        found = decibel(speech_power(voices[row].double().numpy()) / np.mean(added**2))
        assert found == pytest.approx(float(asked[row]), abs=0.01)


def test_noise_is_mixed_as_conditions_are_measured(voices):
    speech, noise = voices[0].numpy() / 4, white(1)[0].numpy() / 10
    ours = mixed(voices[:1] / 4, torch.from_numpy(noise)[None], torch.tensor([6.0]))[0].numpy()
    assert np.abs(ours - degrade(speech, "noise6", noises=[noise])).max() < 1e-5


def test_clean_rows_get_another_level_and_nothing_else(voices):
    every = replace(Augment(gain=(-20.0, -6.0)), **dict.fromkeys(DAMAGES, 1.0))
    heard = damaged(every, voices, [True, False, True], noises=[white(1)[0].numpy()])
    for row, clean in enumerate([True, False, True]):
        gain = heard[row].abs().max() / voices[row].abs().max()
        assert torch.allclose(heard[row], gain * voices[row], atol=1e-5) == clean
        peak = 20 * float(heard[row].abs().max().log10())
        assert -20.01 <= peak <= -5.99


DAMAGES = ("noise", "reverb", "tilt", "clip", "telephone", "loss")


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_done_to_as_many_as_asked(voices, damage):
    x = voices[:1, :8000].repeat(200, 1)
    heard = damaged(replace(NEVER, gain=(-1.0, -1.0), **{damage: 0.4}), x)
    gain = 10 ** (-1 / 20) / x[0].abs().max()
    changed = ((heard - gain * x).abs().amax(1) > 1e-4).float().mean()
    # Of 200: three deviations about 0.4; a lost packet may fall on silence, or on none.
    assert 0.3 - 0.1 * (damage == "loss") < changed < 0.5
    assert torch.isfinite(heard).all()


def test_nothing_is_done_where_nothing_is_asked_for_and_the_input_stays(voices):
    before = voices.clone()
    heard = damaged(replace(NEVER, gain=(0.0, 0.0)), voices)
    assert torch.equal(voices, before)
    assert torch.allclose(heard, voices / voices.abs().amax(1, keepdim=True), atol=1e-6)


def test_the_same_seed_does_the_same_another_does_not(voices):
    every = replace(Augment(), **dict.fromkeys(DAMAGES, 0.5))
    first = damaged(every, voices, seed=4)
    assert torch.equal(first, damaged(every, voices, seed=4))
    assert not torch.equal(first, damaged(every, voices, seed=5))


def test_silence_survives_everything():
    every = replace(Augment(), **dict.fromkeys(DAMAGES, 1.0))
    assert torch.isfinite(damaged(every, torch.zeros(8, 8000))).all()


def test_a_telephone_takes_off_all_above_4_khz_and_what_is_outside_its_band():
    tones = {hertz: 0.2 * torch.sin(2 * np.pi * hertz / RATE * torch.arange(N)) for hertz in TONES}
    x = sum(tones.values())[None]
    heard = telephone(x, torch.tensor([300.0]), torch.tensor([3400.0]), torch.tensor([False]))
    spectrum = torch.fft.rfft(heard[0]).abs().square()
    before = torch.fft.rfft(x[0]).abs().square()
    kept = {hertz: decibel(float(at(spectrum, hertz) / at(before, hertz))) for hertz in TONES}
    assert kept[50] < -25
    assert abs(kept[1000]) < 1
    assert abs(kept[3000]) < 1
    assert kept[3700] < -25
    assert kept[5000] < -60
    assert float(spectrum[N // 4 + 1 :].sum() / spectrum.sum()) < 1e-9


TONES = (50, 1000, 3000, 3700, 5000)


def at(spectrum: torch.Tensor, hertz: int) -> torch.Tensor:
    middle = round(hertz * N / RATE)
    return spectrum[middle - 2 : middle + 3].sum()


@pytest.mark.parametrize("law", ["mulaw8k", "alaw8k"])
@pytest.mark.parametrize("level", [1.0, 0.05])
def test_g711_is_that_of_the_package_within_its_own_noise(voices, law, level):
    """Both quantise in their own place: they differ by less than twice what either does."""
    low = torch.fft.rfft(voices)
    low[:, round(3300 * N / RATE) :] = 0
    x = level * torch.fft.irfft(low, n=N)
    wide = torch.tensor([-1000.0] * 3), torch.tensor([5000.0] * 3)
    ours = telephone(x, *wide, torch.tensor([law == "alaw8k"] * 3)).numpy()
    for row in range(3):
        clean, inner = x[row].numpy(), slice(400, -400)
        theirs = through(clean, CODECS[law])
        power = np.mean(clean[inner] ** 2)
        noise = {
            "ours": decibel(power / np.mean((ours[row] - clean)[inner] ** 2)),
            "theirs": decibel(power / np.mean((theirs - clean)[inner] ** 2)),
            "between": decibel(power / np.mean((ours[row] - theirs)[inner] ** 2)),
        }
        assert noise["between"] > min(noise["ours"], noise["theirs"]) - 6, noise
        assert abs(noise["ours"] - noise["theirs"]) < 3, noise
        assert noise["ours"] < 45, noise  # 8 bits are heard


@pytest.mark.parametrize("law", [companded_mu, companded_a])
def test_companding_has_256_levels_and_keeps_sign_and_order(law):
    x = torch.linspace(-1, 1, 20001)
    y = law(x)
    assert len(y[x != 0].unique()) == 256
    assert (y.diff() >= -1e-7).all()
    assert (y.sign() * x.sign() >= 0).all()
    assert y.abs().max() <= 1


def test_lost_packets_are_silent_or_the_last_that_came():
    x = torch.arange(1.0, 1601).expand(2, -1)[:, :1500]  # five packets, the last one cut short
    lost = torch.tensor([[True, False, True, True, False]] * 2)
    heard = packets_lost(x, lost, torch.tensor([False, True])).view(2, -1)
    silent, repeated = heard[0].numpy(), heard[1].numpy()
    packet = [slice(at, at + 320) for at in range(0, 1500, 320)]
    assert silent.shape == (1500,)
    for number in range(5):
        expected = 0 * x[0, packet[number]] if lost[0, number] else x[0, packet[number]]
        assert np.array_equal(silent[packet[number]], expected)
    assert not repeated[packet[0]].any(), "nothing came before the first"
    for number, source in ((1, 1), (2, 1), (3, 1)):
        assert np.array_equal(repeated[packet[number]], x[0, packet[source]])
    assert np.array_equal(repeated[packet[4]], x[0, packet[4]])


def test_a_room_dies_away_in_its_time_and_leaves_the_direct_sound_in_place():
    click = torch.zeros(1, N)
    click[0, 100] = 1.0
    random = torch.Generator().manual_seed(0)
    heard = reverberant(click, torch.tensor([0.4]), torch.tensor([6.0]), random)[0]
    assert heard[:100].abs().max() < 1e-5
    assert float(heard[100]) == pytest.approx(1, abs=1e-4)
    tail = heard[101:].double()
    assert decibel(1 / float(tail.square().sum())) == pytest.approx(6, abs=0.1)
    halves = [float(tail[at : at + 1600].square().sum()) for at in (0, 3200)]
    assert decibel(halves[0] / halves[1]) == pytest.approx(60 * 0.2 / 0.4, abs=2)


def test_pink_noise_has_as_much_power_in_every_octave():
    spectrum = torch.fft.rfft(pink(white(20))).abs().square().mean(0)
    octaves = [
        float(spectrum[low * N // RATE : 2 * low * N // RATE].sum()) for low in (125, 500, 2000)
    ]
    assert max(octaves) / min(octaves) < 1.2


def test_clipping_cuts_the_loudest_off(voices):
    heard = damaged(replace(NEVER, clip=1.0, gain=(0.0, 0.0)), voices)
    share = (heard.abs() > 0.999).float().mean(1)
    assert ((share > 0.004) & (share < 0.09)).all()
    assert float((voices.abs() > 0.999 * voices.abs().amax(1, keepdim=True)).float().mean()) < 1e-3


def test_recorded_noise_is_what_is_added_where_there_is_some():
    """A tone as the only noise, higher or lower: half of the rows have it, and none without it."""
    tone = np.sin(2 * np.pi * 2000 / RATE * np.arange(RATE)).astype(np.float32)
    x = 0.1 * white(100, 8000)
    settings = replace(NEVER, noise=1.0, snr=(0.0, 0.0))

    def tonal(noises) -> float:
        spectrum = torch.fft.rfft(damaged(settings, x, noises=noises)).abs().square()
        played = spectrum[:, 740:1340].sum(1)  # 2 kHz at 0.75 to 1.33 times the speed
        return float((played > 0.4 * spectrum.sum(1)).float().mean())

    assert 0.35 < tonal([tone]) < 0.65
    assert tonal([]) == 0
