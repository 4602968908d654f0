"""Reads weights into NumPy arrays, those of a PyTorch checkpoint without PyTorch or trusting it.

A checkpoint is a zip archive: ``data.pkl`` describes the tensors, ``data/<key>`` holds the raw
numbers of each storage. Unpickling can run any code, so this unpickler knows exactly the five
names that a plain state dict needs and refuses everything else.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from voxprint.errors import ModelFileError

StateDict = dict[str, npt.NDArray[Any]]

#: Bounds on what a checkpoint may make us read; the published one has 939 members, 28 MB.
MAX_MEMBERS = 10_000
MAX_BYTES = 256 << 20
MAX_PICKLE_BYTES = 4 << 20


class _StorageType(NamedTuple):
    """Stands in for ``torch.FloatStorage`` and its like.

    What an unpickler gives out must not be changeable, for a pickle can set attributes.
    """

    dtype: np.dtype[Any]


_STORAGES = {
    "FloatStorage": _StorageType(np.dtype("<f4")),
    "LongStorage": _StorageType(np.dtype("<i8")),
}


def read_weights(data: bytes) -> StateDict:
    """The tensors of a network, out of a checkpoint of PyTorch or out of our own ``.npz``.

    Args:
        data: the whole file.

    Returns:
        One array per name; floats are float32, also where the file has half precision.

    Raises:
        ModelFileError: as :func:`read_checkpoint`.
    """
    arrays = _read_npz(data) if _is_npz(data) else read_checkpoint(data)
    return {
        name: value.astype(np.float32) if value.dtype.kind == "f" else value
        for name, value in arrays.items()
    }


def _is_npz(data: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return all(name.endswith(".npy") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _read_npz(data: bytes) -> StateDict:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(each.file_size for each in archive.infolist())
    except zipfile.BadZipFile as error:
        raise ModelFileError(f"expected weights, got a damaged file: {error}") from error
    if size > MAX_BYTES:
        raise ModelFileError(f"expected weights of at most {MAX_BYTES} bytes, got {size}")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except Exception as error:
        # A damaged archive fails in as many ways as there are bytes in it.
        raise ModelFileError(
            f"expected weights, got a file that cannot be read: {error}"
        ) from error


def read_checkpoint(data: bytes) -> StateDict:
    """The tensors of a checkpoint, by name.

    Args:
        data: the whole file.

    Returns:
        One array per name, of its own dtype (float32, int64) and shape, read-only.

    Raises:
        ModelFileError: the file is no such checkpoint, is damaged, holds anything but tensors,
            or would unpack beyond the limits of this module.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _read_archive(archive)
    except ModelFileError:
        raise
    except Exception as error:
        # A damaged archive or pickle fails in as many ways as there are bytes in it.
        raise ModelFileError(
            f"expected a PyTorch checkpoint, got a file that cannot be read: {error}",
            hint="Fetch the weights anew with 'voxprint model fetch'.",
        ) from error


def _read_archive(archive: zipfile.ZipFile) -> StateDict:
    members = {info.filename: info for info in archive.infolist()}
    if len(members) > MAX_MEMBERS or sum(i.file_size for i in members.values()) > MAX_BYTES:
        raise ModelFileError(
            f"expected a checkpoint of at most {MAX_MEMBERS} members and {MAX_BYTES} bytes, "
            f"got {len(members)} members and {sum(i.file_size for i in members.values())} bytes"
        )
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ModelFileError(f"expected one data.pkl in the checkpoint, got {len(pickles)}")
    if members[pickles[0]].file_size > MAX_PICKLE_BYTES:
        raise ModelFileError(f"expected data.pkl of at most {MAX_PICKLE_BYTES} bytes")
    root = pickles[0].removesuffix("data.pkl")

    def read_storage(key: str, count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        info = members[f"{root}data/{key}"]
        if info.file_size != count * dtype.itemsize:
            raise ModelFileError(
                f"expected {count} numbers in storage {key}, got {info.file_size} bytes"
            )
        return np.frombuffer(archive.read(info), dtype=dtype)

    loaded = _TensorUnpickler(archive.read(pickles[0]), read_storage).load()
    return _checked(loaded)


def _checked(loaded: object) -> StateDict:
    if not isinstance(loaded, dict):
        raise ModelFileError(f"expected a dict of tensors, got {type(loaded).__name__}")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, np.ndarray):
            raise ModelFileError(f"expected named tensors only, got {type(value).__name__}")
    return dict(loaded)


class _TensorUnpickler(pickle.Unpickler):
    """Builds arrays from tensors; every other kind of object is refused by name."""

    def __init__(
        self, data: bytes, read_storage: Callable[[str, int, np.dtype[Any]], npt.NDArray[Any]]
    ) -> None:
        super().__init__(io.BytesIO(data))
        self._read_storage = read_storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _RebuildTensor()
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        return _refuse(module, name)

    def persistent_load(self, pid: Any) -> npt.NDArray[Any]:
        kind, storage, key, _device, count = pid
        if kind != "storage" or not isinstance(storage, _StorageType):
            raise ModelFileError(f"expected a tensor storage, got {kind!r}")
        if not isinstance(key, str) or not isinstance(count, int):
            raise ModelFileError("expected a storage named by text and sized by a number")
        return self._read_storage(key, count, storage.dtype)


def _refuse(module: str, name: str) -> NoReturn:
    raise ModelFileError(
        f"expected a checkpoint of plain tensors, got one that asks for {module}.{name}",
        hint="Do not use this file: it could run code when loaded by other software.",
    )


class _RebuildTensor:
    """Stands in for ``torch._utils._rebuild_tensor_v2``."""

    __slots__ = ()

    def __call__(
        self,
        storage: npt.NDArray[Any],
        offset: int,
        shape: tuple[int, ...],
        stride: tuple[int, ...],
        *_: Any,
    ) -> npt.NDArray[Any]:
        """The tensor that ``shape`` and row-major ``stride`` cut out of a storage."""
        size = math.prod(shape)
        row_major = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        if tuple(stride) != row_major:
            raise ModelFileError(f"expected a row-major tensor, got strides {stride} for {shape}")
        if min((offset, *shape)) < 0 or offset + size > len(storage):
            raise ModelFileError(f"expected a tensor inside its storage of {len(storage)} numbers")
        return storage[offset : offset + size].reshape(shape)
