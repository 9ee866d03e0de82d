"""What there is on the whole machine, to see what is more of it afterwards."""

import os
import time

# What other programs do meanwhile, and what the kernel frees late.
SETTLE_SECONDS = 30


def _processes():
    """Of user space: kernel threads come and go as they like."""
    found = set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue  # it has ended
        if words:
            found.add(f"{name} {words[:80]}")
    return found


def _namespaces():
    found = set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            folder = f"/proc/{name}/ns"
            found |= {os.readlink(os.path.join(folder, kind)) for kind in os.listdir(folder)}
        except OSError:
            continue
    # Those that only a mount keeps.
    with open("/proc/self/mountinfo") as file:
        found |= {line.split()[3] for line in file if " nsfs " in line}
    return found


def _mounts():
    with open("/proc/self/mountinfo") as file:
        return {line.split()[4] for line in file}


def _cgroups():
    return {path for path, _, _ in os.walk("/sys/fs/cgroup")}


def _sockets():
    """Unix sockets that have a name in the file system."""
    with open("/proc/net/unix") as file:
        names = (line.split()[-1] for line in file)
        return {name for name in names if name.startswith("/")}


def _files():
    """In the places where daemons keep what they need, each file system only down to our folders."""
    found = set()
    for top in ("/run", "/var/tmp", "/tmp", "/dev/shm", "/var/lib"):
        for path, folders, names in os.walk(top):
            if path.count("/") > 4:
                folders.clear()
            found |= {os.path.join(path, name) for name in (*folders, *names)
                      if "hako" in path or "hako" in name}
    return found


_KINDS = {"process": _processes, "namespace": _namespaces, "mount": _mounts, "cgroup": _cgroups,
          "socket": _sockets, "link": lambda: set(os.listdir("/sys/class/net")), "file": _files}


def look():
    """Kind -> the names of what there is of it."""
    return {kind: see() for kind, see in _KINDS.items()}


def more_than(before):
    """One line for each thing that was not there before, when there has been time for all to end."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        now = look()
        lines = [f"{kind}: {name}" for kind in _KINDS for name in sorted(now[kind] - before[kind])]
        if not lines or time.monotonic() > end:
            return lines
        time.sleep(0.5)
