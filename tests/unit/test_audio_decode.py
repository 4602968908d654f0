from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import FILES, RATE, by_ffmpeg, by_soundfile, every_format, pcm16, sweep, wav

from voxprint.audio.decode import Limits, RawFormat, decode, read_recording
from voxprint.errors import AudioError, AudioTooLarge, DecodeError, FailureToAcquire, UsageError

FORMATS = every_format()
#: Formats that carry no length, so that a cut recording is a shorter one.
CUT_IN_SILENCE = {"mp3"}


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Largest correlation over all shifts: codecs delay sound by some milliseconds."""
    size = 1 << 17
    product = np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size))
    return float(np.fft.irfft(product).max() / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_back_its_sound(name):
    data, alike, rate = FORMATS[name]
    audio = decode(data)
    assert audio.samples.dtype == np.float32
    assert audio.samples.ndim == 1
    assert likeness(audio.samples, sweep()) >= alike - 1e-4
    assert (audio.sample_rate, audio.channels) == (rate, 1)
    assert audio.seconds == pytest.approx(2.0, abs=0.12)
    assert len(audio.samples) == pytest.approx(audio.seconds * RATE, abs=2)
    assert audio.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("codec", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_uncompressed_samples_come_back_exactly(codec):
    samples = sweep()
    step = 2.0**-15 if codec == "PCM_16" else 2.0**-23
    assert np.abs(decode(by_soundfile(samples, codec=codec)).samples - samples).max() <= step


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_any_rate_becomes_16_khz(rate):
    audio = decode(pcm16(sweep(rate=rate), rate))
    assert audio.sample_rate == rate
    assert len(audio.samples) == pytest.approx(2 * RATE, abs=2)
    assert likeness(audio.samples, sweep()) > 0.999


def test_channels_are_averaged_unless_one_is_named():
    left, right = sweep(), -0.5 * sweep()
    data = pcm16(np.stack([left, right], axis=1).reshape(-1), channels=2)
    assert decode(data).channels == 2
    assert np.allclose(decode(data).samples, (left + right) / 2, atol=1e-4)
    assert np.allclose(decode(data, channel=0).samples, left, atol=1e-4)
    assert np.allclose(decode(data, channel=1).samples, right, atol=1e-4)
    for missing in (2, -1):
        with pytest.raises(DecodeError, match=f"got channel {missing}"):
            decode(data, channel=missing)


def tones(channels: int, rate: int) -> np.ndarray:
    """A second of interleaved channels: 300 Hz in the first, 200 Hz more in each other one."""
    t = np.arange(rate) / rate
    pitch = 300 + 200 * np.arange(channels)
    return (0.4 * np.sin(2 * np.pi * pitch * t[:, np.newaxis])).reshape(-1)


def pitch_of(samples: np.ndarray) -> float:
    heard = samples[2000:14000] * np.hanning(12000)
    return float(np.abs(np.fft.rfft(heard)).argmax() * RATE / 12000)


@pytest.mark.parametrize(
    ("container", "codec", "rate", "layout", "channels"),
    [
        ("mp4", "aac", RATE, "7.1", 8),
        ("adts", "aac", RATE, "7.1", 8),
        ("ogg", "libopus", 48000, "7.1", 8),
        ("webm", "libopus", 48000, "7.1", 8),
        ("ogg", "libopus", 48000, "hexadecagonal", 16),
        ("mov", "pcm_s16le", RATE, "7.1", 8),
        ("flac", "flac", RATE, "7.1", 8),
    ],
)
def test_eight_channels_and_more(container, codec, rate, layout, channels):
    """PyAV reads beyond the end of a planar frame of these: the process must survive."""
    options = {"mapping_family": "255"} if channels > 8 else None
    sound = tones(channels, rate)
    data = by_ffmpeg(sound, rate, container, codec, layout=layout, source=layout, options=options)
    mixed = decode(data)
    assert mixed.channels == channels
    each = [decode(data, channel=channel).samples for channel in range(channels)]
    assert np.allclose(mixed.samples, np.mean(each, axis=0), atol=1e-6)
    for channel in set(range(channels)) - {3}:  # the fourth is for low frequencies alone
        assert pitch_of(each[channel]) == pytest.approx(300 + 200 * channel, abs=2)


def test_loudspeakers_in_an_order_of_their_own(tmp_path):
    """PyAV frees the list of such loudspeakers once a frame: a process of its own finds out."""
    left, right = sweep(), np.zeros(2 * RATE, np.float32)
    plain = by_ffmpeg(
        np.stack([left, right], axis=1).reshape(-1),
        *(RATE, "mov", "pcm_s16le"),
        layout="stereo",
        source="stereo",
    )
    (tmp_path / "swapped.mov").write_bytes(right_before_left(plain))
    code = (
        "import sys; from voxprint.audio.decode import decode\n"
        "for _ in range(5): a, b = (decode(sys.argv[1], channel=n).samples for n in (0, 1))\n"
        "print(a.any(), b.any())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "swapped.mov"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["True", "False"]), done.stderr


def right_before_left(mov: bytes) -> bytes:
    """A QuickTime file whose ``chan`` box names the loudspeakers one by one."""
    at = mov.index(b"chan")
    places = b"".join(struct.pack(">IIfff", place, 0, 0, 0, 0) for place in (2, 1))
    box = b"chan" + bytes(4) + struct.pack(">III", 0, 0, 2) + places
    old = struct.unpack_from(">I", mov, at - 4)[0]
    grown = len(box) + 4 - old
    changed = bytearray(mov[: at - 4] + struct.pack(">I", len(box) + 4) + box + mov[at - 4 + old :])
    for outer in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"sowt"):
        size_at = mov.rindex(outer, 0, at) - 4
        struct.pack_into(">I", changed, size_at, struct.unpack_from(">I", mov, size_at)[0] + grown)
    return bytes(changed)


@pytest.mark.parametrize(
    ("encoding", "dtype", "scale"),
    [
        ("s16le", "<i2", 32767),
        ("s16be", ">i2", 32767),
        ("s32le", "<i4", 2**31 - 1),
        ("f32le", "<f4", 1),
        ("f64be", ">f8", 1),
    ],
)
def test_raw_samples_with_a_stated_format(encoding, dtype, scale):
    samples = sweep(rate=8000)
    body = (samples.astype(np.float64) * scale).astype(dtype).tobytes()
    audio = decode(body, raw=RawFormat(8000, encoding))
    assert (audio.sample_rate, audio.seconds) == (8000, 2.0)
    assert likeness(audio.samples, sweep()) > 0.999
    with pytest.raises(DecodeError, match="blocks of"):
        decode(body[:-1] if encoding[1:3] != "8" else b"", raw=RawFormat(8000, encoding, 2))


def test_raw_telephone_codes_equal_their_wav():
    for encoding, codec, kind in (("alaw", "ALAW", 6), ("mulaw", "ULAW", 7)):
        data = by_soundfile(sweep(rate=8000), 8000, codec=codec)
        body = data[data.index(b"data") + 8 :][:16000]
        raw = decode(body, raw=RawFormat(8000, encoding))
        assert np.array_equal(raw.samples, decode(wav(body, kind=kind, bits=8, rate=8000)).samples)


@pytest.mark.parametrize(
    "bad", [{"sample_rate": 0}, {"encoding": "s16"}, {"channels": 0}, {"sample_rate": 10**7}]
)
def test_a_raw_format_that_is_none(bad):
    with pytest.raises(UsageError, match="expected"):
        RawFormat(**({"sample_rate": 8000} | bad))


def test_a_path_reads_the_file(tmp_path):
    path = tmp_path / "a file with spaces"
    path.write_bytes(pcm16(sweep()))
    assert np.array_equal(decode(path).samples, decode(path.read_bytes()).samples)
    assert np.array_equal(decode(str(path)).samples, decode(path).samples)


@pytest.mark.parametrize("kind", ["missing", "folder", "nul", "pipe", "device"])
def test_a_path_that_cannot_be_read(tmp_path, kind):
    path = {
        "missing": tmp_path / "none",
        "folder": tmp_path,
        "nul": "a\0b",
        "pipe": tmp_path / "pipe",
        "device": "/dev/zero",
    }[kind]
    if kind == "pipe":
        os.mkfifo(path)
    for read in (decode, read_recording):
        with pytest.raises(DecodeError, match="expected a readable file"):
            read(path)


def test_a_pipe_that_is_written_to_is_no_regular_file_either(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: os.close(os.open(path, os.O_RDWR)))
    writer.start()
    with pytest.raises(DecodeError, match="not a regular file"):
        decode(path)
    writer.join()


def test_the_bytes_of_a_recording(tmp_path):
    path = tmp_path / "one.wav"
    path.write_bytes(pcm16(sweep()))
    assert read_recording(path) == path.read_bytes()
    size = path.stat().st_size
    assert read_recording(str(path), Limits(max_bytes=size)) == path.read_bytes()
    with pytest.raises(AudioTooLarge, match=f"at most {size - 1} bytes"):
        read_recording(path, Limits(max_bytes=size - 1))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"hello, this is no audio at all\n" * 100,
        "\ufeffutf-16 text begins like an MP3 frame".encode("utf-16-le"),
        b"\x89PNG\r\n\x1a\n" + bytes(1000),
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=audio 5004 RTP/AVP 0\r\n",
        b"<MPD><BaseURL>http://localhost/</BaseURL></MPD>",
        b"RIFF\x04\0\0\0WAVE",
        b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
        b"OggS" + bytes(100),
        b"fLaC",
        b"\x1aE\xdf\xa3" + bytes(100),
        b"\0\0\0\x08ftyp",
        b"#!AMR\n",
        b"#!AMR\n" + b"\x54" * 10,
    ],
)
def test_bytes_that_are_no_audio(data):
    with pytest.raises(DecodeError, match="expected"):
        decode(data)


def test_video_without_sound_is_no_audio():
    import io

    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=5, width=64, height=64, pix_fmt="yuv420p")
        for _ in range(5):
            output.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        output.mux(stream.encode(None))
    with pytest.raises(DecodeError, match="without an audio stream"):
        decode(file.getvalue())


def test_a_codec_outside_the_list_is_not_opened():
    import io

    import av

    file = io.BytesIO()
    with av.open(file, "w", format="wav") as output:
        stream = output.add_stream("adpcm_ms", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 32000), np.int16), layout="mono")
        frame.sample_rate = RATE
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with pytest.raises(DecodeError, match="expected a codec this package reads"):
        decode(file.getvalue())


@pytest.mark.parametrize("name", sorted(set(FORMATS) - CUT_IN_SILENCE))
@pytest.mark.parametrize("share", [0.05, 0.5, 0.93])
def test_a_truncated_file_is_refused(name, share):
    data = FORMATS[name][0]
    cut = int(len(data) * share)
    if name.startswith("amr"):  # a cut between two frames cannot be seen
        cut += (cut - 6) % 32 == 0 or (cut - 9) % 33 == 0
    with pytest.raises(DecodeError, match="expected"):
        decode(data[:cut])


@pytest.mark.parametrize("name", ["wav pcm_16", "flac", "ogg opus", "ogg vorbis", "webm opus"])
def test_even_the_last_byte_is_missed(name):
    with pytest.raises(DecodeError, match=r"truncated|damaged"):
        decode(FORMATS[name][0][:-1])


def test_a_whole_page_missing_at_the_end_of_ogg():
    data = FORMATS["ogg opus"][0]
    with pytest.raises(DecodeError, match="not marked as the end"):
        decode(data[: data.rindex(b"OggS")])


def test_whole_flac_frames_missing_at_the_end():
    """Cut where a frame begins: every frame decodes, only the count of samples tells."""
    data = FORMATS["flac"][0]
    starts = [at for at in range(200, len(data) - 2) if data[at : at + 2] == b"\xff\xf8"]
    messages = set()
    for at in starts:
        with pytest.raises(DecodeError) as error:
            decode(data[:at])
        messages.add("of 32000 samples" in str(error.value))
    assert True in messages


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF024])
def test_a_wav_of_unknown_length_is_read_to_its_end(size):
    data = bytearray(pcm16(sweep()))
    struct.pack_into("<I", data, data.index(b"data") + 4, size)
    assert decode(bytes(data)).seconds == 2.0


def test_a_live_webm_recording_states_no_length():
    data = FORMATS["webm opus"][0]
    at = data.index(b"\x18\x53\x80\x67") + 4
    live = data[:at] + b"\x01" + b"\xff" * 7 + data[at + 8 :]
    assert decode(live).seconds == pytest.approx(2.0, abs=0.05)


def test_nothing_in_the_container():
    for data in (wav(b"", kind=1, bits=16), by_soundfile(np.empty(0, np.float32))):
        with pytest.raises(DecodeError, match=r"no samples|cannot be decoded"):
            decode(data)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_samples_that_are_not_finite(value, dtype):
    samples = sweep().astype(dtype)
    samples[20000] = value
    data = wav(samples.tobytes(), kind=3, bits=8 * samples.itemsize)
    with pytest.raises(FailureToAcquire) as error:
        decode(data)
    assert error.value.reason == "not_finite"


def test_a_float_beyond_float32_is_not_finite():
    data = wav(np.full(RATE, 1e300).astype("<f8").tobytes(), kind=3, bits=64)
    with pytest.raises(FailureToAcquire) as error:
        decode(data)
    assert error.value.reason == "not_finite"


def test_limits_are_those_asked_for():
    data = pcm16(sweep())
    assert decode(data, limits=Limits(len(data), 2.0)).seconds == 2.0
    with pytest.raises(AudioTooLarge, match="bytes"):
        decode(data, limits=Limits(max_bytes=len(data) - 1))
    with pytest.raises(AudioTooLarge, match=r"1\.9 s"):
        decode(data, limits=Limits(max_seconds=1.9))


def test_a_large_file_is_not_read_beyond_the_limit(tmp_path):
    path = tmp_path / "large.wav"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(AudioTooLarge):
        decode(path)


def test_hours_of_silence_in_few_bytes_stop_at_the_limit():
    """What counts is the sound that comes out: this FLAC of an hour has a tenth of a megabyte."""
    data = by_soundfile(np.zeros(3600 * 8000, np.float32), 8000, container="FLAC")
    assert len(data) < 200_000
    with pytest.raises(AudioTooLarge):
        decode(data)


EMPTY_PARTS = {
    "webm": b"\x1aE\xdf\xa3\x80" + b"\xec\x80" * (2 << 20),
    "mp4": struct.pack(">I4s", 8, b"ftyp") + struct.pack(">I4s", 8, b"free") * (2 << 20),
    "ogg": (b"OggS" + bytes(23)) * (1 << 20),
    "wav": b"RIFF\0\0\0\0WAVE" + b"abcd\0\0\0\0" * (2 << 20),
    "wav behind its sound": pcm16(sweep()) + b"abcd\0\0\0\0" * (2 << 20),
}


@pytest.mark.parametrize("name", EMPTY_PARTS)
def test_millions_of_empty_parts_are_not_walked_over(name):
    with pytest.raises(DecodeError, match="at most 250000 parts"):
        decode(EMPTY_PARTS[name])


@pytest.mark.parametrize(
    "frames",
    [
        b"#!AMR\n" + b"\x7c" * (1 << 20),  # one byte each: nothing was said
        b"\xff\xf1\x50\x80\x01\x00\xfc\0" * (1 << 18),  # the shortest of AAC
    ],
)
def test_hours_of_empty_frames_are_not_walked_over(frames):
    with pytest.raises(AudioTooLarge, match="at most 600 s"):
        decode(frames)


def test_as_many_frames_of_amr_as_fit_into_the_limit():
    data = (FILES / "sweep-nb.amr").read_bytes()
    seconds = decode(data).seconds
    assert decode(data, limits=Limits(max_seconds=seconds)).seconds == seconds
    with pytest.raises(AudioTooLarge):
        decode(data, limits=Limits(max_seconds=seconds - 0.01))


def test_damaged_frames_are_skipped_but_not_without_end():
    damaged = (b"\xff\xf3\x14\xc4" + b"\x55" * 20) * 10_000
    with pytest.raises(DecodeError, match="Invalid data"):
        decode(damaged)


def test_a_rate_and_channels_that_unfold_a_few_bytes():
    """FLAC keeps a minute of silence in 8 channels at 655 kHz, 314 million samples, in 29 kB."""
    silence = np.zeros((655350, 8), np.float32)
    data = by_soundfile(silence, 655350, container="FLAC")
    assert len(data) < 10_000
    assert decode(data, limits=Limits(max_seconds=15)).channels == 8
    with pytest.raises(AudioTooLarge, match="samples in all channels"):
        decode(data, limits=Limits(max_seconds=10))


def test_a_header_that_lies_about_its_rate():
    with pytest.raises(DecodeError, match="expected a sample rate"):
        decode(wav(bytes(2000), kind=1, bits=16, rate=1))
    with pytest.raises(DecodeError, match="expected"):
        decode(wav(bytes(2000), kind=1, bits=16, rate=2**30))


def test_a_recording_that_changes_its_channels():
    """FFmpeg's queue overruns its memory on this; two whole recordings, one after the other."""
    mono, stereo = (by_ffmpeg(sweep(), RATE, "adts", "aac", layout=x) for x in ("mono", "stereo"))
    for data in (mono + stereo, stereo + mono):
        with pytest.raises(DecodeError, match="channels at 16000 Hz throughout"):
            decode(data)


def test_messages_name_no_buffers_or_addresses():
    for data in (FORMATS["flac"][0][:5000], b"fLaC" + bytes(50), FORMATS["mp3"][0][:900]):
        try:
            decode(data)
        except DecodeError as error:
            assert "<none>" not in str(error)
            assert "0x" not in str(error)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damaged_bytes_raise_nothing_but_our_errors(data):
    whole = bytearray(FORMATS[data.draw(st.sampled_from(sorted(FORMATS)))][0])
    places = st.integers(0, len(whole) - 1) | st.integers(0, 200)
    for at, byte in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=20)):
        whole[at] = byte
    if data.draw(st.booleans()):
        del whole[data.draw(places) :]
    try:
        audio = decode(bytes(whole), limits=Limits(max_seconds=30))
    except AudioError:
        return
    assert np.isfinite(audio.samples).all()


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([b"", b"RIFF0000WAVE", b"OggS", b"fLaC", b"ID3\4\0\0\0\0\0\0", b"\xff\xfb"]),
    st.binary(max_size=2000),
)
def test_random_bytes_raise_nothing_but_our_errors(start, rest):
    try:
        decode(start + rest)
    except AudioError:
        return


def test_ten_minutes_are_accepted_and_one_sample_more_is_refused():
    def flac(count: int) -> bytes:
        return by_soundfile(np.zeros(count, np.float32), 8000, container="FLAC")

    assert decode(flac(600 * 8000)).seconds == 600.0
    with pytest.raises(AudioTooLarge, match="at most 600 s"):
        decode(flac(600 * 8000 + 1))


def test_32_mib_are_accepted_and_one_byte_more_is_refused():
    largest = bytes(32 << 20)
    raw = RawFormat(48000, "f64le", 16)  # few seconds: the limit of time is another one
    assert decode(largest, raw=raw).seconds == pytest.approx((32 << 20) / 128 / 48000)
    with pytest.raises(AudioTooLarge, match=f"{32 << 20} bytes.* got {(32 << 20) + 1}"):
        decode(largest + b"\0", raw=raw)
