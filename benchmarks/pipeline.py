"""What SQL adds to an embedding: the way to the worker and back."""

from __future__ import annotations

from benchmarks.report import Row
from benchmarks.site import embed, site
from benchmarks.speech import Speech
from benchmarks.timing import median, p95, seconds_of
from voxprint.encoder.embedder import Encoder

_BYTES = 250_000
_BAR_MS = 10.0


def run(*, quick: bool) -> list[Row]:
    """The same bytes by SQL and in this process, in turns; new ones each time."""
    speech, encoder = Speech(seed=4), Encoder()
    sql, here = [], []
    with site() as running, running.connect() as db:
        for i in range(6 if quick else 101):
            audio = speech.wav((_BYTES - 44) / 32_000)
            if i % 2:
                here.append(seconds_of(encoder.embed_file, audio))
            sql.append(seconds_of(embed, db, audio))
            if not i % 2:
                here.append(seconds_of(encoder.embed_file, audio))
        cached = [seconds_of(embed, db, audio) for _ in range(5 if quick else 50)]
    sql, here = sql[1:], here[1:]
    more = [1000 * (a - b) for a, b in zip(sql, here, strict=True)]
    name = f"{_BYTES // 1000} kB ({_BYTES / 32_000:.1f} s)"
    return [
        Row.at_most(f"{name}: SQL − in-process, p50", median(more), _BAR_MS, "ms", 1),
        Row.fact(f"{name}: SQL − in-process, p95", p95(more), "ms", 1),
        Row.fact(f"{name}: SQL call, p50", 1000 * median(sql), "ms", 1),
        Row.fact(f"{name}: in-process, p50", 1000 * median(here), "ms", 1),
        Row.fact(f"{name}: SQL call the worker remembers, p50", 1000 * median(cached), "ms", 1),
    ]
