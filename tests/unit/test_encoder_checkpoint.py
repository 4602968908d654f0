"""Checkpoints are written here as PyTorch writes them: a zip of a pickle and raw storages."""

from __future__ import annotations

import collections
import io
import os
import pickle
import zipfile
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxprint.encoder import checkpoint
from voxprint.encoder.checkpoint import read_checkpoint, read_weights
from voxprint.errors import ModelFileError


class Global:
    """Pickles as a reference to a name in a module that need not exist."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Call:
    """Pickles as a call of a global when it is loaded."""

    def __init__(self, function: Global, *arguments: object) -> None:
        self.function, self.arguments = function, arguments


class Pickler(pickle._Pickler):
    """The pure Python pickler, which can be told to write any global."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def save_named(self, value: Global) -> None:
        self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())

    def save_call(self, value: Call) -> None:
        self.save(value.function)
        self.save(value.arguments)
        self.write(pickle.REDUCE)

    dispatch[Global] = save_named
    dispatch[Call] = save_call

    def persistent_id(self, value: object) -> object:
        return value.reference if isinstance(value, Storage) else None


class Storage:
    def __init__(self, kind: str, key: str, count: int) -> None:
        self.reference = ("storage", Global("torch", kind), key, "cpu", count)


REBUILD = Global("torch._utils", "_rebuild_tensor_v2")


def tensor(storage, offset, shape, stride, *, rebuild=REBUILD) -> Call:
    return Call(rebuild, storage, offset, shape, stride, False, collections.OrderedDict())


def archive(content: object, storages: dict[str, bytes] | None = None) -> bytes:
    described = io.BytesIO()
    Pickler(described, protocol=2).dump(content)
    return packed({"data.pkl": described.getvalue(), **_under_data(storages or {})})


def _under_data(storages: dict[str, bytes]) -> dict[str, bytes]:
    return {f"data/{key}": value for key, value in storages.items()}


def packed(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as output:
        for name, value in members.items():
            output.writestr(f"archive/{name}", value)
    return file.getvalue()


NUMBERS = np.arange(6, dtype="<f4")


def test_tensors_come_out_with_their_names_types_and_shapes():
    state = read_checkpoint(
        archive(
            collections.OrderedDict(
                a=tensor(Storage("FloatStorage", "7", 6), 0, (2, 3), (3, 1)),
                part=tensor(Storage("FloatStorage", "7", 6), 4, (2,), (1,)),
                count=tensor(Storage("LongStorage", "8", 1), 0, (), ()),
            ),
            {"7": NUMBERS.tobytes(), "8": np.array(41, "<i8").tobytes()},
        )
    )
    assert list(state) == ["a", "part", "count"]
    assert np.array_equal(state["a"], NUMBERS.reshape(2, 3))
    assert state["a"].dtype == np.float32
    assert np.array_equal(state["part"], [4, 5])
    assert state["count"] == 41
    assert state["count"].dtype == np.int64


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("torch", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("torch", "HalfStorage"),
        ("torch", "FloatStorage.__init__"),
        ("collections", "Counter"),
        ("collections", "OrderedDict.fromkeys"),
        ("numpy", "load"),
        ("voxprint.encoder.checkpoint", "_rebuild_tensor"),
    ],
)
def test_any_other_global_is_refused_by_name(module, name, tmp_path):
    trap = tmp_path / "trap"
    call = Call(Global(module, name), f"touch {trap}")
    with pytest.raises(ModelFileError, match=f"asks for {module}.{name}"):
        read_checkpoint(archive({"a": call}))
    assert not trap.exists()


def test_a_real_reduce_payload_runs_nothing(tmp_path):
    trap = tmp_path / "trap"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(trap),)

    with pytest.raises(ModelFileError, match=r"asks for posix\.mkdir"):
        read_checkpoint(packed({"data.pkl": pickle.dumps({"a": Evil()})}))
    assert not trap.exists()


def test_attributes_of_what_is_admitted_cannot_be_set():
    """BUILD with a state would write into the classes that find_class gives out."""
    state = b"X\x05\x00\x00\x00dtypeK\x01"
    states = (b"}" + state + b"s", b"]" + state[:10] + b"a", b"N}" + state + b"s\x86")
    names = (
        b"torch\nFloatStorage",
        b"torch._utils\n_rebuild_tensor_v2",
        b"collections\nOrderedDict",
    )
    for name in names:
        for given_state in states:
            with pytest.raises(ModelFileError):
                read_checkpoint(
                    packed({"data.pkl": b"\x80\x02c" + name + b"\n" + given_state + b"b."})
                )
    assert checkpoint._STORAGES["FloatStorage"].dtype == np.float32
    assert "a" in read_checkpoint(WHOLE)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"a": 1},
        {"a": {"nested": 1}},
        {1: tensor(Storage("FloatStorage", "7", 6), 0, (6,), (1,))},
        {"a": tensor(Storage("FloatStorage", "7", 6), 0, (7,), (1,))},
        {"a": tensor(Storage("FloatStorage", "7", 6), 5, (2,), (1,))},
        {"a": tensor(Storage("FloatStorage", "7", 6), -1, (2,), (1,))},
        {"a": tensor(Storage("FloatStorage", "7", 6), 0, (-6,), (1,))},
        {"a": tensor(Storage("FloatStorage", "7", 6), 0, (3, 2), (1, 3))},
        {"a": tensor(Storage("FloatStorage", "7", 6), 0, (1 << 40,), (0,))},
        {"a": tensor(Storage("FloatStorage", "7", 1 << 40), 0, (6,), (1,))},
        {"a": tensor(Storage("LongStorage", "7", 6), 0, (6,), (1,))},
        {"a": tensor(Storage("FloatStorage", "none", 6), 0, (6,), (1,))},
        {"a": tensor(Storage("FloatStorage", "../data.pkl", 6), 0, (6,), (1,))},
        {"a": Storage("FloatStorage", "7", 6), "b": 2},
    ],
)
def test_anything_but_a_state_dict_of_whole_tensors_is_refused(content):
    with pytest.raises(ModelFileError, match="expected"):
        read_checkpoint(archive(content, {"7": NUMBERS.tobytes()}))


@pytest.mark.parametrize("data", [b"", b"PK", b"\x80\x02}q\x00.", b"hello" * 100])
def test_a_file_that_is_no_archive(data):
    with pytest.raises(ModelFileError, match="expected a PyTorch checkpoint"):
        read_checkpoint(data)


def test_an_archive_without_or_with_two_descriptions():
    for members in ({"other": b""}, {}):
        with pytest.raises(ModelFileError, match=r"expected one data\.pkl"):
            read_checkpoint(packed(members))


def test_bombs_are_refused_before_they_are_unpacked(monkeypatch):
    zeros = bytes(checkpoint.MAX_PICKLE_BYTES + 1)
    with pytest.raises(ModelFileError, match=r"data\.pkl of at most"):
        read_checkpoint(packed({"data.pkl": zeros}, zipfile.ZIP_DEFLATED))
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 1 << 20)
    bomb = packed({"data.pkl": b"", "data/0": bytes(2 << 20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelFileError, match="bytes"):
        read_checkpoint(bomb)
    monkeypatch.setattr(checkpoint, "MAX_MEMBERS", 10)
    with pytest.raises(ModelFileError, match="10 members"):
        read_checkpoint(packed({f"data/{key}": b"" for key in range(11)}))


WHOLE = archive(
    {"a": tensor(Storage("FloatStorage", "7", 6), 0, (2, 3), (3, 1))}, {"7": NUMBERS.tobytes()}
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=8))
def test_damage_raises_nothing_but_our_error(changes):
    data = bytearray(WHOLE)
    for at, byte in changes:
        data[at] = byte
    try:
        state = read_checkpoint(bytes(data))
    except ModelFileError:
        return
    assert all(isinstance(value, np.ndarray) for value in state.values())


# -- our own files ---------------------------------------------------------------------------


def npz(**arrays) -> bytes:
    held = io.BytesIO()
    np.savez_compressed(held, **arrays)
    return held.getvalue()


def test_half_precision_is_widened_and_whole_numbers_stay():
    found = read_weights(npz(a=np.float16([[1.5, -2]]), n=np.int64(3)))
    assert found["a"].dtype == np.float32
    assert found["a"].tolist() == [[1.5, -2.0]]
    assert found["n"].dtype == np.int64


def test_objects_are_not_unpickled():
    with pytest.raises(ModelFileError, match="expected weights"):
        read_weights(npz(a=np.array([{"any": "thing"}], dtype=object)))


def test_weights_that_would_fill_the_memory_are_refused():
    with pytest.raises(ModelFileError, match="of at most 268435456 bytes, got"):
        read_weights(npz(a=np.zeros(70_000_000, np.float32)))


@pytest.mark.parametrize("cut", [10, 100, -30])
def test_a_damaged_file_is_refused(cut):
    whole = npz(a=np.random.default_rng(0).standard_normal(200).astype(np.float32))
    with pytest.raises(ModelFileError, match="expected"):
        read_weights(whole[:cut])
