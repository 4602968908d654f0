"""What an ONNX file says of itself, as the TOML file that ``voxprint.encoder.specfile`` reads.

Two conventions are known, each as its toolkit trains, not as another runs it:

- WeSpeaker (``wespeaker/dataset/processor.py``): Hamming window, samples times 32768, the mean
  taken off; its exporter calls input and output ``feats`` and ``embs``.
- 3D-Speaker (``speakerlab/process/processor.py``): Kaldi's own window, samples in [-1, 1], the
  mean taken off; its exporter says ``feature`` and ``embedding``.

sherpa-onnx tells them apart by the metadata that its scripts add: ``framework``, ``sample_rate``,
``output_dim``, ``normalize_samples``. Where that is missing, the names do.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from voxprint.encoder.cache import sha256_hex
from voxprint.encoder.onnxfile import parse_network, read_network
from voxprint.encoder.session import open_session
from voxprint.encoder.spec import LAYOUTS
from voxprint.encoder.specfile import SAMPLE_RATE
from voxprint.errors import ModelFileError
from voxprint.text import printable

if TYPE_CHECKING:
    import onnx

_FRAMES = 147
_USUAL_BINS = 80


@dataclass(frozen=True, slots=True)
class _Convention:
    """How a toolkit trains: its title, window and scale."""

    title: str
    window: str
    scale: int


_CONVENTIONS = {
    "wespeaker": _Convention("WeSpeaker", "hamming", 32768),
    "3d-speaker": _Convention("3D-Speaker", "povey", 1),
}
_BY_NAMES = {("feats", "embs"): "wespeaker", ("feature", "embedding"): "3d-speaker"}


def describe(path: Path) -> str:
    """The TOML file of a network, to lie beside it.

    What the file does not say stands there as a comment that asks for it.

    Args:
        path: of the ONNX file.

    Raises:
        ModelFileError: it is not an ONNX file that could be used, or needs a front end that is
            not there (NeMo).
    """
    data = read_network(path)
    model = parse_network(data, path)
    facts = {each.key: each.value for each in model.metadata_props}
    _refuse_unsupported(facts, path)
    initial = {each.name for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in initial]
    if len(inputs) != 1 or not model.graph.output:
        raise ModelFileError(
            f"expected one input and an output in {path}, got the inputs "
            f"{', '.join(each.name for each in inputs) or 'none'}",
            hint="Networks that also take lengths, states or samples are not supported.",
        )
    given, output = inputs[0].name, model.graph.output[0].name
    convention = facts.get("framework") or _BY_NAMES.get((given, output), "")
    layout, bins = _axes(inputs[0], path)
    dim = _dim(data, given, layout, bins, path)
    return _text(path, sha256_hex(data), facts, convention, (given, layout, bins), (output, dim))


def _refuse_unsupported(facts: dict[str, str], path: Path) -> None:
    framework = facts.get("framework", "")
    if framework == "nemo":
        raise ModelFileError(
            f"{path} is a NeMo model, whose front end (librosa's mel scale, each bin divided by "
            "its deviation) voxprint does not have",
            hint="WeSpeaker's and 3D-Speaker's models have one that it has.",
        )
    if framework and framework not in _CONVENTIONS:
        raise ModelFileError(
            f"expected a model of {' or '.join(_CONVENTIONS)}, {path} says {framework!r}",
            hint="Write the TOML file by hand if you know its front end: docs/encoders.md.",
        )
    rate = facts.get("sample_rate", str(SAMPLE_RATE))
    if rate != str(SAMPLE_RATE):
        raise ModelFileError(f"expected a model of {SAMPLE_RATE} Hz, {path} says {rate!r}")


def _axes(given: onnx.ValueInfoProto, path: Path) -> tuple[str, int]:
    """Layout and number of bins, from what the input declares."""
    sizes = [each.dim_value for each in given.type.tensor_type.shape.dim]
    if len(sizes) != 3:
        raise ModelFileError(
            f"expected features of rank 3 at the input {given.name!r} of {path}, got rank "
            f"{len(sizes)}",
            hint="Networks that take samples are not supported.",
        )
    if sizes[1] and not sizes[2]:
        return LAYOUTS[1], sizes[1]
    return LAYOUTS[0], sizes[2] or _USUAL_BINS


def _dim(data: bytes, given: str, layout: str, bins: int, path: Path) -> int:
    """Length of the embedding, by running the network once."""
    shape = (1, _FRAMES, bins) if layout == LAYOUTS[0] else (1, bins, _FRAMES)
    noise = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    try:
        answer = open_session(data).run(None, {given: noise})[0]
    except Exception as error:
        # onnxruntime has a kind of exception for each reason, and no base of them.
        raise ModelFileError(
            f"onnxruntime cannot run {path} on {_FRAMES} frames of {bins} bins: {error}",
            hint="It takes a network with a dynamic number of frames.",
        ) from error
    if answer.ndim != 2 or len(answer) != 1:
        raise ModelFileError(f"expected an embedding from {path}, got shape {answer.shape}")
    return int(answer.shape[1])


def _text(
    path: Path,
    sha256: str,
    facts: dict[str, str],
    convention: str,
    given: tuple[str, str, int],
    output: tuple[str, int],
) -> str:
    known = _CONVENTIONS.get(convention)
    said = "; ".join(facts[key] for key in ("comment", "url") if facts.get(key))
    if known:
        why = f"# How {known.title} trains; Kaldi's defaults for what is not named here."
        choice = [f"window = {_quoted(known.window)}", f"scale = {known.scale}"]
        choice.append("subtract_mean = true")
    else:
        why = "# Not known: how was it trained? Fill in and take the # away."
        choice = ['# window = "povey"  # or "hamming"']
        choice.append("# scale = 1  # 32768 where it was trained on 16-bit integers")
        choice.append("# subtract_mean = true")
    return "\n".join(
        [
            f"name = {_quoted(_name(path))}",
            f"network = {_quoted(path.name)}",
            f"sha256 = {_quoted(sha256)}",
            "# Not known: the cosine from which two recordings are of one person. Begin with 0.5;",
            "# 'voxprint evaluate' says how often that errs on recordings of yours.",
            "# threshold = 0.5",
            "# Not known: of the weights, as an SPDX name.",
            'licence = ""',
            f"origin = {_quoted(said or (known.title if known else ''))}",
            "",
            "[input]",
            f"name = {_quoted(given[0])}",
            f"layout = {_quoted(given[1])}",
            "",
            "[features]",
            why,
            'kind = "fbank"',
            f"sample_rate = {SAMPLE_RATE}",
            f"mel_bins = {given[2]}",
            *choice,
            "",
            "[output]",
            f"name = {_quoted(output[0])}",
            f"dim = {output[1]}",
            "",
        ]
    )


def _name(path: Path) -> str:
    """A name that database and file system take."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", path.stem).lstrip("_.-")[:40] or "model"


def _quoted(text: str) -> str:
    """A TOML string; what is not printable is written out. JSON's escapes are TOML's."""
    return json.dumps(printable(text), ensure_ascii=False)
