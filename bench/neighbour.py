"""What a tenant notices of another that asks for everything it can."""

import json
import os
import subprocess
import sys
import time

from client import Box, Connection
from harness import Hako

HERE = os.path.dirname(os.path.abspath(__file__))
# What the greedy one may have at once: far more than the machine can run well.
QUOTA = {"boxes": 12, "vcpus": 12, "memoryMB": 6144, "createsPerMinute": 120}
# Everything that keeps tenants from one another's way, but for the quota, taken away.
UNFAIR = """
[fairness]
cpu_shares = false
creates_at_once = 4096
creates_waiting = 4096
calls_at_once = 512
calls_per_second = 0
pool_kept = 0
"""


class Greedy:
    """The greedy tenant's client. It runs at the lowest priority: elsewhere it would be another
    machine's work, and not take this one's processors."""

    def __init__(self, hako, key):
        self.hako, self.key = hako, key

    def __enter__(self):
        self.process = subprocess.Popen(
            ["nice", "-n", "19", sys.executable, os.path.join(HERE, "greedy.py"),
             str(self.hako.api_port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdin.write(self.key + "\n")
        self.process.stdin.flush()
        wait_until(lambda: self.boxes() >= QUOTA["boxes"] - 4, 120)
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.counts = json.loads(self.process.stdout.readline() or "{}")
        self.process.kill()
        self.process.wait()
        # A create that was under way may bring one more.
        end = time.monotonic() + 120
        while time.monotonic() < end:
            for box in self.listed():
                self.hako.request("DELETE", f"/sandboxes/{box['sandboxID']}",
                                  headers={"X-API-KEY": self.key}, key=False)
            time.sleep(1)
            if not self.listed():
                return
        raise RuntimeError("the greedy tenant's boxes do not end")

    def listed(self):
        status, _, boxes = self.hako.request("GET", "/v2/sandboxes",
                                             headers={"X-API-KEY": self.key}, key=False)
        return boxes if status == 200 else []

    def boxes(self):
        return len(self.listed())


def wait_until(true, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return
        time.sleep(0.5)
    raise RuntimeError("what was waited for did not come")


def make_tenant(hako, name, quota):
    status, _, answer = hako.request("POST", "/v1/tenants", {"name": name, "quota": quota})
    if status != 201:
        raise RuntimeError(f"tenant: {status} {answer}")
    status, _, answer = hako.request("POST", "/v1/keys", {"role": "owner"},
                                     headers={"X-Hako-Tenant": name})
    if status != 201:
        raise RuntimeError(f"key: {status} {answer}")
    return answer["key"]


def samples(hako, key, count, pause):
    """Seconds from create to the first output, of one tenant's boxes one after another."""
    connection = Connection(hako)
    connection.key = key
    seconds = []
    for _ in range(count):
        time.sleep(pause)
        start = time.perf_counter()
        box = Box.create(hako, connection)
        box.exec("/bin/echo", "hello", expect=b"hello\n")
        seconds.append(time.perf_counter() - start)
        box.destroy()
    return seconds


def run(settings, rounds, each, pause=2.0):
    """(alone, beside, what the greedy one got): rounds alternate, so that a busy moment of the
    machine meets both."""
    alone, beside, got = [], [], {}
    with Hako(pool=4, settings=settings) as hako:
        greedy = make_tenant(hako, "greedy", QUOTA)
        small = make_tenant(hako, "small", {})
        hako.wait_for_pool()
        samples(hako, small, 2, pause)
        for _ in range(rounds):
            hako.wait_for_pool()
            alone += samples(hako, small, each, pause)
            with Greedy(hako, greedy) as load:
                beside += samples(hako, small, each, pause)
            for name, value in load.counts.items():
                got[name] = got.get(name, 0) + value
    return alone, beside, got


def measure(report, quick):
    rounds, each = (2, 5) if quick else (5, 20)
    # What fairness is for shows in a few samples, which take long without it.
    for settings, what, rounds, each in (("", "", rounds, each),
                                         (UNFAIR, ", without fairness", 2, 5)):
        alone, beside, got = run(settings, rounds, each)
        note = ", ".join(f"{value} {name}" for name, value in got.items())
        print(f"  the greedy tenant: {note}", file=sys.stderr)
        report.times("create to output, tenant alone" + what, alone)
        report.times("the same beside a greedy tenant" + what, beside, note)
        worst = report.rows[-1]["p99"] / report.rows[-2]["p99"]
        middle = report.rows[-1]["p50"] / report.rows[-2]["p50"]
        report.value("p99 beside a greedy tenant, as a multiple of alone" + what, worst, "times")
        report.value("p50 beside a greedy tenant, as a multiple of alone" + what, middle, "times")
