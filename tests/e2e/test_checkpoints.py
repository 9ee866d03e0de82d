"""Boxes that are forked, written down, rolled back and set going again, as the node does it."""

import glob
import json
import os
import signal
import subprocess
import threading
import time
import unittest

from harness import Hako
from node_client import NodeBox, NodeClient, NodeError

# Counts in memory; holds a large buffer that it changes all the time, and says whether it is whole.
COUNTER = r"""
import hashlib, os, sys, time
size = int(sys.argv[1]) << 20
block = bytearray(os.urandom(size))
count = 0
while True:
    count += 1
    at = (count * 4096) % size
    block[at:at + 8] = count.to_bytes(8, "little")
    if count % 50 == 0:
        who = open("/tmp/who").read().strip()
        line = f"{count} {who} {hashlib.blake2b(block, digest_size=8).hexdigest()}"
        with open("/tmp/count.new", "w") as file:
            file.write(line)
        os.rename("/tmp/count.new", "/tmp/count")
    time.sleep(0.001)
"""


def in_ten_minutes():
    return int(time.time() * 1000) + 600_000


def reaching(number):
    """A policy that differs from those of other numbers."""
    return {"limits": {"connections": number}}


class CheckpointCase(unittest.TestCase):
    SETTINGS = ""

    @classmethod
    def setUpClass(cls):
        cls.hako = Hako(pool=2, settings=cls.SETTINGS)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()
        cls.hako.wait_for_pool(1)
        # It removes boxes and checkpoints that it does not know, when the node comes back and each
        # minute.
        api = cls.hako.role("api")
        os.kill(api, signal.SIGSTOP)
        cls.addClassCleanup(os.kill, api, signal.SIGCONT)
        cls.node = NodeClient(cls.hako)
        cls.addClassCleanup(cls.node.close)

    def tearDown(self):
        for box in self.node.call("box.list")["boxes"]:
            self.node.call("box.destroy", box=box["box"], reason="end of test")
        for each in self.node.call("checkpoint.list")["checkpoints"]:
            self.node.call("checkpoint.remove", checkpoint=each["checkpoint"],
                           tenant=each["tenant"])

    def create(self, name, **more):
        if "checkpoint" not in more:
            more["template"] = "base"
        self.node.call("box.create", box=name, ends_ms=in_ten_minutes(), envs={}, **more)
        return NodeBox(self.hako, name)

    def fork(self, parent, names):
        children = [{"box": name, "ends_ms": in_ten_minutes(), "envs": {}} for name in names]
        made = self.node.call("box.fork", box=parent, children=children)["children"]
        self.assertEqual([child.get("error") for child in made], [None] * len(names))
        return [NodeBox(self.hako, name) for name in names]

    def checkpoint(self, box, name, then="run", memory=True):
        return self.node.call("box.checkpoint", box=box, checkpoint=name, memory=memory, then=then)

    def folder(self, checkpoint):
        return os.path.join(self.hako.state, "node", "checkpoints", checkpoint)


def say_who(box):
    """In one step: the counter reads it at any moment."""
    box.run(f"echo {box.name} > /tmp/who.new; mv /tmp/who.new /tmp/who")


def start_counter(box, mib):
    say_who(box)
    box.run(f"cat > /tmp/counter.py <<'EOF'\n{COUNTER}\nEOF\n"
            f"setsid python3 /tmp/counter.py {mib} > /dev/null 2>&1 &")
    wait_for_count(box, 50)


def count_of(box):
    """(count, who, checksum of the whole buffer) as the counter last wrote it."""
    count, who, checksum = box.run("cat /tmp/count").split()
    return int(count), who, checksum


def wait_for_count(box, at_least, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        text = box.run("cat /tmp/count 2>/dev/null || echo 0 - -").split()
        if int(text[0]) >= at_least:
            return
        time.sleep(0.1)
    raise AssertionError(f"{box.name} does not count to {at_least}")


class ForkTest(CheckpointCase):
    def test_a_program_goes_on_in_the_parent_and_in_each_child(self):
        parent = self.create("parent")
        start_counter(parent, 4)
        before, _, _ = count_of(parent)
        children = self.fork("parent", [f"child{i}" for i in range(10)])
        for child in children:
            say_who(child)
        last = count_of(parent)[0]
        for box in [parent, *children]:
            wait_for_count(box, last + 100)
        seen = {}
        for box in [parent, *children]:
            count, who, checksum = count_of(box)
            self.assertGreater(count, before)
            self.assertEqual(who, box.name, "another's write is seen")
            seen[box.name] = (count, checksum)
        # The same program at the same count has written the same: memory is neither mixed nor lost.
        by_count = {}
        for count, checksum in seen.values():
            self.assertEqual(by_count.setdefault(count, checksum), checksum)

    def test_children_are_different_machines(self):
        parent = self.create("parent")
        parent.run("head -c 16 /dev/urandom > /dev/null")
        children = self.fork("parent", ["kid1", "kid2"])
        ask = ("head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo; cat /etc/machine-id; "
               "hostname; cat /proc/sys/kernel/random/boot_id; cat /run/hako/generation")
        answers = [box.run(ask).split() for box in [parent, *children]]
        for which, what in enumerate(("random bytes", "machine id", "host name", "boot id")):
            self.assertEqual(len({answer[which] for answer in answers}), 3, what)
        generations = [int(answer[4]) for answer in answers]
        self.assertGreater(generations[1], generations[0])
        self.assertGreater(generations[2], generations[0])

    def test_a_childs_child_at_depth_ten(self):
        box = self.create("depth0")
        start_counter(box, 8)
        for depth in range(1, 11):
            box.run(f"echo {depth} >> /tmp/history")
            count = count_of(box)[0]
            (child,) = self.fork(box.name, [f"depth{depth}"])
            self.node.call("box.destroy", box=box.name, reason="test")
            say_who(child)
            wait_for_count(child, count + 100)
            box = child
        self.assertEqual(box.run("cat /tmp/history").split(), [str(i) for i in range(1, 11)])

    def test_much_memory_is_shared_by_many_children(self):
        parent = self.create("parent")
        start_counter(parent, 1)
        parent.run("setsid python3 -c 'import os, time; b = os.urandom(80 << 20); time.sleep(1000)' "
                   ">/dev/null 2>&1 & sleep 4")
        children = self.fork("parent", [f"sib{i}" for i in range(4)])
        for child in children:
            say_who(child)
        last = count_of(parent)[0]
        for box in [parent, *children]:
            wait_for_count(box, last + 100)
        # And such a child can be written down, as what it stands on is kept then.
        self.checkpoint("sib0", "s-sib", then="end")
        again = self.create("sib0", checkpoint="s-sib")
        count = count_of(again)[0]
        wait_for_count(again, count + 100)

    def test_each_child_fails_alone(self):
        self.create("parent")
        self.create("taken")
        children = [{"box": name, "ends_ms": in_ten_minutes(), "envs": {}}
                    for name in ("good", "taken", "Bad")]
        made = self.node.call("box.fork", box="parent", children=children)["children"]
        self.assertEqual(made[0]["box"], "good")
        self.assertEqual(made[1]["error"]["code"], "already_exists")
        self.assertEqual(made[2]["error"]["code"], "invalid_argument")
        self.assertEqual(NodeBox(self.hako, "good").run("echo well"), "well\n")
        with self.assertRaises(NodeError) as refused:
            self.node.call("box.fork", box="nobody", children=children)
        self.assertEqual(refused.exception.code, "not_found")


class PauseTest(CheckpointCase):
    def test_a_paused_box_takes_nothing_and_goes_on_where_it_was(self):
        box = self.create("sleeper")
        start_counter(box, 4)
        box.run("echo kept > /home/user/file")
        count = count_of(box)[0]
        record = self.hako.record_of("sleeper")
        self.checkpoint("sleeper", "p-1", then="end")
        self.assertFalse(os.path.exists(f"/proc/{record['pid']}"))
        self.assertNotIn(record["machine"], self.hako.vm_folders())
        self.assertNotIn("sleeper", [b["box"] for b in self.node.call("box.list")["boxes"]])
        box = self.create("sleeper", checkpoint="p-1")
        wait_for_count(box, count + 100)
        self.assertEqual(box.run("cat /home/user/file"), "kept\n")
        skew = abs(time.time() - int(box.run("date +%s")))
        self.assertLess(skew, 5, "the clock is not of now")

    def test_the_disk_alone(self):
        box = self.create("diskonly")
        box.run("echo kept > /home/user/file; setsid sleep 1000 >/dev/null 2>&1 &")
        self.checkpoint("diskonly", "p-disk", then="end", memory=False)
        box = self.create("diskonly", checkpoint="p-disk")
        self.assertEqual(box.run("cat /home/user/file; pgrep -x sleep || echo none"),
                         "kept\nnone\n")
        # A booted one can be forked and written down like any other.
        (child,) = self.fork("diskonly", ["diskchild"])
        self.assertEqual(child.run("cat /home/user/file"), "kept\n")

    def test_at_its_end_it_is_paused_by_the_node_itself(self):
        self.node.call("box.create", box="mortal", template="base", envs={},
                       ends_ms=int(time.time() * 1000) + 2500,
                       on_end={"then": "pause", "memory": True, "checkpoint": "p-mortal"})
        NodeBox(self.hako, "mortal").run("echo kept > /tmp/file")
        gone = self.node.wait_notice("box.gone", "mortal")
        self.assertEqual((gone["reason"], gone["detail"]), ("paused", "p-mortal"))
        box = self.create("mortal", checkpoint="p-mortal")
        self.assertEqual(box.run("cat /tmp/file"), "kept\n")

    def test_rolling_back(self):
        box = self.create("rolling")
        box.run("echo first > /tmp/file")
        self.checkpoint("rolling", "s-first")
        box.run("echo second > /tmp/file; rm -rf /home/user/* /etc/passwd 2>/dev/null; sync")
        self.node.call("box.rollback", box="rolling", checkpoint="s-first")
        self.assertEqual(box.run("cat /tmp/file"), "first\n")
        other = self.create("other")
        with self.assertRaises(NodeError) as refused:
            self.node.call("box.rollback", box="other", checkpoint="s-first")
        self.assertEqual(refused.exception.code, "not_found")
        self.assertEqual(other.run("echo well"), "well\n")

    def test_ids_that_are_paths_are_none(self):
        self.create("careful")
        for name in ("../x", "a/b", "", ".", "-a", "A", "a" * 65, "a\0b"):
            with self.assertRaises(NodeError) as refused:
                self.checkpoint("careful", name)
            self.assertEqual(refused.exception.code, "invalid_argument", name)

    def test_the_later_takes_the_place_of_the_earlier(self):
        box = self.create("twice")
        box.run("echo first > /tmp/file")
        self.checkpoint("twice", "s-twice")
        box.run("echo second > /tmp/file")
        self.checkpoint("twice", "s-twice")
        again = self.create("again", checkpoint="s-twice")
        self.assertEqual(again.run("cat /tmp/file"), "second\n")

    def test_what_it_stands_on_stays_while_it_is_needed(self):
        bases = os.path.join(self.hako.state, "node", "bases")
        self.create("standing")
        self.checkpoint("standing", "s-1")
        self.checkpoint("standing", "s-2")
        self.assertEqual(len(os.listdir(bases)), 1)
        self.node.call("checkpoint.remove", checkpoint="s-1", tenant="default")
        self.assertEqual(len(os.listdir(bases)), 1)
        self.node.call("checkpoint.remove", checkpoint="s-2", tenant="default")
        self.assertEqual(os.listdir(bases), [])

    def test_another_tenant_has_no_part_in_it(self):
        self.create("owned")
        self.checkpoint("owned", "s-owned")
        for call in (lambda: self.create("thief", checkpoint="s-owned", tenant="thief"),
                     lambda: self.node.call("checkpoint.remove", checkpoint="s-owned",
                                            tenant="thief"),
                     lambda: self.node.call("box.fork", box="owned", tenant="thief", children=[
                         {"box": "thief", "ends_ms": in_ten_minutes(), "envs": {}}])):
            with self.assertRaises(NodeError) as refused:
                call()
            self.assertEqual(refused.exception.code, "not_found")

    def changed(self, path, change):
        """Nothing goes on from a checkpoint while one of its files is not what was written."""
        kept = path + ".kept"
        os.rename(path, kept)
        try:
            subprocess.run(["cp", "--sparse=auto", "-p", kept, path], check=True)
            with open(path, "r+b") as file:
                change(file)
            with self.assertRaises(NodeError) as refused:
                self.create("again", checkpoint="s-tamper")
            self.assertEqual(refused.exception.code, "corrupted", path)
        finally:
            os.replace(kept, path)

    def test_what_was_changed_is_refused(self):
        box = self.create("victim")
        box.run("echo kept > /tmp/file")
        self.checkpoint("victim", "s-tamper")
        files = [path for path in glob.glob(self.folder("s-tamper") + "/*")
                 if os.path.basename(path) != "record"]
        self.assertGreaterEqual(len(files), 2)

        def flip(file):
            file.seek(os.path.getsize(file.name) // 2)
            byte = file.read(1) or b"\0"
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))

        for path in files:
            self.changed(path, flip)
            self.changed(path, lambda file: file.truncate(os.path.getsize(file.name) // 2))
            self.changed(path, lambda file: file.truncate(0))
        again = self.create("again", checkpoint="s-tamper")
        self.assertEqual(again.run("cat /tmp/file"), "kept\n")
        self.assertEqual(box.run("cat /tmp/file"), "kept\n", "the box itself is untouched")


class InterruptedTest(CheckpointCase):
    """What comes in between of what."""

    def in_background(self, method, **body):
        """Starts a call on a connection of its own; what it came to: its answer, or its error's code."""
        outcome = []

        def run():
            node = NodeClient(self.hako)
            try:
                outcome.append(node.call(method, **body))
            except NodeError as error:
                outcome.append(error.code)
            finally:
                node.close()

        thread = threading.Thread(target=run)
        thread.start()
        return thread, outcome

    def test_a_box_that_is_ended_while_it_is_copied(self):
        node = self.hako.role("node")
        children = [{"box": "child", "ends_ms": in_ten_minutes(), "envs": {}}]
        ways = [("box.checkpoint", {"checkpoint": "s-x", "memory": True, "then": "run"}),
                ("box.checkpoint", {"checkpoint": "s-x", "memory": True, "then": "end"}),
                ("box.checkpoint", {"checkpoint": "s-x", "memory": False, "then": "run"}),
                ("box.fork", {"children": children})]
        for number in range(24):
            name = f"ended{number}"
            self.create(name)
            method, body = ways[number % len(ways)]
            thread, _ = self.in_background(method, box=name, **body)
            time.sleep(number * 0.004)
            try:
                self.node.call("box.destroy", box=name, reason="test")
            except NodeError as error:
                self.assertEqual(error.code, "not_found")  # paused
            thread.join()
            left = [box["box"] for box in self.node.call("box.list")["boxes"]]
            self.assertNotIn(name, left)
            if "child" in left:
                self.node.call("box.destroy", box="child", reason="test")
        self.assertEqual(self.hako.role("node"), node, self.hako.logs())
        self.tearDown()
        self.assertEqual(os.listdir(self.folder("")), [])
        self.assertEqual(len(self.hako.vm_folders()), self.pooled())

    def pooled(self):
        return sum(1 for folder in self.hako.vm_folders() if self.record(folder)["state"] != "box")

    def record(self, folder):
        with open(os.path.join(self.hako.state, "node", "vms", folder, "record.json")) as file:
            return json.load(file)

    def test_a_box_that_is_ended_while_it_goes_back_stays_ended(self):
        for number in range(12):
            name = f"back{number}"
            self.create(name)
            self.checkpoint(name, "s-back")
            thread, _ = self.in_background("box.rollback", box=name, checkpoint="s-back")
            time.sleep(0.05 + number * 0.03)
            self.node.call("box.destroy", box=name, reason="test")
            thread.join()
            self.assertEqual(self.node.call("box.list")["boxes"], [])

    def test_what_is_forbidden_while_a_box_goes_back_stays_forbidden(self):
        self.create("told", egress=reaching(1))
        self.checkpoint("told", "s-told")
        for number in range(12):
            thread, outcome = self.in_background("box.rollback", box="told", checkpoint="s-told")
            time.sleep(0.05 + number * 0.03)
            self.node.call("box.egress", box="told", egress=reaching(number + 2))
            self.node.call("box.set_end", box="told", ends_ms=in_ten_minutes() + number)
            (box,) = self.node.call("box.list")["boxes"]
            thread.join()
            self.assertEqual(outcome[0]["box"], "told")
            self.assertEqual(self.hako.record_of("told")["egress"], reaching(number + 2))
            self.assertEqual(self.node.call("box.list")["boxes"][0]["ends_ms"], box["ends_ms"])

    def test_who_waits_for_a_box_that_goes_back_finds_it(self):
        box = self.create("moving")
        box.run("echo kept > /tmp/file")
        self.checkpoint("moving", "s-moving")
        calls = [self.in_background("box.rollback", box="moving", checkpoint="s-moving")]
        time.sleep(0.1)
        children = [{"box": "behind", "ends_ms": in_ten_minutes(), "envs": {}}]
        calls += [self.in_background("box.checkpoint", box="moving", checkpoint=f"s-{n}",
                                     memory=True, then="run") for n in range(2)]
        calls.append(self.in_background("box.fork", box="moving", children=children))
        for thread, outcome in calls:
            thread.join()
            self.assertIsInstance(outcome[0], dict, outcome)
        self.assertEqual(NodeBox(self.hako, "behind").run("cat /tmp/file"), "kept\n")

    def test_no_child_reaches_what_its_parent_no_longer_does(self):
        box = self.create("closed", egress=reaching(2))
        children = [{"box": "wider", "ends_ms": in_ten_minutes(), "envs": {}}]
        with self.assertRaises(NodeError) as refused:
            self.node.call("box.fork", box="closed", egress=reaching(1), children=children)
        self.assertEqual(refused.exception.code, "failed_precondition")
        self.assertEqual(box.run("echo well"), "well\n")
        made = self.node.call("box.fork", box="closed", egress=reaching(2), children=children)
        self.assertEqual(made["children"][0]["box"], "wider")

    def test_a_checkpoint_is_removed_only_as_it_was_listed(self):
        self.create("listed")
        self.checkpoint("listed", "s-listed")
        (listed,) = self.node.call("checkpoint.list")["checkpoints"]
        self.checkpoint("listed", "s-listed")
        with self.assertRaises(NodeError) as refused:
            self.node.call("checkpoint.remove", checkpoint="s-listed", tenant="default",
                           created_ms=listed["created_ms"])
        self.assertEqual(refused.exception.code, "not_found")
        (listed,) = self.node.call("checkpoint.list")["checkpoints"]
        self.node.call("checkpoint.remove", checkpoint="s-listed", tenant="default",
                       created_ms=listed["created_ms"])


class RestartTest(CheckpointCase):
    def restart_node(self):
        before = self.hako.role("node")
        os.kill(before, signal.SIGKILL)
        self.node.close()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                self.assertNotEqual(self.hako.role("node"), before)
                self.node.close()
                type(self).node = NodeClient(self.hako)
                self.node.call("box.list")
                return
            except (AssertionError, OSError, StopIteration, ValueError):
                time.sleep(0.1)
        self.fail("the node does not come back\n" + self.hako.logs())

    def ready(self, box):
        """Once the gate knows it again."""
        end = time.monotonic() + 30
        while True:
            try:
                return box.run("true")
            except (OSError, RuntimeError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def test_children_of_a_base_of_their_own_can_still_be_saved(self):
        parent = self.create("parent")
        parent.run("setsid python3 -c 'import os, time; b = os.urandom(80 << 20); time.sleep(1000)' "
                   ">/dev/null 2>&1 & sleep 4; echo kept > /dev/shm/file")
        children = self.fork("parent", ["first", "second", "third", "fourth"])
        self.node.call("box.destroy", box="parent", reason="test")
        self.restart_node()
        self.ready(children[0])
        self.checkpoint("first", "p-first", then="end")
        for name in ("second", "third", "fourth"):
            self.node.call("box.destroy", box=name, reason="test")
        self.assertEqual(self.create("first", checkpoint="p-first").run("cat /dev/shm/file"),
                         "kept\n")

    def test_a_box_that_was_booted_from_its_files_can_still_be_saved(self):
        self.create("files").run("echo kept > /home/user/file")
        self.checkpoint("files", "p-files-1", then="end", memory=False)
        box = self.create("files", checkpoint="p-files-1")
        self.node.call("checkpoint.remove", checkpoint="p-files-1", tenant="default")
        self.restart_node()
        self.ready(box)
        self.checkpoint("files", "p-files-2", then="end")
        self.assertEqual(self.create("files", checkpoint="p-files-2").run("cat /home/user/file"),
                         "kept\n")


class KeyTest(RestartTest):
    """A key that comes later, with something kept in clear before."""

    test_children_of_a_base_of_their_own_can_still_be_saved = None
    test_a_box_that_was_booted_from_its_files_can_still_be_saved = None

    def test_what_is_saved_with_the_key_does_not_stand_on_what_was_not(self):
        self.create("early").run("echo early > /tmp/file")
        self.checkpoint("early", "s-early")
        path = "/run/hako-e2e-later-key"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(os.urandom(32))
        self.addCleanup(os.unlink, path)
        self.addCleanup(self.restart_node)
        self.addCleanup(self.hako.write_config)
        self.hako.write_config(f'[checkpoints]\nkey_file = "{path}"')
        self.restart_node()
        box = NodeBox(self.hako, "early")
        self.ready(box)
        box.run("echo later > /tmp/file")
        self.checkpoint("early", "s-later")
        self.node.call("box.destroy", box="early", reason="test")
        self.restart_node()
        again = self.create("early", checkpoint="s-later")
        self.assertEqual(again.run("cat /tmp/file"), "later\n")


class EncryptedTest(CheckpointCase):
    """With a key: and nothing that a box held is on disk in clear."""

    test_it_goes_on = PauseTest.test_a_paused_box_takes_nothing_and_goes_on_where_it_was
    changed = PauseTest.changed
    test_what_was_changed_is_refused = PauseTest.test_what_was_changed_is_refused

    @classmethod
    def setUpClass(cls):
        cls.key = "/run/hako-e2e-checkpoint-key"
        with open(os.open(cls.key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(os.urandom(32))
        cls.addClassCleanup(os.unlink, cls.key)
        cls.SETTINGS = f'[checkpoints]\nkey_file = "{cls.key}"'
        super().setUpClass()

    def test_nothing_of_it_is_in_clear(self):
        secret = "hunter2-" + os.urandom(8).hex()
        box = self.create("secretive")
        box.run(f"echo {secret} > /tmp/secret; sync; "
                f"setsid sh -c 'x={secret}; while :; do sleep 1; done' >/dev/null 2>&1 &")
        self.checkpoint("secretive", "s-secret", then="end")
        found = subprocess.run(["grep", "-rlF", secret, self.folder("s-secret"),
                                os.path.join(self.hako.state, "node", "bases")],
                               capture_output=True, text=True)
        self.assertEqual(found.stdout, "")
        again = self.create("secretive", checkpoint="s-secret")
        self.assertEqual(again.run("cat /tmp/secret"), secret + "\n")


class ClearTest(CheckpointCase):
    def test_without_a_key_the_search_finds_it(self):
        secret = "hunter2-" + os.urandom(8).hex()
        box = self.create("open")
        box.run(f"echo {secret} > /tmp/secret; sync")
        self.checkpoint("open", "s-open")
        found = subprocess.run(["grep", "-rlF", secret, self.folder("s-open")],
                               capture_output=True, text=True)
        self.assertNotEqual(found.stdout, "")


if __name__ == "__main__":
    unittest.main()
