"""What the file system under hako's state costs where disks are copied: ext4, which copies their data,
and XFS in a file on it, which shares it (reflink).

Needs mkfs.xfs (Debian's xfsprogs), loop devices, and a /var/tmp on ext4 with 20 GiB free."""

import contextlib
import fcntl
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time

from client import Box, Connection
from harness import Hako

IMAGE_GIB = 12
DISK_GIB = 4  # of a scratch disk, most of it holes
PIECE = 256 << 10  # of data, as a guest's file system spreads it
FICLONE = 0x40049409


def available():
    return shutil.which("mkfs.xfs") is not None


@contextlib.contextmanager
def xfs_in_a_file(mount_point):
    """XFS with reflink at `mount_point`, in a sparse file."""
    with tempfile.TemporaryDirectory(prefix="hako-bench-", dir="/var/tmp") as folder:
        image = os.path.join(folder, "image")
        with open(image, "wb") as file:
            file.truncate(IMAGE_GIB << 30)
        subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, mount_point], check=True)
        try:
            os.chmod(mount_point, 0o711)
            yield
        finally:
            subprocess.run(["umount", mount_point], check=True)


@contextlib.contextmanager
def folder_on(kind):
    with tempfile.TemporaryDirectory(prefix="hako-bench-", dir="/var/tmp") as folder:
        with xfs_in_a_file(folder) if kind == "XFS" else contextlib.nullcontext():
            yield folder


def make_disk(path, mib):
    """A disk with so much data in pieces here and there, written out."""
    places = random.Random(1).sample(range((DISK_GIB << 30) // PIECE), (mib << 20) // PIECE)
    with open(path, "wb") as file:
        file.truncate(DISK_GIB << 30)
        for place in places:
            file.seek(place * PIECE)
            file.write(os.urandom(PIECE))
        file.flush()
        os.fsync(file.fileno())


def copy_disk(path, target):
    """As clone_file() in src/base/fd.cpp does it."""
    with open(path, "rb") as source, open(target, "wb") as copy:
        try:
            fcntl.ioctl(copy.fileno(), FICLONE, source.fileno())
            return
        except OSError:
            pass
        size = os.fstat(source.fileno()).st_size
        copy.truncate(size)
        at = 0
        while True:
            try:
                at = os.lseek(source.fileno(), at, os.SEEK_DATA)
            except OSError:
                return  # only a hole is left
            end = os.lseek(source.fileno(), at, os.SEEK_HOLE)
            while at < end:
                at += os.copy_file_range(source.fileno(), copy.fileno(), end - at, at, at)


def sync(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def measure_copies(report, rounds):
    """Of disks by themselves, in turn on both, which are there at the same time."""
    with folder_on("ext4") as ext4, folder_on("XFS") as xfs:
        for mib in (1, 16, 64, 256, 1024):
            times = {}
            for kind, folder in (("ext4", ext4), ("XFS", xfs)):
                make_disk(os.path.join(folder, "disk"), mib)
            for _ in range(rounds):
                for kind, folder in (("ext4", ext4), ("XFS", xfs)):
                    disk, copy = os.path.join(folder, "disk"), os.path.join(folder, "copy")
                    seconds, _ = timed(lambda: copy_disk(disk, copy))
                    times.setdefault(f"{kind}, disk with {mib} MiB: copied", []).append(seconds)
                    seconds, _ = timed(lambda: sync(copy))
                    times.setdefault(f"{kind}, disk with {mib} MiB: the copy synced",
                                     []).append(seconds)
                    os.unlink(copy)
                    # What guests' writes pay.
                    seconds, _ = timed(lambda: make_disk(os.path.join(folder, "new"), min(mib, 256)))
                    times.setdefault(f"{kind}: {min(mib, 256)} MiB written and synced",
                                     []).append(seconds)
                    os.unlink(os.path.join(folder, "new"))
            for name, values in times.items():
                report.times(name, values)


@contextlib.contextmanager
def hako_on(kind):
    hako = Hako(pool=0)
    try:
        with xfs_in_a_file(hako.state) if kind == "XFS" else contextlib.nullcontext():
            hako.write_config()
            hako.start()
            try:
                yield hako
            finally:
                hako.stop()
    finally:
        hako.remove()


def timed(action):
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def ask(hako, method, path, body, wanted):
    status, _, answer = hako.request(method, path, body, timeout=300)
    if status != wanted:
        raise RuntimeError(f"{method} {path} answered {status}: {answer}")
    return answer


def used(folder):
    room = os.statvfs(folder)
    return (room.f_blocks - room.f_bfree) * room.f_frsize


def round_of(hako, connection, box, times):
    def note(what, action):
        seconds, answer = timed(action)
        times.setdefault(what, []).append(seconds)
        return answer

    path = f"/sandboxes/{box.id}"
    children = note("fork", lambda: ask(hako, "POST", path + "/fork",
                                        {"count": 1, "timeout": 3600}, 201))
    Box(hako, connection, children[0]["sandbox"]).destroy()
    taken = note("snapshot", lambda: ask(hako, "POST", path + "/snapshots", {}, 201))
    copy = note("create of the snapshot", lambda: ask(
        hako, "POST", "/v2/sandboxes", {"templateID": taken["snapshotID"], "timeout": 3600}, 201))
    Box(hako, connection, copy).destroy()
    ask(hako, "DELETE", f"/templates/{taken['snapshotID']}", None, 204)
    note("pause", lambda: ask(hako, "POST", path + "/pause", {}, 204))
    note("resume", lambda: ask(hako, "POST", path + "/resume", {"timeout": 3600}, 201))


def measure(report, quick):
    if not available():
        return
    measure_copies(report, 3 if quick else 9)
    for kind in ("ext4", "XFS"):
        with hako_on(kind) as hako:
            connection = Connection(hako)
            Box.create(hako, connection).destroy()  # makes the snapshot
            for mib in (1, 64) if quick else (1, 64, 256, 1024):
                box = Box.create(hako, connection, timeout=3600)
                write = ("/bin/sh", "-c", f"head -c {mib}M /dev/urandom > /home/user/data; sync")
                seconds, _ = timed(lambda: box.exec(*write))
                report.value(f"{kind}, {mib} MiB written in a box and synced", seconds, "s")
                times = {}
                for _ in range(2 if quick else 5):
                    round_of(hako, connection, box, times)
                for what, values in times.items():
                    report.value(f"{kind}, {mib} MiB on its disk: {what}",
                                 statistics.median(values) * 1000, "ms")
                before = used(hako.state)
                children = ask(hako, "POST", f"/sandboxes/{box.id}/fork",
                               {"count": 4, "timeout": 3600}, 201)
                report.value(f"{kind}, {mib} MiB on its disk: taken by each of 4 children",
                             (used(hako.state) - before) / 4 / (1 << 20), "MiB")
                for child in children:
                    Box(hako, connection, child["sandbox"]).destroy()
                box.destroy()
