from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from finetune_demo.cache import fingerprint, made_once, whole_folder

MAKER = """
import sys, time
from pathlib import Path
from finetune_demo.cache import whole_folder
from finetune_demo.signals import exit_on_signals
exit_on_signals()
with whole_folder(Path(sys.argv[1]) / "model") as scratch:
    (scratch / "half").write_text("written")
    print("half", flush=True)
    time.sleep(60)
"""


def half_made(cache):
    maker = subprocess.Popen([sys.executable, "-c", MAKER, str(cache)], stdout=subprocess.PIPE, text=True)
    assert maker.stdout is not None
    assert maker.stdout.readline() == "half\n"
    return maker


def names(cache):
    return sorted(path.name for path in cache.iterdir())


def test_a_folder_appears_whole(tmp_path):
    with whole_folder(tmp_path / "model") as scratch:
        (scratch / "weights").write_text("1")
        (scratch / "weights").chmod(0o600)
        assert not (tmp_path / "model").exists()
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model" / "weights").stat().st_mode & 0o777 == 0o644


def test_of_makers_at_the_same_time_one_makes(tmp_path):
    start, made = Barrier(4), []

    def make(scratch):
        made.append(scratch)
        (scratch / "weights").write_text("1")

    def ask(_):
        start.wait()
        return (made_once(tmp_path / "new" / "model", make) / "weights").read_text()

    with ThreadPoolExecutor(4) as makers:
        assert list(makers.map(ask, range(4))) == ["1"] * 4
    assert len(made) == 1


def test_an_exception_leaves_nothing(tmp_path):
    def fail():
        with whole_folder(tmp_path / "model") as scratch:
            (scratch / "weights").write_text("1")
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fail()
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing(tmp_path, number):
    with half_made(tmp_path) as maker:
        maker.send_signal(number)
        assert maker.wait(20) == 128 + number
    assert names(tmp_path) == []


def test_what_sigkill_leaves_is_no_entry_and_goes_with_the_next_one(tmp_path):
    with half_made(tmp_path) as maker:
        maker.kill()
        maker.wait(20)
    (left,) = names(tmp_path)
    assert left.startswith(f".making-{maker.pid}-")
    with whole_folder(tmp_path / "other"):
        pass
    assert names(tmp_path) == ["other"]


def test_a_living_makers_scratch_folder_is_left_alone(tmp_path):
    with half_made(tmp_path) as maker:
        try:
            with whole_folder(tmp_path / "other"):
                pass
            assert names(tmp_path) == [f".making-{maker.pid}-model", "other"]
        finally:
            maker.terminate()
            maker.wait(20)
    assert names(tmp_path) == ["other"]


def test_a_recipe_is_its_content():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})
