"""All ways of searching, compared on one seed: the same space, trials and data for each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from finetune_operator import stages, sweepconfig
from finetune_operator.api import SweepRunSpec, presets
from finetune_operator.facts import RunFacts
from finetune_operator.search import ending, rounds
from finetune_operator.search.significance import Utterances
from finetune_operator.stages import Stage
from finetune_tracker.engine import quiet
from finetune_trainer.hyperparameters import Hyperparameters

from benchmarks.search.engine import best, search
from benchmarks.search.speech import Sizes, Speech, Version, make_speech
from benchmarks.search.trials import Trial, Workshop

WIDTH_FACTOR = 40
"""Learning rates of ordinary models, times this, suit the tiny one.

Radford et al. ("Robust Speech Recognition via Large-Scale Weak Supervision", 2022, appendix F, maximum learning rates)
train Whisper at 1.5e-3 (tiny, width 384), 1e-3 (base, 512), 5e-4 (small, 768), 2.5e-4 (medium, 1024) and 1.75e-4
(large, 1280): from tiny to large the rate falls as width ** -1.78. If that goes on below tiny, and fine-tuning takes a
fixed share of it, then from whisper-small, for which the default of 1e-5 is customary, to width 96 it is a factor of
8 ** 1.78 = 40.
"""

DEFAULT = {
    **{name: getattr(Hyperparameters(), name) for name in ("batch_size", "epochs", "warmup_ratio", "weight_decay")},
    "learning_rate": WIDTH_FACTOR * Hyperparameters().learning_rate,
}
"""What one gets without a search: the trainer's defaults, the learning rate scaled as the search space's is."""

SIGNIFICANCE = 0.05
"""What a round's challenger is held to where the SweepRun has no promotion gates."""


@dataclass(frozen=True)
class Protocol:
    """What is compared.

    Attributes:
        trials: Of a full sweep.
        explore, refine: Of a staged search: trials of its random stage, and at most of its Bayesian one.
        mini: Of a round that new error cases start.
    """

    sizes: Sizes = Sizes()  # noqa: RUF009 - frozen
    trials: int = 20
    explore: int = 8
    refine: int = 12
    mini: int = 5

    def full(self) -> SweepRunSpec:
        """The SweepRun of a full sweep."""
        return _spec({"trials": self.trials})

    def staged(self) -> SweepRunSpec:
        """The SweepRun of a staged search."""
        explore = {"name": "explore", "trials": self.explore}
        refine = {"name": "refine", "method": "bayes", "trials": self.refine, "refine": {}}
        return _spec({"stages": [explore, refine]})

    def round(self) -> SweepRunSpec:
        """The SweepRun that adapts to new error cases."""
        return _spec(
            {"trials": self.trials, "continuous": {"newErrorCases": self.sizes.train // 2, "trials": self.mini}}
        )


@dataclass(frozen=True)
class Cost:
    """What a way of searching found, and for how much.

    Attributes:
        wer: Validation WER of its best run.
        test_wer: WER of that run on the test set, by which nothing was chosen.
        stopped: Trials that early termination ended.
    """

    wer: float
    test_wer: float
    trials: int
    stopped: int
    steps: int
    utterances: int
    hyperparameters: Mapping[str, Any]

    @classmethod
    def of(cls, trials: Sequence[Trial]) -> "Cost":
        """The cost of some trials together."""
        winner = best(trials)
        return cls(
            wer=winner.wer,
            test_wer=winner.test.rate,
            trials=len(trials),
            stopped=sum(trial.state == "killed" for trial in trials),
            steps=sum(trial.steps for trial in trials),
            utterances=sum(trial.utterances for trial in trials),
            hyperparameters=winner.values,
        )


def compare(seed: int, protocol: Protocol, cache: Path, memory: Path) -> dict[str, Any]:
    """All measurements of one seed, JSON-able, in a process of its own."""
    torch.set_num_threads(1)
    quiet()
    return _Comparison(seed, protocol, make_speech(seed, protocol.sizes, cache), memory).run()


class _Comparison:
    def __init__(self, seed: int, protocol: Protocol, speech: Speech, memory: Path) -> None:
        self._seed, self._protocol, self._speech, self._memory = seed, protocol, speech, memory

    def run(self) -> dict[str, Any]:
        first = self._workshop("first")
        plain = self._sweep(first, "plain", early=False)
        halted = self._sweep(first, "plain", early=True)  # the same draws
        spec = self._protocol.staged()
        explore, refine = stages.of(spec)
        ran = self._in_stages(first, spec, (explore, refine), "staged", goal=best(plain).wer)
        staged = [*chain(*ran)]
        default = first.train(DEFAULT)
        return {
            "seed": self._seed,
            "untrained_test_wer": first.untrained().rate,
            "default": asdict(Cost.of([default])),
            "plain": asdict(Cost.of(plain)),
            "hyperband": asdict(Cost.of(halted)),
            "staged": asdict(Cost.of(staged)),
            "staged_reached": best(staged).wer <= best(plain).wer,
            "narrowed_holds_best": listed(following(refine, explore.parameters, ran[0])[0], best(plain).values),
            **self._rounds(halted),
        }

    def _workshop(self, version: Version, model: Path | None = None) -> Workshop:
        return Workshop(model or self._speech.base, self._speech.manifests[version], self._seed, self._memory)

    def _sweep(self, workshop: Workshop, name: str, *, early: bool) -> list[Trial]:
        spec = self._protocol.full()
        stage = stages.of(spec)[0]
        early_terminate = sweepconfig.early_terminate(spec, stage) if early else None
        return search(workshop.train, stage, draw=f"{self._seed} {name}", early=early_terminate)

    def _in_stages(
        self, workshop: Workshop, spec: SweepRunSpec, plan: Sequence[Stage], name: str, goal: float = -math.inf
    ) -> list[list[Trial]]:
        """The trials of stages that follow one another, until a validation WER is reached or they end."""
        ran: list[list[Trial]] = []
        space: dict[str, Any] = {}
        for stage in plan:
            space, prior = following(stage, space, ran[-1] if ran else [])
            trials = search(
                workshop.train,
                stage,
                space=space,
                draw=f"{self._seed} {name} {stage.name}",
                early=sweepconfig.early_terminate(spec, stage),
                prior=prior,
                done=lambda now, stage=stage: reaches(now, goal) or exhausted(stage, now),  # type: ignore[misc]
            )
            ran.append(trials)
            if reaches(trials, goal):
                break
        return ran

    def _rounds(self, before: Sequence[Trial]) -> dict[str, Any]:
        """What new error cases bring, with and without a shift, where the first sweep's best run is in service."""
        winner = best(before)
        with TemporaryDirectory() as folder:
            self._workshop("first").train(winner.values, keep=Path(folder))
            service = Path(folder) / "trial" / "model"
            versions: tuple[Version, ...] = ("shifted", "steady")
            return {version: self._round(version, winner.values, service) for version in versions}

    def _round(self, version: Version, in_service: Mapping[str, Any], service: Path) -> dict[str, Any]:
        """A round on a version of the dataset, beside (where the speech has shifted) a full sweep.

        Args:
            version: The dataset with the new error cases.
            in_service: The configuration in service.
            service: Folder of the model in service.
        """
        workshop, spec = self._workshop(version), self._protocol.round()
        assert spec.continuous is not None
        (incumbent,), challengers = self._in_stages(workshop, spec, stages.adaptation(spec, in_service), version)
        finished = [trial for trial in challengers if trial.state == "finished"]
        challenger = best(finished) if finished else None
        verdict = rounds.judge(
            incumbent.wer,
            challenger.wer if challenger else None,
            _utterances(incumbent),
            _utterances(challenger) if challenger else Utterances(),
            min_improvement=float(spec.continuous.min_improvement),
            significance=SIGNIFICANCE,
        )
        outcome = challenger if challenger and verdict.replaces else incumbent
        found = {
            "service_test_wer": workshop.score(service).rate,
            "mini": asdict(Cost.of([incumbent, *challengers])) | {"test_wer": outcome.test.rate},
            "incumbent_test_wer": incumbent.test.rate,
            "incumbent_steps": incumbent.steps,
            "replaced": verdict.replaces,
            "reason": verdict.reason,
        }
        if version == "shifted":
            found["full"] = asdict(Cost.of(self._sweep(workshop, version, early=True)))
        return found


def following(stage: Stage, previous: dict[str, Any], made: Sequence[Trial]) -> tuple[dict[str, Any], list[Trial]]:
    """The space of a stage and the trials that seed it, as the operator decides them from those of the stage before."""
    ranked = sorted((trial for trial in made if trial.state == "finished"), key=lambda trial: trial.wer)
    runs = {str(number): trial for number, trial in enumerate(ranked)}
    facts = [RunFacts(number, trial.state, config=dict(trial.values)) for number, trial in runs.items()]
    space, seeds = stages.following(stage, previous, facts)
    return space, [runs[seed] for seed in seeds]


def listed(space: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any]) -> bool:
    """Whether a space still lists all those of some hyperparameters that are chosen from lists."""
    return all(values[name] in block["values"] for name, block in space.items() if "values" in block)


def _utterances(trial: Trial) -> Utterances:
    return Utterances(trial.errors, trial.words)


def reaches(made: Sequence[Trial], goal: float) -> bool:
    """Whether a finished trial's validation WER is no higher than the goal."""
    return any(trial.state == "finished" and trial.wer <= goal for trial in made)


def exhausted(stage: Stage, made: Sequence[Trial]) -> bool:
    """Whether a stage has little more to give, as the operator decides it."""
    values = [trial.wer for trial in made if trial.state == "finished"]
    return ending.exhausted(values, stage.trials - len(made), stage.min_expected_gain)


def _spec(changes: Mapping[str, Any]) -> SweepRunSpec:
    """A SweepRun with the preset `finetuning` for Whisper, its learning rates scaled to the tiny model."""
    model = "openai/whisper-small"
    rate = presets.preset("finetuning", model).parameters["learning_rate"]
    scaled = {bound: WIDTH_FACTOR * rate[bound] for bound in ("min", "max")}
    return SweepRunSpec.model_validate(
        {
            "parameters": {"learning_rate": {**rate, **scaled}},
            "trainer": {"model": {"name": model}, "dataset": {"uri": "file:///speech/manifest.jsonl"}},
            **changes,
        }
    )
