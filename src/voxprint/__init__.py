"""Voiceprints in SQL: enrol, verify and identify speakers inside PostgreSQL.

>>> import voxprint
>>> with voxprint.open() as gallery:                      # doctest: +SKIP
...     gallery.enroll("ann", "ann-1.wav")
...     gallery.verify("ann", "call.wav").decision
'accept'

Everything is imported at first use, so that ``import voxprint`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxprint.api import Voxprint, open  # noqa: A004
    from voxprint.encoder.embedder import Encoder
    from voxprint.errors import VoxprintError
    from voxprint.types import Embedding

__version__ = "0.1.0"
__all__ = ["Embedding", "Encoder", "Voxprint", "VoxprintError", "__version__", "open"]

_HOMES = {
    "Embedding": "voxprint.types",
    "Encoder": "voxprint.encoder.embedder",
    "Voxprint": "voxprint.api",
    "VoxprintError": "voxprint.errors",
    "open": "voxprint.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'voxprint' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
