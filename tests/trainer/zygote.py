"""A process that has imported the trainer once and forks a child per command: real processes without their start-up.

One JSON line in, `{"arguments", "environment", "log"}`, gives one line out, `pid N`; later `exit N STATUS` follows,
with the negative signal number for a child that was killed.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys


def child(order: dict[str, object]) -> None:
    """Becomes the trainer: its own output, its own environment, no file of its parent."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(order["environment"])  # type: ignore[call-overload]
    code = 70
    try:
        from finetune_trainer.__main__ import main

        code = main(order["arguments"])  # type: ignore[arg-type]
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Reads orders until the input ends."""
    import torch
    import transformers.models.wav2vec2.modeling_wav2vec2
    import transformers.models.whisper.modeling_whisper
    import transformers.models.whisper.processing_whisper  # noqa: F401
    from transformers import AutoModelForCTC, AutoModelForSpeechSeq2Seq, AutoProcessor  # noqa: F401

    torch.set_num_threads(1)  # a second thread would not survive the fork
    wake, poke = os.pipe()
    os.set_blocking(poke, False)
    signal.set_wakeup_fd(poke)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    print("ready", flush=True)
    pending = b""
    while True:
        ready, _, _ = select.select([0, wake], [], [])
        if wake in ready:
            os.read(wake, 1024)
            while True:
                try:
                    pid, status = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    break
                if pid == 0:
                    break
                print(f"exit {pid} {os.waitstatus_to_exitcode(status)}", flush=True)
        if 0 in ready:
            received = os.read(0, 65536)
            if not received:
                return
            pending += received
            while b"\n" in pending:
                line, _, pending = pending.partition(b"\n")
                pid = os.fork()
                if pid == 0:
                    child(json.loads(line))
                print(f"pid {pid}", flush=True)


if __name__ == "__main__":
    serve()
