"""Random work and random violence against one hako, and what must be true afterwards.

A box counts as promised from the answer 201 on, until its end is asked for, its time has passed, or
its own VMM is killed. What is promised is there with its file after everything else has been killed,
what is not promised may be there or not, and nothing at all is without an owner.
"""

import concurrent.futures
import json
import os
import random
import signal
import threading
import time
import urllib.error

from inventory import orphans

# A box without a row may be one that is being made: the api gives it a minute, and looks once in
# each.
SETTLE_SECONDS = 180


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
        self.done = {}  # what was done, how often
        self.number = 0

    def run(self, rounds, check_every=10):
        for self.number in range(1, rounds + 1):
            name, action = self.random.choice(self._actions())
            self.done[name] = self.done.get(name, 0) + 1
            action()
            if self.number % check_every == 0:
                self.check()
        self.check()

    def _actions(self):
        calm = [("create", self.create), ("create", self.create), ("create", self.create),
                ("creates at once", self.create_several),
                ("exec", self.exec), ("exec", self.exec), ("write", self.write),
                ("destroy", self.destroy), ("destroy", self.destroy),
                ("short life", self.create_short)]
        violent = [("kill gate", lambda: self.kill_role("gate")),
                   ("kill node", lambda: self.kill_role("node")),
                   ("kill api", lambda: self.kill_role("api")),
                   ("kill all roles", self.kill_all_roles),
                   ("kill a role during creates", self.kill_role_during_creates),
                   ("kill a role during destroys", self.kill_role_during_destroys),
                   ("kill VMM", self.kill_vmm),
                   ("kill VMM in the making", self.kill_young_vmm)]
        return calm + violent

    # What users do. While roles are being killed any of it may fail; it must then not count.

    def _request(self, *words, **named):
        try:
            return self.hako.request(*words, **named)
        except (OSError, urllib.error.URLError):
            return 0, None, None  # no answer

    def create(self, timeout=3600):
        status, _, sandbox = self._request("POST", "/v2/sandboxes",
                                           {"templateID": "base", "timeout": timeout}, timeout=90)
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
            self.hako.cli("exec", box, "--timeout", "20s", "--", "true", check=False)

    def write(self):
        box = self._any()
        if not box:
            return
        text = f"{self.seed}-{self.number}"
        # The old text stays right until the new one is acknowledged, and either is right if not.
        before = self.promised[box]
        self.promised[box] = (before, text)
        done = self.hako.cli("exec", box, "--timeout", "20s", "--", "sh", "-c",
                             f"echo {text} > /home/user/.new && mv /home/user/.new /home/user/mark",
                             check=False)
        if done.returncode == 0:
            self.promised[box] = text

    def destroy(self, box=None):
        box = box or self._any()
        if not box:
            return
        self.promised.pop(box, None)
        if self._request("DELETE", f"/sandboxes/{box}")[0] == 204:
            self.ended.add(box)

    # What must not harm them.

    def _pid(self, role):
        try:
            return self.hako.role(role)
        except (OSError, ValueError, StopIteration):
            return 0  # it is being started

    def kill_role(self, role):
        pid = self._pid(role)
        if pid:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def kill_all_roles(self):
        for role in ("api", "gate", "node"):
            self.kill_role(role)

    def _later(self, action):
        """At a random moment of what takes some 50 to 500 ms."""
        timer = threading.Timer(self.random.random() * 0.5, action)
        timer.start()
        return timer

    def kill_role_during_creates(self):
        timer = self._later(lambda role=self.random.choice(("node", "gate", "api")):
                            self.kill_role(role))
        self.create_several()
        timer.join()

    def kill_role_during_destroys(self):
        victims = sorted(self.promised)[:3]
        timer = self._later(lambda role=self.random.choice(("node", "gate", "api")):
                            self.kill_role(role))
        for box in victims:
            self.destroy(box)
        timer.join()

    def kill_vmm(self):
        box = self._any()
        if not box:
            return
        try:
            pid = self.hako.record_of(box)["pid"]
        except (AssertionError, OSError, ValueError):
            return  # its record is being written
        self.promised.pop(box)
        os.kill(pid, signal.SIGKILL)

    def kill_young_vmm(self):
        """The first VMM that appears while a create is going on, whoever it is for."""
        before = set(self.hako.vmm_processes())
        made = threading.Event()

        def hunt():
            while not made.is_set():
                young = set(self.hako.vmm_processes()) - before
                if young:
                    try:
                        os.kill(min(young), signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                    return min(young)
            return 0

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            hunted = pool.submit(hunt)
            box = self.create()
            made.set()
            victim = hunted.result()
        # A box that was acknowledged and then killed is lost by right.
        try:
            if box and victim and self.hako.record_of(box)["pid"] == victim:
                self.promised.pop(box, None)
        except (AssertionError, OSError, ValueError):
            self.promised.pop(box, None)

    # What must be true.

    def check(self):
        self.wait_until_calm()
        for box, text in self.promised.items():
            self._check_kept(box, text)
        for box in self.ended:
            if self._request("GET", f"/sandboxes/{box}")[0] != 404:
                self._fail(f"box {box} is there after its end was acknowledged")
        self.ended.clear()
        left = self.wait_until_owned()
        if left:
            self._fail("without an owner:\n  " + "\n  ".join(left))

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

    def wait_until_calm(self):
        """Until the api answers and its node is there."""
        end = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < end:
            status, _, health = self._request("GET", "/health", timeout=5)
            if status == 200 and health["node"] == "connected":
                if self._request("GET", "/v1/info", timeout=5)[0] == 200:
                    return
            time.sleep(0.2)
        self._fail("hako does not come back")

    def wait_until_owned(self):
        """What is still without an owner when hako has had time to look after it."""
        end = time.monotonic() + SETTLE_SECONDS
        left = ["never looked"]
        while time.monotonic() < end:
            try:
                left = orphans(self.hako)
            except (OSError, ValueError) as fault:
                left = [f"cannot look: {fault}"]
            if not left:
                return []
            time.sleep(1)
        return left

    def _fail(self, what):
        raise Broken(f"seed {self.seed}, round {self.number}: {what}\n{json.dumps(self.done)}\n"
                     + self.hako.logs())
