"""What a training is told: a TOML file, every key of which is known.

A file names only what differs from the defaults below. Sections are those of :class:`Config`.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from voxprint.audio.degrade import check_condition
from voxprint.errors import UsageError

#: Classification heads, as ``voxprint.training.losses`` has them.
HEADS = ("softmax", "l2_softmax", "am_softmax", "aam_softmax", "sub_centre_aam")
#: Networks, and what they may begin as.
KINDS, BEGINNINGS = ("campplus", "ecapa"), ("teacher", "nothing")
#: The sets that a network which ships may be trained on.
SHIPPABLE = (
    "speechocean762",
    "librispeech_test_other",
    "librispeech_train_clean_100",
    "dspspeech20",
    "arabic_speech_commands",
    "aishell_samples",
)


@dataclass(frozen=True, slots=True)
class Network:
    """Which network is trained.

    Attributes:
        kind: ``campplus``, the teacher's, or ``ecapa``, a small one that serving does not run.
        begin: as the ``teacher``, its batch statistics held, or from ``nothing``, when it learns
            them too.
        moments: of statistics pooling: 2 for mean and deviation, 3 with skewness, 4 with
            kurtosis; ``campplus`` has 2.
    """

    kind: str = "campplus"
    begin: str = "teacher"
    moments: int = 2


@dataclass(frozen=True, slots=True)
class Data:
    """Which speech.

    Attributes:
        sets: of the corpora.
        fold: ``A``, ``B`` or ``both``.
        most_files: recordings a speaker, drawn evenly; 0 for all.
        most_seconds: of heard speech that a recording gives, from its beginning.
        speeds: factors at which every recording is played; another speed is another speaker.
        noises: ``train`` for every other noise, as opposed to those that are measured with, or
            ``all``.
        coded: copies through the codecs are made of every recording.
        coded_speeds: at the first so many speeds; 0 for all.
        workers: processes that decode and code.
    """

    sets: tuple[str, ...] = SHIPPABLE
    fold: str = "both"
    most_files: int = 0
    most_seconds: float = 10.0
    speeds: tuple[float, ...] = (1.0, 0.85, 0.9, 0.95, 1.05, 1.1, 1.15)
    noises: str = "train"
    coded: bool = True
    coded_speeds: int = 0
    workers: int = 2


@dataclass(frozen=True, slots=True)
class Batch:
    """What a step sees.

    Attributes:
        seconds: of audio in a batch, so that short crops come in many.
        most: crops in a batch.
        short, long: lengths of crops, in seconds; a batch has one.
        late: lengths of the training's last part, ``train.late_share``.
        short_share: of batches whose length is one of ``short``.
        clean_share: of crops that only get another gain.
        coded_share: of the other crops that went through a real codec.
        balance: a speaker is drawn in proportion to the number of recordings to this power.
        natural: share of crops at their own speed.
        least_fill: recordings shorter than this share of the crop stay out; others are repeated
            until they fill it.
    """

    seconds: float = 800.0
    most: int = 768
    short: tuple[float, ...] = (0.5, 0.6, 0.75, 0.95, 1.2, 1.5, 1.9, 2.4, 3.0)
    long: tuple[float, ...] = (3.5, 4.5, 6.0, 8.0)
    late: tuple[float, ...] = ()
    short_share: float = 0.65
    clean_share: float = 0.25
    coded_share: float = 0.25
    balance: float = 0.5
    natural: float = 0.4
    least_fill: float = 0.6


@dataclass(frozen=True, slots=True)
class Augment:
    """How likely each damage is to a crop that does not stay clean.

    Attributes:
        noise: something is added: recorded, babble, white or pink noise.
        snr: dB, lowest and highest.
        reverb: a simulated room.
        rt60: seconds in which it dies away by 60 dB, shortest and longest.
        tilt: another microphone: a smooth curve over frequency.
        clip: too loud.
        telephone: a band of about 300 to 3400 Hz at 8 kHz, G.711.
        loss: packets of 20 ms lost, silent or repeated.
        gain: dB, lowest and highest.
    """

    noise: float = 0.65
    snr: tuple[float, ...] = (-5.0, 20.0)
    reverb: float = 0.2
    rt60: tuple[float, ...] = (0.1, 0.8)
    tilt: float = 0.3
    clip: float = 0.08
    telephone: float = 0.35
    loss: float = 0.08
    gain: tuple[float, ...] = (-25.0, 0.0)


@dataclass(frozen=True, slots=True)
class Loss:
    """What is asked of the student.

    Attributes:
        cosine: weight of one minus the cosine to the target.
        contrastive: weight of finding the own target among those of the batch.
        scale: of cosines before the softmax of that.
        frames: weight of the difference to what the teacher makes of every 20 ms of the whole,
            clean recording, before it is pooled over time.
        speaker_mix: share of the speaker's mean in the target of an utterance.
        head: ``none``, or a classification head over speakers and speeds on top: one of
            ``HEADS``. It begins with the teacher's means.
        head_weight: of its loss.
        head_scale, margin: of the head, where it has them.
        margin_from, margin_whole: shares of the training before which there is no margin, and
            after which there is all of it; it grows in a line between them.
        late_margin: of the training's last part, ``train.late_share``.
    """

    cosine: float = 1.0
    contrastive: float = 0.1
    scale: float = 30.0
    frames: float = 0.0
    speaker_mix: float = 0.5
    head: str = "none"
    head_weight: float = 0.02
    head_scale: float = 30.0
    margin: float = 0.2
    margin_from: float = 0.0
    margin_whole: float = 0.0
    late_margin: float = 0.5

    @property
    def asks_teacher(self) -> bool:
        """Whether anything that is asked for is the teacher's embedding."""
        return self.cosine > 0 or self.contrastive > 0 or self.frames > 0


@dataclass(frozen=True, slots=True)
class Train:
    """How long and how fast.

    Attributes:
        steps: at most so many; 0 for no limit.
        max_seconds: at most so long, schedule and all; 0 for no limit.
        rate: highest learning rate.
        head_rate: that of a classification head; 0 to hold it where it begins.
        weight_decay: of AdamW.
        warm_up: share of the training in which the rate rises.
        late_share: last share of the training, of long crops and a large margin: ``batch.late``
            and ``loss.late_margin`` (Thienpondt and others 2021, arXiv 2010.11255).
        clip_norm: longest gradient.
        average: of weights over steps, 0 for none: the share that the past keeps.
        blend: share of the student in the weights that come out; the rest are the teacher's.
            Between the two lies a network that holds better where no speech of the training is
            like (Wortsman and others 2022, arXiv 2109.01903).
        half: compute in bfloat16 on a GPU.
        by_product, channels_last: how convolutions are computed; a matter of speed alone, see
            ``voxprint.training.network``.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: of all that is drawn.
        checkpoint_seconds: from one checkpoint to the next.
    """

    steps: int = 0
    max_seconds: float = 0.0
    rate: float = 2e-4
    head_rate: float = 2e-3
    weight_decay: float = 0.01
    warm_up: float = 0.05
    late_share: float = 0.0
    clip_norm: float = 5.0
    average: float = 0.99
    blend: float = 1.0
    half: bool = True
    by_product: bool = False
    channels_last: bool = False
    device: str = "auto"
    seed: int = 0
    checkpoint_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured afterwards.

    Attributes:
        lists: trial lists of the corpora, restricted to speakers of the other fold.
        whole: lists of sets that were not trained on, all of whose trials count.
        conditions: of the test side, as ``voxprint.audio.degrade`` names them.
        watch: recordings of speakers that are not trained on by which a training is watched; 0
            for none.
        watch_seconds: from one look to the next.
        blends: shares of the student in averages of its weights with the teacher's.
        most_trials: of a list and kind, the first so many; 0 for all.
    """

    lists: tuple[str, ...] = (
        "so762_adult",
        "so762_child",
        "librispeech_pooled",
        "dspspeech20_mandarin",
        "dspspeech20_crosslang",
        "arabic_words",
    )
    whole: tuple[str, ...] = ("fsdd_8k",)
    conditions: tuple[str, ...] = (
        *("full", "2s", "1s", "0.5s", "noise10", "noise0", "mulaw8k", "gsm", "opus6k"),
    )
    watch: int = 0
    watch_seconds: float = 30.0
    blends: tuple[float, ...] = (1.0, 0.85, 0.7, 0.5)
    most_trials: int = 0


@dataclass(frozen=True, slots=True)
class Config:
    """All of it."""

    network: Network = field(default_factory=Network)
    data: Data = field(default_factory=Data)
    batch: Batch = field(default_factory=Batch)
    augment: Augment = field(default_factory=Augment)
    loss: Loss = field(default_factory=Loss)
    train: Train = field(default_factory=Train)
    measure: Measure = field(default_factory=Measure)


def read_config(path: Path) -> Config:
    """A configuration out of a TOML file.

    Raises:
        UsageError: not readable, not TOML, an unknown section or key (the known ones are
            named), or a value of the wrong kind or out of range.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"expected a TOML file, got {path}: {error}") from error
    return _checked(_filled(Config, given, str(path)), str(path))


def shipped_config(name: str) -> Path:
    """Where a configuration of this package lies.

    Raises:
        UsageError: there is none of this name.
    """
    folder = Path(__file__).with_name("configs")
    known = sorted(path.stem for path in folder.glob("*.toml"))
    if name not in known:
        raise UsageError(f"expected a TOML file or one of {', '.join(known)}, got {name!r}")
    return folder / f"{name}.toml"


def with_overrides(config: Config, assignments: list[str]) -> Config:
    """A configuration with ``section.key=value`` applied, values as TOML writes them.

    Raises:
        UsageError: as :func:`read_config`.
    """
    for text in assignments:
        name, _, value = text.partition("=")
        section, _, key = name.strip().partition(".")
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError as error:
            raise UsageError(
                f"expected section.key=value in TOML, got {text!r}",
                hint="Text stands in quotes, which the shell must leave: 'data.fold=\"A\"'.",
            ) from error
        held = {section: {key: parsed}}
        config = _filled(Config, held, text, over=config)
    # Together: what one of them may be can depend on another.
    return _checked(config, ", ".join(assignments)) if assignments else config


_FOLDS, _NOISES, _DEVICES = ("A", "B", "both"), ("train", "all"), ("auto", "cpu", "cuda")
#: Faster, and the shortest recordings leave the teacher nothing to hear.
_SPEEDS = (0.5, 2.0)


def _checked(config: Config, where: str) -> Config:
    """The configuration, if every number is in its range: all that would fail hours later.

    Raises:
        UsageError: one is not; it is named.
    """
    data, batch, loss, train = config.data, config.batch, config.loss, config.train
    network = config.network
    for condition in config.measure.conditions:
        try:
            check_condition(condition)
        except UsageError as error:
            raise UsageError(f"{where}: {error}", hint=error.hint) from error
    low, high = _SPEEDS
    for name, holds, wanted, got in (
        ("network.kind", network.kind in KINDS, f"one of {', '.join(KINDS)}", network.kind),
        (
            "network.begin",
            network.begin in (BEGINNINGS if network.kind == "campplus" else BEGINNINGS[1:]),
            "teacher or nothing, and of another kind than the teacher's nothing",
            network.begin,
        ),
        (
            "network.moments",
            network.moments in ((2,) if network.kind == "campplus" else (2, 3, 4)),
            "2, 3 or 4, and 2 for campplus",
            network.moments,
        ),
        ("data.fold", data.fold in _FOLDS, f"one of {', '.join(_FOLDS)}", data.fold),
        ("data.noises", data.noises in _NOISES, f"one of {', '.join(_NOISES)}", data.noises),
        ("data.most_files", data.most_files >= 0, "0 or more", data.most_files),
        ("data.most_seconds", data.most_seconds > 0, "above 0", data.most_seconds),
        ("data.workers", data.workers > 0, "1 or more", data.workers),
        (
            "data.speeds",
            data.speeds[:1] == (1.0,) and all(low <= each <= high for each in data.speeds),
            f"1.0 first, and all from {low} to {high}",
            data.speeds,
        ),
        (
            "data.coded_speeds",
            0 <= data.coded_speeds <= len(data.speeds),
            "from 0 to the number of speeds",
            data.coded_speeds,
        ),
        ("batch.seconds", batch.seconds > 0, "above 0", batch.seconds),
        ("batch.most", batch.most >= 2, "2 or more", batch.most),
        ("batch.short", _lengths(batch.short), "at least one length above 0", batch.short),
        ("batch.long", _lengths(batch.long), "at least one length above 0", batch.long),
        (
            "batch.late",
            _lengths(batch.late) or not (batch.late or train.late_share),
            "at least one length above 0 where there is a train.late_share",
            batch.late,
        ),
        ("loss.scale", loss.scale > 0, "above 0", loss.scale),
        ("loss.head", loss.head in ("none", *HEADS), f"none, {', '.join(HEADS)}", loss.head),
        *(
            (f"loss.{key}", 0 <= margin < math.pi / 2, "from 0 to below pi / 2", margin)
            for key, margin in (("margin", loss.margin), ("late_margin", loss.late_margin))
        ),
        (
            "loss.margin_whole",
            loss.margin_from <= loss.margin_whole,
            f"not before loss.margin_from, {loss.margin_from},",
            loss.margin_whole,
        ),
        (
            "loss.frames",
            network.kind == "campplus" or not loss.frames,
            "0 where the network is of another kind than the teacher",
            loss.frames,
        ),
        (
            "loss.head",
            loss.asks_teacher or (loss.head != "none" and loss.head_weight > 0),
            "a head with a weight where nothing is asked of the teacher",
            loss.head,
        ),
        ("train.steps", train.steps >= 0, "0 or more", train.steps),
        ("train.max_seconds", train.max_seconds >= 0, "0 or more", train.max_seconds),
        ("train.rate", train.rate > 0, "above 0", train.rate),
        ("train.head_rate", train.head_rate >= 0, "0 or more", train.head_rate),
        ("measure.watch", config.measure.watch >= 0, "0 or more", config.measure.watch),
        ("train.device", train.device in _DEVICES, f"one of {', '.join(_DEVICES)}", train.device),
        ("train.average", 0 <= train.average < 1, "from 0 to below 1", train.average),
        ("train.warm_up", 0 <= train.warm_up < 1, "from 0 to below 1", train.warm_up),
        (
            "train.blend",
            network.begin == "teacher" or train.blend == 1.0,
            "1.0 where the network does not begin as its teacher",
            train.blend,
        ),
        (
            "measure.blends",
            network.begin == "teacher" or config.measure.blends == (1.0,),
            "[1.0] where the network does not begin as its teacher",
            config.measure.blends,
        ),
        (
            "train.blend",
            network.begin == "teacher" or train.blend == 1.0,
            "1.0 where the network does not begin as its teacher",
            train.blend,
        ),
        ("measure.conditions", "full" in config.measure.conditions, "full among them", "none"),
        *(
            (f"{section}.{key}", 0 <= share <= 1, "a share from 0 to 1", share)
            for section, key, share in _shares(config)
        ),
        *(
            (f"augment.{key}", len(span) == 2 and span[0] <= span[1], "lowest and highest", span)
            for key, span in _spans(config.augment)
        ),
    ):
        if not holds:
            raise UsageError(f"{where}: expected {wanted} as {name}, got {got!r}")
    return config


def _lengths(seconds: tuple[float, ...]) -> bool:
    return bool(seconds) and min(seconds) > 0


def _shares(config: Config) -> list[tuple[str, str, float]]:
    """Section, key and value of all that is a probability or a part of a whole."""
    batch, augment = config.batch, config.augment
    return [
        *(("batch", key, getattr(batch, key)) for key in _BATCH_SHARES),
        *(("augment", key, getattr(augment, key)) for key in _DAMAGES),
        *(("loss", key, getattr(config.loss, key)) for key in _LOSS_SHARES),
        *(("train", key, getattr(config.train, key)) for key in ("late_share", "blend")),
    ]


def _spans(augment: Augment) -> list[tuple[str, tuple[float, ...]]]:
    return [("snr", augment.snr), ("rt60", augment.rt60), ("gain", augment.gain)]


_BATCH_SHARES = ("short_share", "clean_share", "coded_share", "natural", "least_fill")
_LOSS_SHARES = ("speaker_mix", "margin_from", "margin_whole")
_DAMAGES = ("noise", "reverb", "tilt", "clip", "telephone", "loss")


_Section = TypeVar("_Section")


def _filled(
    kind: type[_Section], given: dict[str, Any], where: str, over: _Section | None = None
) -> _Section:
    base = kind() if over is None else over
    hints = get_type_hints(kind)
    known = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    values = {}
    for key, value in given.items():
        if key not in known:
            raise UsageError(f"{where}: expected one of {', '.join(known)}, got {key!r}")
        before = getattr(base, key)
        if dataclasses.is_dataclass(before):
            if not isinstance(value, dict):
                raise UsageError(f"{where}: expected a section [{key}], got {value!r}")
            values[key] = _filled(type(before), value, f"{where}, {key}", over=before)
        else:
            values[key] = _value(hints[key], value, f"{where}, {key}")
    return dataclasses.replace(base, **values)  # type: ignore[type-var]


def _value(kind: Any, value: Any, where: str) -> Any:
    if args := get_args(kind):
        if not isinstance(value, list):
            raise UsageError(f"{where}: expected a list, got {value!r}")
        return tuple(_value(args[0], each, where) for each in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise UsageError(f"{where}: expected {kind.__name__}, got {value!r}")
    return value
