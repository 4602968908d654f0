"""Crops come from where somebody speaks, as often and as long as asked, the same for a seed."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from made import CPU, TINY, batches, corpus, write_noises
from talking import RATE, talk

from voxprint.errors import UsageError
from voxprint.training.coded import recoded, sped_length, start_copies, usable_codecs
from voxprint.training.config import Augment
from voxprint.training.speech import Speech, resampled

#: Crops as they were recorded, but for their level.
PLAIN = replace(
    TINY,
    augment=Augment(noise=0, reverb=0, tilt=0, clip=0, telephone=0, loss=0, gain=(0.0, 0.0)),
)


@pytest.fixture(scope="module")
def held():
    return corpus()


@pytest.fixture
def speech(held):
    return Speech(held, (1.0, 0.9), CPU)


def test_the_same_seed_draws_the_same_crops_another_draws_others(speech):
    first, again = batches(speech=speech), batches(speech=speech)
    for _ in range(5):
        a, b = first.draw(), again.draw()
        assert torch.equal(a.samples, b.samples)
        assert torch.equal(a.recording, b.recording)
    other = batches(replace(TINY, train=replace(TINY.train, seed=1)), speech).draw()
    first = batches(speech=speech).draw()
    assert other.samples.shape != first.samples.shape or not torch.equal(
        other.samples, first.samples
    )


def test_a_crop_is_a_piece_of_its_recording_at_its_speed(speech):
    drawn = batches(PLAIN, speech)
    lengths = set()
    for _ in range(12):
        crops = drawn.draw()
        lengths.add(crops.samples.shape[1])
        assert crops.samples.shape[0] <= PLAIN.batch.most
        assert torch.equal(crops.speaker, speech.speaker[crops.recording])
        for row, sound in enumerate(crops.samples):
            speed, recording = int(crops.speed[row]), int(crops.recording[row])
            whole = piece_of(speech, speed, recording)
            assert best_match(whole, sound.double().numpy()) > 0.9999
    assert lengths == {240 + 160 * frames for frames in (48, 80, 96)}


def piece_of(speech: Speech, speed: int, recording: int) -> np.ndarray:
    """One recording as it lies among the others of a speed."""
    start, size = (int(t[speed, recording]) for t in (speech.start, speech.length))
    return speech.plain[speed][start : start + size].double().numpy()


def best_match(whole: np.ndarray, piece: np.ndarray) -> float:
    """Largest cosine of a piece with any part of the whole."""
    product = np.correlate(whole, piece, "valid")
    energy = np.convolve(whole**2, np.ones(len(piece)), "valid")
    return float((product / np.sqrt(energy * (piece**2).sum() + 1e-9)).max())


def test_crops_keep_to_where_somebody_speaks(held):
    """Of 2 s nobody speaks in the first half; three places are tried for each crop."""
    quiet = replace_speech(held, lambda n: np.arange(n) >= n // 2)
    drawn = batches(PLAIN, Speech(quiet, (1.0, 0.9), CPU))
    second_half = []
    for _ in range(10):
        crops = drawn.draw()
        for row, sound in enumerate(crops.samples):
            if crops.speed[row] == 0 and len(sound) < RATE:
                pcm = quiet.heard[int(crops.recording[row])].astype(np.float64)
                place = np.correlate(pcm, sound.double().numpy(), "valid").argmax()
                second_half.append(place + len(sound) / 2 > RATE)
    assert len(second_half) > 10
    assert np.mean(second_half) > 0.75


def replace_speech(held, spoken):
    return replace(held, speech=[spoken(len(each)) for each in held.speech])


def test_shares_are_those_asked_for(held):
    many = replace(PLAIN.batch, seconds=30.0, most=60, natural=0.25, short_share=0.0)
    drawn = batches(replace(PLAIN, batch=many), Speech(held, (1.0, 0.9), CPU))
    crops = [drawn.draw() for _ in range(10)]
    assert {len(c.samples) for c in crops} == {30}
    natural = torch.cat([c.speed == 0 for c in crops]).float().mean()
    assert 0.15 < natural < 0.35


def test_balance_evens_speakers_out():
    """Speaker 0 has eight recordings, speaker 1 one: 8 to 1 by recordings, 1 to 1 by speakers."""
    lone = replace_speakers(corpus(people=3, takes=3), [0] * 8 + [1])
    for balance, low, high in ((1.0, 0.8, 1.0), (0.0, 0.4, 0.6)):
        config = replace(PLAIN, batch=replace(PLAIN.batch, balance=balance, most=30, seconds=30.0))
        drawn = batches(config, Speech(lone, (1.0, 0.9), CPU))
        first = torch.cat([drawn.draw().speaker == 0 for _ in range(12)])
        assert low < first.float().mean() < high


def replace_speakers(held, owners):
    return replace(held, speaker=np.array(owners), speakers=sorted({str(o) for o in owners}))


def test_crops_longer_than_any_recording_are_refused(speech):
    long = replace(TINY, batch=replace(TINY.batch, long=(1.0, 9.0)))
    with pytest.raises(UsageError, match=r"crops of 9\.0 s") as raised:
        batches(long, speech)
    assert "batch.long" in raised.value.hint


def test_a_short_recording_is_repeated_until_it_fills_the_crop(held):
    short = replace(held, heard=[each[:12000] for each in held.heard])
    short = replace(short, speech=[each[: -(-12000 // 512)] for each in held.speech])
    config = replace(PLAIN, batch=replace(PLAIN.batch, short=(1.0,), short_share=1.0))
    crops = batches(config, Speech(short, (1.0, 0.9), CPU)).draw()
    row = int((crops.speed == 0).nonzero()[0])
    sound = crops.samples[row]
    assert torch.allclose(sound[12000:], sound[: len(sound) - 12000], atol=1e-6)


@pytest.mark.parametrize("speed", [0.85, 0.9, 1.1, 1.15])
def test_another_speed_is_the_same_sound_faster(speed):
    time = np.arange(32000) / RATE
    tone = torch.from_numpy(np.sin(2 * np.pi * 1000 * time).astype(np.float32))
    heard = resampled(tone, speed).numpy()
    assert len(heard) == sped_length(32000, speed)
    expected = np.sin(2 * np.pi * 1000 * speed * np.arange(len(heard)) / RATE)
    assert np.abs(heard - expected)[200:-200].max() < 1e-3


def test_what_would_lie_above_half_the_rate_is_taken_off():
    tone = torch.from_numpy(np.sin(2 * np.pi * 7500 / RATE * np.arange(16000)).astype(np.float32))
    assert resampled(tone, 1.15)[200:-200].abs().max() < 0.05


@pytest.mark.parametrize("codec", sorted(set(usable_codecs())))
def test_a_coded_copy_is_in_time_with_what_it_is_a_copy_of(codec):
    sound = talk(2, 2.0)
    heard = recoded(sound, codec)
    assert heard.shape == sound.shape
    lags = range(-40, 41)
    likeness = [float(np.dot(sound[100:-100], np.roll(heard, lag)[100:-100])) for lag in lags]
    assert abs(lags[int(np.argmax(likeness))]) <= 2
    assert not np.allclose(heard, sound, atol=1e-3)


@pytest.fixture
def copies(held, tmp_path):
    """All copies of both speeds, made."""
    write_noises(tmp_path / "noise")
    noises = sorted((tmp_path / "noise").glob("*.wav"))
    with ThreadPoolExecutor(1) as pool:
        made = start_copies(pool, held.heard, (1.0, 0.9), noises, tmp_path / "coded.s16", 0)
    return tmp_path / "coded.s16", made


def test_copies_lie_where_their_recordings_do(speech, copies):
    speech.take_coded(*copies)
    for plain, coded in zip(speech.plain, speech.coded, strict=True):
        assert coded.shape == plain.shape
    noisy = 0
    for recording in range(8):
        for speed in (0, 1):
            at, size = (int(t[speed, recording]) for t in (speech.start, speech.length))
            a, b = (store[speed][at : at + size].double() for store in (speech.plain, speech.coded))
            likeness = float(a @ b / a.norm() / b.norm())
            noisy += likeness < 0.8
            assert 0.3 < likeness < 0.9999
    assert noisy < 12


def test_when_copies_come_does_not_change_the_other_crops(held, copies):
    before, after = (Speech(held, (1.0, 0.9), CPU) for _ in range(2))
    after.take_coded(*copies)
    config = replace(PLAIN, batch=replace(PLAIN.batch, coded_share=0.5))
    drawn, redrawn = batches(config, before), batches(config, after)
    same = []
    for _ in range(6):
        a, b = drawn.draw(), redrawn.draw()
        assert torch.equal(a.recording, b.recording)
        for row, sound in enumerate(b.samples):
            same.append(torch.equal(a.samples[row], sound))
            if not same[-1]:  # then it is a copy, and no other place of the recording
                speed, recording = int(b.speed[row]), int(b.recording[row])
                whole = piece_of(after, speed, recording)
                assert best_match(whole, sound.double().numpy()) < 0.9999
    assert 0.3 < np.mean(same) < 0.9


_FULL_DISK = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from made import corpus
from voxprint.errors import VoxprintError
from voxprint.training.coded import start_copies

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000,) * 2)
with ThreadPoolExecutor(1) as pool:
    try:
        start_copies(pool, corpus().heard, (1.0, 0.9), [], Path(sys.argv[1]), 0)
    except VoxprintError as error:
        sys.stdout.write(f"{error} | {error.hint}")
"""


def test_a_disk_too_small_for_the_copies_is_said_before_any_is_made(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path / "coded.s16")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert "expected room for 1 MB of copies" in done.stdout, done.stderr
    assert "data.coded" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_could_not_be_made_is_an_error_not_silence(speech, held, tmp_path):
    with ThreadPoolExecutor(1) as pool:
        absent = [tmp_path / "absent.wav"]
        made = start_copies(pool, held.heard, (1.0, 0.9), absent, tmp_path / "coded.s16", 0)
    with pytest.raises(Exception, match=r"absent\.wav"):
        speech.take_coded(tmp_path / "coded.s16", made)
