"""The sandbox against what a real Kubernetes answered: every case of the conformance corpus is a test."""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from finetune_sandbox import testing

from .conftest import CORPUS

THRESHOLD = 0.92
WAVES = ({"http": 16, "crds": 4}, {"jobs": 20, "kubectl": 4})
"""What runs side by side, with the number of cases at a time: waiting and computing files share the machine."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def load(file: str) -> list[dict]:
    if file == "http":
        return [json.loads(line) for line in (CORPUS / "http.jsonl").read_text().splitlines()][1:]
    return yaml.safe_load((CORPUS / f"{file}.yaml").read_text())[1:]


def keys(file: str) -> list[str]:
    if file == "kubectl":
        return [f"{group['name']} / {case['name']}" for group in load(file) for case in group["cases"]]
    return [case["name"] for case in load(file)]


CASES = {file: keys(file) for wave in WAVES for file in wave}
EXCEPTIONS = yaml.safe_load((Path(__file__).parent / "exceptions.yaml").read_text())


def replay(kubeconfig: Path, file: str, parallel: int, only: str = "") -> dict[str, str]:
    """Runs the corpus' own replayer; returns what is wrong with each failed case."""
    command = [sys.executable, str(CORPUS / "replay.py"), "--kubeconfig", str(kubeconfig), "--files", file]
    command += ["--parallel", str(parallel), "--only", only, str(CORPUS)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert f"{file}: " in result.stdout, result.stderr[-2000:]
    failed = {}
    for line in result.stdout.splitlines():
        if line.startswith(f"FAIL {file}: "):
            text = line.removeprefix(f"FAIL {file}: ")
            case = next((key for key in CASES[file] if text.startswith(f"{key}: ")), text.partition(": ")[0])
            failed[case] = text.removeprefix(f"{case}: ")
    return failed


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What failed, by file and case. Cases have budgets of real time: what fails in the crowd runs once more alone."""
    found: dict[str, dict[str, str]] = {}
    with testing.start(tmp_path_factory.mktemp("conformance"), "--nodes", "0") as cluster:
        for wave in WAVES:
            with ThreadPoolExecutor() as pool:
                runs = {
                    file: pool.submit(replay, cluster.kubeconfig, file, parallel) for file, parallel in wave.items()
                }
            for file, run in runs.items():
                found[file] = run.result()
        for file, failed in found.items():
            if unexpected := set(failed) - set(EXCEPTIONS[file]):
                names = {case.partition(" / ")[0] if file == "kubectl" else case for case in unexpected}
                again = replay(cluster.kubeconfig, file, 2, "^(" + "|".join(map(re.escape, sorted(names))) + ")$")
                found[file] = {
                    case: text for case, text in failed.items() if case in again or case not in unexpected
                } | again
    return found


@pytest.mark.parametrize(("file", "case"), [(file, case) for file, cases in CASES.items() for case in cases])
def test_case(failures: dict[str, dict[str, str]], file: str, case: str) -> None:
    reason = EXCEPTIONS[file].get(case)
    if reason is not None:
        assert case in failures[file], f"passes now: take it off exceptions.yaml ({reason})"
    else:
        assert case not in failures[file], failures[file][case]


def test_threshold(failures: dict[str, dict[str, str]]) -> None:
    total, failed = sum(map(len, CASES.values())), sum(map(len, failures.values()))
    assert not failures["jobs"]
    assert 1 - failed / total >= THRESHOLD
