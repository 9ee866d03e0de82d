"""Kills at each step of what is done with the states of boxes, and looks what came of it.

A story prepares a box, does one thing with it, and says what may be true afterwards. What was answered
is true; what was not may be, or not, but nothing in between; and what had been answered before still
is. Whose machines were killed may be gone, unless its state had been kept.
"""

import contextlib
import json
import os
import subprocess
import sys
import time

from rounds import Broken, Chaos
from violence import pid_of

STEPPER = os.path.join(os.path.dirname(__file__), "stepper.py")
SETTLE_SECONDS = 90
# What is done behind an answer is still a step of it.
BEHIND_SECONDS = 0.1

# Who dies -> the role whose steps are followed, and whom its stepper kills.
VICTIMS = {
    "node": ("node", "self"),
    "api": ("api", "self"),
    "VMMs": ("node", "vmms"),
    "old VMM": ("node", "old"),
    "new VMM": ("node", "new"),
    "all but VMMs": ("node", "self+pids"),
    "power": ("node", "self+pids+vmms"),
}
SUPERVISOR_DIES = {"all but VMMs", "power"}
VMMS_DIE = {"VMMs", "old VMM", "new VMM", "power"}


class Following:
    """Steps of a role while the block runs, with a kill at one of them if `at` is given. Behind the
    block: `steps`, their names; `killed`, how many processes."""

    def __init__(self, hako, victim, at=0):
        role, whom = VICTIMS[victim]
        with open(os.path.join(hako.run_dir, "up.json")) as file:
            state = json.load(file)
        others = [state["supervisor"]["pid"], *(r["process"]["pid"] for r in state["roles"])]
        self.words = [sys.executable, STEPPER, str(pid_of(hako, role)), "--at", str(at),
                      "--kill", whom, "--pids", ",".join(map(str, others)),
                      "--uids", f"{hako.uid_base},{hako.uid_base + 10_000}"]
        self.steps, self.killed = [], 0

    def __enter__(self):
        self.process = subprocess.Popen(self.words, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_):
        time.sleep(BEHIND_SECONDS)
        self.process.terminate()
        told = json.loads(self.process.communicate(timeout=20)[0])
        self.steps, self.killed = told["steps"], len(told["killed"])


class Story:
    """One thing that is done. `act()` returns what was answered if it was done, else None."""

    def __init__(self, cuts):
        self.cuts = cuts

    def prepare(self):
        self.box = self.cuts.create_with("first")

    def check(self, answered, vmms_killed):
        raise NotImplementedError


class Pause(Story):
    def act(self):
        return self.cuts.ask("POST", f"/sandboxes/{self.box}/pause", {}, 204)

    def check(self, answered, vmms_killed):
        state = self.cuts.state(self.box)
        if answered and state != "paused":
            raise Broken(f"it was paused, and is {state}")
        self.cuts.check_content(self.box, {"first"}, may_be_gone=vmms_killed and not answered)


class Resume(Story):
    def prepare(self):
        super().prepare()
        self.cuts.must("POST", f"/sandboxes/{self.box}/pause", {}, 204)

    def act(self):
        answer = self.cuts.ask("POST", f"/sandboxes/{self.box}/resume", {"timeout": 3600}, 201)
        # It runs when this goes, whether anybody hears of it or not.
        self.kept = os.path.exists(self.cuts.checkpoint(f"p-{self.box}-1"))
        return answer

    def check(self, answered, vmms_killed):
        if answered and not vmms_killed and self.cuts.state(self.box) != "running":
            raise Broken("it was resumed, and does not run")
        ran = answered or not self.kept
        self.cuts.check_content(self.box, {"first"}, may_be_gone=vmms_killed and ran)


class Snapshot(Story):
    def act(self):
        return self.cuts.ask("POST", f"/sandboxes/{self.box}/snapshots", {}, 201)

    def check(self, answered, vmms_killed):
        self.cuts.check_content(self.box, {"first"}, may_be_gone=vmms_killed)
        listed = self.cuts.snapshots_of(self.box)
        if answered and answered["snapshotID"] not in listed:
            raise Broken("the snapshot that was taken is not there")
        for snapshot in listed:
            self.cuts.check_snapshot(snapshot, "first")


class Fork(Story):
    def act(self):
        return self.cuts.ask("POST", f"/sandboxes/{self.box}/fork",
                             {"count": 2, "timeout": 3600}, 201)

    def check(self, answered, vmms_killed):
        self.cuts.check_content(self.box, {"first"}, may_be_gone=vmms_killed)
        for child in answered or []:
            if "sandbox" in child:
                made = self.cuts.keep(child["sandbox"])
                self.cuts.check_content(made, {"first"}, may_be_gone=vmms_killed)


class Rollback(Story):
    def prepare(self):
        super().prepare()
        taken = self.cuts.must("POST", f"/sandboxes/{self.box}/snapshots", {}, 201)
        self.snapshot = taken["snapshotID"]
        self.cuts.write(self.box, "second")

    def act(self):
        return self.cuts.ask("POST", f"/v1/sandboxes/{self.box}/rollback",
                             {"snapshotID": self.snapshot}, 200)

    def check(self, answered, vmms_killed):
        self.cuts.check_content(self.box, {"first"} if answered else {"first", "second"},
                                may_be_gone=vmms_killed)
        self.cuts.check_snapshot(self.snapshot, "first")


class Drop(Story):
    """A paused box is destroyed, and with it goes the last that stands on its base."""

    def prepare(self):
        super().prepare()
        self.cuts.must("POST", f"/sandboxes/{self.box}/pause", {}, 204)

    def act(self):
        return self.cuts.ask("DELETE", f"/sandboxes/{self.box}", None, 204)

    def check(self, answered, vmms_killed):
        state = self.cuts.state(self.box)
        if answered and state:
            raise Broken(f"it was destroyed, and is {state}")
        if state:
            self.cuts.check_content(self.box, {"first"}, may_be_gone=False)


class Collect(Story):
    """One of two snapshots goes: what the other stands on stays."""

    def prepare(self):
        super().prepare()
        path = f"/sandboxes/{self.box}/snapshots"
        self.first, self.second = [self.cuts.must("POST", path, {}, 201)["snapshotID"]
                                   for _ in range(2)]
        self.cuts.must("DELETE", f"/sandboxes/{self.box}", None, 204)

    def act(self):
        return self.cuts.ask("DELETE", f"/templates/{self.first}", None, 204)

    def check(self, answered, vmms_killed):
        listed = self.cuts.snapshots_of(self.box)
        if answered and self.first in listed:
            raise Broken("the snapshot that was deleted is there")
        if self.second not in listed:
            raise Broken("the other snapshot has gone")
        for snapshot in listed:
            self.cuts.check_snapshot(snapshot, "first")


STORIES = {"pause": Pause, "resume": Resume, "snapshot": Snapshot, "fork": Fork,
           "rollback": Rollback, "drop": Drop, "collect": Collect}


class PowerCuts:
    """Against `hako`, which runs, and in which nothing else is done."""

    def __init__(self, hako, seed=0):
        self.hako = hako
        self.chaos = Chaos(hako, seed)
        self.boxes = {}  # id -> as it was answered
        self.text = ""   # what tells this round's content from those before

    def steps_of(self, story):
        """Role -> names of its steps, when nothing is killed."""
        node, api = Following(self.hako, "node"), Following(self.hako, "api")
        self._round(story, "nobody", node, api)
        return {"node": node.steps, "api": api.steps}

    def cut(self, story, victim, at):
        """Whether there was anything to kill."""
        following = Following(self.hako, victim, at)
        try:
            self._round(story, victim, following)
            return following.killed > 0
        except Exception as fault:
            raise Broken(f"{story}, step {at}, {victim} killed: {fault}\n{self.hako.logs()}") \
                from fault

    def _round(self, story, victim, *followings):
        self.text = os.urandom(6).hex()
        told = STORIES[story](self)
        told.prepare()
        with contextlib.ExitStack() as stack:
            for following in followings:
                stack.enter_context(following)
            answered = told.act()
        killed = any(following.killed for following in followings)
        if killed and victim in SUPERVISOR_DIES:
            self.hako.start()
        if killed:
            self.chaos.wait_until_calm()
        told.check(answered, vmms_killed=killed and victim in VMMS_DIE)
        self.clean()
        left = self.chaos.wait_until_owned()
        if left:
            raise Broken("without an owner:\n  " + "\n  ".join(left))
        return following

    def clean(self):
        """Away with what the round has made."""
        for path in [f"/sandboxes/{box}" for box in self.boxes] + \
                    [f"/templates/{snapshot}" for snapshot in self.snapshots_of("")]:
            status, answer = self._until_known("DELETE", path)
            if status not in (204, 404):
                raise Broken(f"DELETE {path}: {status} {answer}")
        self.boxes.clear()

    # What stories need.

    def checkpoint(self, name):
        return os.path.join(self.hako.state, "node", "checkpoints", name)

    def ask(self, method, path, body, wanted):
        """The answer, which may be empty, if it was `wanted`; None for any other, and for none."""
        status, _, answer = self.chaos._request(method, path, body, timeout=100)
        if status != wanted:
            return None
        return {} if answer is None else answer

    def _until_known(self, method, path, body=None):
        """(status, answer), once there is one that does not say: later."""
        end = time.monotonic() + SETTLE_SECONDS
        while True:
            status, _, answer = self.chaos._request(method, path, body, timeout=100)
            # What was cut off stands as under way until the api has asked the node about it.
            later = status in (0, 503, 504) or status == 409 and "is being" in answer["message"]
            if not later or time.monotonic() > end:
                return status, answer
            time.sleep(0.1)

    def must(self, method, path, body, wanted):
        status, answer = self._until_known(method, path, body)
        if status != wanted:
            raise Broken(f"{method} {path}: {status} {answer}")
        return answer

    def keep(self, sandbox):
        self.boxes[sandbox["sandboxID"]] = sandbox
        return sandbox["sandboxID"]

    def create_with(self, word):
        box = self.keep(self.hako.create(timeout=3600))
        self.write(box, word)
        return box

    def write(self, box, word):
        self.inside(box, f"echo {word}-{self.text} | tee /dev/shm/note > /home/user/note")

    def inside(self, box, script):
        """What a shell in the box says; as soon as the gate knows it."""
        done = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            end = time.monotonic() + SETTLE_SECONDS
            while time.monotonic() < end:
                done = self.hako.cli("exec", box, "--timeout", "30s", "--", "sh", "-c", script,
                                     check=False)
                if done.returncode == 0:
                    return done.stdout
                if self.state(box) is None:
                    return None
                time.sleep(0.1)
        raise Broken(f"box {box} does not work: {done and done.stderr}")

    def state(self, box):
        """Where it has come to rest; None if it is no more."""
        end = time.monotonic() + SETTLE_SECONDS
        while True:
            status, answer = self._until_known("GET", f"/sandboxes/{box}")
            if status == 404:
                return None
            if status == 200 and answer["state"] in ("running", "paused"):
                return answer["state"]
            if time.monotonic() > end:
                raise Broken(f"box {box}: {status} {answer}")
            time.sleep(0.1)

    def check_content(self, box, words, may_be_gone):
        state = self.state(box)
        if state == "paused":
            self.must("POST", f"/sandboxes/{box}/resume", {"timeout": 3600}, 201)
        said = self.inside(box, "cat /dev/shm/note /home/user/note") if state else None
        if said is None:
            if not may_be_gone:
                raise Broken(f"box {box} is lost")
            return
        right = [f"{word}-{self.text}\n" * 2 for word in words]
        if said not in right:
            raise Broken(f"box {box} has {said!r} and not one of {right}")

    def snapshots_of(self, box):
        query = f"?sandboxID={box}" if box else ""
        listed = self.must("GET", f"/snapshots{query}", None, 200)
        return [each["snapshotID"] for each in listed]

    def check_snapshot(self, snapshot, word):
        made = self.keep(self.must("POST", "/v2/sandboxes",
                                   {"templateID": snapshot, "timeout": 3600}, 201))
        self.check_content(made, {word}, may_be_gone=False)
