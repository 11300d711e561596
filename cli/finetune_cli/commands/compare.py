"""`finetune compare`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import click
from finetune_operator.api import SweepRun

from finetune_cli import figures, options, output, resources, utterances
from finetune_cli.cluster import Cluster
from finetune_cli.errors import CliError, ExitCode
from finetune_cli.resources import Resource
from finetune_cli.significance import Comparison, paired_bootstrap
from finetune_cli.tracker import Run, Tracker
from finetune_cli.utterances import Utterance

BASELINE = "baseline"


@dataclass(frozen=True)
class Side:
    """One side of a comparison."""

    name: str
    run: Run
    scored: list[Utterance]
    of_baseline: bool = False

    def errors(self, utterance: Utterance) -> float:
        """Word errors of this side in an utterance."""
        return utterance.baseline_errors if self.of_baseline else utterance.errors

    def metric(self, key: str) -> float | None:
        """A score; of the untouched model those that the trainer measured too."""
        if not self.of_baseline:
            return self.run.metric(key)
        name = {"test/wer": "test/baseline_wer", "test/cer": "test/baseline_cer", "eval/wer": "baseline/wer"}.get(key)
        return self.run.metric(name) if name else None


def run_of(resource: Resource) -> str:
    """The run that a resource stands for.

    Raises:
        CliError: It has none yet.
    """
    parsed = resource.parsed
    found = parsed.status.best_run if isinstance(parsed, SweepRun) else parsed.status.run
    if found is None:
        fix = f"wait for it with `finetune watch {resource.label}`"
        raise CliError(f"{resource.label} has no result yet", ExitCode.NOT_FOUND, fix)
    return found.id


def compare(a: Side, b: Side) -> Comparison:
    """B against A on the utterances that both have scored.

    Raises:
        CliError: They have none in common.
    """
    pairs = utterances.pair(a.scored, b.scored)
    if not pairs:
        fix = "compare runs with the same dataset, split and normaliser that have finished"
        raise CliError(f"{a.name} and {b.name} share no test utterance", ExitCode.REFUSED, fix)
    return paired_bootstrap(
        [a.errors(u) for u, _ in pairs], [b.errors(u) for _, u in pairs], [u.words for u, _ in pairs]
    )


def verdict(a: Side, b: Side, result: Comparison, level: float = 0.05) -> str:
    """One sentence."""
    if result.p_value <= level:
        return f"{b.name} is better than {a.name} (p = {result.p_value:.3g})."
    if result.p_value >= 1 - level:
        return f"{b.name} is worse than {a.name} (p = {1 - result.p_value:.3g})."
    return (
        f"No significant difference between {a.name} and {b.name} (p = {min(result.p_value, 1 - result.p_value):.3g})."
    )


def text(a: Side, b: Side, result: Comparison) -> str:
    """Both sides, their settings where they differ, and the verdict."""
    scores = ("test/wer", "test/cer", "eval/wer", "test/real_time_factor", "regression/pass_rate")
    rows = [(key, a.metric(key), b.metric(key)) for key in scores]
    table = [(k, figures.number(x), figures.number(y)) for k, x, y in rows if x is not None or y is not None]
    if not (a.of_baseline or b.of_baseline):
        keys = sorted(
            k for k in {*a.run.config, *b.run.config} - {"trainer"} if a.run.config.get(k) != b.run.config.get(k)
        )
        table += [(k, figures.number(a.run.config.get(k)), figures.number(b.run.config.get(k))) for k in keys]
    table.append(
        (f"WER on {result.utterances} shared utterances", figures.percent(result.a), figures.percent(result.b))
    )
    interval = f"{figures.percent(result.low)} to {figures.percent(result.high)}"
    gain = f"gain {figures.percent(result.a - result.b)}, 95% interval {interval}"
    return f"{output.table(('', a.name, b.name), table)}\n\n{gain}\n{verdict(a, b, result)}"


def _side(cluster: Cluster, reference: str, tracker: Tracker | None, url: str | None) -> tuple[Side, Tracker]:
    if reference.startswith("run/"):
        if tracker is None:
            fix = "name a resource of the cluster first: it says which tracker and project"
            raise CliError("a run needs a resource beside it", ExitCode.USAGE, fix)
        run_id = reference.removeprefix("run/")
    else:
        resource = resources.find(cluster, reference)
        tracker, run_id = Tracker.of(cluster, resource, url), run_of(resource)
    run = tracker.run(run_id)
    scored = utterances.parse(tracker.table(run, utterances.KEY).records())
    return Side(reference, run, scored), tracker


def _document(a: Side, b: Side, result: Comparison) -> dict[str, Any]:
    return {
        "a": a.name,
        "b": b.name,
        "runA": a.run.id,
        "runB": b.run.id,
        **asdict(result),
        "verdict": verdict(a, b, result),
    }


@click.command("compare")
@options.references_argument(2)
@options.tracker_options
@options.cluster_options
@options.output_option
def command(references: tuple[str, str], cluster: Cluster, tracker_url: str | None, style: str | None) -> None:
    """Two results against each other on the test utterances that both have, with a paired bootstrap.

    Each NAME is a resource (a SweepRun stands for its best run), `run/ID` for a run of the first one's project, or
    `baseline` for the other's untouched model.
    """
    first, second = references
    if first == second:
        raise CliError("both sides are the same", ExitCode.USAGE)
    if first == BASELINE:
        b, _ = _side(cluster, second, None, tracker_url)
        a = Side(BASELINE, b.run, b.scored, of_baseline=True)
    else:
        a, tracker = _side(cluster, first, None, tracker_url)
        if second == BASELINE:
            b = Side(BASELINE, a.run, a.scored, of_baseline=True)
        else:
            b, _ = _side(cluster, second, tracker, tracker_url)
    result = compare(a, b)
    if style is not None:
        output.emit(_document(a, b, result), style)
    else:
        click.echo(text(a, b, result))
