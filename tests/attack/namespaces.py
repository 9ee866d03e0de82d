"""Network namespaces without names: they live as long as a process in them, and leave nothing."""

import ctypes
import os
import subprocess

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _check(status, what):
    if status != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def leave():
    """This process goes into a new namespace. Before it has any thread or child that matters."""
    _check(_libc.unshare(CLONE_NEWNET), "unshare")
    run("ip link set lo up")


def enter(pid):
    """This thread goes into the namespace of a process."""
    with open(f"/proc/{pid}/ns/net") as namespace:
        _check(_libc.setns(namespace.fileno(), CLONE_NEWNET), "setns")


def run(command, *, check=True, input=None):
    """Runs words separated by blanks, or a list; what it printed."""
    words = command.split() if isinstance(command, str) else command
    done = subprocess.run(words, input=input, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def nft(rules, *, inside=None):
    """Loads rules of nftables, here or in the namespace bound to a path or of a process."""
    run([*_into(inside), "nft", "-f", "-"], input=rules)


def run_inside(where, command, *, check=True):
    """run() in the namespace bound to the path `where`, or of the process `where`."""
    words = command.split() if isinstance(command, str) else command
    return run([*_into(where), *words], check=check)


def _into(where):
    if where is None:
        return []
    path = f"/proc/{where}/ns/net" if isinstance(where, int) else where
    return ["nsenter", f"--net={path}"]


def write_sysctl(name, value):
    with open("/proc/sys/net/" + name, "w") as file:
        file.write(str(value))
