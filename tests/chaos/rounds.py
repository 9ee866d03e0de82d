"""Random work and random violence against one hako, and what must be true afterwards.

A box counts as promised from the answer 201 on, until its end is asked for, its time has passed, or
its own VMM is killed. What is promised is there with its file after everything else has been killed,
what is not promised may be there or not, and nothing at all is without an owner.
"""

import collections
import concurrent.futures
import json
import random
import time
import urllib.error

from inventory import box_of, orphans
from violence import (LAUNCH_SECONDS, ROLES, Hunt, can_inject, failing_call, full_disk, kill,
                      kill_everything, kill_role, later)

# A box without a row may be one that is being made: the api gives it a minute, and looks once in
# each.
SETTLE_SECONDS = 180
# A role that was killed is away for a moment; users come a little later then.
PATIENCE_SECONDS = 3


class Broken(AssertionError):
    """A promise was not kept. Says what, and which seed and round to repeat it with."""


class Chaos:
    """Rounds against `hako`, which runs. Every choice comes from `seed`; what the machine's own
    timing makes of it does not."""

    def __init__(self, hako, seed, most_boxes=6):
        self.hako = hako
        self.seed = seed
        self.random = random.Random(seed)
        self.most_boxes = most_boxes
        self.promised = {}  # box -> the text in its file
        self.ended = set()  # those whose end was acknowledged
        self.done = collections.Counter()  # what was done, how often
        self.met = collections.Counter()  # what came of it
        self.seconds = collections.Counter()  # what took how long
        self.number = 0

    def run(self, rounds, check_every=25):
        actions = self._actions()
        first = time.monotonic()
        for self.number in range(1, rounds + 1):
            name, action = self.random.choice(actions)
            self.done[name] += 1
            began = time.monotonic()
            action()
            self.seconds[name] += time.monotonic() - began
            if self.number % check_every == 0:
                self.check()
            if self.number % 100 == 0:
                print(f"\n{self.number} rounds, {time.monotonic() - first:.0f} s: "
                      f"{dict(self.met)}", flush=True)
        self.check()

    def _actions(self):
        calm = [("create", self.create)] * 4 + [("creates at once", self.create_several)] * 2 + [
            ("exec", self.exec), ("exec", self.exec), ("write", self.write), ("write", self.write),
            ("destroy", self.destroy), ("destroy", self.destroy),
            ("short life", self.create_short)]
        violent = [("kill gate", lambda: kill_role(self.hako, "gate")),
                   ("kill node", lambda: kill_role(self.hako, "node")),
                   ("kill api", lambda: kill_role(self.hako, "api")),
                   ("kill all roles", self.kill_all_roles),
                   ("kill everything", lambda: kill_everything(self.hako)),
                   ("kill a role during creates", self.kill_role_during_creates),
                   ("kill a role during destroys", self.kill_role_during_destroys),
                   ("kill VMM", self.kill_vmm),
                   ("kill a launcher", lambda: self.kill_launch(0)),
                   ("kill VMM in the making",
                    lambda: self.kill_launch(self.random.random() * LAUNCH_SECONDS)),
                   ("kill a role at a launch", self.kill_role_at_launch),
                   ("disk full", self.fill_disk)]
        if can_inject():
            violent.append(("failing call", self.fail_call))
        return calm + violent

    def summary(self):
        """What was done, what came of it, and what took how long."""
        return json.dumps({"done": self.done, "met": self.met,
                           "seconds": {k: round(v, 1) for k, v in self.seconds.items()}})

    # What users do. While roles are being killed any of it may fail; it must then not count.

    def _request(self, *words, **named):
        try:
            return self.hako.request(*words, **named)
        except (OSError, urllib.error.URLError):
            return 0, None, None  # no answer

    def create(self, timeout=3600):
        self._await(PATIENCE_SECONDS)
        status, _, sandbox = self._request("POST", "/v2/sandboxes",
                                           {"templateID": "base", "timeout": timeout}, timeout=90)
        self.met[f"create: {status or 'no answer'}"] += 1
        if status != 201:
            return None
        if timeout >= 3600:
            self.promised[sandbox["sandboxID"]] = None
        if len(self.promised) > self.most_boxes:
            self.destroy()
        return sandbox["sandboxID"]

    def create_short(self):
        self.create(timeout=1)

    def create_several(self):
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda _: self.create(), range(3)))

    def _any(self):
        return self.random.choice(sorted(self.promised)) if self.promised else None

    def exec(self):
        box = self._any()
        if box:
            done = self.hako.cli("exec", box, "--timeout", "20s", "--", "true", check=False)
            self.met["exec: " + ("done" if done.returncode == 0 else "failed")] += 1

    def write(self):
        box = self._any()
        if not box:
            return
        text = f"{self.seed}-{self.number}"
        # The old text stays right until the new one is acknowledged, and either is right if not.
        before = self.promised[box]
        self.promised[box] = (before, text)
        done = self.hako.cli("exec", box, "--timeout", "20s", "--", "sh", "-c",
                             f"echo {text} > /home/user/.new && sync /home/user/.new && "
                             "mv /home/user/.new /home/user/mark", check=False)
        self.met["write: " + ("done" if done.returncode == 0 else "failed")] += 1
        if done.returncode == 0:
            self.promised[box] = text

    def destroy(self, box=None):
        box = box or self._any()
        if not box:
            return
        self.promised.pop(box, None)
        status = self._request("DELETE", f"/sandboxes/{box}")[0]
        self.met[f"destroy: {status or 'no answer'}"] += 1
        if status == 204:
            self.ended.add(box)

    # What must not harm them, beside what users do.

    def kill_all_roles(self):
        for role in ROLES:
            kill_role(self.hako, role)

    def _kill_some_role_later(self):
        """At a random moment of what takes some 50 to 500 ms."""
        role = self.random.choice(ROLES)
        return later(self.random.random() * 0.5, lambda: kill_role(self.hako, role))

    def kill_role_during_creates(self):
        with self._kill_some_role_later():
            self.create_several()

    def kill_role_during_destroys(self):
        with self._kill_some_role_later():
            for box in sorted(self.promised)[:3]:
                self.destroy(box)

    def kill_vmm(self):
        box = self._any()
        if not box:
            return
        try:
            pid = self.hako.record_of(box)["pid"]
        except (AssertionError, OSError, ValueError):
            return  # its record is being written
        self.promised.pop(box)
        kill(pid)

    def kill_launch(self, delay):
        """The process that the node starts next, so long after its fork, whoever it is for."""
        hit = []

        def end(pid):
            # Whose it was, if it was anybody's: lost by right, also if it is still acknowledged.
            hit.append(box_of(self.hako, pid))
            killed = kill(pid)
            hit.append(box_of(self.hako, pid))
            return killed

        with Hunt(self.hako, delay, end) as hunt:
            self.create()
        self.met["launch: " + ("killed" if hunt.caught else "none seen")] += 1
        for box in hit:
            self.promised.pop(box, None)

    def kill_role_at_launch(self):
        role = self.random.choice(("node", "node", "gate", "api"))
        delay = self.random.random() * LAUNCH_SECONDS
        with Hunt(self.hako, delay, lambda _: kill_role(self.hako, role)) as hunt:
            self.create()
        self.met[f"{role} at a launch: " + ("killed" if hunt.caught else "none seen")] += 1

    def fill_disk(self):
        left = self.random.choice((0, 4 << 10, 64 << 10, 1 << 20, 16 << 20))
        role = self.random.choice(("", "", *ROLES))
        with full_disk(self.hako, left):
            self.create_several()
            if role:
                kill_role(self.hako, role)
            self.write()
            self.destroy()
            self.create()

    def fail_call(self):
        name, failing = failing_call(self.hako, self.random)
        with failing:
            box = self.create()
            if box:
                self.destroy(box)

    # What must be true.

    def check(self):
        began = time.monotonic()
        self.wait_until_calm()
        for box, text in self.promised.items():
            self._check_kept(box, text)
        for box in self.ended:
            if self._request("GET", f"/sandboxes/{box}")[0] != 404:
                self._fail(f"box {box} is there after its end was acknowledged")
        self.met["boxes looked at"] += len(self.promised)
        self.ended.clear()
        self.seconds["check"] += time.monotonic() - began
        left = self.wait_until_owned()
        if left:
            self._fail("without an owner:\n  " + "\n  ".join(left))
        self.met["checks"] += 1

    def _check_kept(self, box, text):
        status = self._request("GET", f"/sandboxes/{box}")[0]
        if status != 200:
            self._fail(f"box {box} was promised and is not there: {status}")
        end = time.monotonic() + SETTLE_SECONDS
        while True:  # the gate may just be on its way back
            done = self.hako.cli("exec", box, "--timeout", "30s", "--", "sh", "-c",
                                 "cat /home/user/mark 2>/dev/null; true", check=False)
            if done.returncode == 0:
                break
            if time.monotonic() > end:
                self._fail(f"box {box} does not work: {done.stderr}")
            time.sleep(0.2)
        right = text if isinstance(text, tuple) else (text,)
        flat = set()
        while isinstance(right, tuple):
            flat.add(right[-1])
            right = right[0] if len(right) > 1 else None
        flat.add(right)
        if (done.stdout.strip() or None) not in flat:
            self._fail(f"box {box} has {done.stdout!r} and not one of {flat}")

    def _await(self, seconds):
        """Whether the api answers and its node is there."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status, _, health = self._request("GET", "/health", timeout=5)
            if status == 200 and health["node"] == "connected":
                return True
            time.sleep(0.1)
        return False

    def wait_until_calm(self):
        end = time.monotonic() + SETTLE_SECONDS
        while self._await(end - time.monotonic()):
            if self._request("GET", "/v1/info", timeout=5)[0] == 200:
                return
            time.sleep(0.2)
        self._fail("hako does not come back")

    def wait_until_owned(self):
        """What is still without an owner when hako has had time to look after it."""
        began = time.monotonic()
        left = ["never looked"]
        while left and time.monotonic() < began + SETTLE_SECONDS:
            try:
                left = orphans(self.hako)
            except (OSError, ValueError) as fault:
                left = [f"cannot look: {fault}"]
            if left:
                self.met["looks that found something on its way"] += 1
                time.sleep(0.5)
        self.seconds["wait until owned"] += time.monotonic() - began
        return left

    def _fail(self, what):
        raise Broken(f"seed {self.seed}, round {self.number}: {what}\n{self.summary()}\n"
                     + self.hako.logs())
