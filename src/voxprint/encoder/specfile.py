"""A model of the user's own: a TOML file beside an ONNX file, read into a ``ModelSpec``.

The keys of ``[features]`` are those of :class:`voxprint.audio.fbank.FbankConfig`. What published
networks do not agree on has no default: a wrong front end gives embeddings all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from voxprint.audio.fbank import WINDOWS, FbankConfig
from voxprint.encoder.spec import LAYOUTS, MODELS, ModelSpec, OnnxNetwork
from voxprint.errors import UsageError
from voxprint.tomlfile import filled, read_toml

#: pgvector's index takes no longer vectors.
LONGEST_EMBEDDING = 2000
SAMPLE_RATE = 16000
SCALES = (1.0, 32768.0)
#: The database's rule, too.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

#: What has to be there, section by section.
_REQUIRED = {
    "": ("name", "network", "sha256", "threshold"),
    "input": ("name",),
    "features": ("kind", "window", "scale", "mel_bins", "subtract_mean"),
    "output": ("name", "dim"),
}


@dataclass(frozen=True, slots=True)
class _Input:
    name: str = ""
    layout: str = LAYOUTS[0]


@dataclass(frozen=True, slots=True)
class _Features(FbankConfig):
    kind: str = "fbank"


@dataclass(frozen=True, slots=True)
class _Output:
    name: str = ""
    dim: int = 0


@dataclass(frozen=True, slots=True)
class _File:
    name: str = ""
    network: str = ""
    sha256: str = ""
    threshold: float = 0.0
    licence: str = ""
    origin: str = ""
    input: _Input = field(default_factory=_Input)
    features: _Features = field(default_factory=_Features)
    output: _Output = field(default_factory=_Output)


def read_spec(path: Path) -> ModelSpec:
    """The model that a TOML file describes; its network is not looked at yet.

    Raises:
        UsageError: not readable, not TOML, an unknown or a missing key, or a value that is none.
    """
    path = path.expanduser().absolute()
    given = read_toml(path)
    file = filled(_File, given, str(path))
    _refuse_missing(given, path)
    for key, holds, expected, value in _rules(file):
        if not holds:
            raise UsageError(f"{path}, {key}: expected {expected}, got {value!r}")
    facts = asdict(file.features)
    del facts["kind"]
    return ModelSpec(
        name=file.name,
        architecture="onnx",
        dim=file.output.dim,
        weights_sha256=file.sha256,
        weights_bytes=0,
        threshold=file.threshold,
        licence=file.licence,
        origin=file.origin,
        wheel=None,
        fbank=FbankConfig(**facts),
        network=OnnxNetwork(
            path=str(path.with_name(file.network)),
            input=file.input.name,
            layout=file.input.layout,
            output=file.output.name,
        ),
    )


def _refuse_missing(given: dict[str, Any], path: Path) -> None:
    for section, keys in _REQUIRED.items():
        there = given.get(section, {}) if section else given
        missing = [key for key in keys if key not in there]
        if missing:
            where = f" of [{section}]" if section else ""
            raise UsageError(
                f"{path}: expected {', '.join(keys)}{where}; {', '.join(missing)} is not there",
                hint="'voxprint model describe FILE.onnx' writes down what a network's file says.",
            )


def _rules(file: _File) -> Iterator[tuple[str, bool, str, Any]]:
    """Key, whether its value holds, what is expected, what is there."""
    features, output = file.features, file.output
    yield (
        "name",
        bool(_NAME.fullmatch(file.name)),
        'one to 40 letters, digits, "_", "." or "-", the first a letter or digit',
        file.name,
    )
    yield "name", file.name not in MODELS, "another name than those of voxprint's own", file.name
    plain = Path(file.network).name == file.network and "\0" not in file.network
    yield "network", plain, "the name of a file beside this one", file.network
    yield (
        "sha256",
        bool(_SHA256.fullmatch(file.sha256)),
        "64 hexadecimal digits, in lower case",
        file.sha256,
    )
    yield "threshold", -1 <= file.threshold <= 1, "a cosine from -1 to 1", file.threshold
    yield "input, name", bool(file.input.name), "the name of the input", file.input.name
    yield "input, layout", file.input.layout in LAYOUTS, _one_of(LAYOUTS), file.input.layout
    yield "output, name", bool(output.name), "the name of the output", output.name
    longest = LONGEST_EMBEDDING
    yield "output, dim", 1 <= output.dim <= longest, f"1 to {longest} numbers", output.dim
    yield "features, kind", features.kind == "fbank", "fbank", features.kind
    yield from _feature_rules(features)


def _feature_rules(of: FbankConfig) -> Iterator[tuple[str, bool, str, Any]]:
    rate = of.sample_rate
    # What speech is, is found at this rate, too.
    yield "features, sample_rate", rate == SAMPLE_RATE, f"{SAMPLE_RATE}, no other rate", rate
    yield "features, window", of.window in WINDOWS, _one_of(WINDOWS), of.window
    yield "features, scale", of.scale in SCALES, "1 or 32768", of.scale
    yield "features, mel_bins", 8 <= of.mel_bins <= 256, "8 to 256 filters", of.mel_bins
    length, shift = of.frame_length_ms, of.frame_shift_ms
    yield "features, frame_length_ms", 5 <= length <= 100, "5 to 100 ms", length
    yield "features, frame_shift_ms", 1 <= shift <= length, "1 ms to the frame's length", shift
    yield "features, low_hz", 0 <= of.low_hz < of.high_hz, "0 Hz to below high_hz", of.low_hz
    highest = SAMPLE_RATE / 2
    yield "features, high_hz", of.high_hz <= highest, f"at most {highest:g} Hz", of.high_hz
    yield "features, preemphasis", 0 <= of.preemphasis < 1, "0 to below 1", of.preemphasis


def _one_of(names: tuple[str, ...]) -> str:
    return " or ".join(f'"{name}"' for name in names)
