"""What is done to a running hako that must not harm what it has promised."""

import contextlib
import errno
import json
import os
import shutil
import signal
import threading
import time

from injection import FAULTS, injected
from processes import parent_of, runs

ROLES = ("node", "gate", "api")
# So long a VMM takes from its fork until it has been handed out, and some more.
LAUNCH_SECONDS = 0.15


def kill(pid):
    """Whether there was something to kill."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def pid_of(hako, role):
    """0 while it is being started."""
    try:
        return hako.role(role)
    except (OSError, ValueError, StopIteration):
        return 0


def kill_role(hako, role):
    pid = pid_of(hako, role)
    return pid and kill(pid)


def kill_everything(hako):
    """Supervisor, node, gate and api, before any of them can say anything about it; then `hako up`
    as an operator would."""
    with open(os.path.join(hako.run_dir, "up.json")) as file:
        state = json.load(file)
    pids = [state["supervisor"]["pid"], *(role["process"]["pid"] for role in state["roles"])]
    pids = [pid for pid in pids if pid and kill(pid)]
    # A moment passes until the kernel has done it.
    end = time.monotonic() + 10
    while any(runs(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.01)
    hako.start()


@contextlib.contextmanager
def later(delay, action):
    """Does something `delay` seconds after the beginning of the block, which it does not outlast."""
    timer = threading.Timer(delay, action)
    timer.start()
    try:
        yield
    finally:
        timer.join()


class Hunt:
    """Waits, beside the block, for the node to start a process, and then acts.

    `action(pid)` is called `delay` seconds after the fork was seen: with 0 that is mostly before the
    child has become a VMM. `caught`: what it returned, if there was anything to act on."""

    def __init__(self, hako, delay, action, patience=1.0):
        self.node = pid_of(hako, "node")
        self.delay, self.action, self.patience = delay, action, patience
        self.known = set(os.listdir("/proc"))
        self.caught = None
        self.until = None
        self.thread = threading.Thread(target=self._hunt)

    def _hunt(self):
        if not self.node:
            return  # nobody is there to start anything
        while self.until is None or time.monotonic() < self.until:
            for name in set(os.listdir("/proc")) - self.known:
                self.known.add(name)
                if not name.isdigit() or parent_of(name) != self.node:
                    continue
                time.sleep(self.delay)
                self.caught = self.action(int(name))
                return

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        # What was taken from the pool is made anew a moment later.
        self.until = time.monotonic() + self.patience
        self.thread.join()


def _fill(file, left):
    """Whether only `left` bytes are free now on the file's file system."""
    room = os.fstatvfs(file.fileno())
    size = room.f_bavail * room.f_frsize - left
    try:
        if size > 0:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size + size)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
    return True


@contextlib.contextmanager
def full_disk(hako, left):
    """Only `left` bytes of the state's file system are free in the block. It must be its own."""
    assert os.path.ismount(hako.state), "not everybody's disk"
    path = os.path.join(hako.state, "filler")
    try:
        with open(path, "wb") as file:
            while not _fill(file, left):
                pass  # somebody took some of it in between
        yield
    finally:
        os.unlink(path)


def can_inject():
    return shutil.which("strace") is not None


def failing_call(hako, random):
    """A context in which some call of some role fails, and a name for it."""
    role = random.choice(("node", "node", "node", "gate", "api"))
    call, error = random.choice(FAULTS)
    nth = random.choice((1, 1, 2, 3, 5, 8, 13, 21))
    name = f"{role} {call}:{error}:{nth}"
    pid = pid_of(hako, role)
    return name, injected(pid, call, error, nth) if pid else contextlib.nullcontext()
