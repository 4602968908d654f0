"""What ten times as many people cost: latency, memory and build time from 10k on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from benchmarks.scale import load, people, search
from benchmarks.scale.build import watched
from benchmarks.scale.meter import Answer, session, spent
from benchmarks.scale.people import Gallery
from benchmarks.scale.raw import Record
from benchmarks.scale.stage import Stage, short
from benchmarks.scale.voices import Rows

K = 10
_WARM = 10
#: Of the projection: a machine that one can rent, and what of its memory the data may fill.
_MACHINE_GB = 128
_SHARE = 0.7
_TARGET_ROWS = 1_000_000_000


def run(stage: Stage) -> Iterator[str]:
    """Every size is measured by itself; the slope is that of the medians."""
    found = {size: measured(stage, size) for size in stage.sizes}
    queries = ", ".join({str(part["queries"]) for part in found.values()})
    yield "### Growth"
    yield ""
    yield (
        f"`{stage.command}`. `fastann.search`, k = {K}, target {search.TARGET:g}, of N embeddings "
        f"with the default graph and a covering index of `city`, tuned by `fastann.autotune`; "
        f"{queries} probes of enrolled people, conditions in turns. Times: p50 (p95), ms; "
        "wall: asked over the socket, planning included; processor: of the backend."
    )
    yield ""
    yield "| N | condition | plan | recall | wall | processor |"
    yield "|---|---|---|---|---|---|"
    for size, part in found.items():
        for share in search.CONDITIONS:
            at = part["search"][str(share)]
            plans = ", ".join(at["plans"])
            yield (
                f"| {short(size)} | {search.shown(share)} | {plans} | {at['recall']:.3f} "
                f"| {at['wall']:.1f} ({at['wall95']:.1f}) | {at['cpu']:.1f} ({at['cpu95']:.1f}) |"
            )
    yield ""
    yield "| N | table, MB | all indexes, MB | graph: s | memory, MB | autotune, s |"
    yield "|---|---|---|---|---|---|"
    for size, part in found.items():
        graph = stage.raw.find("load", short(size), load.DEFAULT) or {}
        yield (
            f"| {short(size)} | {part['table_bytes'] / 1e6:.0f} | {part['index_bytes'] / 1e6:.0f} "
            f"| {graph['seconds']:.1f} | {graph['peak_mb']:.0f} | {part['autotune']:.1f} |"
        )
    if len(found) > 2:  # two points make any slope
        yield from _slopes(stage, found)


def measured(stage: Stage, size: int) -> Record:
    return stage.raw.once("growth", short(size), measure=partial(_measure, stage, size))


def _measure(stage: Stage, size: int) -> Record:
    gallery = people.gallery(size, stage.voices)
    with stage.server() as server, session(load.ready(stage, server, gallery)) as asked:
        with watched(asked.db, "autotune", size) as seen:
            asked.db.execute("SELECT * FROM fastann.autotune('people', 'feature')")
        answers: dict[float, list[Answer]] = {share: [] for share in search.CONDITIONS}
        recall: dict[float, list[float]] = {share: [] for share in search.CONDITIONS}
        plans: dict[float, Counter[str]] = {share: Counter() for share in search.CONDITIONS}
        for n, probe in enumerate(gallery.probes(_WARM + stage.queries)):
            alike = gallery.feature @ probe
            for share, condition in _turn(n):
                plan = search.plan(asked, probe, K, condition)
                answer = search.search(asked, probe, K, condition)
                if n >= _WARM:
                    plans[share][plan] += 1
                    answers[share].append(answer)
                    recall[share].append(_recall(answer, gallery, share, alike))
        return {
            "autotune": round(seen.seconds, 2),
            **load.sizes(asked.db),
            "queries": stage.queries,
            "search": {
                str(share): {
                    "plans": dict(plans[share]),
                    "recall": float(np.mean(recall[share])),
                    **spent(answers[share]),
                }
                for share in search.CONDITIONS
            },
        }


def _turn(n: int) -> Sequence[tuple[float, str | None]]:
    order = list(search.CONDITIONS.items())
    return order if n % 2 else order[::-1]


def _recall(answer: Answer, gallery: Gallery, share: float, alike: Rows) -> float:
    ids = [row[0] for row in answer.rows]
    return people.recall(ids, alike, gallery.below(share), K)


def slope(found: dict[int, float]) -> float:
    """Exponent b of N ** b, by least squares of the logarithms."""
    sizes, values = np.log(list(found)), np.log(list(found.values()))
    return float(np.polyfit(sizes, values, 1)[0])


def _slopes(stage: Stage, found: dict[int, Record]) -> Iterator[str]:
    """Exponents, and what they would come to where nobody has measured."""
    times = {
        share: {size: part["search"][str(share)]["cpu"] for size, part in found.items()}
        for share in search.CONDITIONS
    }
    graphs = {size: stage.raw.find("load", short(size), load.DEFAULT) or {} for size in found}
    build = {size: graph["seconds"] for size, graph in graphs.items()}
    largest = max(found)
    row = (found[largest]["table_bytes"] + found[largest]["index_bytes"]) / largest
    held = _MACHINE_GB * 1e9 * _SHARE / row
    more = held / largest
    machines = int(np.ceil(_TARGET_ROWS / held))
    exponents = ", ".join(
        f"{search.shown(share)} N^{slope(taken):.2f}" for share, taken in times.items()
    )
    yield ""
    yield f"Processor time grows as: {exponents}; building the graph as N^{slope(build):.2f}."
    yield ""
    projected = ", ".join(
        f"{search.shown(share)} {taken[largest] * more ** slope(taken):.0f} ms"
        for share, taken in times.items()
    )
    hours = build[largest] * more ** slope(build) / 3600
    yield (
        f"**A projection, not a measurement**: a row takes {row:.0f} bytes with all indexes at "
        f"N = {short(largest)}, so a machine of {_MACHINE_GB} GB that gives them "
        f"{100 * _SHARE:.0f} % holds {held / 1e6:.0f} million, and a billion needs {machines} "
        f"machines that are asked at once and whose best {K} are merged. Each of them would take "
        f"{projected}, with the slopes above carried on from {short(largest)} over a factor of "
        f"{more:.0f}; its graph would take {hours:.0f} h on the cores used here. Nobody has run "
        "this; the slowest machine decides, and the merge and the network come on top."
    )
