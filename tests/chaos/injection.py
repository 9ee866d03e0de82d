"""Makes single system calls of a running process fail, by strace."""

import collections
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
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


NEWBORN = os.path.join(os.path.dirname(__file__), "newborn.py")


class Strace:
    """strace, from entry to exit, on all of a process and what it starts; or only on its first thread
    ("main"), on its others ("others"), or on the next process that it starts and all of that ("child").

    Which call of a task is met is counted for each task: with several kinds of them, the nth of one would
    come before that of another each time."""

    def __init__(self, pid, *arguments, of="all"):
        self.output = tempfile.NamedTemporaryFile("r", prefix="hako-strace-", suffix=".txt")
        self.words = ["strace", "-qq", "-o", self.output.name, *arguments]
        self.pid, self.of = pid, of
        self.process = self.catcher = self.following = self.problem = None

    def __enter__(self):
        if self.of != "child":
            self._follow(self._tasks())
            return self
        self.catcher = subprocess.Popen([sys.executable, NEWBORN, str(self.pid)],
                                        stdout=subprocess.PIPE, text=True)
        if self.catcher.stdout.readline() != "ready\n":
            raise AssertionError(f"{self.pid} cannot be followed")
        self.following = threading.Thread(target=self._follow_child)
        self.following.start()
        return self

    def _tasks(self):
        try:
            every = [int(task) for task in os.listdir(f"/proc/{self.pid}/task")]
        except FileNotFoundError:
            return []  # it has ended
        return {"all": every, "main": [self.pid],
                "others": [task for task in every if task != self.pid]}[self.of]

    def _follow_child(self):
        child = self.catcher.stdout.readline()
        if not child:
            return
        try:
            self._follow([int(child)])
        except AssertionError as problem:
            self.problem = problem
        finally:
            os.kill(int(child), signal.SIGCONT)

    def _follow(self, tasks):
        if not tasks:
            return  # strace would wait for more words
        # With -f it takes all threads of a process by itself.
        whole = self.of in ("all", "child")
        words = [*self.words, *(["-f"] if whole else [])]
        for task in [self.pid if self.of == "all" else tasks[0]] if whole else tasks:
            words += ["-p", str(task)]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while not all(self._attached(task) for task in tasks) and runs(self.pid):
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"{' '.join(words)} does not follow")
            time.sleep(0.01)

    @staticmethod
    def _attached(task):
        try:
            with open(f"/proc/{task}/status") as file:
                return "TracerPid:\t0\n" not in file.read()
        except OSError:
            return True  # it has ended

    def __exit__(self, *_):
        if self.catcher:
            self.catcher.terminate()
            self.following.join()
            self.catcher.wait()
            self.catcher.stdout.close()
        if self.problem:
            raise self.problem
        if not self.process:
            return
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
                tuple(re.sub(RANDOM, "#", path) for path in paths))

    def was_injected(self):
        return self.text.endswith("(INJECTED)")


# Parts of names that differ each time: folders of this test, machines, what is not finished yet; numbers.
RANDOM = r"hako-e2e-\w+|m\d+-\w{8}|tmp-\w+|\w*[\dA-Z]\w*"
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


def find_steps(pid, action, of):
    """Each different step of what such tasks of a process do in `action`, as far as it can fail:
    arguments of injected() for (error, step)."""
    with Strace(pid, "-k", of=of) as trace:
        action()
        time.sleep(0.3)
    places, counts = {}, collections.Counter()
    for call in calls_in(trace.text()):
        counts[call.task, call.name] += 1
        for name, error in FAULTS:
            if name == call.name:
                places.setdefault((error, call.step()), (name, error, counts[call.task, name], of))
    return places


def met(trace):
    """The calls that an injection met."""
    return [call for call in calls_in(trace.text()) if call.was_injected()]


def injected(pid, call, error, nth, of="all", frames=False):
    """Context in which the nth such call of each task of that kind (see Strace) fails. `frames`: for
    Call.step(), which makes the process many times slower."""
    return Strace(pid, *(["-k"] if frames else []), "-e", f"trace={call}",
                  "-e", f"inject={call}:error={error}:when={nth}", of=of)
