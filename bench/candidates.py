"""What hako is measured against: each runs /bin/echo once and says how long it took."""

import ctypes
import glob
import json
import os
import shutil
import subprocess
import tempfile
import time

from client import Connection, run_command

CLONE_NEWNET = 0x40000000
GUEST = ("169.254.0.21", 49983)


def timed(command, **options):
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, **options)
    seconds = time.perf_counter() - start
    if done.returncode != 0 or b"hello" not in done.stdout:
        raise RuntimeError(f"{command}: status {done.returncode}: {done.stderr[-500:]!r}")
    return seconds


class Container:
    """A bundle whose root is hako's own root file system, mounted read-only."""

    def __init__(self):
        from harness import IMAGES
        self.folder = tempfile.mkdtemp(prefix="hako-bench-")
        self.root = os.path.join(self.folder, "rootfs")
        os.mkdir(self.root)
        subprocess.run(["mount", "-o", "ro,loop", os.path.join(IMAGES, "base", "rootfs.erofs"),
                        self.root], check=True)
        self.count = 0

    def close(self):
        subprocess.run(["umount", "-l", self.root], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


class Runc(Container):
    name = "runc"
    command = ["runc", "run"]

    @classmethod
    def available(cls):
        return shutil.which(cls.command[0]) is not None

    def __init__(self):
        super().__init__()
        subprocess.run(["runc", "spec"], cwd=self.folder, check=True)
        path = os.path.join(self.folder, "config.json")
        with open(path) as file:
            spec = json.load(file)
        spec["process"]["terminal"] = False
        spec["process"]["args"] = ["/bin/echo", "hello"]
        spec["root"]["readonly"] = True
        with open(path, "w") as file:
            json.dump(spec, file)

    def run(self):
        self.count += 1
        name = f"hako-bench-{os.getpid()}-{self.count}"
        return timed([*self.command, "--bundle", self.folder, name])


class Runsc(Runc):
    name = "gVisor (runsc)"
    command = ["runsc", "--network=none", "--ignore-cgroups", "run"]


class Bubblewrap(Container):
    name = "bubblewrap"

    @classmethod
    def available(cls):
        return shutil.which("bwrap") is not None

    def run(self):
        return timed(["bwrap", "--ro-bind", self.root, "/", "--proc", "/proc", "--dev", "/dev",
                      "--unshare-all", "/bin/echo", "hello"])


class RawQemu:
    """QEMU's microvm started from the kernel with hako's image, and nothing else of hako."""

    name = "raw QEMU, cold boot"

    def __init__(self, hako):
        from harness import IMAGES
        self.image = os.path.join(IMAGES, "base")
        # The clock rate that hako measured: without it an emulated boot is a matter of luck.
        meta = glob.glob(os.path.join(hako.state, "node/snapshots/base.*/memory/meta.json"))[0]
        with open(meta) as file:
            self.tsc_khz = find(json.load(file), "tsc_khz")
        self.hardware = False

    def run(self):
        name = f"hako-bench-{os.getpid()}"
        scratch = tempfile.mktemp(prefix="hako-bench-", dir="/var/tmp")
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-L", "hako-scratch",
                        scratch, "4096M"], check=True)
        ip = lambda *words: subprocess.run(["ip", *words], check=True)
        ip("netns", "add", name)
        qemu = None
        try:
            ip("-n", name, "tuntap", "add", "tap0", "mode", "tap", "vnet_hdr")
            ip("-n", name, "link", "set", "tap0", "address", "02:68:61:6b:6f:01")
            ip("-n", name, "addr", "add", "169.254.0.22/30", "dev", "tap0")
            ip("-n", name, "link", "set", "tap0", "up")
            start = time.perf_counter()
            qemu = subprocess.Popen(["ip", "netns", "exec", name, *self.command(scratch)],
                                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.PIPE)
            self.first_output(name, qemu)
            return time.perf_counter() - start
        finally:
            if qemu:
                qemu.kill()
                qemu.wait()
            ip("netns", "del", name)
            os.unlink(scratch)

    def command(self, scratch):
        return ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
                "-M", "microvm,x-option-roms=off,pit=off,pic=off,isa-serial=off,graphics=off",
                "-accel", "tcg,thread=single,tb-size=64", "-cpu", "max", "-smp", "1", "-m", "256M",
                "-kernel", f"{self.image}/vmlinux", "-initrd", f"{self.image}/initramfs.cpio",
                "-append", f"quiet reboot=t panic=-1 tsc_early_khz={self.tsc_khz} tsc=reliable",
                "-blockdev", f"driver=raw,node-name=root,read-only=on,file.driver=file,"
                             f"file.filename={self.image}/rootfs.erofs",
                "-device", "virtio-blk-device,drive=root",
                "-blockdev", f"driver=raw,node-name=scratch,file.driver=file,"
                             f"file.filename={scratch}",
                "-device", "virtio-blk-device,drive=scratch",
                "-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no",
                "-device", "virtio-net-device,netdev=n0,mac=02:68:61:6b:6f:02",
                "-object", "rng-builtin,id=r0", "-device", "virtio-rng-device,rng=r0"]

    def first_output(self, name, qemu):
        """In a child that has entered the namespace, which this process must not leave its own for."""
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with open(f"/run/netns/{name}") as namespace:
                    if ctypes.CDLL(None).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                        raise OSError("setns")
                end = time.monotonic() + 60
                while time.monotonic() < end:
                    try:
                        connection = Connection(address=GUEST)
                        run_command(connection, {}, "/bin/echo", ["hello"], b"hello\n")
                        status = 0
                        break
                    except OSError:
                        time.sleep(0.005)
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        if status != 0:
            qemu.kill()
            raise RuntimeError(f"the guest did not answer: {qemu.stderr.read()[-500:]!r}")


def find(value, name):
    """The first member of that name, at any depth."""
    if isinstance(value, dict):
        if name in value:
            return value[name]
        value = list(value.values())
    if isinstance(value, list):
        for member in value:
            found = find(member, name)
            if found is not None:
                return found
    return None
