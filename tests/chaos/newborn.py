"""Catches the next process that a running one starts, before it has done anything.

    newborn.py PID

Says "ready" when it waits, and then the pid of the process, which has got SIGSTOP: whoever wants to follow
it from its first system call on does so, and sends it SIGCONT. Looks at the first thread of PID only.
"""

import ctypes
import os
import signal
import sys

from stepper import ALL_TASKS, EVENT_STOP, LISTEN, SEIZE, STOPS, ptrace

CONT, DETACH, GET_EVENT_MESSAGE = 7, 17, 0x4201
TRACE_BIRTHS = 2 | 4 | 8  # by fork, vfork, clone
BIRTHS = {1, 2, 3}


def wait_for_birth(parent):
    """Pid of the next process, stopped by its tracer; nothing if the parent has ended."""
    message = ctypes.c_ulong()
    while True:
        try:
            task, status = os.waitpid(parent, ALL_TASKS)
        except ChildProcessError:
            return None
        if not os.WIFSTOPPED(status):
            return None
        stop, event = os.WSTOPSIG(status), status >> 16
        if event in BIRTHS and ptrace(GET_EVENT_MESSAGE, task, 0, ctypes.addressof(message)):
            born = message.value
            os.waitpid(born, ALL_TASKS)
            with open(f"/proc/{born}/status") as file:
                if f"\nTgid:\t{born}\n" in file.read():
                    return born
            ptrace(DETACH, born)
        if event == EVENT_STOP and stop in STOPS:
            ptrace(LISTEN, task)
            continue
        ptrace(CONT, task, 0, stop if event == 0 else 0)


def main():
    parent = int(sys.argv[1])
    if not ptrace(SEIZE, parent, 0, TRACE_BIRTHS):
        return 1
    print("ready", flush=True)
    born = wait_for_birth(parent)
    if born is None:
        return 1
    # Whoever waits for this pid is to learn of one that stands still.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    os.kill(born, signal.SIGSTOP)
    ptrace(DETACH, born)
    print(born, flush=True)
    return 0  # which lets go of the parent


if __name__ == "__main__":
    sys.exit(main())
