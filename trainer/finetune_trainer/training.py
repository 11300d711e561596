"""The training loop.

A plain loop over batches instead of Hugging Face's Trainer, for three reasons that matter to a sweep of many short
trials: features are computed once per process and not per epoch; a resumed trial reproduces an uninterrupted one,
because order and schedule are functions of the step; and a stop or a SIGTERM is honoured between two steps. It costs
less per trial, too: no dataloader workers, no callbacks, no second import.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from .batching import CACHE_SECONDS, batches_per_epoch, epoch_batches, parts
from .checkpoint import CheckpointStore, random_state, restore_random_state
from .control import Control
from .distributed import Topology
from .errors import BadConfigError, DivergedError, PreemptedError
from .features import Batch, Example, collate
from .hyperparameters import Hyperparameters
from .models import Base
from .objective import objective, weight_of
from .schedule import learning_rate_factor

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training is, after a step."""

    step: int
    total_steps: int
    epoch: float
    loss: float
    learning_rate: float
    seconds: float
    audio_seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Extent of a training, known before it starts."""

    steps_per_epoch: int
    total_steps: int

    @classmethod
    def of(cls, examples: int, hyperparameters: Hyperparameters) -> Plan:
        """Steps of a training over so many examples."""
        batches = batches_per_epoch(examples, hyperparameters.batch_size)
        per_epoch = math.ceil(batches / hyperparameters.gradient_accumulation)
        total = hyperparameters.max_steps or max(1, math.ceil(per_epoch * hyperparameters.epochs))
        return cls(per_epoch, total)


@dataclass(frozen=True, slots=True)
class Best:
    """The best model that a training has seen so far.

    Attributes:
        step: Optimiser step after which it was seen.
        quality: What validation said of it; the smaller one is the better one.
        weights: What training changes, on the CPU.
    """

    step: int
    quality: tuple[float, ...]
    weights: dict[str, torch.Tensor] = field(repr=False)


@dataclass
class Training:
    """One training: everything that its steps need.

    Attributes:
        model: As `Base.build` gives it, on the topology's device.
        store: Where checkpoints go; None keeps none.
        every_steps: Steps between checkpoints.
        on_progress: Called by the leader every few steps.
        validate: Called by all processes after each epoch and after the last step, with step and epoch; returns how
            good the model is, the smaller the better. None keeps the last step's model.
        best: The model that `run` leaves in `model`, where there is a `validate`.
    """

    model: Any
    base: Base
    examples: Sequence[Example]
    hyperparameters: Hyperparameters
    seed: int
    topology: Topology
    control: Control
    store: CheckpointStore | None = None
    every_steps: int = 200
    on_progress: Callable[[Progress], None] | None = None
    validate: Callable[[int, float], tuple[float, ...]] | None = None
    best: Best | None = field(default=None, init=False)

    def run(self) -> Progress | None:
        """Trains to the end, from the newest checkpoint if there is one; the model then is that of the best epoch.

        Returns:
            The last step's progress; None when the checkpoint already was the end.

        Raises:
            BadConfigError: Fewer rows per batch than processes.
            DivergedError: The loss is not finite.
            PreemptedError: SIGTERM came; the checkpoint is written.
            StoppedError: The tracker stopped the run.
        """
        hp, topology = self.hyperparameters, self.topology
        if hp.batch_size < topology.size:
            raise BadConfigError(
                f"hyperparameters.batch_size {hp.batch_size} is less than the {topology.size} processes; raise it."
            )
        self.plan = Plan.of(len(self.examples), hp)
        self.precision = Precision.of(topology.device)
        self._lengths = [example.length for example in self.examples]
        self._seconds = [example.seconds for example in self.examples]
        self._parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = _optimizer(self.model, hp)
        torch.manual_seed(self.seed + topology.rank)
        np.random.seed((self.seed + topology.rank) % 2**32)
        self._validated = 0
        start = self._restore()
        network = self.model
        if topology.size > 1:
            ids = [topology.device.index] if topology.device.type == "cuda" else None
            network = torch.nn.parallel.DistributedDataParallel(
                self.model, device_ids=ids, find_unused_parameters=self.base.family == "ctc"
            )
        self._saved = start
        if start and self._ends_epoch(start):  # the process may have ended between checkpoint and validation
            self._validate(start)
        progress = self._steps(network, start)
        if self.best is not None and self.best.step < self.plan.total_steps:
            log.info("The model after step %d of %d was the best.", self.best.step, self.plan.total_steps)
            self.model.load_state_dict(self.best.weights, strict=False)
        return progress

    def _steps(self, network: Any, start: int) -> Progress | None:
        hp, topology, plan = self.hyperparameters, self.topology, self.plan
        log_every = max(1, plan.total_steps // 200)
        began, audio, progress = time.monotonic(), 0.0, None
        losses = torch.zeros((), device=topology.device)
        since_log = 0
        network.train()
        for step, micro, batches in self._prepared(start):
            try:
                topology.check(self.control)
            except PreemptedError:
                self._save(step)
                raise
            rate = hp.learning_rate * learning_rate_factor(step, plan.total_steps, hp.warmup_ratio, hp.scheduler)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            total = sum(weight_of(self.examples[index], self.base) for rows in micro for index in rows)
            losses += self._step(network, batches, total)
            since_log += 1
            audio += sum(self.examples[index].seconds for batch in micro for index in batch)
            done = step + 1
            epoch = done / plan.steps_per_epoch
            if done % log_every == 0 or done == plan.total_steps:
                loss = float(losses) / since_log
                losses.zero_()
                since_log = 0
                if not math.isfinite(loss):
                    raise DivergedError(
                        f"The training loss is {loss} at step {done} of {plan.total_steps} (learning rate {rate:.3g}); "
                        "use a lower learning_rate or a longer warmup_ratio."
                    )
                progress = Progress(done, plan.total_steps, epoch, loss, rate, time.monotonic() - began, audio)
                if self.on_progress is not None and topology.leads:
                    self.on_progress(progress)
            if done % self.every_steps == 0 or done == plan.total_steps:
                self._save(done)
            if self._ends_epoch(done):
                self._validate(done)
                network.train()
        return progress

    def _ends_epoch(self, done: int) -> bool:
        return done % self.plan.steps_per_epoch == 0 or done == self.plan.total_steps

    def _validate(self, done: int) -> None:
        """Judges the model as it is after a step, and keeps it when none was better."""
        if self.validate is None or self._validated == done:
            return
        try:
            quality = self.validate(done, done / self.plan.steps_per_epoch)
        except PreemptedError:
            self._save(done)
            raise
        self._validated = done
        if self.best is None or quality < self.best.quality:
            weights = {name: value.detach().to("cpu", copy=True) for name, value in self._changing().items()}
            self.best = Best(done, quality, weights)
            if self.store is not None and self.topology.leads:
                self.store.keep(done, weights)

    def _changing(self) -> dict[str, torch.Tensor]:
        """The weights that training changes, and all buffers."""
        trained = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        buffers = {name for name, _ in self.model.named_buffers()}
        return {name: value for name, value in self.model.state_dict().items() if name in trained | buffers}

    def _order(self, start: int) -> Iterator[tuple[int, list[list[int]]]]:
        """The steps that remain, each with its micro-batches."""
        hp, plan = self.hyperparameters, self.plan
        batches: list[list[int]] = []
        planned = -1
        for step in range(start, plan.total_steps):
            epoch, place = divmod(step, plan.steps_per_epoch)
            if epoch != planned:
                batches = epoch_batches(
                    self._lengths, hp.batch_size, seed=self.seed, epoch=epoch, bucket=not self.base.is_whisper
                )
                planned = epoch
            yield step, batches[place * hp.gradient_accumulation : (place + 1) * hp.gradient_accumulation]

    def _prepared(self, start: int) -> Iterator[tuple[int, list[list[int]], list[tuple[Batch, float]]]]:
        """The steps with their batches; on an accelerator the next step's are made while this one computes."""
        if self.topology.device.type == "cpu":  # nothing to overlap with: the cores are busy
            for step, micro in self._order(start):
                yield step, micro, self._collate(micro)
            return
        # A thread starts on the first accelerator, where pinning memory would make a context for every process.
        own: dict[str, Any] = {"initializer": torch.cuda.set_device, "initargs": (self.topology.device,)}
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="collate", **own) as pool:
            following: tuple[int, list[list[int]], Future[list[tuple[Batch, float]]]] | None = None
            for step, micro in self._order(start):
                current, following = following, (step, micro, pool.submit(self._collate, micro))
                if current is not None:
                    yield current[0], current[1], current[2].result()
            if following is not None:
                yield following[0], following[1], following[2].result()

    def _collate(self, micro: Sequence[list[int]]) -> list[tuple[Batch, float]]:
        """This process's part of a step's batches, on the device, each with its weight."""
        made = []
        for rows in micro:
            mine = self.topology.share(rows)
            # A process without rows still takes part in the gradient's exchange, with weight 0.
            made += [
                (collate(self.examples, part, self.base, self.topology.device), float(bool(mine)))
                for part in self._parts(mine or rows[:1])
            ]
        return made

    def _parts(self, rows: list[int]) -> list[list[int]]:
        """A batch as it is computed: in one, but on a CPU in parts that fit its caches; the gradient is the same."""
        if self.topology.device.type != "cpu" or self.base.is_whisper:
            return [rows]
        return parts(rows, self._seconds, CACHE_SECONDS)

    def _step(self, network: Any, batches: Sequence[tuple[Batch, float]], total: float) -> torch.Tensor:
        """One optimiser step.

        Args:
            network: The model, or its wrapper for several processes.
            batches: This process's part.
            total: Weight of the whole step, over all processes.

        Returns:
            The mean loss over the step's batches, on the device.
        """
        topology = self.topology
        loss_sum = torch.zeros((), device=topology.device)
        for place, (batch, weight) in enumerate(batches):
            last = place == len(batches) - 1
            waits = network.no_sync() if topology.size > 1 and not last else contextlib.nullcontext()
            with waits:
                with self.precision.autocast():
                    loss = weight * objective(network, self.base, batch, self.hyperparameters.label_smoothing) / total
                # DDP averages over processes; the loss is already divided by all of them's weight.
                self.precision.scaler.scale(loss * topology.size).backward()
            loss_sum += loss.detach().float()
        self.precision.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self._parameters, self.hyperparameters.max_grad_norm)
        self.precision.scaler.step(self.optimizer)
        self.precision.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if topology.size > 1:
            torch.distributed.all_reduce(loss_sum)
        return loss_sum

    def _save(self, step: int) -> None:
        """Writes a checkpoint, unless the newest one is of this step."""
        if self.store is None or step <= self._saved:
            return
        randoms = self.topology.gather(random_state())
        if self.topology.leads:
            self.store.save(
                step,
                {
                    "weights": self._changing(),
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": self.precision.scaler.state_dict(),
                    "random": randoms,
                    "validated": self._validated,
                    "quality": list(self.best.quality) if self.best else [],
                },
                best=self.best.step if self.best else None,
            )
        self._saved = step

    def _restore(self) -> int:
        found = self.store.load() if self.store is not None else None
        steps = self.topology.gather(found[0] if found else 0)
        if len(set(steps)) > 1:
            raise BadConfigError(
                "checkpoints.path must be one volume that all nodes share; they see different checkpoints."
            )
        if found is None:
            return 0
        step, state = found
        self.model.load_state_dict(state["weights"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        self.precision.scaler.load_state_dict(state["scaler"])
        self._validated = state["validated"]
        if state["best"] is not None:
            self.best = Best(state["best"]["step"], tuple(state["quality"]), state["best"]["weights"])
        log.info("Training continues at step %d of %d.", step, self.plan.total_steps)
        if self.topology.rank < len(state["random"]):
            restore_random_state(state["random"][self.topology.rank])
        return step


@dataclass(frozen=True)
class Precision:
    """Arithmetic chosen by the hardware.

    bfloat16 where the accelerator has it, else float16 with loss scaling; float32 on the CPU. Weights and optimiser
    stay in float32.
    """

    dtype: torch.dtype
    device: torch.device
    scaler: Any

    @classmethod
    def of(cls, device: torch.device) -> Precision:
        """The best that a device can do."""
        dtype = torch.float32
        if device.type == "cuda":
            dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.allow_tf32 = True
        return cls(dtype, device, torch.amp.GradScaler(device.type, enabled=dtype is torch.float16))

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Context in which the forward pass runs."""
        if self.dtype is torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)


def _optimizer(model: Any, hyperparameters: Hyperparameters) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise BadConfigError("hyperparameters: nothing is left to train; set freeze_encoder to false.")
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": hyperparameters.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=hyperparameters.learning_rate, fused=True)
