"""Makes single system calls of a running process fail, by strace."""

import collections
import os
import re
import signal
import subprocess
import tempfile
import time

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
    """strace on a process and what it starts, from entry to exit."""

    def __init__(self, pid, *arguments):
        self.output = tempfile.NamedTemporaryFile("r", prefix="hako-strace-", suffix=".txt")
        self.words = ["strace", "-f", "-qq", "-o", self.output.name, *arguments, "-p", str(pid)]
        self.pid = pid
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while time.monotonic() < end and not self._attached():
            time.sleep(0.01)
        return self

    def _attached(self):
        try:
            for task in os.listdir(f"/proc/{self.pid}/task"):
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


def count_calls(pid, action, without=()):
    """How often each call was made, by the task that made it most, while `action` ran. `without`:
    tasks that are not looked at."""
    with Strace(pid) as trace:
        action()
        time.sleep(0.3)
    counts = collections.Counter()
    for line in trace.text().splitlines():
        match = re.match(r"(\d+)\s+(?:<\.\.\. )?([a-z0-9_]+)[( ]", line)
        if match and "resumed" not in line and int(match.group(1)) not in without:
            counts[match.group(1), match.group(2)] += 1
    most = collections.Counter()
    for (_, call), number in counts.items():
        most[call] = max(most[call], number)
    return most


def choose(counts, random, number):
    """`number` places out of all that `counts` has, as (call, error, nth): of each fault the first,
    and then any. And how many places there are."""
    places = [(call, error, nth) for call, error in FAULTS for nth in range(1, counts[call] + 1)]
    first = [place for place in places if place[2] == 1]
    rest = [place for place in places if place[2] != 1]
    if number < len(first):
        return random.sample(first, number), len(places)
    return first + random.sample(rest, min(len(rest), number - len(first))), len(places)


def injected(pid, call, error, nth):
    """Context in which the nth such call of each task fails."""
    return Strace(pid, "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={nth}")
