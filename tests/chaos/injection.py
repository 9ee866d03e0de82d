"""Makes single system calls of a running process fail, by strace."""

import collections
import os
import re
import signal
import subprocess
import tempfile
import time
from typing import NamedTuple

from processes import runs

# What each step of making and ending a machine can meet: (call, error).
FAULTS = [
    ("openat", "EMFILE"), ("openat", "ENOSPC"), ("mkdir", "ENOSPC"), ("write", "ENOSPC"),
    ("rename", "ENOSPC"), ("renameat", "ENOSPC"), ("ftruncate", "ENOSPC"),
    ("copy_file_range", "ENOSPC"), ("pwrite64", "ENOSPC"), ("fchown", "EPERM"),
    ("clone", "EAGAIN"), ("clone3", "EAGAIN"), ("vfork", "EAGAIN"), ("execve", "ENOMEM"),
    ("socket", "EMFILE"), ("socketpair", "EMFILE"), ("bind", "EADDRINUSE"), ("listen", "EADDRINUSE"),
    ("connect", "ECONNREFUSED"), ("sendmsg", "ENOBUFS"), ("recvmsg", "ECONNRESET"),
    ("setsockopt", "ENOMEM"), ("ioctl", "EBUSY"), ("setns", "EPERM"), ("unshare", "ENOSPC"),
    ("mount", "EPERM"), ("umount2", "EBUSY"), ("unlink", "EBUSY"), ("unlinkat", "EBUSY"),
    ("pidfd_open", "EMFILE"), ("pidfd_send_signal", "EPERM"), ("memfd_create", "EMFILE"),
    ("mmap", "ENOMEM"), ("epoll_ctl", "ENOMEM"), ("fcntl", "EMFILE"), ("dup2", "EMFILE"),
    ("fsync", "EIO"), ("fdatasync", "ENOSPC"), ("read", "EIO"), ("pread64", "EIO"),
    ("getdents64", "EIO"), ("accept4", "EMFILE"), ("recvfrom", "ECONNRESET"), ("epoll_wait", "EINTR"),
    ("setresuid", "EAGAIN"), ("setresgid", "EAGAIN"), ("prctl", "EINVAL"), ("chroot", "EPERM"),
    ("pivot_root", "EPERM"), ("setrlimit", "EPERM"), ("prlimit64", "EPERM"), ("capset", "EPERM"),
]


class Strace:
    """strace on a process and what it starts, from entry to exit; or on its first thread alone."""

    def __init__(self, pid, *arguments, alone=False):
        self.output = tempfile.NamedTemporaryFile("r", prefix="hako-strace-", suffix=".txt")
        self.words = ["strace", *([] if alone else ["-f"]), "-qq", "-o", self.output.name, *arguments,
                      "-p", str(pid)]
        self.pid, self.alone = pid, alone
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while not self._attached() and runs(self.pid):
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"{' '.join(self.words)} does not follow")
            time.sleep(0.01)
        return self

    def _attached(self):
        try:
            for task in [self.pid] if self.alone else os.listdir(f"/proc/{self.pid}/task"):
                with open(f"/proc/{self.pid}/task/{task}/status") as file:
                    if "TracerPid:\t0\n" in file.read():
                        return False
        except OSError:
            return True  # it has ended
        return True

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)  # lets go of what it traces
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def text(self):
        with open(self.output.name, errors="replace") as file:
            return file.read()


class Call(NamedTuple):
    """A system call that strace has seen."""
    task: str      # none if it is followed alone
    name: str
    text: str      # arguments and result
    frames: tuple  # where it came from, as far as that could be told

    def step(self):
        """The same for two calls of one place in the program, for files of one kind."""
        paths = re.findall(r'"([^"]*)"', self.text) if self.name in PATHS_IN else []
        return (self.name, self.frames,
                tuple(re.sub(r"\w*[\dA-Z]\w*", "#", path) for path in paths))

    def was_injected(self):
        return self.text.endswith("(INJECTED)")


PATHS_IN = ("openat", "mkdir", "rename", "renameat", "unlink", "unlinkat", "mount", "umount2")


def calls_in(text):
    """What strace wrote as calls, in the order of their beginning."""
    calls, unfinished, frames = [], {}, None
    for line in text.splitlines():
        if line.startswith(" > "):
            if frames is not None and (match := re.match(r" > (.*?)[( ].*\[(0x[0-9a-f]+)\]$", line)):
                frames.append(match.groups())
        elif match := re.match(r"(\d*)\s*<\.\.\. \w+ resumed>(.*)", line):
            call, frames = unfinished.pop(match[1] or None, (None, None))
            if call:
                call[2] += match[2]
        elif match := re.match(r"(?:(\d+)\s+)?([a-z][a-z0-9_]+)\((.*)", line):
            frames = []
            calls.append([*match.groups(), frames])
            if line.endswith("<unfinished ...>"):
                unfinished[match[1]] = calls[-1], frames
                frames = None
        else:
            frames = None
    return [Call(task, name, text, tuple(frames)) for task, name, text, frames in calls]


def calls_during(action, pid, *arguments, without=()):
    """What is called while `action` runs, but for the tasks in `without`."""
    with Strace(pid, *arguments) as trace:
        action()
        time.sleep(0.3)
    return [call for call in calls_in(trace.text()) if int(call.task) not in without]


def count_calls(pid, action, without=()):
    """How often each call was made, by the task that made it most, while `action` ran."""
    counts = collections.Counter((call.task, call.name)
                                 for call in calls_during(action, pid, without=without))
    most = collections.Counter()
    for (_, call), number in counts.items():
        most[call] = max(most[call], number)
    return most


def find_steps(pid, action, without=()):
    """Each different step of what a process does in `action`, as far as it can fail: arguments of
    injected() for (error, step)."""
    places, counts = {}, collections.Counter()
    for call in calls_during(action, pid, "-k", without=without):
        counts[call.task, call.name] += 1
        for name, error in FAULTS:
            if name == call.name:
                places.setdefault((error, call.step()), (name, error, counts[call.task, name],
                                                         int(call.task) == pid))
    return places


def met(trace):
    """The calls that an injection met."""
    return [call for call in calls_in(trace.text()) if call.was_injected()]


def choose(counts, random, number):
    """`number` places out of all that `counts` has, as (call, error, nth): of each fault the first,
    and then any. And how many places there are."""
    places = [(call, error, nth) for call, error in FAULTS for nth in range(1, counts[call] + 1)]
    first = [place for place in places if place[2] == 1]
    rest = [place for place in places if place[2] != 1]
    if number < len(first):
        return random.sample(first, number), len(places)
    return first + random.sample(rest, min(len(rest), number - len(first))), len(places)


def injected(pid, call, error, nth, alone=False, frames=False):
    """Context in which the nth such call of each task fails, or of the first thread alone. `frames`:
    for Call.step(), which makes the process many times slower."""
    return Strace(pid, *(["-k"] if frames else []), "-e", f"trace={call}",
                  "-e", f"inject={call}:error={error}:when={nth}", alone=alone)
