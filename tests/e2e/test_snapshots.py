"""Pause, snapshots, forks and rollback on real machines: E2B's clients, and the command line."""

import json
import os
import time
import unittest

from harness import Hako
from test_sdk import CASES, CLIENTS, WithClients


class ClientsTest(WithClients):
    """The clients' cases, through the API's port and through the gate's own."""

    POOL = 4

    def test_by_way_of_the_api(self):
        for client in CLIENTS:
            with self.subTest(client):
                self.run_cases(client, os.path.join(CASES, "snapshots.test.mjs"))


class GateClientsTest(WithClients):
    POOL = 4

    def settings(self):
        return super().settings() | {"E2B_SANDBOX_URL": f"http://127.0.0.1:{self.hako.gate_port}"}

    def test_by_way_of_the_gate(self):
        self.run_cases(CLIENTS[0], os.path.join(CASES, "snapshots.test.mjs"))


class CommandLineTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.hako = Hako(pool=2)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()

    def say(self, *words, **more):
        return self.hako.cli(*words, **more).stdout.strip()

    def state(self, box):
        return json.loads(self.say("info", box, "--json"))["state"]

    def inside(self, box, script):
        return self.say("exec", box, "--", "sh", "-c", script)

    def make(self, *words):
        box = self.say("create", "--ttl", "10m", *words)
        self.addCleanup(self.hako.cli, "kill", box, check=False)
        return box

    def kept(self):
        """Ids of everything that is kept, as the API tells of it."""
        return {each["snapshotID"] for each in json.loads(self.say("snapshot", "ls", "--json"))}

    def test_pause_and_resume(self):
        box = self.make()
        self.inside(box, "echo before > /tmp/note; sleep 1000 >/dev/null 2>&1 &")
        self.assertEqual(self.say("pause", box), box)
        self.assertEqual(self.state(box), "paused")
        self.assertIn("paused", self.say("ps"))
        again = self.hako.cli("pause", box, check=False)
        self.assertEqual(again.returncode, 1)
        self.assertIn("is paused", again.stderr)
        self.assertEqual(self.hako.cli("exec", box, "--", "true", check=False).returncode, 125)
        self.assertEqual(self.say("resume", box, "--ttl", "10m"), box)
        self.assertEqual(self.inside(box, "cat /tmp/note; pgrep -c sleep"), "before\n1")

    def test_what_is_paused_outlives_the_service(self):
        box = self.make()
        self.inside(box, "echo before > /dev/shm/note")
        self.say("pause", box)
        self.hako.stop()
        self.hako.start()
        self.assertEqual(self.state(box), "paused")
        self.say("resume", box, "--ttl", "10m")
        self.assertEqual(self.inside(box, "cat /dev/shm/note"), "before")

    def test_at_its_end_and_back(self):
        box = self.say("create", "--ttl", "5s", "--on-timeout", "pause", "--auto-resume")
        self.addCleanup(self.hako.cli, "kill", box, check=False)
        self.inside(box, "echo before > /dev/shm/note")
        until = time.monotonic() + 60
        while self.state(box) != "paused":
            self.assertLess(time.monotonic(), until)
            time.sleep(0.2)
        self.assertEqual(self.inside(box, "cat /dev/shm/note"), "before")
        self.assertEqual(self.state(box), "running")

    def test_snapshot_rollback_and_fork(self):
        box = self.make()
        self.inside(box, "echo one > /dev/shm/note")
        snapshot = self.say("snapshot", "create", box, "first")
        self.assertIn(snapshot, self.kept())
        self.inside(box, "echo two > /dev/shm/note")
        copy = self.make("--template", "first")
        self.assertEqual(self.inside(copy, "cat /dev/shm/note"), "one")
        self.assertEqual(self.say("rollback", box, "first"), box)
        self.assertEqual(self.inside(box, "cat /dev/shm/note"), "one")
        other = self.hako.cli("rollback", copy, "first", check=False)
        self.assertEqual(other.returncode, 1)
        self.assertIn("not found", other.stderr)

        children = self.say("fork", box, "-n", "3", "--ttl", "5m").split()
        for child in children:
            self.addCleanup(self.hako.cli, "kill", child, check=False)
        self.assertEqual(len(set(children)), 3)
        self.inside(children[0], "echo mine > /dev/shm/note")
        for each in (box, *children[1:]):
            self.assertEqual(self.inside(each, "cat /dev/shm/note"), "one")
        names = {self.inside(each, "hostname; cat /etc/machine-id") for each in (box, *children)}
        self.assertEqual(len(names), 4)

        self.assertEqual(self.say("snapshot", "rm", "first"), "first")
        self.assertNotIn(snapshot, self.kept())
        gone = self.hako.cli("create", "--template", snapshot, check=False)
        self.assertEqual(gone.returncode, 1)
        # What was made of it goes on.
        self.assertEqual(self.inside(copy, "cat /dev/shm/note"), "one")

    def test_down_leaves_what_is_paused(self):
        box = self.make()
        self.say("pause", box)
        running = self.make()
        self.hako.cli("down")
        self.hako.start()
        self.assertEqual(self.state(box), "paused")
        self.assertEqual(self.hako.cli("info", running, check=False).returncode, 1)


if __name__ == "__main__":
    unittest.main()
