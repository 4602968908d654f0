"""What a training is told: a TOML file, every key of which is known.

A file names only what differs from the defaults below. Sections are those of :class:`Config`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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
        channels_last: how convolutions are laid out; a matter of speed alone, see
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
