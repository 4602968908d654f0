from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import soxr
from recordings import RATE, by_ffmpeg, pcm16, wav
from talking import talk

from voxprint import Encoder
from voxprint.audio.decode import Limits, RawFormat
from voxprint.encoder.spec import DEFAULT_MODEL, find_model
from voxprint.errors import (
    AudioTooLarge,
    DecodeError,
    FailureToAcquire,
    ModelFileError,
    UsageError,
)
from voxprint.types import Embedding


@pytest.fixture(scope="module")
def encoder():
    return Encoder()


def voice(seconds: float, person: int, rate: int = RATE) -> np.ndarray:
    return talk(person, seconds, rate=rate)


def test_an_embedding_is_a_unit_vector(encoder):
    vector = encoder.embed(voice(2, 120), RATE)
    assert vector.shape == (192,) == (encoder.spec.dim,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector.astype(np.float64)) == pytest.approx(1.0, abs=1e-6)


def test_the_same_sound_in_any_form_is_the_same_voice(encoder):
    samples = voice(2, 120)
    vector = encoder.embed(samples, RATE)
    assert np.array_equal(vector, encoder.embed(samples, RATE))
    same = {
        "double precision": encoder.embed(samples.astype(np.float64), RATE),
        "list": encoder.embed(samples.tolist(), RATE),
        "16-bit integers": encoder.embed((samples * 32768).astype(np.int16), RATE),
        "level": encoder.embed(samples * 0.25, RATE),
        "integers as floats": encoder.embed(samples * 32768, RATE),
        "strided": encoder.embed(np.repeat(samples, 2)[::2], RATE),
    }
    for name, other in same.items():
        assert vector @ other > 0.999, name


def test_other_rates_are_resampled(encoder):
    wide = voice(2, 120, 48000)
    expected = encoder.embed(soxr.resample(wide, 48000, RATE), RATE)
    assert np.array_equal(encoder.embed(wide, 48000), expected)


def test_a_batch_is_its_utterances_one_by_one(encoder):
    utterances = [voice(seconds, 110) for seconds in (0.5, 2.37, 0.5, 1.0)]
    rows = encoder.embed_batch(utterances, RATE)
    assert rows.shape == (4, 192)
    for row, samples in zip(rows, utterances, strict=True):
        assert np.array_equal(row, encoder.embed(samples, RATE))
    assert encoder.embed_batch([], RATE).shape == (0, 192)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(encoder, value):
    samples = voice(1, 120)
    samples[100] = value
    with pytest.raises(FailureToAcquire) as error:
        encoder.embed(samples, RATE)
    assert error.value.reason == "not_finite"


@pytest.mark.parametrize("level", [1e300, 1e37])
def test_samples_beyond_single_precision(encoder, level):
    with pytest.raises(FailureToAcquire) as error:
        encoder.embed(voice(1, 120).astype(np.float64) * level, RATE)
    assert error.value.reason == "not_finite"


@pytest.mark.parametrize("count", [0, 1, 399, 4799])
def test_less_than_the_shortest(encoder, count):
    with pytest.raises(FailureToAcquire, match=r"at least 0\.3 s") as error:
        encoder.embed(voice(1, 120)[:count], RATE)
    assert error.value.reason == "too_short"


def test_the_shortest_is_enough(encoder):
    assert encoder.embed(voice(0.3, 120), RATE).shape == (192,)
    assert encoder.embed(voice(0.3, 120, 8000), 8000).shape == (192,)


@pytest.mark.parametrize("kind", ["zeros", "offset", "huge offset", "hiss", "click"])
def test_silence_is_no_utterance(encoder, kind):
    samples = {
        "zeros": np.zeros(RATE),
        "offset": np.full(RATE, 0.1),
        "huge offset": np.full(1_000_000, 1.7e9),
        "hiss": np.random.default_rng(1).standard_normal(RATE) * 3e-5,
        "click": np.eye(1, RATE, 8000)[0] * 0.9,
    }[kind]
    with pytest.raises(FailureToAcquire, match="silence") as error:
        encoder.embed(samples, RATE)
    assert error.value.reason == "silent"


@pytest.mark.parametrize(
    ("samples", "rate"),
    [
        (np.zeros((2, RATE)), RATE),
        (np.zeros((RATE, 1)), RATE),
        (np.float32(0), RATE),
        (np.zeros(RATE, complex), RATE),
        (np.zeros(RATE, np.uint8), RATE),
        (np.zeros(RATE, bool), RATE),
        (np.array(["a"] * RATE), RATE),
        (voice(1, 120), 0),
        (voice(1, 120), -8000),
        (voice(1, 120), 16),
        (voice(1, 120), float("nan")),
    ],
)
def test_arguments_that_are_no_utterance(encoder, samples, rate):
    with pytest.raises(UsageError, match="expected"):
        encoder.embed(samples, rate)


def test_a_file_brings_its_facts(encoder):
    data = pcm16(voice(2, 3, 8000), 8000)
    embedding = encoder.embed_file(data)
    assert isinstance(embedding, Embedding)
    assert embedding.model == DEFAULT_MODEL.name
    assert embedding.seconds == 2.0
    assert 1.5 < embedding.speech_seconds <= 2.0
    assert embedding.sample_rate == 8000
    assert len(embedding.sha256) == 64
    assert embedding.quality["codec"] == "pcm_s16le"
    assert embedding.quality["channels"] == 1
    assert 0 < embedding.quality["peak"] <= 1


def test_a_named_channel_and_raw_samples(encoder):
    left, right = voice(2, 120), voice(2, 230)
    stereo = np.stack([left, right], axis=1).reshape(-1)
    data = pcm16(stereo, channels=2)
    for channel, samples in enumerate((left, right)):
        vector = encoder.embed_file(data, channel=channel).vector
        assert vector @ encoder.embed(samples, RATE) > 0.9999
    raw = data[44:]
    again = encoder.embed_file(raw, channel=1, raw=RawFormat(RATE, channels=2)).vector
    assert np.array_equal(again, vector)


@pytest.mark.parametrize(("container", "codec"), [("webm", "libopus"), ("mp4", "aac")])
def test_a_good_codec_hardly_moves_a_voice(encoder, container, codec):
    samples = voice(3, 120)
    vector = encoder.embed_file(by_ffmpeg(samples, RATE, container, codec)).vector
    assert vector @ encoder.embed(samples, RATE) > 0.85


def test_bad_files_raise_what_they_are(encoder, tmp_path):
    for data, error in (
        (b"", DecodeError),
        (b"text", DecodeError),
        (pcm16(voice(0.2, 120)), FailureToAcquire),
        (pcm16(np.zeros(RATE, np.float32)), FailureToAcquire),
        (wav(np.full(RATE, np.nan, "<f4").tobytes(), kind=3, bits=32), FailureToAcquire),
    ):
        with pytest.raises(error):
            encoder.embed_file(data)
    with pytest.raises(AudioTooLarge):
        encoder.embed_file(pcm16(voice(2, 120)), limits=Limits(max_seconds=1))


def test_many_files_come_back_in_order_with_their_errors(encoder, tmp_path):
    paths, expected = [], []
    for number in range(12):
        path = tmp_path / f"{number}.wav"
        if number % 5 == 4:
            path.write_bytes(b"no audio")
            expected.append(None)
        else:
            samples = voice(0.4 + 0.3 * (number % 3), 100 + 10 * number)
            path.write_bytes(pcm16(samples))
            expected.append(encoder.embed_file(path).vector)
        paths.append(path)
    paths.append(tmp_path / "missing.wav")
    expected.append(None)
    for workers in (None, 1, 5):
        results = list(encoder.embed_files(iter(paths), workers=workers))
        assert [path for path, _ in results] == paths
        for (_, result), vector in zip(results, expected, strict=True):
            if vector is None:
                assert isinstance(result, DecodeError)
            else:
                assert np.array_equal(result.vector, vector)
    assert list(encoder.embed_files([])) == []


def test_files_are_taken_only_as_they_are_needed(encoder, tmp_path):
    path = tmp_path / "one.wav"
    path.write_bytes(pcm16(voice(0.4, 120)))
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield path

    results = encoder.embed_files(endless(), workers=2)
    for _ in range(3):
        next(results)
    results.close()
    assert len(taken) < 20


def test_one_encoder_serves_many_threads(encoder):
    utterances = [voice(0.4 + 0.1 * n, 100 + 5 * n) for n in range(12)]
    alone = [encoder.embed(samples, RATE) for samples in utterances]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda samples: encoder.embed(samples, RATE), utterances))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps to a limit of memory")
def test_too_little_memory_for_a_recording(tmp_path):
    """In a process of its own, which may take little more than it has by then."""
    code = (
        "import resource, sys, numpy as np; from voxprint import Encoder\n"
        "from voxprint.errors import AudioTooLarge\n"
        "voice = np.tile(np.load(sys.argv[1]), 60)\n"
        "encoder = Encoder(); short = encoder.embed(voice[:16000], 16000)\n"
        "taken = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (taken + (60 << 20), -1))\n"
        "try: encoder.embed(voice, 16000)\n"
        "except AudioTooLarge as error: print(error)\n"
        "print((encoder.embed(voice[:16000], 16000) == short).all())"
    )
    np.save(tmp_path / "voice.npy", voice(1, 120))
    command = [sys.executable, "-c", code, str(tmp_path / "voice.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "expected a recording that fits into memory, got one of 60 s" in done.stdout, done.stderr
    assert done.stdout.split()[-1] == "True"


def test_minutes_of_speech_are_the_voice_that_one_run_hears(encoder):
    minutes = np.concatenate([talk(120, 10, take=take) for take in range(7)])
    at_once = Encoder(replace(encoder.spec, speech=replace(encoder.spec.speech, at_once=10_000)))
    assert encoder.embed(minutes, RATE) @ at_once.embed(minutes, RATE) > 0.98


def test_arguments_of_the_encoder(tmp_path):
    with pytest.raises(UsageError, match="expected one of the models"):
        Encoder("nobody")
    with pytest.raises(UsageError, match="at least one thread"):
        Encoder(threads=0)
    with pytest.raises(ModelFileError):
        Encoder(weights=tmp_path / "none")
    with pytest.raises(UsageError, match="at least one worker"):
        list(Encoder().embed_files([], workers=0))


def test_a_spec_is_told_by_what_decides_its_embeddings():
    spec = DEFAULT_MODEL
    assert find_model(spec.name) is find_model(spec) is spec
    assert replace(spec, threshold=0.1).hash == spec.hash
    for other in (
        replace(spec, weights_sha256="0" * 64),
        replace(spec, name="other"),
        replace(spec, fbank=replace(spec.fbank, preemphasis=0.9)),
    ):
        assert other.hash != spec.hash


def test_a_spec_loads_no_network_and_no_decoder():
    """The command line's help and the scores must stay quick."""
    code = (
        "import sys, voxprint.encoder.spec, voxprint.encoder.sources, voxprint.encoder.embedder;"
        "print([m for m in ('onnx', 'onnxruntime', 'av', 'soxr', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
