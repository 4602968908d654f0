"""The one training loop: from batches to weights, for as long as it is told, and resumable.

A student that begins as the teacher keeps its batch statistics, only scale and shift of the
normalisations learn; so it hears one utterance as it hears a batch. One that begins from nothing
learns them too, and they are averaged as its weights are: at the end the rate is a hundredth, the
weights hardly move, and the mean of their statistics is that of their mean.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from voxprint.errors import ModelFileError, TrainingDiverged, UsageError
from voxprint.training.batches import FRAME_STEP, Batches, Crops
from voxprint.training.config import Config
from voxprint.training.features import Filterbank
from voxprint.training.losses import Classifier, contrastive, distillation, frame_error
from voxprint.training.targets import Targets

#: Steps that may wait for the device; more would make the clock wrong.
_AHEAD = 2
_TELL_EVERY = 5.0
#: The rate at the end, as a share of the highest.
_LAST_RATE = 0.01

Say = Callable[[str], None]


@dataclass
class State:
    """Where a training stands.

    Attributes:
        step: steps done.
        seconds: spent on them.
        history: mean of every part of the loss, now and then.
    """

    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


class Training:
    """One student on its way.

    Args:
        student: with ``frames`` and ``pooled`` as ``CamPlusPlus`` has them; is changed in place,
            and in evaluation mode afterwards.
        batches: where crops come from.
        targets: what the teacher makes of the recordings; of use where it is asked for anything.
        filterbank: as serving has it.
        config: of which loss and train count.
        checkpoint: file that is written now and then and resumed from where it is there; None
            for none.
        say: told a line now and then.

    Attributes:
        head: that classifies, where the loss has one.
        state: where it stands.

    Raises:
        UsageError: neither ``train.steps`` nor ``train.max_seconds`` says when it ends.
        ModelFileError: the checkpoint is another training's.
    """

    def __init__(
        self,
        student: nn.Module,
        batches: Batches,
        targets: Targets,
        filterbank: Filterbank,
        config: Config,
        *,
        checkpoint: Path | None = None,
        say: Say = print,
    ) -> None:
        if not config.train.steps and not config.train.max_seconds:
            raise UsageError(
                "expected train.steps or train.max_seconds, got neither",
                hint="Without one of them nothing says when the training ends.",
            )
        self._student, self._batches, self._targets = student, batches, targets
        student.train(config.network.begin == "nothing")
        self._filterbank, self._config, self._say = filterbank, config, say
        self._file = checkpoint
        speeds, recordings = targets.vectors.shape[:2]
        self._corpus = f"{recordings} recordings at {speeds} speeds"
        self._device = targets.vectors.device
        self._half = config.train.half and self._device.type == "cuda"
        self._label = self._labels()
        self.head = self._new_head()
        self._learned = [p for p in student.parameters() if p.requires_grad]
        self._optimiser = self._new_optimiser()
        self._moving = self._moving_of(student)
        self._average = [each.detach().clone() for each in self._moving]
        self._sums: dict[str, Tensor] = {}
        self._summed = 0
        self.state = State()
        if checkpoint is not None and checkpoint.exists():
            self._resume(checkpoint)

    def run(self, on_tick: Callable[[], None] = lambda: None) -> State:
        """Train to the end of the schedule and leave averaged weights in the student.

        Args:
            on_tick: called whenever a line is said.

        Raises:
            TrainingDiverged: the loss is not finite any more; the last checkpoint is from before.
        """
        began, told, kept = self._now(), time.monotonic(), time.monotonic()
        before = self.state.seconds
        waiting: list[torch.cuda.Event] = []
        while (progress := self._progress()) < 1.0:
            self._step(progress)
            self._wait(waiting)
            self.state.seconds = before + self._now() - began
            if time.monotonic() - told >= _TELL_EVERY:
                told = time.monotonic()
                self._tell()
                on_tick()
            if time.monotonic() - kept >= self._config.train.checkpoint_seconds:
                kept = time.monotonic()
                self._tell()
                self.save()
        self._tell()
        self.save()
        if self._config.train.average:
            with torch.no_grad():
                for mine, mean in zip(self._moving, self._average, strict=True):
                    mine.copy_(mean)
        self._student.eval()
        return self.state

    def averaged(self) -> nn.Module:
        """A copy of the student with the averaged weights, as they are now."""
        network = copy.deepcopy(self._student)
        with torch.no_grad():
            for mine, mean in zip(self._moving_of(network), self._average, strict=True):
                mine.copy_(mean)
        return network.eval().requires_grad_(False)

    # -- one step ------------------------------------------------------------------------------

    def _step(self, progress: float) -> None:
        share = self._rate(progress)
        for group in self._optimiser.param_groups:
            group["lr"] = group["highest"] * share
        if self.head is not None:
            self.head.margin = margin_at(progress, self._config)
        crops = self._batches.draw(late=_is_late(progress, self._config))
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            frames = self._student.frames(self._filterbank(crops.samples))
            vectors = self._student.pooled(frames)
        parts = self._losses(frames, vectors.float(), crops)
        self._optimiser.zero_grad(set_to_none=True)
        parts["loss"].backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self._learned, self._config.train.clip_norm)
        self._optimiser.step()
        self.state.step += 1
        keep = min(self._config.train.average, (1 + self.state.step) / (10 + self.state.step))
        with torch.no_grad():
            torch._foreach_lerp_(self._average, self._moving, 1 - keep)
        for name, value in {**parts, "norm": norm}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach()  # type: ignore[assignment]
        self._summed += 1

    def _losses(self, frames: Tensor, vectors: Tensor, crops: Crops) -> dict[str, Tensor]:
        wanted = self._config.loss
        target = self._targets.vectors[crops.speed, crops.recording]
        parts = {}
        total = vectors.new_zeros(())
        if wanted.cosine:
            parts["cosine"] = distillation(vectors, target)
            total = total + wanted.cosine * parts["cosine"]
        if wanted.contrastive:
            parts["contrastive"] = contrastive(vectors, target, crops.speaker, wanted.scale)
            total = total + wanted.contrastive * parts["contrastive"]
        if wanted.frames:
            right, known = self._targets.frames_of(
                crops.speed, crops.recording, crops.at // FRAME_STEP, frames.shape[-1]
            )
            parts["frames"] = frame_error(frames, right, known)
            total = total + wanted.frames * parts["frames"]
        if self.head is not None:
            parts["head"] = self.head(vectors, self._label[crops.speed, crops.speaker])
            total = total + wanted.head_weight * parts["head"]
        return {**parts, "loss": total}

    def _rate(self, progress: float) -> float:
        """Up in a line, down along a cosine."""
        warm = self._config.train.warm_up
        if progress < warm:
            return max(progress, 1e-3) / warm
        along = (progress - warm) / (1 - warm)
        return _LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * along))

    def _progress(self) -> float:
        """Share of the schedule that is done: of the steps or of the time, whichever is more."""
        train = self._config.train
        steps = self.state.step / train.steps if train.steps else 0.0
        seconds = self.state.seconds / train.max_seconds if train.max_seconds else 0.0
        return max(steps, seconds)

    # -- making ----------------------------------------------------------------------------------

    def _new_head(self) -> Classifier | None:
        wanted = self._config.loss
        if wanted.head == "none":
            return None
        head = Classifier(
            wanted.head,
            self._targets.vectors.shape[-1],
            int(self._label.max()) + 1,
            scale=wanted.head_scale,
            margin=wanted.margin,
            seed=self._config.train.seed,
        ).to(self._device)
        if wanted.asks_teacher:
            head.begin_with(self._means())
        return head

    def _labels(self) -> Tensor:
        """Classes by speed and speaker; -1 for speakers that are not trained on."""
        speakers = torch.from_numpy(self._batches.speakers).to(self._device)
        speeds = len(self._targets.vectors)
        labels = torch.full((speeds, int(speakers.max()) + 1), -1, device=self._device)
        own = torch.arange(speeds * len(speakers), device=self._device)
        labels[:, speakers] = own.view(speeds, -1)
        return labels

    def _means(self) -> Tensor:
        """Mean target of every class, shape (classes, dim), unit rows."""
        speaker = self._batches.speaker_of
        vectors = self._targets.vectors[:, self._batches.recordings]
        label = self._label[:, speaker]
        sums = torch.zeros(int(label.max()) + 1, vectors.shape[-1], device=self._device)
        sums.index_add_(0, label.flatten(), vectors.flatten(0, 1))
        return nn.functional.normalize(sums)

    def _moving_of(self, network: nn.Module) -> list[Tensor]:
        """What a step changes: weights that learn, and batch statistics where they do."""
        moving = [each for each in network.parameters() if each.requires_grad]
        if self._config.network.begin == "nothing":
            moving += [each for each in network.buffers() if each.is_floating_point()]
        return moving

    def _new_optimiser(self) -> torch.optim.AdamW:
        train = self._config.train
        # Scales and shifts are held to no length.
        wide = [p for p in self._learned if p.ndim > 1]
        narrow = [p for p in self._learned if p.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": wide, "weight_decay": train.weight_decay, "highest": train.rate},
            {"params": narrow, "weight_decay": 0.0, "highest": train.rate},
        ]
        if self.head is not None:
            groups.append({"params": list(self.head.parameters()), "highest": train.head_rate})
        return torch.optim.AdamW(groups, lr=train.rate, fused=self._device.type == "cuda")

    # -- telling and keeping -----------------------------------------------------------------

    def _tell(self) -> None:
        if not self._summed:
            return
        means = {name: float(value) / self._summed for name, value in self._sums.items()}
        self._sums, self._summed = {}, 0
        state = self.state
        if not all(map(math.isfinite, means.values())):
            # Said before anything is saved: what is not finite would spoil the checkpoint.
            raise TrainingDiverged(
                f"expected a finite loss and gradient, got {means} by step {state.step}",
                hint="Lower train.rate; the last checkpoint is from before.",
            )
        state.history.append({"step": state.step, "seconds": round(state.seconds, 1), **means})
        parts = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        done = min(100.0, 100 * self._progress())
        self._say(f"{done:5.1f} %  step {state.step}  {state.seconds:.0f} s  {parts}")

    def save(self) -> None:
        """Write the checkpoint; one that cannot be written leaves the last good one as it was."""
        if self._file is None:
            return
        part = self._file.with_suffix(".part")
        try:
            with part.open("wb") as file:
                torch.save(self._held(), file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._file)
        except (OSError, RuntimeError) as error:
            part.unlink(missing_ok=True)
            reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
            self._say(f"no checkpoint, the last good one stays: {self._file.parent}: {reason}")

    def _held(self) -> dict[str, Any]:
        return {
            "settings": _deciding(self._config),
            "corpus": self._corpus,
            "student": self._student.state_dict(),
            "average": self._average,
            "optimiser": self._optimiser.state_dict(),
            "head": None if self.head is None else self.head.state_dict(),
            "state": asdict(self.state),
            "random": self._batches.random_states(),
        }

    def _resume(self, file: Path) -> None:
        held = open_checkpoint(file, self._config, self._device)
        if held["corpus"] != self._corpus:
            raise ModelFileError(
                f"expected a checkpoint of {self._corpus}, got one of {held['corpus']}, {file}",
                hint="The corpora are others than they were. Name another work folder, or remove "
                "the file to begin anew.",
            )
        try:
            self._student.load_state_dict(held["student"])
            self._optimiser.load_state_dict(held["optimiser"])
            if self.head is not None:
                self.head.load_state_dict(held["head"])
            for mine, mean in zip(self._average, held["average"], strict=True):
                mine.copy_(mean)
            self.state = State(**held["state"])
            self._batches.set_random_states(held["random"])
        except Exception as error:
            raise ModelFileError(
                f"expected a checkpoint of this network, got {file}: {_first_line(error)}",
                hint="Remove it to begin anew, or name another work folder.",
            ) from error

    def _wait(self, waiting: list[torch.cuda.Event]) -> None:
        if self._device.type != "cuda":
            return
        event = torch.cuda.Event()
        event.record()
        waiting.append(event)
        if len(waiting) > _AHEAD:
            waiting.pop(0).synchronize()

    def _now(self) -> float:
        return time.monotonic()


def margin_at(progress: float, config: Config) -> float:
    """Margin of the head: none, then up in a line, then all of it, then that of the last part.

    Args:
        progress: share of the training that is done, in [0, 1).
        config: of which ``loss`` and ``train.late_share`` count.

    Returns:
        as ``loss.margin`` is measured.
    """
    wanted = config.loss
    if _is_late(progress, config):
        return wanted.late_margin
    if progress >= wanted.margin_whole:
        return wanted.margin
    span = wanted.margin_whole - wanted.margin_from
    return wanted.margin * max(0.0, progress - wanted.margin_from) / span if span else 0.0


def _is_late(progress: float, config: Config) -> bool:
    return progress >= 1 - config.train.late_share


def open_checkpoint(file: Path, config: Config, device: str | torch.device) -> dict[str, Any]:
    """What a checkpoint holds, if it is of this configuration.

    Args:
        file: the checkpoint.
        config: of the training that is to go on from it.
        device: where its tensors go.

    Raises:
        ModelFileError: it is no checkpoint, or of another configuration; every setting that
            differs is named.
    """
    try:
        held: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
        before = held["settings"]
    except Exception as error:  # whatever a file of another kind makes of itself
        raise ModelFileError(
            f"expected a checkpoint of a training, got {file}: {_first_line(error)}",
            hint="Remove it to begin anew.",
        ) from error
    now = _deciding(config)
    if changed := sorted(key for key in now if before.get(key) != now[key]):
        raise ModelFileError(
            f"expected a checkpoint of this configuration, got one of another, {file}: "
            + ", ".join(f"{key} was {before.get(key)}, is {now[key]}" for key in changed),
            hint="Set them as they were, name another work folder, or remove the file to begin "
            "anew.",
        )
    return held


#: Settings that may change from one sitting to the next: how long, how fast, how much at once.
_FREE = {
    *("data.workers", "batch.seconds", "batch.most", "train.steps", "train.max_seconds"),
    *("train.blend", "train.half", "train.channels_last", "train.device"),
    "train.checkpoint_seconds",
}


def _deciding(config: Config) -> dict[str, str]:
    """All settings that a training cannot change on its way, as text by ``section.key``."""
    whole = asdict(config)
    del whole["measure"]
    named = {f"{name}.{key}": value for name, held in whole.items() for key, value in held.items()}
    return {key: repr(value) for key, value in named.items() if key not in _FREE}


def _first_line(error: Exception) -> str:
    """PyTorch tells of every single weight; the first ones say enough."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def chosen_device(name: str) -> torch.device:
    """The device that a configuration asks for.

    Raises:
        UsageError: a GPU where there is none, or an unknown name.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"expected device auto, cpu or cuda, got {name!r}")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise UsageError(
            "expected a GPU, PyTorch finds none", hint='Set train.device to "cpu" or "auto".'
        )
    return torch.device("cuda" if there and name != "cpu" else "cpu")


def weights_between(
    teacher: dict[str, Tensor], student: dict[str, Tensor], share: float
) -> dict[str, Tensor]:
    """Weights on the line from the teacher (0) to the student (1)."""
    return {
        name: torch.lerp(value.float(), student[name].float(), share)
        if value.is_floating_point()
        else value
        for name, value in teacher.items()
    }


def as_indices(mask: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Numbers of the recordings that a mask chooses."""
    return np.flatnonzero(mask).astype(np.int64)
