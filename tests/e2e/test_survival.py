"""Boxes outlive the programs that made them: new versions, and the end of all of them at once."""

import concurrent.futures
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "chaos"))

from harness import BIN, Hako  # noqa: E402
from inventory import orphans, remains  # noqa: E402
from violence import ROLES, kill, kill_everything, kill_role, pid_of  # noqa: E402

PROGRAMS = ("hako", "hakod", "hako-gate")


def put_version(folder, mark):
    """Programs that are other files than those of before, put in their places as dpkg does it. What
    follows an ELF file's last section is not looked at when it runs."""
    os.makedirs(folder, exist_ok=True)
    for name in PROGRAMS:
        new = os.path.join(folder, f".{name}.new")
        with open(os.path.join(BIN, name), "rb") as old, open(new, "wb") as file:
            file.write(old.read() + mark)
        os.chmod(new, 0o755)
        os.rename(new, os.path.join(folder, name))


def runs_version(pid, mark):
    with open(f"/proc/{pid}/exe", "rb") as file:
        file.seek(-len(mark), os.SEEK_END)
        return file.read() == mark


def work_in(hako, box):
    """Leaves a file, and a process that counts on."""
    hako.exec(box, "sh", "-c",
              f"echo {box} > /home/user/mark; "
              "nohup sh -c 'while sleep 1; do echo >> /tmp/beats; done' >/dev/null 2>&1 & "
              "echo $! > /tmp/pid")


class Watched:
    """A box at work, and whether it is still what it was."""

    def __init__(self, hako, test):
        self.hako, self.test = hako, test
        self.box = self._made()
        work_in(hako, self.box)
        self.record = hako.record_of(self.box)
        self.ends = self._ends()
        self.process = self._ask("cat /tmp/pid")
        self.beats = self._beats()

    def _made(self):
        """A busy machine may be too late for one; how boxes are made is not what is asked here."""
        for _ in range(4):
            status, _, made = self.hako.request("POST", "/v2/sandboxes",
                                                {"templateID": "base", "timeout": 3600})
            if status != 504:
                break
        self.test.assertEqual(status, 201, made)
        return made["sandboxID"]

    def _ask(self, words):
        return self.hako.exec(self.box, "sh", "-c", words).stdout.strip()

    def _ends(self):
        status, _, found = self.hako.request("GET", f"/sandboxes/{self.box}")
        self.test.assertEqual(status, 200, found)
        return found["endAt"]

    def _beats(self):
        return int(self._ask("wc -l < /tmp/beats 2>/dev/null || echo 0"))

    def check(self):
        """Same machine, same file, same process, which has gone on, and the same end."""
        record = self.hako.record_of(self.box)
        for kept in ("pid", "machine", "slot", "generation", "ends_ms"):
            self.test.assertEqual(record[kept], self.record[kept], kept)
        self.test.assertEqual(self._ask("cat /home/user/mark"), self.box)
        self.test.assertEqual(self._ask("kill -0 $(cat /tmp/pid) && cat /tmp/pid"), self.process)
        self.test.assertEqual(self._ends(), self.ends)
        end = time.monotonic() + 30
        while (beats := self._beats()) <= self.beats and time.monotonic() < end:
            time.sleep(0.1)
        self.test.assertGreater(beats, self.beats, "its process stands still")
        self.beats = beats


def wait_until_served(hako, test, after):
    """Until the API answers and its node is there again."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        try:
            status, _, health = hako.request("GET", "/health", timeout=5)
            if status == 200 and health["node"] == "connected":
                return
        except OSError:
            pass
        time.sleep(0.05)
    test.fail(f"hako does not answer after {after}\n{hako.logs()}")


class UpgradeTest(unittest.TestCase):
    def test_to_a_new_version_under_running_boxes(self):
        with Hako(pool=1) as hako:
            hako.stop()
            first = os.path.join(hako.state, "bin")
            put_version(first, b"first version")
            hako.program = os.path.join(first, "hako")
            hako.start()
            boxes = [Watched(hako, self) for _ in range(3)]
            short = hako.create(timeout=60)["sandboxID"]
            ends = hako.record_of(short)["ends_ms"] / 1000

            with self.subTest("in its place, one role after the other"):
                put_version(first, b"second version")
                for role in ROLES:
                    self.assertFalse(runs_version(hako.role(role), b"second version"), role)
                    kill_role(hako, role)
                    self.wait_for_role(hako, role, b"second version")
                for each in boxes:
                    each.check()
                new = hako.create()["sandboxID"]
                self.assertEqual(hako.exec(new, "echo", "new").stdout, "new\n")

            with self.subTest("elsewhere, by a restart"):
                second = os.path.join(hako.state, "bin-of-another-version")
                put_version(second, b"third version")
                hako.cli("down", "--keep-boxes")
                hako.program = os.path.join(second, "hako")
                hako.start()
                for role in ROLES:
                    self.wait_for_role(hako, role, b"third version")
                for each in boxes:
                    each.check()
                # Their time can still be changed, and what was given before still passes.
                ended = f"/sandboxes/{boxes[0].box}/timeout"
                self.assertEqual(hako.request("POST", ended, {"timeout": 1})[0], 204)
                self.wait_until_gone(hako, boxes[0].box)
            if time.time() < ends - 1:
                self.assertEqual(hako.request("GET", f"/sandboxes/{short}")[0], 200)
            self.wait_until_gone(hako, short)
            self.assertGreaterEqual(time.time(), ends - 1)
            hako.stop()
            self.assertEqual(remains(hako), [])

    def wait_for_role(self, hako, role, version):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                if runs_version(hako.role(role), version):
                    break
            except (OSError, ValueError):
                pass  # it is being started
            time.sleep(0.05)
        else:
            self.fail(f"{role} does not come back\n{hako.logs()}")
        wait_until_served(hako, self, f"{role} came back")

    def wait_until_gone(self, hako, box):
        end = time.monotonic() + 150
        while time.monotonic() < end:
            if all(box != self.box_in(hako, folder) for folder in hako.vm_folders()):
                return
            time.sleep(0.2)
        self.fail(f"{box} has outlived its time\n{hako.logs()}")

    def box_in(self, hako, folder):
        try:
            with open(os.path.join(hako.state, "node", "vms", folder, "record.json")) as file:
                return file.read().partition('"box":"')[2].partition('"')[0]
        except OSError:
            return None


class EverythingKilledTest(unittest.TestCase):
    def test_with_twenty_boxes(self):
        with Hako(pool=2) as hako:
            # More at once, all at work and emulated, would only be late.
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                boxes = list(pool.map(lambda _: Watched(hako, self), range(20)))
                kill_everything(hako)
                list(pool.map(Watched.check, boxes))
                # Again, with creates and ends under way: what was acknowledged is as it was.
                busy = [pool.submit(self.try_to, hako, "POST", "/v2/sandboxes",
                                    {"templateID": "base", "timeout": 3600}) for _ in range(2)]
                doomed = boxes.pop()
                busy.append(pool.submit(self.try_to, hako, "DELETE", f"/sandboxes/{doomed.box}"))
                time.sleep(0.1)
                kill_everything(hako)
                answers = [each.result() for each in busy]
                list(pool.map(Watched.check, boxes))
            for status, made in answers[:2]:
                if status == 201:
                    done = hako.exec(made["sandboxID"], "echo", "alive")
                    self.assertEqual(done.stdout, "alive\n")
            if answers[2][0] == 204:
                self.assertEqual(hako.request("GET", f"/sandboxes/{doomed.box}")[0], 404)
            end = time.monotonic() + 180
            while (left := orphans(hako)) and time.monotonic() < end:
                time.sleep(1)
            self.assertEqual(left, [])
            hako.stop()
            self.assertEqual(remains(hako), [])

    def try_to(self, hako, *request):
        try:
            status, _, answer = hako.request(*request)
        except OSError:
            return 0, None  # nobody was there to answer
        return status, answer


class OneMachineTest(unittest.TestCase):
    """What is wrong with one machine, by chance or by intent, keeps nobody else's from being found."""

    def restart_node(self, hako):
        before = hako.role("node")
        kill_role(hako, "node")
        end = time.monotonic() + 60
        while pid_of(hako, "node") in (0, before) and time.monotonic() < end:
            time.sleep(0.05)
        wait_until_served(hako, self, "the node was killed")

    def test_whose_vmm_does_not_answer(self):
        with Hako(pool=0) as hako:
            stuck, doomed, well = (Watched(hako, self) for _ in range(3))
            stopped = [each.record["pid"] for each in (stuck, doomed)]
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            try:
                # Each start leaves connections behind that nobody accepts.
                for _ in range(3):
                    self.restart_node(hako)
                    well.check()
                there = {each["sandboxID"] for each in hako.request("GET", "/v2/sandboxes")[2]}
                self.assertEqual(there, {stuck.box, doomed.box, well.box})
                hako.destroy(hako.create())
                self.assertEqual(hako.request("DELETE", f"/sandboxes/{doomed.box}")[0], 204)
                self.assertNotIn(doomed.record["pid"], hako.vmm_processes())
                self.assertEqual(hako.request("POST", f"/sandboxes/{stuck.box}/pause")[0], 503)
            finally:
                for pid in stopped:
                    if pid in hako.vmm_processes():
                        os.kill(pid, signal.SIGCONT)
            end = time.monotonic() + 60
            while (hako.exec(stuck.box, "true", check=False).returncode != 0
                   and time.monotonic() < end):
                time.sleep(0.5)
            stuck.check()
            self.assertEqual(orphans(hako), [])
            hako.stop()
            self.assertEqual(remains(hako), [])

    def test_whose_record_is_too_large(self):
        with Hako(pool=0) as hako:
            well = Watched(hako, self)
            folder = os.path.join(hako.state, "node", "vms", "m390-planted00")
            os.mkdir(folder)
            with open(os.path.join(folder, "record.json"), "w") as file:
                json.dump({"machine": "m390-planted00", "text": "x" * (5 << 20)}, file)
            self.restart_node(hako)
            well.check()
            self.assertFalse(os.path.exists(folder))

    def test_whose_user_wants_it_to_be(self):
        with Hako(pool=0) as hako:
            # Each of these is six characters where it is written down.
            large = {f"E{n}": "\x01" * (32 << 10) for n in range(3)}
            status, _, answer = hako.request("POST", "/v2/sandboxes", {
                "templateID": "base", "timeout": 600, "envVars": large})
            self.assertEqual(status, 413, answer)
            self.assertIn("environment", answer["message"])
            box = hako.create(timeout=600, envVars={"E": large["E0"]})["sandboxID"]
            self.restart_node(hako)
            done = hako.exec(box, "sh", "-c", "printf %s \"$E\" | wc -c")
            self.assertEqual(done.stdout.strip(), str(32 << 10))


@unittest.skipUnless(shutil.which("strace"), "needs Debian's package strace")
class KilledWhileStartingTest(unittest.TestCase):
    def test_each_time_the_supervisor_writes_down_what_it_started(self):
        with Hako(pool=0) as hako:
            hako.stop()
            for nth in range(1, len(ROLES) + 2):  # the first names the supervisor alone
                with self.subTest(killed_before_write=nth):
                    self.start_and_kill(hako, nth)
                    self.assertEqual(len(self.known_roles(hako)), max(0, nth - 2))
                    # Who was not written down yet has ended.
                    end = time.monotonic() + 10
                    while (left := self.unknown_roles(hako)) and time.monotonic() < end:
                        time.sleep(0.05)
                    for pid in left:
                        kill(pid)
                    self.assertEqual(left, [])
                    hako.start()
                    self.assertEqual(len(self.roles_running(hako)), len(ROLES))
                    hako.stop()
            self.assertEqual(remains(hako), [])

    def start_and_kill(self, hako, nth):
        """A supervisor whose state of this number is written, but not put into its place."""
        fault = f"inject=rename:signal=KILL:when={nth}"
        with subprocess.Popen(["strace", "-qq", "-o", "/dev/null", "-e", "trace=rename", "-e", fault,
                               hako.program, "up", "--foreground"], env=hako.environment(),
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as supervisor:
            try:
                self.assertEqual(supervisor.wait(30), -signal.SIGKILL)
            finally:
                supervisor.kill()  # strace, and with it what it follows

    def roles_running(self, hako):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if words[0].endswith((b"/hakod", b"/hako-gate")) and hako.config.encode() in words:
                found.append(int(pid))
        return found

    def known_roles(self, hako):
        try:
            with open(os.path.join(hako.run_dir, "up.json")) as file:
                roles = json.load(file)["roles"]
        except OSError:
            return set()  # of none yet
        return {role["process"]["pid"] for role in roles} - {0}

    def unknown_roles(self, hako):
        return [pid for pid in self.roles_running(hako) if pid not in self.known_roles(hako)]


if __name__ == "__main__":
    unittest.main(verbosity=2)
