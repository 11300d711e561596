from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from finetune_demo.errors import DemoError, tail
from finetune_demo.processes import Programs

from .support import marked, new_mark, wait_for

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
print("ready", flush=True)
time.sleep(100)
"""

DEMO = """
import sys, time
from pathlib import Path
from finetune_demo.processes import Programs
from finetune_demo.signals import exit_on_signals
exit_on_signals()
with Programs(Path(sys.argv[1])) as programs:
    for name in ("one", "two"):
        program = programs.start(name, [sys.executable, "-c", sys.argv[2]])
    program.first_line(20)
    print("up", flush=True)
    time.sleep(100)
"""


def python(code):
    return [sys.executable, "-c", code]


def test_a_program_says_its_first_line_and_logs_its_errors(tmp_path):
    code = "import sys, time; sys.stderr.write('oh\\n'); print('hello', flush=True); time.sleep(100)"
    with Programs(tmp_path) as programs:
        assert programs.start("greeter", python(code)).first_line(20) == "hello"
    assert tail(tmp_path / "greeter.log") == "oh"


def test_a_program_that_ends_before_it_is_ready_is_an_error_with_its_log(tmp_path):
    with Programs(tmp_path) as programs:
        program = programs.start("broken", python("import sys; sys.exit('no config')"))
        with pytest.raises(DemoError, match="broken ended with status 1 before it was ready") as error:
            program.first_line(20)
    assert error.value.log is not None
    assert tail(error.value.log) == "no config"


def test_a_silent_program_is_an_error_in_time(tmp_path):
    with Programs(tmp_path) as programs:
        program = programs.start("silent", python("import time; time.sleep(100)"))
        with pytest.raises(DemoError, match="did not finish within"):
            program.first_line(0.2)


def test_an_ended_program_is_noticed(tmp_path):
    with Programs(tmp_path) as programs:
        program = programs.start("short", python("pass"))
        program.process.wait(20)
        with pytest.raises(DemoError, match="short ended with status 0"):
            programs.check()


def test_stop_kills_the_whole_group_of_a_program_that_does_not_listen(tmp_path):
    mark = new_mark()
    with Programs(tmp_path) as programs:
        program = programs.start("stubborn", python(STUBBORN), mark)
        program.first_line(20)
        assert len(marked(mark)) == 2
        program.stop(grace=0.1)
        assert program.process.returncode == -signal.SIGKILL
    wait_for(lambda: not marked(mark), 10, "no process left")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_every_program(tmp_path, number):
    mark = new_mark()
    child = "import time; print('ready', flush=True); time.sleep(100)"
    command = [sys.executable, "-c", DEMO, str(tmp_path), child]
    with subprocess.Popen(command, env={**os.environ, **mark}, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        assert demo.stdout.readline() == "up\n"
        demo.send_signal(number)
        demo.send_signal(number)  # an impatient second one changes nothing
        assert demo.wait(20) == 128 + number
    assert marked(mark) == []
