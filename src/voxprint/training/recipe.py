"""The recipe, stage by stage: prepare, augment, train, average, export, check parity, evaluate.

One student is trained a run. A run on fold A is measured on the speakers of fold B and the other
way round; the student that ships is trained on both, and what it is worth is what the other two
are. All runs share what was prepared.
"""

from __future__ import annotations

import contextlib
import copy
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from voxprint.encoder.download import locate
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import UsageError
from voxprint.training.augment import Augmenter
from voxprint.training.batches import Batches
from voxprint.training.coded import start_copies
from voxprint.training.config import Config
from voxprint.training.corpus import Corpus, noise_paths, read_corpus, read_noises
from voxprint.training.export import export
from voxprint.training.features import Filterbank
from voxprint.training.loop import Say, Training, as_indices, chosen_device, weights_between
from voxprint.training.measure import Heard, Trials, compare, read_lists, table
from voxprint.training.network import CamPlusPlus, Head, Pointwise, campplus, read_arrays
from voxprint.training.probes import Probes, start_probes
from voxprint.training.speech import Speech, teacher_targets
from voxprint.types import Samples

#: What a run is trained on -> what it is measured on.
OTHER_FOLD = {"A": "B", "B": "A"}


@dataclass(frozen=True)
class Places:
    """Where things lie.

    Attributes:
        corpora: folder of the corpora.
        out: where results go: weights, figures, log; small.
        work: where what can be made again goes: copies, features, checkpoints; gigabytes.
        weights: the teacher's, ``.pt`` or ``.npz``; None for the published ones.
    """

    corpora: Path
    out: Path
    work: Path
    weights: Path | None = None


@dataclass
class Prepared:
    """What all runs share.

    Attributes:
        corpus: recordings of all folds that are asked for.
        noises: recorded ones, by their path.
        speech: the recordings on the device.
        teacher: frozen.
        filterbank: of both networks.
        targets: of every recording at every speed.
        copies: file and futures of the copies through codecs; None for none.
        probes: features of the trials; None where nothing is measured.
        heard: those on the device, and the teacher's embeddings; made when first needed.
    """

    corpus: Corpus
    noises: dict[Path, Samples]
    speech: Speech
    teacher: CamPlusPlus
    filterbank: Filterbank
    targets: torch.Tensor
    copies: tuple[Path, list[list[Future[None]]]] | None
    probes: Probes | None
    heard: tuple[Heard, Any] | None = None


@dataclass
class Results:
    """What is known so far; written anew whenever something is added.

    Attributes:
        file: where it is written.
        facts: anything JSON holds.
    """

    file: Path
    facts: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, value: Any) -> None:
        """Keep one more result, on disk too."""
        self.facts[name] = value
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps(self.facts, indent=1, default=str), encoding="utf-8")
        part.replace(self.file)


class Recipe:
    """All stages of one configuration.

    Args:
        config: what to do.
        places: where.
        say: told what happens.

    Raises:
        UsageError: a GPU is demanded and there is none.
    """

    def __init__(self, config: Config, places: Places, say: Say = print) -> None:
        self._config, self._places = config, places
        self._began = time.monotonic()
        self._device = chosen_device(config.train.device)
        Pointwise.by_product = config.train.by_product
        Head.channels_last = config.train.channels_last
        for folder in (places.out, places.work):
            folder.mkdir(parents=True, exist_ok=True)
        self._log = places.out / "log.txt"
        self._tell = say
        self.results = Results(places.out / "results.json")
        self.results.add("config", asdict(config))

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
    def prepared(self, *, measured: bool = True) -> Iterator[Prepared]:
        """Stages 1 and 2: everything decoded and on the device; copies are still being made."""
        config, places = self._config, self._places
        with _processes(config.data.workers) as pool:
            self.say(f"stage 1, prepare: decoding with {config.data.workers} processes")
            corpus = read_corpus(places.corpora, config.data, pool)
            self.say(
                f"{len(corpus.names)} recordings of {len(corpus.speakers)} speakers, "
                f"{corpus.seconds / 3600:.2f} h of heard speech; {len(corpus.skipped)} skipped"
            )
            for line in corpus.skipped[:20]:
                self.say(f"  skipped {line}")
            self.results.add(
                "corpus",
                {
                    "recordings": len(corpus.names),
                    "hours": corpus.seconds / 3600,
                    "skipped": corpus.skipped,
                },
            )
            paths = noise_paths(places.corpora, "all")
            noises = dict(zip(paths, read_noises(paths, pool), strict=True))
            copies = self._copies(pool, corpus) if config.data.coded else None
            probes = self._probes(pool) if measured else None
            self.say("stage 2, augment: other speeds, and the teacher's targets")
            teacher = campplus(read_arrays(self._teacher_file())).to(self._device)
            teacher.requires_grad_(False)
            filterbank = Filterbank(DEFAULT_MODEL.fbank).to(self._device)
            speech = Speech(corpus, config.data.speeds, self._device)
            hours = sum(len(each) for each in speech.plain) / 16000 / 3600
            self.say(f"{hours:.1f} h at {len(speech.speeds)} speeds")
            targets = teacher_targets(speech, teacher, filterbank, config.loss.speaker_mix)
            self.say(f"targets made, shape {tuple(targets.shape)}")
            try:
                yield Prepared(corpus, noises, speech, teacher, filterbank, targets, copies, probes)
            finally:
                # What is still being made serves nobody.
                pool.shutdown(wait=True, cancel_futures=True)

    def _copies(
        self, pool: ProcessPoolExecutor, corpus: Corpus
    ) -> tuple[Path, list[list[Future[None]]]]:
        file = self._places.work / "coded.s16"
        noises = noise_paths(self._places.corpora, "train")
        data, seed = self._config.data, self._config.train.seed
        return file, start_copies(pool, corpus.heard, data.speeds, noises, file, seed)

    def _probes(self, pool: ProcessPoolExecutor) -> Probes:
        wanted, corpora = self._config.measure, self._places.corpora
        lists = [
            *(t for fold in self._measured_folds() for t in self._lists(fold)),
            *read_lists(corpora, wanted.whole, None, wanted.most_trials),
        ]
        names = sorted({name for each in lists for name in (*each.enrol, *each.test)})
        self.say(f"measuring on {len(names)} recordings x {len(wanted.conditions)} conditions")
        return start_probes(
            pool,
            corpora,
            names,
            wanted.conditions,
            noise_paths(corpora, "measure"),
            self._places.work / "probes",
        )

    def _measured_folds(self) -> tuple[str, ...]:
        fold = self._config.data.fold
        return (OTHER_FOLD[fold],) if fold in OTHER_FOLD else ("A", "B")

    def _lists(self, fold: str) -> list[Trials]:
        wanted = self._config.measure
        return read_lists(self._places.corpora, wanted.lists, fold, wanted.most_trials)

    def _teacher_file(self) -> Path:
        if self._places.weights is not None:
            return self._places.weights
        return locate(DEFAULT_MODEL.weights, None, lambda *_: None)[0]

    # -- train, average, export, check parity -------------------------------------------------

    def train(self, prepared: Prepared, run: str, config: Config | None = None) -> CamPlusPlus:
        """Stages 3 to 6: one student, its weights in ``out`` as soon as they are there.

        Args:
            prepared: by :meth:`prepared`.
            run: ``A``, ``B`` or ``both``: the fold that is trained on.
            config: of this run, where it differs.
        """
        config = config or self._config
        try:
            student = self._trained(prepared, run, config)
        except torch.OutOfMemoryError:
            self.say("not enough memory on the device: batches of half the size")
            torch.cuda.empty_cache()
            less = replace(
                config,
                batch=replace(
                    config.batch, seconds=config.batch.seconds / 2, most=config.batch.most // 2
                ),
            )
            student = self._trained(prepared, run, less)
        self.say(f"stages 5 and 6, export and parity check: run {run}")
        cosine = self._exported(student, run)
        self.say(f"student-{run}.npz, smallest cosine to its graph {cosine:.7f}")
        return student

    def _exported(self, student: CamPlusPlus, run: str) -> float:
        cosine = export(student, self._places.work, f"student-{run}")
        weights = f"student-{run}.npz"
        (self._places.out / weights).write_bytes((self._places.work / weights).read_bytes())
        return cosine

    def _trained(self, prepared: Prepared, run: str, config: Config) -> CamPlusPlus:
        corpus = prepared.corpus
        chosen = (
            as_indices(corpus.fold == run) if run in OTHER_FOLD else as_indices(corpus.fold != "")
        )
        if len(set(corpus.speaker[chosen].tolist())) < 2:
            raise UsageError(f"expected at least two speakers in fold {run}")
        self.say(f"stages 3 and 4, train and average: run {run}, {len(chosen)} recordings")
        chosen_noises = noise_paths(self._places.corpora, config.data.noises)
        noises = [prepared.noises[path] for path in chosen_noises]
        seed = config.train.seed
        augmenter = Augmenter(config.augment, noises, self._device, seed)
        batches = Batches(prepared.speech, chosen, config.batch, augmenter, seed)
        student = copy.deepcopy(prepared.teacher).requires_grad_(True)
        training = Training(
            student,
            batches,
            prepared.targets,
            prepared.filterbank,
            config,
            checkpoint=self._places.work / f"checkpoint-{run}.pt",
            say=self.say,
        )
        state = training.run(lambda: self._take_copies(prepared))
        self.results.add(f"training {run}", asdict(state))
        return student

    def _take_copies(self, prepared: Prepared) -> None:
        if prepared.copies is not None and any(c is None for c in prepared.speech.coded):
            prepared.speech.take_coded(*prepared.copies)
            if all(c is not None for c in prepared.speech.coded):
                self.say("copies through codecs are all there")

    # -- evaluate ------------------------------------------------------------------------------

    def measure(
        self, prepared: Prepared, run: str, student: CamPlusPlus, blends: Sequence[float]
    ) -> None:
        """Stage 7: on the speakers of the other fold, and on sets nobody trained on."""
        wanted = self._config.measure
        folds = (OTHER_FOLD[run],) if run in OTHER_FOLD else ()
        trials = [t for fold in folds for t in self._lists(fold)]
        trials += read_lists(self._places.corpora, wanted.whole, None, wanted.most_trials)
        self.say(
            f"stage 7, evaluate: run {run} on fold {'/'.join(folds) or 'no'}, {len(trials)} lists"
        )
        heard, teacher = self._heard(prepared)
        weights = prepared.teacher.state_dict()
        mine = student.state_dict()
        students = {}
        for share in blends:
            between = copy.deepcopy(prepared.teacher)
            between.load_state_dict(weights_between(weights, mine, share))
            students[f"student {share:g}"] = heard.embed(between)
        rows = compare(trials, heard, teacher, students)
        kept = self.results.facts.get(f"measured {run}", [])
        self.results.add(f"measured {run}", [*kept, *rows])
        for name in students:
            for figure in ("eer", "min_dcf"):
                for line in table(rows, name, figure):
                    self.say(line)
            for line in table(rows, f"{name} on teacher"):
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


@contextlib.contextmanager
def _processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that know nothing of the device, one thread each."""
    held = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield pool
    finally:
        for name, value in held.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run_recipe(config: Config, places: Places, say: Say = print) -> Path:
    """All stages of one configuration; the student's weights are what comes out.

    Raises:
        UsageError: no such corpora, no GPU where one is demanded.
        ModelFileError: the teacher's weights cannot be had, or the export fails its check.
    """
    recipe = Recipe(config, places, say)
    with recipe.prepared() as prepared:
        run = config.data.fold
        student = recipe.train(prepared, run)
        recipe.measure(prepared, run, student, config.measure.blends)
    return places.out / f"student-{run}.npz"


def run_folds(
    config: Config,
    places: Places,
    *,
    seconds: dict[str, float],
    deadline: float,
    say: Say = print,
) -> None:
    """Runs on fold A, on fold B and on both, each measured where it may be.

    A run or a measurement that fails is said and does not stop the next.

    Args:
        config: of all runs; the one on both folds hears all noises.
        places: where.
        seconds: limit of each run.
        deadline: seconds from now after which no run goes on.
        say: told what happens.
    """
    recipe = Recipe(replace(config, data=replace(config.data, fold="both")), places, say)
    students: dict[str, CamPlusPlus] = {}
    with recipe.prepared() as prepared:
        for run, limit in seconds.items():
            left = min(limit, deadline - recipe.elapsed - _RESERVE)
            if left < _LEAST_RUN:
                recipe.say(f"no time for run {run}")
                continue
            train = replace(config.train, max_seconds=left)
            data = config.data if run in OTHER_FOLD else replace(config.data, noises="all")
            with _going_on(recipe, f"run {run}"):
                own = replace(config, train=train, data=data)
                students[run] = recipe.train(prepared, run, own)
            if run in students:
                with _going_on(recipe, f"measuring {run}"):
                    recipe.measure(prepared, run, students[run], config.measure.blends[:1])
        for run in [r for r in students if r in OTHER_FOLD]:
            if deadline - recipe.elapsed > _RESERVE / 2:
                with _going_on(recipe, f"measuring averages of {run}"):
                    recipe.measure(prepared, run, students[run], config.measure.blends[1:])
        recipe.say("done")


#: Seconds kept free for what follows a run, and the shortest run worth beginning.
_RESERVE, _LEAST_RUN = 20.0, 10.0


@contextlib.contextmanager
def _going_on(recipe: Recipe, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever failed, the next run goes on
        import traceback

        recipe.say(f"{what} failed: {error}\n{traceback.format_exc()}")
