"""Many children of one box by one fork, through the API, beside as many boxes made one by one."""

import concurrent.futures
import time

from client import Box, Connection
from harness import Hako

DIRTY_MIB = 20
SETTLE_SECONDS = 5
# What the parent has in memory and each child must have, too.
HOLD = ("import os, time, hashlib\n"
        f"held = os.urandom({DIRTY_MIB} << 20)\n"
        "print(hashlib.sha256(held).hexdigest(), file=open('/dev/shm/sum', 'w'), flush=True)\n"
        "time.sleep(100000)\n")


def private_mib(hako):
    """What ending all VMMs would give back. What children share, their base, is not in it."""
    time.sleep(SETTLE_SECONDS)
    total = 0
    for pid in hako.vmm_processes():
        with open(f"/proc/{pid}/smaps_rollup") as file:
            total += sum(int(l.split()[1]) for l in file
                         if l.startswith(("Private_Clean", "Private_Dirty")))
    return total / 1024


def use_all(hako, connection, boxes, expect):
    """Seconds of a first command in each, one after the other."""
    seconds = []
    for box in boxes:
        start = time.perf_counter()
        box.exec("/bin/cat", "/dev/shm/sum", expect=expect)
        seconds.append(time.perf_counter() - start)
    return seconds


def end_all(boxes):
    for box in boxes:
        box.destroy()


def measure_fork(report, hako, connection, count):
    parent = Box.create(hako, connection, timeout=3600)
    parent.exec("/bin/sh", "-c", f"setsid python3 -c \"{HOLD}\" > /dev/null 2>&1 & "
                "while ! grep -q . /dev/shm/sum 2> /dev/null; do sleep 0.1; done")
    total = parent.exec("/bin/cat", "/dev/shm/sum")
    before = private_mib(hako)
    start = time.perf_counter()
    status, _, answer = hako.request("POST", f"/sandboxes/{parent.id}/fork",
                                     {"count": count, "timeout": 3600}, timeout=600)
    seconds = time.perf_counter() - start
    if status != 201:
        raise RuntimeError(f"fork answered {status}: {answer}")
    failed = [each["error"]["message"] for each in answer if "error" in each]
    count -= len(failed)
    if not count:
        raise RuntimeError(f"no child was made: {failed[0]}")
    used = private_mib(hako) - before
    children = [Box(hako, connection, each["sandbox"]) for each in answer if "sandbox" in each]
    firsts = use_all(hako, connection, children, total)
    after_use = private_mib(hako) - before
    report.value("children that were not made", len(failed), "boxes", "; ".join(set(failed)))
    report.value(f"{count} children of one box with {DIRTY_MIB} MiB of its own, by one fork: total",
                 seconds, "s")
    report.value("private memory of each of these children", used / count, "MiB")
    report.value("the same after a command in each", after_use / count, "MiB")
    report.times("first command in each of these children", firsts)
    end_all([parent, *children])


def measure_creates(report, hako, connection, count):
    before = private_mib(hako)
    start = time.perf_counter()
    boxes = [Box.create(hako, connection, timeout=3600) for _ in range(count)]
    report.value(f"{count} creates, one by one, no pool: total", time.perf_counter() - start, "s")
    report.value("private memory of each of these boxes", (private_mib(hako) - before) / count,
                 "MiB")
    end_all(boxes)
    # As many at once as a fork makes.
    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        boxes = list(pool.map(lambda _: Box.create(hako, Connection(hako), timeout=3600),
                              range(count)))
    report.value(f"{count} creates, three at a time, no pool: total", time.perf_counter() - start,
                 "s")
    end_all(boxes)


def measure(report, quick):
    count = 10 if quick else 100
    with Hako(pool=0, settings=f"[limits]\nboxes = {count + 10}") as hako:
        connection = Connection(hako)
        Box.create(hako, connection).destroy()  # makes the snapshot
        measure_fork(report, hako, connection, count)
        measure_creates(report, hako, connection, count)
