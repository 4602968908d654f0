"""The corpora under every condition: embeddings made once, by the product, and kept.

Of every speaker five recordings are for enrolment, clean; the next few are probes, clean and
under each condition. A run that was broken off goes on where it stopped.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.twins import twin
from voxprint.audio.decode import decode
from voxprint.audio.degrade import degrade
from voxprint.encoder.embedder import Encoder
from voxprint.errors import AudioError, UsageError
from voxprint.score.evidence import TELEPHONE_HZ

SHORT = ("2s", "1s", "0.5s")
NOISY = ("noise10", "noise0")
TELEPHONE = ("mulaw8k", "alaw8k", "gsm", "opus6k")
#: Every condition of `voxprint evaluate`, their pairs, and two threefold ones.
CONDITIONS = (
    *("full", *SHORT, *NOISY, *TELEPHONE, "amr"),
    *("+".join(pair) for pair in product(SHORT, (*NOISY, *TELEPHONE))),
    *("noise10+mulaw8k", "1s+noise10+mulaw8k"),
)
ENROLLED = 5
#: Probes of each speaker; the main set has the most to say.
PROBES = {"speechocean762": 4}
_OTHER_PROBES = 3
_FACTS = ("speech_seconds", "snr_db", "bandwidth_hz")

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[np.str_]


@dataclass(frozen=True)
class Speech:
    """Embedded recordings; all arrays have one row a recording and condition.

    Attributes:
        speaker: ``set/speaker``; ``condition`` and ``enrolment`` (bool) of the recording.
        unit: shape (n, dim), unit rows, NaN where the recording was not acquired.
        speech_seconds, snr_db: as the encoder measured them.
        telephone: 1 where its band ends like a telephone's.
        fold, gender, age_group: of each speaker. Where only one fold is heard, its halves are A
            and B.
    """

    speaker: Texts
    condition: Texts
    enrolment: npt.NDArray[np.bool_]
    unit: Floats
    speech_seconds: Floats
    snr_db: Floats
    telephone: Floats
    fold: dict[str, str]
    gender: dict[str, str]
    age_group: dict[str, str]

    def speakers(self, *sets: str) -> list[str]:
        """Speakers of these sets who have something enrolled, in order."""
        known = self.enrolment & np.isfinite(self.unit[:, 0])
        return sorted(s for s in set(self.speaker[known].tolist()) if s.split("/")[0] in sets)


def hear(corpora: Path, cache: Path, only: str | None = None) -> Speech:
    """Everybody the encoder was not trained on, from the cache where it is there.

    Args:
        only: people of this fold alone, as if the encoder had been trained on the other.

    Raises:
        UsageError: the encoder was trained on that fold.
    """
    measured = twin()
    heard = set("AB") - set(measured.trained_on)
    if only:
        if only not in heard:
            raise UsageError(
                f"expected people that {measured.spec.name} was not trained on, got fold {only}"
            )
        heard = {only}
    with (corpora / "speakers.tsv").open(encoding="utf-8") as table:
        people = {
            f"{row['set']}/{row['speaker']}": row
            for row in csv.DictReader(table, delimiter="\t")
            if row["fold"] in heard
        }
    jobs = [job for speaker in people for job in _jobs(corpora, speaker)]
    folder = cache / f"conditions-{measured.spec.hash[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [job for job in jobs if not _kept(folder, job).exists()]
    with ProcessPoolExecutor(2) as pool:
        for done, _ in enumerate(
            pool.map(_embed, [folder] * len(missing), missing, chunksize=4), 1
        ):
            if not done % 20 or done == len(missing):
                print(f"\r{done} of {len(missing)} recordings", end="", file=sys.stderr, flush=True)
    rows = [row for job in jobs for row in _read(_kept(folder, job), job)]
    facts = np.array([row[3:6] for row in rows], dtype=np.float64)
    return Speech(
        speaker=np.array([row[0] for row in rows]),
        condition=np.array([row[1] for row in rows]),
        enrolment=np.array([row[2] for row in rows]),
        unit=np.array([row[6] for row in rows], dtype=np.float64),
        speech_seconds=facts[:, 0],
        snr_db=facts[:, 1],
        telephone=(facts[:, 2] < TELEPHONE_HZ).astype(np.float64),
        fold={name: _fold(name, row["fold"], heard) for name, row in people.items()},
        gender={name: row["gender"] for name, row in people.items()},
        age_group={name: row["age_group"] for name, row in people.items()},
    )


def _fold(name: str, fold: str, heard: set[str]) -> str:
    """A speaker's fold; where one fold is left, its two halves stand for both."""
    if len(heard) > 1:
        return fold
    return "AB"[hashlib.sha256(f"half/{name}".encode()).digest()[0] % 2]


#: path below the corpora, speaker, is it for enrolment
Job = tuple[Path, str, bool]


def _jobs(corpora: Path, speaker: str) -> Iterator[Job]:
    files = sorted((corpora / "speech" / speaker).glob("*.opus"))
    # Not sorted by name: names follow what was said.
    files.sort(key=lambda file: hashlib.sha256(f"{speaker}/{file.name}".encode()).digest())
    probes = PROBES.get(speaker.split("/")[0], _OTHER_PROBES)
    for i, file in enumerate(islice(files, ENROLLED + probes)):
        yield file, speaker, i < ENROLLED


def _kept(folder: Path, job: Job) -> Path:
    return folder / f"{job[1].replace('/', '-')}-{job[0].stem}-{'e' if job[2] else 'p'}.npz"


_ENCODER: list[Encoder] = []


def _embed(folder: Path, job: Job) -> None:
    file, speaker, enrolment = job
    if not _ENCODER:
        _ENCODER.append(twin().encoder())
    whole = decode(file).samples
    names, units, facts = [], [], []
    for condition in ("full",) if enrolment else CONDITIONS:
        samples = degrade(whole, condition, seed=f"{speaker}/{file.name}")
        try:
            found = _ENCODER[0].embed_samples(samples, 16000)
        except AudioError:
            unit, fact = np.full(_ENCODER[0].spec.dim, np.nan), [np.nan] * len(_FACTS)
        else:
            known: dict[str, Any] = {"speech_seconds": found.speech_seconds, **found.quality}
            unit, fact = found.vector, [float(known[name]) for name in _FACTS]
        names.append(condition)
        units.append(unit)
        facts.append(fact)
    part = _kept(folder, job).with_suffix(".part.npz")
    np.savez(part, names=names, units=np.array(units, np.float32), facts=np.array(facts))
    part.replace(_kept(folder, job))


def _read(path: Path, job: Job) -> Iterator[tuple[Any, ...]]:
    with np.load(path) as kept:
        for name, unit, facts in zip(kept["names"], kept["units"], kept["facts"], strict=True):
            yield job[1], str(name), job[2], *facts, unit


if __name__ == "__main__":
    from benchmarks.accuracy import default_corpora

    print(len(hear(default_corpora(), Path(sys.argv[1])).unit))
