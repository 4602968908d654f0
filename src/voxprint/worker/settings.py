"""What a worker is started with; plain values, so that they travel as one JSON line."""

from __future__ import annotations

import ipaddress
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

#: The only user that the front knows; dblink sends it from the user mapping.
USER = "voxprint_worker"
#: The name of the database that clients ask for; the front accepts any.
DATABASE = "worker"
#: Columns of the answer to GET, RUN and FILE, all in text format.
COLUMNS = (
    "embedding",
    "model",
    "spec_hash",
    "seconds",
    "speech_seconds",
    "sample_rate",
    "channels",
    "sha256",
    "quality",
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a front listens.

    Attributes:
        host: the absolute path of a folder (unix socket) or a TCP host name or address.
        port: names the socket file (``.s.PGSQL.<port>``) or is the TCP port; 0 takes a free
            TCP port.
    """

    host: str
    port: int

    @property
    def is_unix(self) -> bool:
        """True for a unix socket."""
        return self.host.startswith("/")

    @property
    def socket_path(self) -> Path:
        """The socket file of a unix address."""
        return Path(self.host) / f".s.PGSQL.{self.port}"

    @property
    def is_loopback(self) -> bool:
        """True where no other machine can listen in."""
        if self.is_unix or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        """As people read it."""
        return str(self.socket_path) if self.is_unix else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the supervisor and its children need to know.

    Attributes:
        address: where the front listens.
        verifier: SCRAM verifier of the one user, as PostgreSQL writes it; never the password.
        processes: compute processes, >= 1.
        models: names of the models to serve, or absolute paths of their TOML files.
        weights: path of the weights, None for the usual places.
        account: (uid, gid) that front and compute run as; None keeps the caller's.
        media: absolute folder whose files may be named by FILE requests; None switches it off.
        max_bytes: largest audio, in bytes.
        max_seconds: longest audio, in seconds.
        job_seconds: a job that takes longer is killed and its caller gets an error.
        cache_seconds: how long an answer can be had again by its sha256.
        beat_seconds: a front silent for so long is killed and started anew.
        certificate, key: PEM files; needed where ``address`` is not of this machine.
    """

    address: Address
    verifier: str
    processes: int
    models: tuple[str, ...]
    weights: str | None = None
    account: tuple[int, int] | None = None
    media: str | None = None
    max_bytes: int = 32 * 1024 * 1024
    max_seconds: float = 600.0
    job_seconds: float = 120.0
    cache_seconds: float = 10.0
    beat_seconds: float = 5.0
    certificate: str | None = None
    key: str | None = None

    def weights_of(self, model: str) -> str | None:
        """Path of a model's weights, None for the usual places."""
        from voxprint.encoder.spec import find_model

        # Weights that come with the package, or with their own file, are no others'.
        return None if find_model(model).wheel is None else self.weights

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """The settings that :meth:`to_json` wrote."""
        values = json.loads(text)
        values["address"] = Address(**values["address"])
        values["models"] = tuple(values["models"])
        values["account"] = tuple(values["account"]) if values["account"] else None
        return cls(**values)


def default_processes() -> int:
    """One compute process per core that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
