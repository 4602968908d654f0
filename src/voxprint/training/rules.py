"""What values a configuration may have: all that would otherwise fail hours later.

A rule is a setting, whether it holds, what is expected, and what is there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from voxprint.audio.degrade import check_condition
from voxprint.errors import UsageError
from voxprint.training.config import BEGINNINGS, HEADS, KINDS, Config

Rule = tuple[str, bool, str, Any]

_FOLDS, _NOISES, _DEVICES = ("A", "B", "both"), ("train", "all"), ("auto", "cpu", "cuda")
#: Faster, and the shortest recordings leave the teacher nothing to hear.
_SPEEDS = (0.5, 2.0)


def checked(config: Config, where: str) -> Config:
    """The configuration, if every rule holds.

    Args:
        config: to look at.
        where: it comes from; messages begin with it.

    Raises:
        UsageError: one does not; the setting is named.
    """
    for condition in config.measure.conditions:
        try:
            check_condition(condition)
        except UsageError as error:
            raise UsageError(f"{where}: {error}", hint=error.hint) from error
    for rules in (_of_network, _of_data, _of_batch, _of_augment, _of_loss, _of_train, _of_measure):
        for name, holds, wanted, got in rules(config):
            if not holds:
                raise UsageError(f"{where}: expected {wanted} as {name}, got {got!r}")
    return config


def _of_network(config: Config) -> Iterator[Rule]:
    network, teachers = config.network, config.network.kind == "campplus"
    yield "network.kind", network.kind in KINDS, f"one of {', '.join(KINDS)}", network.kind
    yield (
        "network.begin",
        network.begin in (BEGINNINGS if teachers else BEGINNINGS[1:]),
        "teacher or nothing, and of another kind than the teacher's nothing",
        network.begin,
    )
    moments = (2,) if teachers else (2, 3, 4)
    wanted = "2, 3 or 4, and 2 for campplus"
    yield "network.moments", network.moments in moments, wanted, network.moments


def _of_data(config: Config) -> Iterator[Rule]:
    data = config.data
    yield "data.fold", data.fold in _FOLDS, f"one of {', '.join(_FOLDS)}", data.fold
    yield "data.noises", data.noises in _NOISES, f"one of {', '.join(_NOISES)}", data.noises
    yield "data.most_files", data.most_files >= 0, "0 or more", data.most_files
    yield "data.most_seconds", data.most_seconds > 0, "above 0", data.most_seconds
    yield "data.workers", data.workers > 0, "1 or more", data.workers
    low, high = _SPEEDS
    yield (
        "data.speeds",
        data.speeds[:1] == (1.0,) and all(low <= each <= high for each in data.speeds),
        f"1.0 first, and all from {low} to {high}",
        data.speeds,
    )
    known = 0 <= data.coded_speeds <= len(data.speeds)
    yield "data.coded_speeds", known, "from 0 to the number of speeds", data.coded_speeds


def _of_batch(config: Config) -> Iterator[Rule]:
    batch = config.batch
    yield "batch.seconds", batch.seconds > 0, "above 0", batch.seconds
    yield "batch.most", batch.most >= 2, "2 or more", batch.most
    yield "batch.short", _lengths(batch.short), "at least one length above 0", batch.short
    yield "batch.long", _lengths(batch.long), "at least one length above 0", batch.long
    yield (
        "batch.late",
        _lengths(batch.late) or not (batch.late or config.train.late_share),
        "at least one length above 0 where there is a train.late_share",
        batch.late,
    )
    for key in ("short_share", "clean_share", "coded_share", "natural", "least_fill"):
        yield _share("batch", key, getattr(batch, key))


def _of_augment(config: Config) -> Iterator[Rule]:
    augment = config.augment
    for key in ("noise", "reverb", "tilt", "clip", "telephone", "loss"):
        yield _share("augment", key, getattr(augment, key))
    for key in ("snr", "rt60", "gain"):
        span = getattr(augment, key)
        yield f"augment.{key}", len(span) == 2 and span[0] <= span[1], "lowest and highest", span


def _of_loss(config: Config) -> Iterator[Rule]:
    loss = config.loss
    yield "loss.scale", loss.scale > 0, "above 0", loss.scale
    yield "loss.head", loss.head in ("none", *HEADS), f"none, {', '.join(HEADS)}", loss.head
    for key in ("margin", "late_margin"):
        margin = getattr(loss, key)
        yield f"loss.{key}", 0 <= margin < math.pi / 2, "from 0 to below pi / 2", margin
    for key in ("speaker_mix", "margin_from", "margin_whole"):
        yield _share("loss", key, getattr(loss, key))
    yield (
        "loss.margin_whole",
        loss.margin_from <= loss.margin_whole,
        f"not before loss.margin_from, {loss.margin_from},",
        loss.margin_whole,
    )
    yield (
        "loss.frames",
        config.network.kind == "campplus" or not loss.frames,
        "0 where the network is of another kind than the teacher",
        loss.frames,
    )
    yield (
        "loss.head",
        loss.asks_teacher or (loss.head != "none" and loss.head_weight > 0),
        "a head with a weight where nothing is asked of the teacher",
        loss.head,
    )


def _of_train(config: Config) -> Iterator[Rule]:
    train = config.train
    yield "train.steps", train.steps >= 0, "0 or more", train.steps
    yield "train.max_seconds", train.max_seconds >= 0, "0 or more", train.max_seconds
    yield "train.rate", train.rate > 0, "above 0", train.rate
    yield "train.head_rate", train.head_rate >= 0, "0 or more", train.head_rate
    yield "train.device", train.device in _DEVICES, f"one of {', '.join(_DEVICES)}", train.device
    yield "train.average", 0 <= train.average < 1, "from 0 to below 1", train.average
    yield "train.warm_up", 0 <= train.warm_up < 1, "from 0 to below 1", train.warm_up
    for key in ("late_share", "blend"):
        yield _share("train", key, getattr(train, key))
    yield (
        "train.blend",
        config.network.begin == "teacher" or train.blend == 1.0,
        "1.0 where the network does not begin as its teacher",
        train.blend,
    )


def _of_measure(config: Config) -> Iterator[Rule]:
    measure = config.measure
    yield "measure.watch", measure.watch >= 0, "0 or more", measure.watch
    yield (
        "measure.blends",
        config.network.begin == "teacher" or measure.blends == (1.0,),
        "[1.0] where the network does not begin as its teacher",
        measure.blends,
    )
    yield "measure.conditions", "full" in measure.conditions, "full among them", "none"


def _share(section: str, key: str, share: float) -> Rule:
    return f"{section}.{key}", 0 <= share <= 1, "a share from 0 to 1", share


def _lengths(seconds: tuple[float, ...]) -> bool:
    return bool(seconds) and min(seconds) > 0
