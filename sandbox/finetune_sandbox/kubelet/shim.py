"""The process that starts and reaps containers: `python -I -S shim.py FD UID`, fed by the kubelet over a socket.

It stands between kubelet and containers for two reasons. Forking from a small process with nothing loaded costs a
millisecond where forking the sandbox would copy its page tables; and it is what makes a crash safe: the kernel kills
the shim when the sandbox dies, and every container, the first process of its own PID namespace, when the shim dies.

Only the standard library is used, and one thread. Requests and answers are JSON, one per packet (SOCK_SEQPACKET):
`{"id", "start": SPEC}`, `{"id", "exec": PID, "argv", "user"}`, `{"id", "signal": NUMBER}`; answers `{"id", "pid"}`,
`{"id", "error"}`, `{"id", "exit": CODE}` with 128 + N for signal N.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

if TYPE_CHECKING:
    from finetune_sandbox.kubelet import isolation
else:
    import isolation  # a sibling file: the package itself is never imported here

PACKET = 1 << 20


class Shim:
    """Starts containers on request and reports their ends."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.processes: dict[int, str] = {}  # pid -> id
        self.pids: dict[str, int] = {}
        self.wake, wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Answers requests until the kubelet closes the socket."""
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self.wake, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self.wake:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.wake, 4096)
                    self.reap()
                    continue
                packet = self.control.recv(PACKET)
                if not packet:
                    return
                self.handle(json.loads(packet))

    def send(self, **answer: Any) -> None:
        """Answers, if anybody still listens."""
        with contextlib.suppress(BrokenPipeError):
            self.control.send(json.dumps(answer).encode())

    def handle(self, request: dict[str, Any]) -> None:
        """Does what one request asks."""
        name = request["id"]
        if "signal" in request:
            if name in self.pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pids[name], request["signal"])
            return
        try:
            pid = self.start(request["start"]) if "start" in request else self.enter(request)
        except OSError as error:
            self.send(id=name, error=str(error))
            return
        self.processes[pid], self.pids[name] = name, pid
        self.send(id=name, pid=pid)

    def start(self, spec: dict[str, Any]) -> int:
        """Forks the first process of new namespaces; returns its pid once it runs its command."""
        return self.fork(lambda _: self.become(spec), isolation.CLONE_NEWPID)

    @staticmethod
    def become(spec: dict[str, Any]) -> NoReturn:
        """Turns this forked process into the container."""
        isolation.build(spec)
        isolation.drop_privileges(spec["uid"], spec["gid"], spec["groups"])
        os.chdir(spec["cwd"])
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - no shell is wanted

    def enter(self, request: dict[str, Any]) -> int:
        """Forks a process into the namespaces of a running container, as `kubectl exec` and exec probes do."""
        spec, pid = request["exec"], self.pids.get(request["exec"]["container"])
        if pid is None:
            raise OSError("the container is not running")
        spaces = {
            kind: os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("pid", "mnt", "ipc", "uts")
        }

        def join(report: int) -> NoReturn:
            for kind in ("ipc", "uts", "mnt", "pid"):
                isolation.enter(spaces[kind], 0)
            inner = os.fork()  # only a child is inside the PID namespace; this process waits for it, and dies with it
            if inner:
                os.close(report)
                os._exit(_code(os.waitpid(inner, 0)[1]))
            isolation.die_with_parent()
            self.redirect(spec["log"])
            isolation.drop_privileges(spec["uid"], spec["gid"], spec["groups"])
            os.chdir(spec["cwd"])
            os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - no shell is wanted

        try:
            return self.fork(join)
        finally:
            for fd in spaces.values():
                os.close(fd)

    @staticmethod
    def redirect(log: str | None) -> None:
        """Sends this process' output to a file, or nowhere."""
        null = os.open("/dev/null", os.O_RDWR)
        out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640) if log else null
        os.dup2(null, 0)
        os.dup2(out, 1)
        os.dup2(out, 2)

    def fork(self, then: Callable[[int], NoReturn], flags: int = 0) -> int:
        """Forks; the child runs `then`, which execs. What it raises before that is raised here.

        The pipe closes when the exec succeeds. The other end tells the child of a shim that died while the child was
        between giving up its privileges, which resets the parent death signal, and setting that signal again.
        """
        reader, writer = os.pipe2(os.O_CLOEXEC)
        pid = isolation.fork(flags)
        if pid == 0:
            try:
                os.close(reader)
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                isolation.die_with_parent()
                os.setsid()
                isolation.alive = lambda: not select_error(writer)
                then(writer)
            except BaseException as error:  # whatever it was, the parent must hear of it
                text = (
                    f"{error.strerror}: {error.filename}"
                    if isinstance(error, OSError) and error.filename
                    else str(error)
                )
                os.write(writer, text.encode()[:2000] or b"failed")
            finally:
                os._exit(127)
        os.close(writer)
        try:
            message = os.read(reader, 4096)
        finally:
            os.close(reader)
        if message:
            os.waitpid(pid, 0)
            raise OSError(message.decode(errors="replace"))
        return pid

    def reap(self) -> None:
        """Reports what has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if name := self.processes.pop(pid, None):
                self.pids.pop(name, None)
                self.send(id=name, exit=_code(status))


def _code(status: int) -> int:
    """An exit code as containers have it: 128 + N after signal N."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def select_error(fd: int) -> bool:
    """Whether nobody reads the pipe any more."""
    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))


def main() -> None:
    """Serves the socket whose number is the first argument; at its end all containers die with this process."""
    isolation.take_privileges(int(sys.argv[2]))
    isolation.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setsid()
    Shim(socket.socket(fileno=int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
