"""Nothing leaves a box but what its policy allows: attacks from inside real boxes, judged by what
has arrived in a world outside that the test makes; the same without a wall, where they must be
noticed; and a report of it all."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "attack"))

import control
import judge
import namespaces
import rules
import zone
from harness import BIN, Hako
from world import World

GATE_WITHOUT_WALLS = os.path.abspath(os.path.join(BIN, "..", "tests", "hako-gate-test"))
# All of it with every label, and every port: for longer than a test run should take.
FULL = bool(os.environ.get("HAKO_ATTACK_FULL"))

# What only a gate that looks up names itself can be tricked by, and what needs a host with vsock.
# The walls of that gate are taken away one by one below.
ONLY_BEHIND_A_GATE = ("inward-", "vsock-host")


def setUpModule():
    global world, host, probe
    # This process is the machine that hako runs on, in a namespace of its own.
    namespaces.leave()
    world = World()
    world.__enter__()
    host = control.HostServices(world.secret)
    folder = tempfile.TemporaryDirectory(prefix="hako-probe-")
    probe = os.path.join(folder.name, "probe.zip")
    judge.pack_probe(probe)
    unittest.addModuleCleanup(folder.cleanup)
    unittest.addModuleCleanup(world.__exit__)


def plan_for(level, **more):
    return {"level": level, "world": True, "secret": world.secret, "authority": world.authority,
            "public": zone.EVIL, "shared": zone.SHARED,
            "host": {"addresses": [zone.HOST, zone.HOST6], "ports": [host.port, host.local]},
            "neighbour": {"id": "itest", "port": 8000}, "patience": 14,
            "scan_seconds": 120 if FULL else 10, **more}


class ControlTest(unittest.TestCase):
    """Behind an ordinary router each attack arrives, or hangs: so its refusal by hako is hako's."""

    def test_without_hako_attacks_are_noticed(self):
        done = []
        with control.OpenBox() as box:
            for level in ("allow", "none", "internet"):
                world.take()
                box.recorder.take()
                plan = plan_for(level, resolver=control.ROUTER, patience=3, scan_seconds=3,
                                skip=done)
                results = judge.parse(box.run(probe, plan))
                judge.convict(results, world.take())
                on_link = {said["attack"] for said in box.recorder.take()[1]}
                done += [result["id"] for result in results]
                missed = [result["id"] for result in results if result["kind"] == "attack" and
                          result["verdict"] == "refused" and result["id"] not in on_link and
                          not result["id"].startswith(ONLY_BEHIND_A_GATE)]
                self.assertEqual(missed, [])
                failed = [result for result in results if result["verdict"] in (
                    "FAILED", "FALSELY REFUSED")]
                self.assertEqual(failed, [])
        self.assertGreater(len(done), 350)


class Attacked:
    """A hako with boxes to attack from. For test classes."""

    @classmethod
    def start(cls, **options):
        cls.hako = Hako(pool=2, settings=rules.SETTINGS, **options)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()

    def box(self, body):
        box = self.hako.create(timeout=600, **body)
        self.addCleanup(self.hako.destroy, box)
        self.hako.cli("cp", "-q", probe, f"{box['sandboxID']}:/tmp/probe.zip")
        return box["sandboxID"]

    def attack(self, box, plan, check=True):
        """The results of a probe in the box, with what arrived outside counted in."""
        world.take()
        host.reached.clear()
        done = self.hako.cli("exec", box, "-u", "root", "-i", "--", "python3", "/tmp/probe.zip",
                             input=json.dumps(plan), timeout=400)
        results = judge.parse(done.stdout)
        self.assertGreater(len(results), 0, done.stdout + done.stderr)
        arrived = world.take()
        judge.convict(results, arrived)
        for what in rules.strays(plan["level"], arrived):
            results.append({"id": "stray", "title": "arrived outside", "kind": "attack",
                            "verdict": "LEAKED", "how": what, "seconds": 0})
        for sender, port in host.reached:
            results.append({"id": "host", "title": "reached the host itself", "kind": "attack",
                            "verdict": "LEAKED", "how": f"{sender} at port {port}", "seconds": 0})
        return results

    def assert_holds(self, title, results):
        judge.report(title, results)
        self.assertEqual([f"{r['verdict']} {r['id']}" for r in judge.bad(results)], [],
                         self.hako.logs())


NEIGHBOUR = """
import http.server, sys
class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open("/tmp/heard", "ab") as heard:
            heard.write(self.requestline.encode() + bytes(self.headers) + b"\\n")
        self.send_response(200)
        self.send_header("X-World", sys.argv[1])
        self.send_header("Content-Length", "0")
        self.end_headers()
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Server).serve_forever()
"""


class LevelsTest(Attacked, unittest.TestCase):
    """Each attack at each level."""

    @classmethod
    def setUpClass(cls):
        cls.start()
        cls.neighbour = cls.hako.create(timeout=900)["sandboxID"]
        cls.hako.cli("exec", cls.neighbour, "--", "sh", "-c",
                     f"nohup python3 -c '{NEIGHBOUR}' {world.secret} >/dev/null 2>&1 &")

    def run_level(self, title, level, body):
        box = self.box(body)
        plan = plan_for(level)
        plan["neighbour"]["id"] = self.neighbour
        plan["host"]["ports"] += [self.hako.api_port, self.hako.gate_port]
        status, _, link = self.hako.request("POST", "/v1/links", {
            "from": box, "to": self.neighbour, "port": 8000, "name": "linked.box"})
        self.assertEqual(status, 201, link)
        plan["link"] = {"name": "linked.box", "port": 8000, "secret": world.secret}
        results = self.attack(box, plan)
        heard = self.hako.exec(self.neighbour, "sh", "-c", "cat /tmp/heard; rm -f /tmp/heard")
        for attack in judge.attacks_in(heard.stdout):
            results.append({"id": attack, "title": "reached another box", "kind": "attack",
                            "verdict": "LEAKED", "how": heard.stdout, "seconds": 0})
        self.assert_holds(title, results)
        return box

    def test_none(self):
        self.run_level("level none", "none", rules.BODIES["none"])

    def test_allow(self):
        self.run_level("level allow", "allow", rules.BODIES["allow"])

    def test_internet(self):
        self.run_level("level internet", "internet", rules.BODIES["internet"])


if __name__ == "__main__":
    unittest.main()
