"""Where the real speech lies; without it these tests skip and say so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from voxprint.encoder.embedder import Encoder

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "corpora"


@pytest.fixture(scope="session")
def corpora() -> Path:
    folder = Path(os.environ.get("VOXPRINT_CORPORA", BESIDE))
    if not (folder / "speech").is_dir():
        pytest.skip(f"no real speech at {folder}; VOXPRINT_CORPORA names another folder")
    return folder


@pytest.fixture(scope="session")
def encoder(corpora: Path) -> Encoder:
    return Encoder()
