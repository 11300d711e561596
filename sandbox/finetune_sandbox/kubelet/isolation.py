"""A container's view of this machine: namespaces, a throw-away root, its volumes, and no privileges.

The root is an overlay: this machine's disk below, read-only, and a tmpfs above that vanishes with the container; other
disks are overlaid likewise or bound read-only. `/proc`, `/dev` and `/dev/shm` are the container's own. What must not be
seen (the sandbox's data) is covered. Runs inside the shim: standard library only, Linux only.

A container specification has: `hostname`, `root` (an empty directory to mount on), `mounts` ([source, target,
read_only], in order), `hide` (paths), `passable` (directories that need search permission for everyone), `home`,
`read_only` (root), `devices`, `uid`, `gid`, `groups`, `cwd`, `argv`, `env`, `log`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import stat
from collections.abc import Callable
from typing import Any

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID = 1 << 17, 1 << 26, 1 << 27, 1 << 28, 1 << 29
_SYS_CLONE = {"x86_64": 56, "aarch64": 220}.get(os.uname().machine, 220)
PRIVILEGED = os.geteuid() == 0
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
MS_NOATIME, MS_NODIRATIME, MNT_DETACH = 1024, 2048, 2
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
VIRTUAL = {
    "proc",
    "sysfs",
    "devtmpfs",
    "devpts",
    "cgroup",
    "cgroup2",
    "mqueue",
    "debugfs",
    "tracefs",
    "securityfs",
    "bpf",
    "pstore",
}
VIRTUAL |= {"autofs", "binfmt_misc", "configfs", "efivarfs", "fusectl", "hugetlbfs", "nsfs", "rpc_pipefs", "squashfs"}
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")

_libc = ctypes.CDLL(None, use_errno=True)
alive: Callable[[], bool] = lambda: True  # noqa: E731 - replaced in a forked child


def _call(what: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    encoded = [text.encode() if text is not None else None for text in (source, target, kind, data)]
    result = _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    _call(f"mount of {source or kind} on {target}", result)


def take_privileges(uid: int) -> None:
    """Where this process is not root, makes it the owner, as that user, of a user namespace in which it may mount.

    Raises:
        OSError: The kernel does not let ordinary users have user namespaces.
    """
    if PRIVILEGED:
        return
    own_uid, own_gid = os.getuid(), os.getgid()
    _call("unshare", _libc.unshare(CLONE_NEWUSER))
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {own_uid} 1"), ("gid_map", f"{uid} {own_gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def fork(flags: int = 0) -> int:
    """Forks; with CLONE_NEWPID the child is the first process of a new PID namespace."""
    if flags == 0:
        return os.fork()
    pid = int(_libc.syscall(_SYS_CLONE, flags | signal.SIGCHLD, 0, 0, 0, 0))
    if pid < 0:
        _call("clone", pid)
    return pid


def enter(fd: int, kind: int) -> None:
    """Enters a namespace (of PIDs: the next child does)."""
    _call("setns", _libc.setns(fd, kind))


def die_with_parent() -> None:
    """Asks the kernel to kill this process when its parent dies."""
    _call("prctl", _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def drop_privileges(uid: int, gid: int, groups: list[int]) -> None:
    """Gives up every capability, for this process and what it executes, and becomes that user."""
    for capability in range(64):
        if _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break
    if PRIVILEGED:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    elif uid != os.getuid():
        raise OSError(f"user {uid} is not to be had where the sandbox itself does not run as root; leave runAsUser out")
    _call("prctl", _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    die_with_parent()
    if not alive():
        os._exit(127)
    os.umask(0o022)


def build(spec: dict[str, Any]) -> None:
    """Makes the container's namespaces and root of this process, and sends its output to the log."""
    log = os.open(spec["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    _call("unshare", _libc.unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC))
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    name = spec["hostname"].encode()
    _call("sethostname", _libc.sethostname(name, len(name)))
    base = spec["root"]
    _mount("tmpfs", base, "tmpfs", MS_NOSUID, "mode=0755")
    os.mkdir(f"{base}/root")
    root = f"{base}/root"
    parts = _root(base)
    for path in spec["passable"]:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            mode = stat.S_IMODE(os.stat(root + path).st_mode)
            if not mode & stat.S_IXOTH:
                os.chmod(root + path, mode | stat.S_IXOTH)
    _system(root, spec)
    _home(root, spec)
    for source, target, read_only in spec["mounts"]:
        _bind(source, _place(root, target, os.path.isdir(source)), read_only)
    for path in spec["hide"]:  # last: a mount may have brought one of them back
        _hide(root + path)
    if spec["read_only"]:
        _make_read_only(parts)
    os.chdir(root)
    _call("pivot_root", _libc.pivot_root(b".", b"."))
    _call("umount", _libc.umount2(b".", MNT_DETACH))
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)


def _system(root: str, spec: dict[str, Any]) -> None:
    """Mounts the container's own /proc, /sys, /dev and /dev/shm."""
    _mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _bind("/sys", f"{root}/sys", read_only=True)
    _mount("tmpfs", f"{root}/dev", "tmpfs", MS_NOSUID, "mode=0755,size=64k")
    for name in (*DEVICES, *spec["devices"]):
        if os.path.exists(f"/dev/{name}"):
            _bind(f"/dev/{name}", _place(root, f"/dev/{name}", os.path.isdir(f"/dev/{name}")), read_only=False)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(target, f"{root}/dev/{name}")
    for name, mode in (("shm", "1777"), ("pts", "0755")):
        os.mkdir(f"{root}/dev/{name}")
        if name == "shm":
            _mount("shm", f"{root}/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, f"mode={mode}")  # noqa: S108 - its own
    with contextlib.suppress(OSError):
        _mount("devpts", f"{root}/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
        os.symlink("pts/ptmx", f"{root}/dev/ptmx")


def _hide(path: str) -> None:
    if os.path.isdir(path):
        _mount("tmpfs", path, "tmpfs", MS_RDONLY, "mode=0,size=4k")
    elif os.path.exists(path):
        _mount("/dev/null", path, None, MS_BIND)


def _home(root: str, spec: dict[str, Any]) -> None:
    if not spec["home"]:
        return
    os.makedirs(root + spec["home"], mode=0o755, exist_ok=True)
    os.chown(root + spec["home"], spec["uid"], spec["gid"])


def _place(root: str, target: str, directory: bool) -> str:
    """Makes the mount point, never following a link out of the root."""
    path = root
    parts = [part for part in target.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise OSError(f"mount path {target} must not contain '..'")
    for number, part in enumerate(parts, start=1):
        path = f"{path}/{part}"
        if os.path.islink(path):
            path = root + os.path.normpath(os.path.join("/", os.path.dirname(path[len(root) :]), os.readlink(path)))
        if os.path.exists(path):
            continue
        if directory or number < len(parts):
            os.mkdir(path, 0o755)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
    return path


def _bind(source: str, target: str, read_only: bool) -> None:
    _mount(source, target, None, MS_BIND if PRIVILEGED else MS_BIND | MS_REC)
    if read_only:
        kept = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME)
        _mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def _root(base: str) -> list[str]:
    """Overlays this machine's root; returns the mounts that make it up.

    In a user namespace the kernel refuses to overlay a directory that has mounts below it, so there the root is put
    together from its directories: overlaid where possible, else bound read-only.
    """
    root = f"{base}/root"
    try:
        _overlay("/", root, f"{base}/0")
    except OSError:
        _mount(root, root, None, MS_BIND)
        return [root, *(found for entry in os.scandir("/") for found in _part(entry, base))]
    disks = [(path, root + path) for path in _other_disks(base) if os.path.exists(root + path)]
    return [root, *(_overlay_or_bind(path, target, f"{base}/{n}") for n, (path, target) in enumerate(disks, start=1))]


def _make_read_only(parts: list[str]) -> None:
    for number, part in enumerate(parts):
        try:
            _mount(None, part, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID)
        except OSError as error:
            if number == 0 or error.errno not in (errno.ENOENT, errno.EINVAL):
                raise  # a disk that a volume covers is not to be reached, and needs no protection


def _part(entry: os.DirEntry[str], base: str) -> list[str]:
    target = f"{base}/root/{entry.name}"
    if entry.is_symlink():
        os.symlink(os.readlink(entry.path), target)
        return []
    if not entry.is_dir():
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
        return []
    os.mkdir(target)
    if entry.name in ("proc", "sys", "dev"):
        return []
    return [_overlay_or_bind(entry.path, target, f"{base}/part-{entry.name}")]


def _overlay_or_bind(path: str, target: str, scratch: str) -> str:
    try:
        _overlay(path, target, scratch)
    except OSError:
        with contextlib.suppress(OSError):  # what cannot be shown, or was unmounted meanwhile, is not shown
            _bind(path, target, read_only=True)
        if path == "/tmp":  # noqa: S108 - the container's own
            _mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    return target


def _overlay(path: str, target: str, scratch: str) -> None:
    for part in ("upper", "work"):
        os.makedirs(f"{scratch}/{part}")
    data = f"lowerdir={path},upperdir={scratch}/upper,workdir={scratch}/work"
    _mount("overlay", target, "overlay", MS_NOSUID, data if PRIVILEGED else f"{data},userxattr")


def _other_disks(base: str) -> list[str]:
    """Mount points of real file systems other than the root's; the overlay does not show what is mounted on it."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        for line in table:
            fields, _, rest = line.partition(" - ")
            path = fields.split()[4].encode().decode("unicode_escape")
            if path != "/" and rest.split()[0] not in VIRTUAL and not path.startswith(("/proc", "/sys", "/dev", base)):
                found.append(path)
    return found
