"""What a box does that wants everything: it, its neighbour and hako go on, or it alone ends and says
why. Each limit is read from the kernel, and taken away once to see that it was needed.
"""

import json
import os
import subprocess
import time
import unittest

from harness import Hako
from test_load import daemons, peak_of

MIB = 1 << 20
# Both are far below what the guest could do without.
SLOW_DISK_MIB = 1
WRITTEN_MIB = 16
# Bounded by itself: as much as this, and no more, were there no limit.
HOG = "head -c 1G /dev/zero | tail -c 1G >/dev/null"
FORK_BOMB = "f() { f | f & }; f; sleep 1000"
# UDP to where names are asked for and to where nobody listens, and connections.
FLOOD = ("exec 3>/dev/udp/192.0.2.1/53 4>/dev/udp/192.0.2.1/9; while :; do echo x >&3; echo x >&4; "
         "(: >/dev/tcp/192.0.2.1/80) & done")


def group_of(pid, controller):
    """The folder of a process's control group that has this controller."""
    with open(f"/proc/{pid}/cgroup") as file:
        groups = [line.strip().split(":", 2) for line in file]
    with open("/proc/self/mountinfo") as file:
        mounts = [(line.split()[4], line.split(" - ")[1].split()) for line in file
                  if " - cgroup" in line]
    for _, names, path in groups:
        for place, kind in mounts:
            v1 = kind[0] == "cgroup" and controller in kind[2].split(",") and \
                controller in names.split(",")
            v2 = kind[0] == "cgroup2" and names == "" and \
                os.path.exists(f"{place}{path}/cgroup.controllers") and \
                controller in open(f"{place}{path}/cgroup.controllers").read().split()
            if v1 or v2:
                return place + path
    return None


def read(*parts):
    with open(os.path.join(*parts)) as file:
        return file.read().strip()


def setting(pid, controller, v1, v2):
    folder = group_of(pid, controller)
    return read(folder, v1 if os.path.exists(os.path.join(folder, v1)) else v2)


class Limits(unittest.TestCase):
    settings = ""

    @classmethod
    def setUpClass(cls):
        cls.hako = Hako(pool=1, settings=cls.settings)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()
        cls.daemons = daemons(cls.hako)

    def setUp(self):
        self.boxes = []

    def tearDown(self):
        for box in self.boxes:
            self.hako.request("DELETE", f"/sandboxes/{box}")

    def create(self, **body):
        box = self.hako.create(timeout=900, **body)["sandboxID"]
        self.boxes.append(box)
        return box

    def vmm_of(self, box):
        return self.hako.record_of(box)["pid"]

    def wait_for_share(self, pid):
        """A box gets its part of the processors half a second after it was claimed."""
        end = time.monotonic() + 30
        while "/tenant-default/" not in (group_of(pid, "cpu") or "/tenant-default/"):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.1)

    def begin(self, box, program, user="user"):
        """Lets a program of bash run on in a box."""
        self.hako.exec(box, "bash", "-c", f"setsid bash -c '{program}' >/dev/null 2>&1 &",
                       flags=("--user", user))

    def answers(self, box):
        self.assertEqual(self.hako.exec(box, "echo", "here").stdout, "here\n")

    def all_is_well(self, neighbour):
        """With hako and with a box beside the one that wants everything."""
        self.answers(neighbour)
        self.assertEqual(daemons(self.hako), self.daemons, "a daemon has ended")


class AsInstalled(Limits):
    settings = "[template]\ndisk_mib = 256"

    def test_the_kernel_has_the_limits(self):
        # One from the pool, and one that is made for it.
        for size in ({}, {"memoryMB": 384}):
            box = self.create(**size)
            pid = self.vmm_of(box)
            memory = (size.get("memoryMB", 256) + 256) * MIB
            self.wait_for_share(pid)
            for controller, v1, v2, values in (
                    ("cpu", "cpu.cfs_quota_us", "cpu.max", ("150000", "150000 100000")),
                    ("memory", "memory.limit_in_bytes", "memory.max", (str(memory),)),
                    ("pids", "pids.max", "pids.max", ("192",))):
                if group_of(pid, controller):
                    self.assertIn(setting(pid, controller, v1, v2), values, controller)
            rules = subprocess.run(
                ["nsenter", f"--net={self.hako.run_dir}/netns/slot-"
                 f"{self.hako.record_of(box)['slot']}", "nft", "list", "ruleset"],
                capture_output=True, text=True, check=True).stdout
            for rate in ("100000/second", "1024 mbytes/second", "512/second", "1024/second"):
                self.assertIn(f"limit rate over {rate}", rules)
            self.assertIn('"limits": {"bps-total": 536870912, "iops-total": 20000}'.replace(" ", ""),
                          read(f"/proc/{pid}/cmdline"))
            self.assertEqual(read(f"/proc/{pid}/oom_score_adj"), "900")

    def test_what_a_clone_used_before_it_was_claimed_counts(self):
        self.hako.wait_for_pool()
        pooled = self.hako.vmm_processes()[0]
        folder = group_of(pooled, "memory")
        if not folder:
            self.skipTest("no memory controller")
        self.assertIn("/pool/box-", folder)
        before = int(setting(pooled, "memory", "memory.usage_in_bytes", "memory.current"))
        self.assertGreater(before, 8 * MIB)
        box = self.create()
        self.assertEqual(self.vmm_of(box), pooled)
        if "memory.limit_in_bytes" in os.listdir(folder):
            time.sleep(1)
            self.assertEqual(group_of(pooled, "memory"), folder)

    def test_fork_bomb(self):
        box, neighbour = self.create(), self.create()
        self.begin(box, FORK_BOMB)
        for _ in range(10):
            time.sleep(0.5)
            self.all_is_well(neighbour)
        # It is the box's own kernel that stops it: to the host a box is one process.
        self.assertLess(int(read(group_of(self.vmm_of(box), "pids") or "/", "pids.current")), 192)
        # Root has room where a user has none left.
        self.hako.exec(box, "bash", "-c", "kill -STOP -1; kill -KILL -1",
                       flags=("--user", "user"), check=False)
        self.hako.exec(box, "bash", "-c",
                       "for i in 1 2 3 4 5; do pkill -STOP -u user; done; pkill -KILL -u user; true",
                       flags=("--user", "root"), check=False)
        self.answers(box)

    def test_memory_hog(self):
        box, neighbour = self.create(), self.create()
        done = self.hako.exec(box, "bash", "-c", HOG, check=False)
        self.assertIn(done.returncode, (137, 9), done.stderr)
        # The guest's kernel has ended the program. The box goes on, and is not where hako ends it.
        self.answers(box)
        self.all_is_well(neighbour)

    def test_disk_filler(self):
        box, neighbour = self.create(), self.create()
        done = self.hako.exec(box, "dd", "if=/dev/zero", "of=/home/user/fill", "bs=1M",
                              check=False)
        self.assertIn("No space left on device", done.stderr)
        self.all_is_well(neighbour)
        self.answers(box)
        machine = self.hako.record_of(box)["machine"]
        disk = os.stat(f"{self.hako.state}/node/vms/{machine}/scratch.raw")
        self.assertLessEqual(disk.st_blocks * 512, 257 * MIB)
        self.hako.exec(box, "rm", "/home/user/fill")
        self.hako.exec(box, "bash", "-c", "echo again >/home/user/fill")

    def test_console_flood(self):
        box, neighbour = self.create(), self.create()
        peak = peak_of(self.vmm_of(box))
        self.begin(box, "yes console >/dev/hvc0", user="root")
        for _ in range(5):
            time.sleep(0.5)
            self.all_is_well(neighbour)
            self.assertLessEqual(len(self.hako.cli("logs", box).stdout), 256 << 10)
        self.answers(box)
        self.assertLess(peak_of(self.vmm_of(box)) - peak, 48 * MIB)

    def test_output_flood(self):
        box, neighbour = self.create(), self.create()
        peaks = {role: peak_of(pid) for role, pid in self.daemons.items()}
        # One that reads all of it, and one that reads nothing.
        with self.hako.popen("exec", box, "--", "yes", stdout=subprocess.DEVNULL) as reader, \
                self.hako.popen("exec", box, "--", "yes", stdout=subprocess.PIPE) as sleeper:
            for _ in range(5):
                time.sleep(0.5)
                self.all_is_well(neighbour)
            self.answers(box)
            reader.kill()
            sleeper.kill()
        for role, pid in self.daemons.items():
            self.assertLess(peak_of(pid) - peaks[role], 48 * MIB, role)

    def test_spinner(self):
        box, neighbour = self.create(), self.create()
        for _ in range(4):
            self.begin(box, "while :; do :; done")
        for _ in range(5):
            time.sleep(0.5)
            self.all_is_well(neighbour)
        self.answers(box)

    def test_packet_flood(self):
        box, neighbour = self.create(), self.create()
        peaks = {role: peak_of(pid) for role, pid in self.daemons.items()}
        self.begin(box, FLOOD)
        for _ in range(5):
            time.sleep(0.5)
            self.all_is_well(neighbour)
        self.answers(box)
        for role, pid in self.daemons.items():
            self.assertLess(peak_of(pid) - peaks[role], 48 * MIB, role)


class TooLittle(Limits):
    """A VMM that wants more than it may."""

    settings = f"""
[limits]
disk_mib_per_second = {SLOW_DISK_MIB}
"""

    def narrow(self, box):
        """Lowers what the box's machine may use to little more than it does, in MiB; no bug of a VMM
        is at hand that would make it want more than was reckoned with."""
        pid = self.vmm_of(box)
        self.wait_for_share(pid)
        folder = group_of(pid, "memory")
        if not folder:
            self.skipTest("no memory controller")
        used = int(setting(pid, "memory", "memory.usage_in_bytes", "memory.current"))
        most = used // MIB + 32
        name = "memory.limit_in_bytes" if "memory.limit_in_bytes" in os.listdir(folder) \
            else "memory.max"
        with open(os.path.join(folder, name), "w") as file:
            file.write(str(most * MIB))
        return most

    def test_out_of_memory_ends_that_box_alone_and_says_so(self):
        box, neighbour = self.create(), self.create()
        most = self.narrow(box)
        done = self.hako.exec(box, "bash", "-c", HOG, check=False)
        self.assertNotEqual(done.returncode, 0)
        end = time.monotonic() + 60
        while True:
            status, _, answer = self.hako.request("GET", f"/sandboxes/{box}")
            if status == 404:
                break
            self.assertLess(time.monotonic(), end, "the box lives on")
            time.sleep(0.2)
        why = f"its machine wanted more memory than the {most} MiB that it may use"
        self.assertIn(f"it ended out of memory: {why}", answer["message"])
        self.assertIn(why, self.hako.exec(box, "true", check=False).stderr)
        found = self.hako.cli("audit", "search", "--box", box, "--action", "box.out_of_memory",
                              "--json").stdout.splitlines()
        self.assertEqual([json.loads(line)["reason"] for line in found], [why])
        self.assertRegex(self.hako.logs(None), '"box_ended".*"out_of_memory"')
        self.all_is_well(neighbour)
        left = self.hako.leftovers()
        self.assertEqual(len(left["folders"]), len(left["processes"]), left)

    def test_it_is_said_of_boxes_of_an_earlier_run_too(self):
        box = self.create()
        self.narrow(box)
        self.hako.cli("down", "--keep-boxes")
        self.hako.start()
        type(self).daemons = daemons(self.hako)
        self.hako.exec(box, "bash", "-c", HOG, check=False)
        end = time.monotonic() + 60
        while "out of memory" not in str(self.hako.request("GET", f"/sandboxes/{box}")[2]):
            self.assertLess(time.monotonic(), end, self.hako.logs())
            time.sleep(0.2)

    def written_in(self, hako, box):
        """Seconds that writing to the disk itself takes."""
        start = time.monotonic()
        hako.exec(box, "dd", "if=/dev/zero", "of=/home/user/fill", "bs=1M",
                  f"count={WRITTEN_MIB}", "conv=fsync")
        return time.monotonic() - start

    def test_the_disk_is_as_slow_as_it_was_told_to_be(self):
        slow = WRITTEN_MIB / SLOW_DISK_MIB - 3  # some may go through as a burst
        self.assertGreater(self.written_in(self.hako, self.create()), slow)


class Unlimited(Limits):
    """The same without limits: so it was they."""

    settings = """
[limits]
spare_memory_mib = 0
spare_cpu_percent = 0
boxes_memory_percent = 0
threads = 0
disk_mib_per_second = 0
disk_operations_per_second = 0
network_mib_per_second = 0
packets_per_second = 0
connects_per_second = 0
names_per_second = 0
"""

    def test_nothing_is_held_back(self):
        box = self.create()
        pid = self.vmm_of(box)
        for controller, v1, v2, none in (
                ("cpu", "cpu.cfs_quota_us", "cpu.max", ("-1", "max 100000")),
                ("memory", "memory.limit_in_bytes", "memory.max", ("9223372036854771712", "max")),
                ("pids", "pids.max", "pids.max", ("max",))):
            if group_of(pid, controller):
                self.assertIn(setting(pid, controller, v1, v2), none, controller)
        rules = subprocess.run(
            ["nsenter", f"--net={self.hako.run_dir}/netns/slot-{self.hako.record_of(box)['slot']}",
             "nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
        self.assertNotIn("limit rate", rules)
        # What ended a box above, where less was allowed, ends here only a program in it.
        self.hako.exec(box, "bash", "-c", HOG, check=False)
        self.answers(box)
        self.assertLess(TooLittle.written_in(self, self.hako, box),
                        WRITTEN_MIB / SLOW_DISK_MIB - 3)


del Limits  # is no test by itself

if __name__ == "__main__":
    unittest.main()
