"""The recipe, stage by stage: prepare, augment, train, average, export, check parity, evaluate.

One student is trained a run. A run on fold A is measured on the speakers of fold B and the other
way round; the student that ships is trained on both, and what it is worth is what the other two
are. All runs share what was prepared.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from voxprint.encoder.download import locate
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import UsageError, VoxprintError
from voxprint.training.augment import Augmenter
from voxprint.training.batches import Batches
from voxprint.training.coded import start_copies
from voxprint.training.config import Config
from voxprint.training.corpus import Corpus, noise_paths, read_corpus, read_noises
from voxprint.training.export import export, write_weights
from voxprint.training.features import Filterbank
from voxprint.training.heldout import Heldout, Watch
from voxprint.training.loop import (
    Say,
    Training,
    as_indices,
    chosen_device,
    open_checkpoint,
    weights_between,
)
from voxprint.training.measure import Heard, Trials, compare, read_lists, table
from voxprint.training.network import (
    CamPlusPlus,
    Head,
    arrays_of,
    campplus,
    read_arrays,
)
from voxprint.training.places import Places, Results
from voxprint.training.probes import Probes, start_probes
from voxprint.training.speech import Speech
from voxprint.training.students import new_student
from voxprint.training.targets import Targets, no_targets, teacher_targets
from voxprint.types import Samples

#: What a run is trained on -> what it is measured on.
OTHER_FOLD = {"A": "B", "B": "A"}


@dataclass
class Prepared:
    """What all runs share.

    Attributes:
        corpus: recordings of all folds that are asked for.
        noises: recorded ones that could be decoded, by their path.
        speech: the recordings on the device.
        teacher: frozen.
        filterbank: of both networks.
        targets: of every recording at every speed; zeros where nothing is asked of the teacher.
        copies: file and futures of the copies through codecs; None for none.
        probes: features of the trials; None where nothing is measured.
        heard: those on the device, and the teacher's embeddings; made when first needed.
    """

    corpus: Corpus
    noises: dict[Path, Samples]
    speech: Speech
    teacher: CamPlusPlus
    filterbank: Filterbank
    targets: Targets
    copies: tuple[Path, list[list[Future[None]]]] | None
    probes: Probes | None
    heard: tuple[Heard, Any] | None = None


class Recipe:
    """All stages of one configuration.

    Args:
        config: what to do.
        places: where.
        runs: which students there will be, each by the fold it is trained on, ``A``, ``B`` or
            ``both``, and its own configuration.
        say: told what happens.

    Raises:
        UsageError: a GPU is demanded and there is none, or a folder cannot be made.
        ModelFileError: there is a checkpoint, of another configuration.
    """

    def __init__(
        self, config: Config, places: Places, runs: dict[str, Config], say: Say = print
    ) -> None:
        self._config, self._places, self._runs = config, places, runs
        self._folds = [OTHER_FOLD[run] for run in runs if run in OTHER_FOLD]
        self._began = time.monotonic()
        self._device = chosen_device(config.train.device)
        Head.channels_last = config.train.channels_last
        for folder in (places.out, places.work):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(
                    f"expected a folder to write to, got {folder}: {error.strerror}"
                ) from error
        self._log = places.out / "log.txt"
        self._tell = say
        self.results = Results(places.out / "results.json")
        # Not written before there is something new: what another run came to stays till then.
        self.results.facts["config"] = asdict(config)
        for run, own in runs.items():
            if (file := self._checkpoint(run)).exists():
                open_checkpoint(file, own, "cpu")

    def say(self, line: str) -> None:
        """Print a line with the time, and keep it."""
        whole = f"[{self.elapsed:6.1f} s] {line}"
        self._tell(whole)
        with contextlib.suppress(OSError), self._log.open("a", encoding="utf-8") as file:
            file.write(whole + "\n")

    @property
    def elapsed(self) -> float:
        """Seconds since the recipe was begun."""
        return time.monotonic() - self._began

    # -- prepare and augment ------------------------------------------------------------------

    @contextlib.contextmanager
    def prepared(self) -> Iterator[Prepared]:
        """Stages 1 and 2: everything decoded and on the device; copies are still being made.

        Raises:
            UsageError: the corpora folder lacks what is asked of it.
            ModelFileError: the teacher's weights cannot be had.
        """
        config, places = self._config, self._places
        # First what fails at once.
        teacher = campplus(read_arrays(self._teacher_file())).to(self._device)
        teacher.requires_grad_(False)
        lists = self._all_lists()
        with _processes(config.data.workers) as pool:
            self.say(f"stage 1, prepare: decoding with {config.data.workers} processes")
            corpus = read_corpus(places.corpora, config.data, pool)
            self.say(
                f"{len(corpus.names)} recordings of {len(corpus.speakers)} speakers, "
                f"{corpus.seconds / 3600:.2f} h of heard speech; {len(corpus.skipped)} skipped"
            )
            for line in corpus.skipped[:_NAMED]:
                self.say(f"  skipped {line}")
            if len(corpus.skipped) > _NAMED:
                self.say(f"  and {len(corpus.skipped) - _NAMED} more, all in results.json")
            noises, unusable = read_noises(noise_paths(places.corpora, "all"), pool)
            self.say(f"{len(noises)} recordings of noise; {len(unusable)} skipped")
            for path, reason in unusable.items():
                self.say(f"  skipped {path.name}: {reason}")
            self.results.add(
                "corpus",
                {
                    "recordings": len(corpus.names),
                    "hours": corpus.seconds / 3600,
                    "skipped": corpus.skipped,
                    "noises": len(noises),
                    "noises_skipped": [f"{path.name}: {r}" for path, r in unusable.items()],
                },
            )
            copies = self._copies(pool, corpus, noises) if config.data.coded else None
            probes = self._probes(pool, lists, noises) if lists else None
            self.say("stage 2, augment: other speeds, and the teacher's targets")
            filterbank = Filterbank(DEFAULT_MODEL.fbank).to(self._device)
            speech = Speech(corpus, config.data.speeds, self._device)
            hours = sum(len(each) for each in speech.plain) / 16000 / 3600
            self.say(f"{hours:.1f} h at {len(speech.speeds)} speeds")
            targets = no_targets(speech, DEFAULT_MODEL.dim)
            if (asked := config.loss).asks_teacher:
                mix, frames = asked.speaker_mix, asked.frames > 0
                targets = teacher_targets(speech, teacher, filterbank, mix, frames=frames)
                self.say(f"targets made, shape {tuple(targets.vectors.shape)}")
            yield Prepared(corpus, noises, speech, teacher, filterbank, targets, copies, probes)

    def _copies(
        self, pool: ProcessPoolExecutor, corpus: Corpus, noises: dict[Path, Samples]
    ) -> tuple[Path, list[list[Future[None]]]]:
        file = self._places.work / "coded.s16"
        paths = self._noises("train", noises)
        data, seed = self._config.data, self._config.train.seed
        speeds = data.speeds[: data.coded_speeds or None]
        return file, start_copies(pool, corpus.heard, speeds, paths, file, seed)

    def _noises(self, which: str, usable: dict[Path, Samples]) -> list[Path]:
        return [path for path in noise_paths(self._places.corpora, which) if path in usable]

    def _probes(
        self, pool: ProcessPoolExecutor, lists: Sequence[Trials], noises: dict[Path, Samples]
    ) -> Probes:
        wanted, corpora = self._config.measure, self._places.corpora
        names = sorted({name for each in lists for name in (*each.enrol, *each.test)})
        self.say(f"measuring on {len(names)} recordings x {len(wanted.conditions)} conditions")
        return start_probes(
            pool,
            corpora,
            names,
            wanted.conditions,
            self._noises("measure", noises),
            self._places.work / "probes",
        )

    def _all_lists(self) -> list[Trials]:
        """What the runs are measured on."""
        lists = [each for fold in self._folds for each in self._lists(fold)]
        return [*lists, *self._whole_lists()]

    def _lists(self, fold: str) -> list[Trials]:
        wanted = self._config.measure
        return read_lists(self._places.corpora, wanted.lists, fold, wanted.most_trials)

    def _whole_lists(self) -> list[Trials]:
        wanted = self._config.measure
        return read_lists(self._places.corpora, wanted.whole, None, wanted.most_trials)

    def _teacher_file(self) -> Path:
        if self._places.weights is not None:
            return self._places.weights
        return locate(DEFAULT_MODEL.weights, None, lambda *_: None)[0]

    # -- train, average, export, check parity -------------------------------------------------

    def _checkpoint(self, run: str) -> Path:
        return self._places.work / f"checkpoint-{run}.pt"

    def train(self, prepared: Prepared, run: str, seconds: float | None = None) -> nn.Module:
        """Stages 3 to 6: one student, its weights in ``out`` as soon as they are there.

        Args:
            prepared: by :meth:`prepared`.
            run: one of the recipe's runs.
            seconds: limit of this run, where it differs from its configuration's.
        """
        config = self._runs[run]
        if seconds is not None:
            config = replace(config, train=replace(config.train, max_seconds=seconds))
        while (student := self._if_it_fits(prepared, run, config)) is None:
            seconds, most = config.batch.seconds / 2, config.batch.most // 2
            config = replace(config, batch=replace(config.batch, seconds=seconds, most=most))
            self.say(f"not enough memory on the device: batches of half the size, {seconds:g} s")
            gc.collect()
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
        self.say(f"stages 5 and 6, export and parity check: run {run}")
        name = f"student-{run}"
        weights = self._places.out / f"{name}.npz"
        if isinstance(student, CamPlusPlus):
            cosine = export(student, weights, self._places.work / f"{name}.onnx")
            self.say(f"{name}.npz, smallest cosine to its graph {cosine:.7f}")
        else:
            write_weights(arrays_of(student.state_dict()), weights)
            self.say(f"{name}.npz; no graph, serving runs none of this kind")
        return student

    def _if_it_fits(self, prepared: Prepared, run: str, config: Config) -> nn.Module | None:
        """A student; None where the device is too small and half the batch may do.

        By the time it returns None nothing holds the first try: an exception that is being
        handled would, with every tensor of the step that failed.
        """
        try:
            return self._trained(prepared, run, config)
        except torch.OutOfMemoryError as error:
            if config.batch.most < 2 * _LEAST_BATCH:
                raise VoxprintError(
                    f"expected memory on the device for batches of {config.batch.most} crops, "
                    f"{config.batch.seconds:g} s in all: {str(error).partition('. ')[0]}",
                    hint="Leave out the longest of batch.long, or train elsewhere.",
                ) from error
        return None

    def _trained(self, prepared: Prepared, run: str, config: Config) -> nn.Module:
        corpus = prepared.corpus
        chosen = (
            as_indices(corpus.fold == run) if run in OTHER_FOLD else as_indices(corpus.fold != "")
        )
        if len(set(corpus.speaker[chosen].tolist())) < 2:
            raise UsageError(f"expected at least two speakers in fold {run}")
        self.say(f"stages 3 and 4, train and average: run {run}, {len(chosen)} recordings")
        paths = self._noises(config.data.noises, prepared.noises)
        noises = [prepared.noises[path] for path in paths]
        seed = config.train.seed
        augmenter = Augmenter(config.augment, noises, self._device, seed)
        batches = Batches(prepared.speech, chosen, config.batch, augmenter, seed)
        student = new_student(config.network, seed, prepared.teacher)
        training = Training(
            student,
            batches,
            prepared.targets,
            prepared.filterbank,
            config,
            checkpoint=self._checkpoint(run),
            say=self.say,
        )
        watch = self._watch(prepared, run)

        def tick() -> None:
            self._take_copies(prepared)
            if watch is not None and watch.is_due:
                watch.look(training.averaged(), training.state.step)

        state = training.run(tick)
        if config.train.blend < 1:
            teacher, mine = prepared.teacher.state_dict(), student.state_dict()
            student.load_state_dict(weights_between(teacher, mine, config.train.blend))
        facts = {"batch": asdict(config.batch), **asdict(state)}
        if watch is not None:
            watch.look(student, state.step)
            facts["watched"] = watch.history
        self.results.add(f"training {run}", facts)
        return student

    def _watch(self, prepared: Prepared, run: str) -> Watch | None:
        wanted, corpus = self._config.measure, prepared.corpus
        if not wanted.watch or run not in OTHER_FOLD:
            return None
        noises = self._noises("measure", prepared.noises)
        heldout = Heldout(
            prepared.speech,
            [name.partition("/")[0] for name in corpus.names],
            as_indices(corpus.fold == OTHER_FOLD[run]),
            [prepared.noises[path] for path in noises],
            prepared.filterbank,
            most=wanted.watch,
            seed=self._config.train.seed,
        )
        return Watch(heldout, prepared.teacher, wanted.watch_seconds, self.say)

    def _take_copies(self, prepared: Prepared) -> None:
        if prepared.copies is None:
            return
        file, made = prepared.copies
        coded = prepared.speech.coded[: len(made)]
        if any(c is None for c in coded):
            prepared.speech.take_coded(file, made)
            if all(c is not None for c in prepared.speech.coded[: len(made)]):
                self.say("copies through codecs are all there")

    # -- evaluate ------------------------------------------------------------------------------

    def measure(
        self, prepared: Prepared, run: str, student: nn.Module, blends: Sequence[float]
    ) -> None:
        """Stage 7: on the speakers of the other fold, and on sets nobody trained on."""
        trials = self._lists(OTHER_FOLD[run]) if run in OTHER_FOLD else []
        trials += self._whole_lists()
        where = f"fold {OTHER_FOLD[run]} and other sets" if run in OTHER_FOLD else "other sets"
        self.say(f"stage 7, evaluate: run {run} on {where}, {len(trials)} lists")
        if not trials:
            self.say("nothing to measure on: measure.lists and measure.whole leave no trials")
            return
        heard, teacher = self._heard(prepared)
        students = {
            f"student {share:g}": heard.embed(_between(prepared.teacher, student, share))
            for share in blends
        }
        asked = self._config.loss.asks_teacher
        rows = compare(trials, heard, teacher, students, one_space=asked)
        kept = self.results.facts.get(f"measured {run}", [])
        self.results.add(f"measured {run}", [*kept, *rows])
        for name in students:
            for figure in ("eer", "min_dcf"):
                for line in table(rows, name, figure):
                    self.say(line)
            for line in table(rows, f"{name} on teacher") if asked else ():
                self.say(line)

    def _heard(self, prepared: Prepared) -> tuple[Heard, Any]:
        if prepared.heard is None:
            assert prepared.probes is not None  # noqa: S101 - only called where it is measured
            for each in prepared.probes.made:
                each.result()
            heard = Heard(prepared.probes, self._device)
            prepared.heard = heard, heard.embed(prepared.teacher)
            self.say("probes and the teacher's embeddings are there")
        return prepared.heard


def _between(teacher: CamPlusPlus, student: nn.Module, share: float) -> nn.Module:
    """The network on the line from the teacher (0) to the student (1)."""
    if share == 1.0:
        return student
    between = copy.deepcopy(teacher)
    weights = weights_between(teacher.state_dict(), student.state_dict(), share)
    between.load_state_dict(weights)
    return between


@contextlib.contextmanager
def _processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that know nothing of the device, one thread each."""
    held = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
            try:
                yield pool
            finally:
                # What is still being made serves nobody, least of all after an error.
                pool.shutdown(wait=True, cancel_futures=True)
    finally:
        for name, value in held.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
#: So many of those that could not be used are named while it runs.
_NAMED = 20
#: Crops of the smallest batch that is still tried where the device has little memory.
_LEAST_BATCH = 8
