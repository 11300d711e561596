"""The training loop in this process: order, resumption, the loss itself."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from finetune_trainer.checkpoint import CheckpointStore
from finetune_trainer.contract import TrialConfig
from finetune_trainer.control import Control
from finetune_trainer.distributed import Topology
from finetune_trainer.errors import DivergedError, PreemptedError, StoppedError
from finetune_trainer.features import collate
from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.objective import objective
from finetune_trainer.session import Session
from finetune_trainer.training import Progress, Training

ALONE = Topology(0, 1, torch.device("cpu"))
FAMILIES = ["seq2seq", "ctc"]


@pytest.fixture
def session(config: Callable[..., TrialConfig]) -> Callable[..., Session]:
    def build(family: str) -> Session:
        torch.set_num_threads(1)
        return Session.open(config(family), ALONE, Control())

    return build


def training(session: Session, **fields: object) -> tuple[Training, list[Progress]]:
    values = {"learning_rate": 3e-3, "batch_size": 16, "max_steps": 20, "dropout": 0.1} | fields.pop("values", {})  # type: ignore[operator]
    hyperparameters = Hyperparameters.parse(values)
    points: list[Progress] = []
    control = Control()
    made = Training(
        model=session.base.build(hyperparameters),
        base=session.base,
        examples=session.sets["train"],
        hyperparameters=hyperparameters,
        seed=3,
        topology=ALONE,
        control=control,
        on_progress=points.append,
        **fields,  # type: ignore[arg-type]
    )
    return made, points


@pytest.mark.parametrize("family", FAMILIES)
def test_a_resumed_training_equals_an_uninterrupted_one(
    session: Callable[[str], Session], family: str, tmp_path: Path
) -> None:
    data = session(family)
    whole, expected = training(data, values={"spec_augment": 0.1})
    whole.run()

    store = CheckpointStore(tmp_path, "run", "same")
    first, before = training(data, values={"spec_augment": 0.1}, store=store, every_steps=100)
    first.on_progress = lambda point: (before.append(point), point.step == 7 and first.control.preempt())  # type: ignore[assignment,func-returns-value]
    with pytest.raises(PreemptedError):
        first.run()
    second, after = training(data, values={"spec_augment": 0.1}, store=store, every_steps=100)
    second.run()

    assert [point.step for point in before + after] == list(range(1, 21))
    assert [p.loss for p in before + after] == pytest.approx([p.loss for p in expected], abs=1e-5)
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(second.model.state_dict()[name], tensor, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("killed_at", [4, 5, 8, 10, 12, 20])
def test_the_best_epoch_is_what_remains_also_after_a_resumption(
    session: Callable[[str], Session], killed_at: int, tmp_path: Path
) -> None:
    """Epochs are five steps long; the second one is the best, whenever the process is killed."""
    data = session("ctc")
    judged: list[int] = []

    def validate(step: int, epoch: float) -> tuple[float, float]:
        judged.append(step)
        return {5: (0.3, 1.0), 10: (0.2, 0.5), 15: (0.2, 0.6), 20: (0.4, 0.4)}[step]

    whole, _ = training(data, validate=validate)
    at: dict[int, dict[str, torch.Tensor]] = {}
    whole.on_progress = lambda point: at.setdefault(
        point.step, {name: tensor.clone() for name, tensor in whole.model.state_dict().items()}
    )
    whole.run()
    assert judged == [5, 10, 15, 20]
    assert whole.best is not None
    assert whole.best.step == 10

    class KilledError(Exception):
        pass

    def kill(point: Progress) -> None:
        if point.step == killed_at:
            raise KilledError

    store = CheckpointStore(tmp_path, "run", "same")
    first, _ = training(data, validate=validate, store=store, every_steps=4)
    first.on_progress = kill
    with pytest.raises(KilledError):
        first.run()
    second, _ = training(data, validate=validate, store=store, every_steps=4)
    second.run()
    assert second.best is not None
    assert second.best.step == 10
    for made in (whole, second):
        for name, tensor in made.model.state_dict().items():
            torch.testing.assert_close(tensor, at[10][name], atol=1e-5, rtol=1e-5)


def test_a_kill_between_checkpoint_and_validation_skips_no_validation(
    session: Callable[[str], Session], tmp_path: Path
) -> None:
    data = session("ctc")
    judged: list[int] = []

    def validate(step: int, epoch: float) -> tuple[float, ...]:
        if not judged and step == 10:
            judged.append(0)
            raise KeyboardInterrupt
        judged.append(step)
        return (1 / step,)

    store = CheckpointStore(tmp_path, "run", "same")
    for _ in range(2):
        made, _ = training(data, validate=lambda step, epoch: (1.0,) if step == 5 else validate(step, epoch))
        made.store, made.every_steps = store, 10
        with contextlib.suppress(KeyboardInterrupt):
            made.run()
    assert judged == [0, 10, 15, 20]


def test_a_checkpoint_whose_best_model_is_gone_is_not_used(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "run", "one")
    store.keep(3, {"weight": torch.ones(2)})
    store.save(5, {}, best=3)
    found = store.load()
    assert found is not None
    assert torch.equal(found[1]["best"]["weights"]["weight"], torch.ones(2))
    store.keep(6, {"weight": torch.zeros(2)})  # no checkpoint speaks of it yet: the one before stays
    assert store.load() is not None
    store.save(8, {}, best=6)
    assert sorted(path.name for path in store.folder.iterdir()) == ["best-6.pt", "step-8.pt"]
    (store.folder / "best-6.pt").unlink()
    assert store.load() is None


def test_a_checkpoint_of_another_configuration_is_not_used(tmp_path: Path) -> None:
    CheckpointStore(tmp_path, "run", "one").save(5, {})
    assert CheckpointStore(tmp_path, "run", "two").load() is None
    assert CheckpointStore(tmp_path, "run", "one").load() == (5, {"best": None})


def test_a_torn_checkpoint_is_not_used(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "run", "one")
    path = store.save(5, {"weights": torch.zeros(100)})
    (path.parent / "step-9.pt").write_bytes(path.read_bytes()[:200])
    found = store.load()
    assert found is not None
    assert found[0] == 5


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_that_of_transformers(session: Callable[[str], Session], family: str) -> None:
    data = session(family)
    model = data.base.build().eval()
    batch = collate(data.sets["train"], list(range(8)), data.base, torch.device("cpu"))
    labels = batch.labels
    with torch.inference_mode():
        ours = float(objective(model, data.base, batch))
        if family == "seq2seq":
            theirs = float(model(**batch.inputs, labels=labels).loss) * int((labels >= 0).sum())
        else:  # of one row at a time, because transformers sums over rows whatever their lengths
            theirs = sum(
                float(model(**{k: v[i : i + 1] for k, v in batch.inputs.items()}, labels=labels[i : i + 1]).loss)
                / int((labels[i] >= 0).sum())
                for i in range(8)
            )
    assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_accumulated_batches_equal_one_large_batch(session: Callable[[str], Session], family: str) -> None:
    data = session(family)
    large, one = training(data, values={"batch_size": 72, "max_steps": 3, "dropout": 0.0})
    small, many = training(data, values={"batch_size": 8, "gradient_accumulation": 9, "max_steps": 3, "dropout": 0.0})
    large.run()
    small.run()
    assert [p.loss for p in one] == pytest.approx([p.loss for p in many], rel=2e-3)


def test_a_batch_computed_in_parts_is_the_same_batch(
    session: Callable[[str], Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = session("ctc")
    whole, one = training(data, values={"max_steps": 3, "dropout": 0.0})
    whole.run()
    monkeypatch.setattr("finetune_trainer.training.CACHE_SECONDS", 1.0)
    cut, many = training(data, values={"max_steps": 3, "dropout": 0.0})
    cut.run()
    assert len(cut._collate([list(range(16))])) >= 6
    assert [p.loss for p in one] == pytest.approx([p.loss for p in many], rel=1e-4)


def test_an_absurd_learning_rate_is_named_diverged(session: Callable[[str], Session]) -> None:
    made, _ = training(session("seq2seq"), values={"learning_rate": 1e30, "max_steps": 20, "warmup_ratio": 0})
    with pytest.raises(DivergedError, match="use a lower learning_rate"):
        made.run()


def test_a_stop_is_obeyed_between_two_steps(session: Callable[[str], Session]) -> None:
    made, points = training(session("ctc"))
    made.on_progress = lambda point: (points.append(point), point.step == 4 and made.control.stop())  # type: ignore[assignment,func-returns-value]
    with pytest.raises(StoppedError):
        made.run()
    assert points[-1].step == 4


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers for a name that it has deprecated
def test_frozen_and_adapted_models_train_what_they_should(session: Callable[[str], Session]) -> None:
    for family in FAMILIES:
        base = session(family).base
        frozen = base.build(Hyperparameters(freeze_encoder=True))
        trained = {name for name, p in frozen.named_parameters() if p.requires_grad}
        assert trained
        assert not any("encoder.layers" in name and "decoder" not in name for name in trained)
        adapted = base.build(Hyperparameters(lora_rank=4))
        share = sum(p.numel() for p in adapted.parameters() if p.requires_grad) / sum(
            p.numel() for p in adapted.parameters()
        )
        assert 0 < share < 0.5


def test_training_never_touches_the_base(session: Callable[[str], Session]) -> None:
    data = session("seq2seq")
    before = {name: tensor.clone() for name, tensor in data.base.weights.items()}
    made, _ = training(data, values={"max_steps": 3})
    made.run()
    assert all(torch.equal(before[name], tensor) for name, tensor in data.base.weights.items())


CURVES = Path(__file__).with_name("loss_curves.json")


@pytest.mark.parametrize("family", FAMILIES)
def test_twenty_steps_follow_the_stored_curve(session: Callable[[str], Session], family: str) -> None:
    made, points = training(session(family), values={"dropout": 0.0})
    made.run()
    expected = json.loads(CURVES.read_text())[family]
    assert [point.loss for point in points] == pytest.approx(expected, rel=2e-3)
