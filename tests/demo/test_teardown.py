"""Ctrl-C at any moment leaves no process and no half-written cache: the whole demo, interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .support import marked, new_mark, wait_for


def entries(folder: Path) -> list[str]:
    """What a cache holds, whole or half made; locks are no entries."""
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"] if folder.exists() else []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "moment"),
    [
        pytest.param(signal.SIGINT, "tracker", id="while the first program starts"),
        pytest.param(signal.SIGTERM, "base model, synthesising", id="while the base model is made"),
    ],
)
def test_a_signal_leaves_no_process_and_no_half_written_cache(tmp_path, number, moment):
    mark = new_mark()
    cache = tmp_path / "cache"
    command = [sys.executable, "-m", "finetune_demo", f"--dir={tmp_path / 'demo'}", f"--cache={cache}"]
    environment = {**os.environ, **mark, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        seen = []
        for line in demo.stdout:
            seen.append(line)
            if moment in line:
                break
        else:
            pytest.fail("".join(seen))
        demo.send_signal(number)
        assert demo.wait(60) == 128 + number
    wait_for(lambda: not marked(mark), 10, f"no process left, but {marked(mark)}")
    assert entries(cache) == []
    assert not (tmp_path / "demo" / "summary.json").exists()


def test_a_folder_that_is_not_the_demos_is_not_emptied(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    command = [sys.executable, "-m", "finetune_demo", f"--dir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "not empty and not a demo's folder" in done.stdout
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_without_kubectl_the_demo_says_how_to_get_it(tmp_path):
    command = [sys.executable, "-m", "finetune_demo", f"--dir={tmp_path / 'demo'}"]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "kubernetes.io/docs/tasks/tools" in done.stdout


KEPT = """
from types import SimpleNamespace
from rich.console import Console
from finetune_demo.__main__ import keep
from finetune_demo.signals import exit_on_signals
exit_on_signals()
programs = SimpleNamespace(check=lambda: print("up", flush=True))
places = {"kubeconfig": "/demo/kubeconfig", "tracker_url": "http://x", "key_file": "/demo/api-key"}
story = SimpleNamespace(**places, programs=programs)
keep(Console(), story)
print("ended", flush=True)
"""


def test_what_is_kept_tells_how_to_reach_it_and_ends_well_on_ctrl_c():
    with subprocess.Popen([sys.executable, "-c", KEPT], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        seen = []
        for line in demo.stdout:
            seen.append(line.strip())
            if line == "up\n":
                break
        demo.send_signal(signal.SIGINT)
        assert "ended" in demo.stdout.read()
        assert demo.wait(20) == 0
    assert f"export KUBECONFIG=/demo/kubeconfig PATH={Path(sys.executable).parent}:$PATH" in seen
