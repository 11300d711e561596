"""`finetune report`, `compare` and `logs --run` on what the SDK logged."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser

import pytest
from finetune_cli.report import svg
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli.support import BEST, METRICS, TRIALS, ended, job, promotion, sweep
from tests.web.conftest import watched


@pytest.fixture
def done(seeded, put, definitions, namespace):
    """A finished sweep and a finished training, whose runs are in the tracker."""
    secret = {"api-key": base64.b64encode(seeded.server.api_key.encode()).decode()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wandb"}, "data": secret}
    definitions.api("POST", f"/api/v1/namespaces/{namespace}/secrets", body)
    base, entity = seeded.server.base_url, seeded.server.entity
    wandb = {"baseURL": base, "project": "stt"}
    status = ended(
        sweep={"id": seeded.sweep, "url": f"{base}/{entity}/stt/sweeps/{seeded.sweep}", "stage": 0},
        bestRun=BEST | {"id": seeded.best.id, "url": f"{base}/{entity}/stt/runs/{seeded.best.id}"},
        trials=TRIALS,
        promotion=promotion(
            "Promoted", version="v1", history=[{"at": "2026-11-01T11:30:00Z", "by": "kim", "version": "v1"}]
        ),
    )
    put(sweep(wandb=wandb, promotion={}), status)
    other = next(run for run in seeded.trials if run.id != seeded.best.id)
    put(job(wandb=wandb), ended(run={"id": other.id}, metrics=METRICS))
    return seeded


class Outside(HTMLParser):
    """Collects whatever a page would fetch."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [(tag, k, v) for k, v in attrs if k in ("src", "href", "srcset", "data", "action")]


def test_a_report_shows_everything_and_fetches_nothing(done, finetune, tmp_path, browser):
    file = tmp_path / "report.html"
    finetune("report", "errors", "-O", str(file))
    text = file.read_text()
    for part in ("by hyperparameters", "Loss", "Error types", "Worst utterances", "Trials", "Gates", "Promotion trail"):
        assert part in text, part
    assert text.count("<svg") >= 4
    assert "&lt;script&gt;window.hacked" in text
    assert "kim" in text
    outside = Outside()
    outside.feed(text)
    assert outside.found == []
    assert not re.search(r"url\(|@import", text)
    context = browser.new_context(viewport={"width": 360, "height": 740})
    visit = watched(context.new_page())
    visit.page.goto(file.as_uri())
    assert visit.page.evaluate("window.hacked") is None
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()
    assert visit.problems == []
    assert visit.hosts <= {""}


def test_a_report_of_a_training_and_of_nothing_yet(done, finetune, put, tmp_path):
    assert "Error types" in finetune("report", "ftj/candidate", "-O", "-").output
    put(sweep("new"))
    assert "There is no run yet" in finetune("report", "new", "-O", "-").output
    status = ended(sweep={"id": "gone", "stage": 0})
    put(sweep("cut-off", wandb={"baseURL": "http://127.0.0.1:1"}), status)
    cut_off = finetune("report", "cut-off", "-O", "-")
    for told in (cut_off.stdout, cut_off.stderr):
        assert "Nothing could be read from the tracker" in told
        assert "--tracker-url" in told


def test_compare_with_significance(done, finetune):
    result = json.loads(finetune("compare", "baseline", "errors", "-o", "json").stdout)
    assert result["utterances"] == 30
    assert result["b"] < result["a"]
    assert result["p_value"] < 0.05
    assert "errors is better than baseline" in finetune("compare", "baseline", "errors").output
    text = finetune("compare", "errors", "ftj/candidate").output
    assert "learning_rate" in text
    assert "30 shared utterances" in text
    assert "no run 'nothing'" in finetune("compare", "errors", "run/nothing", code=3).stderr


def test_the_console_of_a_run_whose_pod_is_gone(done, finetune):
    output = finetune("logs", "errors", "--run", done.best.id).output
    assert "<b>not HTML</b>" in output


def test_a_tracker_that_refuses_the_key(done, finetune):
    result = finetune("compare", "baseline", "errors", env={"WANDB_API_KEY": "x" * 40}, code=75)
    assert "refused the API key" in result.stderr
    assert "x" * 40 not in result.output


finite = st.floats(-1e6, 1e6, allow_nan=False)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(finite, finite, st.text(max_size=8)), max_size=20))
def test_any_points_make_a_chart_within_its_frame(points):
    text = str(svg.scatter(points, "a<b", "y", 0))
    places = [float(v) for v in re.findall(r'c[xy]="([^"]+)"', text)]
    assert len(places) == 2 * len(points)
    assert all(0 <= v <= svg.WIDTH for v in places)
    assert "a<b" not in text
