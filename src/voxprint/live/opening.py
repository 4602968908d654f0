"""A session out of what it needs: a database that decides and an encoder that hears."""

from __future__ import annotations

from voxprint.audio.decode import RawFormat
from voxprint.audio.stream import Incoming
from voxprint.db.connection import Database
from voxprint.encoder.embedder import Encoder
from voxprint.encoder.hearing import Hearing
from voxprint.live.looking import Claim
from voxprint.live.session import Session


def watch(
    database: Database,
    encoder: Encoder,
    speaker: str,
    raw: RawFormat,
    *,
    far: float | None = None,
    frr: float | None = None,
) -> Session:
    """Begin to watch a call.

    Args:
        database: where the person is enrolled.
        encoder: hears the call; its model must have a calibration there.
        speaker: who is claimed to speak.
        raw: what will come.
        far, frr: as :meth:`voxprint.Voxprint.watch` takes them.

    Raises:
        SpeakerNotFound: nobody is called so.
        UsageError: the sound cannot be read piece by piece, a rate is out of range, or the
            person is suspended.
        NotCalibrated, ModelMismatch: the person cannot be watched by this model.
    """
    incoming = Incoming(raw)
    claim = Claim(database, speaker, encoder.spec.name, far, frr)
    claim.check()
    return Session(claim, incoming, Hearing.of(encoder), encoder.embed_features, raw.sample_rate)
