"""Follows what a running process changes outside of itself, step by step, and kills at one of them.

    stepper.py PID [--at N --kill WHOM] [--pids P,...] [--uids FIRST,END]

A step is the entry of a system call that changes something which others see: files, names, messages,
processes. They are counted over all threads, in the order in which they are met. At the Nth step, before
it has been done, those named by WHOM get SIGKILL: "self", "pids" (those of --pids), "vmms" (all processes
of --uids), "old" and "new" (of those the ones that were there at the beginning, or were not), joined
by "+". It says "ready" when it follows, and at its end (SIGTERM, or that of the process), as JSON, which
steps it has met and whom it has killed.

strace could do the same for one thread at a time only, and not to another process.
"""

import argparse
import ctypes
import json
import os
import signal
import sys

SEIZE, INTERRUPT, LISTEN, SYSCALL, GET_SYSCALL_INFO = 0x4206, 0x4207, 0x4208, 24, 0x420E
SYSGOOD, FOLLOW_THREADS = 1, 8
EVENT_STOP = 128
ALL_TASKS = 0x40000000  # __WALL
ENTRY = 1
STOPS = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}

# By their numbers on x86-64.
STEPS = {
    1: "write", 18: "pwrite64", 20: "writev", 44: "sendto", 46: "sendmsg", 56: "clone",
    58: "vfork", 435: "clone3", 59: "execve", 62: "kill", 424: "pidfd_send_signal",
    74: "fsync", 75: "fdatasync", 77: "ftruncate", 82: "rename", 264: "renameat",
    316: "renameat2", 83: "mkdir", 258: "mkdirat", 84: "rmdir", 86: "link", 265: "linkat",
    87: "unlink", 263: "unlinkat", 165: "mount", 166: "umount2", 272: "unshare", 308: "setns",
    285: "fallocate", 326: "copy_file_range", 310: "process_vm_readv", 311: "process_vm_writev",
    49: "bind", 50: "listen", 42: "connect",
}
OPEN = {2: 1, 257: 2}  # number -> which argument has the flags: only what makes a file is a step
CREATES = os.O_CREAT | 0o20000000  # or O_TMPFILE


class SyscallInfo(ctypes.Structure):
    _fields_ = [("op", ctypes.c_uint8), ("pad", ctypes.c_uint8 * 3), ("arch", ctypes.c_uint32),
                ("instruction", ctypes.c_uint64), ("stack", ctypes.c_uint64),
                ("number", ctypes.c_uint64), ("arguments", ctypes.c_uint64 * 6)]


libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, task, address=0, data=0):
    """False for a task that has ended."""
    return libc.ptrace(request, task, address, data) >= 0


def processes_of(first, end):
    found = set()
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and first <= os.stat(f"/proc/{name}").st_uid < end:
                found.add(int(name))
        except OSError:
            pass  # it has ended
    return found


class Stepper:
    def __init__(self, options):
        self.options = options
        self.pids = [int(pid) for pid in options.pids.split(",") if pid]
        self.uids = [int(uid) for uid in options.uids.split(",")]
        self.old = processes_of(*self.uids)
        self.steps, self.killed = [], []
        self.tasks = set()

    def seize(self):
        folder = f"/proc/{self.options.pid}/task"
        while True:  # also those that begin meanwhile
            new = {int(name) for name in os.listdir(folder)} - self.tasks
            if not new:
                return
            for task in new:
                self.tasks.add(task)
                if ptrace(SEIZE, task, 0, SYSGOOD | FOLLOW_THREADS):
                    ptrace(INTERRUPT, task)

    def victims(self):
        vmms = processes_of(*self.uids)
        chosen = {"self": [self.options.pid], "pids": self.pids, "vmms": vmms,
                  "old": vmms & self.old, "new": vmms - self.old}
        return [pid for word in self.options.kill.split("+") for pid in chosen[word]]

    def step(self, info):
        name = STEPS.get(info.number)
        if info.number in OPEN and info.arguments[OPEN[info.number]] & CREATES:
            name = "open"
        if not name:
            return
        self.steps.append(name)
        if len(self.steps) != self.options.at:
            return
        for pid in self.victims():
            try:
                os.kill(pid, signal.SIGKILL)
                self.killed.append(pid)
            except ProcessLookupError:
                pass

    def follow(self):
        info = SyscallInfo()
        size, where = ctypes.sizeof(info), ctypes.addressof(info)
        while True:
            try:
                task, status = os.waitpid(-1, ALL_TASKS)
            except ChildProcessError:
                return
            if not os.WIFSTOPPED(status):
                continue  # it has ended
            stop, event = os.WSTOPSIG(status), status >> 16
            passed_on = 0
            if stop == signal.SIGTRAP | 0x80:
                if ptrace(GET_SYSCALL_INFO, task, size, where) and info.op == ENTRY:
                    self.step(info)
            elif event == EVENT_STOP and stop in STOPS:
                ptrace(LISTEN, task)
                continue
            elif event == 0:
                passed_on = stop
            ptrace(SYSCALL, task, 0, passed_on)


class Enough(Exception):
    pass


def end(*_):
    raise Enough


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("pid", type=int)
    parser.add_argument("--at", type=int, default=0)
    parser.add_argument("--kill", default="self")
    parser.add_argument("--pids", default="")
    parser.add_argument("--uids", default="0,0")
    stepper = Stepper(parser.parse_args())
    stepper.seize()
    try:
        signal.signal(signal.SIGTERM, end)
        print("ready", flush=True)
        stepper.follow()
    except Enough:
        pass  # the kernel lets go of what is followed
    print(json.dumps({"steps": stepper.steps, "killed": stepper.killed}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
