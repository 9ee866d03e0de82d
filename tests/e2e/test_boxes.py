"""Boxes keep apart, live as long as they were given, and leave nothing behind."""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "chaos"))

from harness import Hako, uids_of  # noqa: E402
from violence import kill_everything  # noqa: E402


class TwentyBoxesTest(unittest.TestCase):
    def test_each_sees_only_its_own(self):
        with Hako(pool=4) as hako:
            with concurrent.futures.ThreadPoolExecutor(10) as pool:
                boxes = [b["sandboxID"] for b in pool.map(lambda _: hako.create(timeout=600),
                                                          range(20))]
                self.assertEqual(len(set(boxes)), 20)

                def mark(box):
                    hako.exec(box, "sh", "-c",
                              f"echo {box} > /tmp/mine; echo {box} > /home/user/{box}; "
                              f"nohup sleep 12{boxes.index(box):02d} >/dev/null 2>&1 &")

                def look(box):
                    return hako.exec(box, "sh", "-c",
                                     "cat /tmp/mine; ls /home/user; hostname; "
                                     "ps -eo args | grep '^sleep' | tr '\\n' ,").stdout.split()

                list(pool.map(mark, boxes))
                for box, seen in zip(boxes, pool.map(look, boxes)):
                    number = f"12{boxes.index(box):02d}"
                    self.assertEqual(seen, [box, box, box, "sleep", number + ","])
            # Listed, each once; then all destroyed, and nothing left.
            listed = json.loads(hako.cli("ps", "--json").stdout)
            listed = listed.get("sandboxes", listed) if isinstance(listed, dict) else listed
            self.assertEqual({b["sandboxID"] for b in listed}, set(boxes))
            hako.stop()
            self.assertEqual(hako.leftovers(),
                             {"processes": [], "folders": [], "slots": [], "sockets": []})


class LifetimeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.hako = Hako(pool=1)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()

    def gone(self, box, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.hako.request("GET", f"/sandboxes/{box}")[0] == 404:
                return True
            time.sleep(0.1)
        return False

    def test_ends_when_its_time_has_passed(self):
        box = self.hako.create(timeout=3)["sandboxID"]
        self.assertEqual(self.hako.exec(box, "echo", "alive").stdout, "alive\n")
        self.assertTrue(self.gone(box, 15))

    def test_time_can_be_changed(self):
        box = self.hako.create(timeout=600)["sandboxID"]
        status, _, _ = self.hako.request("POST", f"/sandboxes/{box}/timeout", {"timeout": 1})
        self.assertEqual(status, 204)
        self.assertTrue(self.gone(box, 15))

    def test_a_dead_machine_is_cleaned_up(self):
        box = self.hako.create(timeout=600)["sandboxID"]
        record = self.hako.record_of(box)
        os.kill(record["pid"], signal.SIGKILL)
        self.assertTrue(self.gone(box, 15))
        self.assertNotIn(record["machine"], self.hako.vm_folders())

    def test_a_dead_clone_of_the_pool_is_passed_over(self):
        with Hako(pool=2) as hako:
            hako.wait_for_pool()
            os.kill(hako.vmm_processes()[0], signal.SIGKILL)
            os.kill(hako.vmm_processes()[-1], signal.SIGKILL)
            for _ in range(3):
                box = hako.create()["sandboxID"]
                self.assertEqual(hako.exec(box, "echo", "alive").stdout, "alive\n")
                hako.cli("kill", box)
            hako.stop()
            self.assertEqual(hako.leftovers(),
                             {"processes": [], "folders": [], "slots": [], "sockets": []})

    def test_a_guest_that_powers_off_is_cleaned_up(self):
        box = self.hako.create(timeout=600)["sandboxID"]
        self.hako.exec(box, "sudo", "sh", "-c", "echo o > /proc/sysrq-trigger; sleep 30",
                       check=False)
        self.assertTrue(self.gone(box, 30))


class JailTest(unittest.TestCase):
    def test_every_vmm_runs_under_a_uid_of_its_own(self):
        with Hako(pool=0) as hako:
            boxes = [hako.create(timeout=600)["sandboxID"] for _ in range(2)]
            records = [hako.record_of(box) for box in boxes]
            seen = set()
            for record in records:
                uids = uids_of(record["pid"])
                self.assertEqual(len(uids), 4, record)
                self.assertEqual(len(set(uids)), 1, "all four are the same")
                self.assertIn(uids[0], range(hako.uid_base, hako.uid_base + 10_000))
                self.assertIn(record["pid"], hako.vmm_processes())
                seen.add(uids[0])
            self.assertEqual(len(seen), 2, "two boxes share a uid")
            self.assertNotIn(0, seen)
            self.assertEqual(self.qemu_as_root(
                [hako.run_dir, hako.state] + [record["machine"] for record in records]), [])

    def qemu_as_root(self, marks):
        """QEMU processes with one of these in their command line and root among their uids."""
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    words = file.read().decode(errors="replace").split("\0")
                if not os.path.basename(words[0]).startswith("qemu-system"):
                    continue
                ours = any(mark in word for word in words for mark in marks)
                if ours and 0 in uids_of(name):
                    found.append(words)
            except OSError:
                continue  # it has ended
        return found


class RestartTest(unittest.TestCase):
    def test_boxes_survive_a_restart(self):
        with Hako(pool=2) as hako:
            boxes = [hako.create(timeout=900)["sandboxID"] for _ in range(3)]
            for box in boxes:
                hako.exec(box, "sh", "-c",
                          f"echo {box} > /home/user/mark; nohup sleep 1234 >/dev/null 2>&1 &")
            hako.cli("down", "--keep-boxes")
            self.assertGreaterEqual(len(hako.vmm_processes()), 3)
            hako.start()
            for box in boxes:
                done = hako.exec(box, "sh", "-c", "cat /home/user/mark; pgrep -c sleep")
                self.assertEqual(done.stdout, f"{box}\n1\n")
            # A new box still works, and is not a survivor in disguise.
            self.assertNotIn(hako.create()["sandboxID"], boxes)

    def test_nothing_is_left_after_a_kill_of_every_daemon(self):
        with Hako(pool=2) as hako:
            box = hako.create(timeout=900)["sandboxID"]
            kill_everything(hako)
            # The box lives; what the dead node had pooled is gone and made anew.
            self.assertEqual(hako.exec(box, "echo", "alive").stdout, "alive\n")
            hako.stop()
            self.assertEqual(hako.leftovers(),
                             {"processes": [], "folders": [], "slots": [], "sockets": []})

    def test_a_killed_role_comes_back(self):
        with Hako(pool=1) as hako:
            box = hako.create(timeout=900)["sandboxID"]
            with open(os.path.join(hako.run_dir, "up.json")) as file:
                roles = json.load(file)
            for pid in find_pids(roles)[1:]:
                os.kill(pid, signal.SIGKILL)
                end = time.monotonic() + 30
                while time.monotonic() < end:
                    done = hako.cli("exec", box, "--", "echo", "alive", check=False)
                    if done.stdout == "alive\n":
                        break
                    time.sleep(0.3)
                self.assertEqual(done.stdout, "alive\n", done.stderr + hako.logs())


def find_pids(value):
    """All numbers named pid in a JSON value, in order."""
    if isinstance(value, dict):
        own = [value["pid"]] if isinstance(value.get("pid"), int) else []
        return own + [p for k, v in value.items() if k != "pid" for p in find_pids(v)]
    if isinstance(value, list):
        return [p for v in value for p in find_pids(v)]
    return []


if __name__ == "__main__":
    unittest.main(verbosity=2)
