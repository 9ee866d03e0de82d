"""A secret reaches its host and nobody else, and its placeholder becomes it in one place only: attacks
from inside real boxes that have secrets, judged by what has arrived in a world outside; and the same
without the checks, where they must be noticed."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "attack"))

import judge
import namespaces
import rules
import zone
from harness import BIN, Hako
from world import World

GATE_WITHOUT_WALLS = os.path.abspath(os.path.join(BIN, "..", "tests", "hako-gate-test"))
HOST, OTHER, PLAIN = "keys.test", "other-keys.test", "shared.test"
VALUE, OTHER_VALUE = "sk-real-0123456789abcdefghij", "gh-real-ABCDEFGHIJ9876543210"
BODY = {"egress": "allow", "allow": [HOST, OTHER, PLAIN], "secrets": ["one", "two"]}


def setUpModule():
    global world, probe
    # This process is the machine that hako runs on, in a namespace of its own.
    namespaces.leave()
    world = World()
    world.__enter__()
    folder = tempfile.TemporaryDirectory(prefix="hako-probe-")
    probe = os.path.join(folder.name, "probe.zip")
    judge.pack_probe(probe)
    unittest.addModuleCleanup(folder.cleanup)
    unittest.addModuleCleanup(world.__exit__)


# Those whose placeholder comes behind the head of a request.
STREAMED = {f"secret-{name}" for name in (
    "body", "body-json", "body-form", "body-base64", "body-far", "body-cut", "trailer", "gzip",
    "gzip-behind", "deflate", "bomb", "bad-chunk")}


class SecretsAttacked:
    """A hako that keeps two secrets, and boxes that may use them. For test classes."""

    @classmethod
    def start(cls, **options):
        master = os.path.join(world.folder.name, "master-key")
        with open(master, "w") as file:
            file.write("7c" * 32)
        os.chmod(master, 0o600)
        settings = rules.SETTINGS + f"""
            [secrets]
            master_key_file = "{master}"
            [gate]
            upstream_ca_file = "{world.folder.name}/ca.pem"
        """
        cls.hako = Hako(pool=2, settings=settings, **options)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()
        for name, value, host in (("one", VALUE, HOST), ("two", OTHER_VALUE, OTHER)):
            status, _, made = cls.hako.request("POST", "/v1/secrets", {
                "name": name, "value": value, "hosts": [host], "env": f"KEY_{name.upper()}",
                "use": {"kind": "header", "header": "x-api-key"}})
            assert status == 201, made

    def box(self, body):
        box = self.hako.create(timeout=600, **body)
        self.addCleanup(self.hako.destroy, box)
        self.hako.cli("cp", "-q", probe, f"{box['sandboxID']}:/tmp/probe.zip")
        return box["sandboxID"]

    def placeholder(self, box, name):
        return self.hako.exec(box, "printenv", f"KEY_{name.upper()}").stdout.strip()

    def plan(self, box, stranger, level="allow", **more):
        """What is tried: only what is about secrets."""
        return {"level": level, "world": True, "secret": world.secret, "public": zone.SHARED,
                "connects_per_second": rules.CONNECTS_PER_SECOND,
                "names_per_second": rules.NAMES_PER_SECOND,
                "secrets": {"host": HOST, "other": OTHER, "plain": PLAIN,
                            "placeholder": self.placeholder(box, "one"),
                            "other_placeholder": self.placeholder(box, "two"),
                            "foreign": self.placeholder(stranger, "one")}, **more}

    def attack(self, box, plan):
        """The results, and what the hosts with secrets were asked."""
        world.take()
        done = self.hako.cli("exec", box, "-u", "root", "-i", "--", "python3", "/tmp/probe.zip",
                             input=json.dumps(plan), timeout=400)
        results = judge.parse(done.stdout)
        self.assertGreater(len(results), 0, done.stdout + done.stderr)
        arrived = world.take()
        asked = [entry for entry in arrived["log"] if entry["kind"] == "http"]
        whole = judge.attacks_in(json.dumps([entry for entry in asked if entry["whole"]]))
        # A body is looked at as it streams: its beginning may have arrived before it was refused, and
        # what counts is that no server has got all of such a request.
        for said in ("said", "log"):
            arrived[said] = [entry for entry in arrived[said]
                             if entry.get("attack") not in STREAMED or entry["attack"] in whole]
        judge.convict(results, arrived)
        return results, asked

    def assert_kept(self, asked, plan):
        """Values have reached their hosts, in their header, and no placeholder has reached anybody."""
        values = {HOST: VALUE, OTHER: OTHER_VALUE}
        for entry in asked:
            said = json.dumps(entry["fields"]) + entry["target"]
            for host, value in values.items():
                fields = [field for field in entry["fields"] if value in field[1]]
                if fields:
                    self.assertEqual((entry["host"], entry["sni"], fields),
                                     (host, host, [["x-api-key", value]]))
            for name in ("placeholder", "other_placeholder", "foreign"):
                self.assertNotIn(plan["secrets"][name], said)

    def wanted(self):
        listed = subprocess.run(
            [sys.executable, "-c", "import core, by_secret; "
             "print(*(t.id for t in core.TRIALS if t.id.startswith('secret-')))"],
            cwd=os.path.join(os.path.dirname(__file__), "..", "attack", "probe"),
            capture_output=True, text=True, check=True)
        return listed.stdout.split()


class SecretsTest(SecretsAttacked, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.start()

    def run_level(self, level, body):
        box, stranger = self.box(body), self.box(body)
        # The gate knows of a box's secrets when it has used one.
        plan = self.plan(stranger, box, level, only=["secret-header"])
        results, asked = self.attack(stranger, plan)
        self.assertEqual([r["verdict"] for r in results], ["passed"], results)
        self.assertIn(VALUE, json.dumps(asked))
        plan = self.plan(box, stranger, level, only=self.wanted())
        results, asked = self.attack(box, plan)
        judge.report(f"secrets, level {level}", results)
        self.assertEqual([f"{r['verdict']} {r['id']}: {r['how']}" for r in judge.bad(results)], [],
                         self.hako.logs())
        self.assert_kept(asked, plan)
        self.assert_recorded(box, results)

    def assert_recorded(self, box, results):
        lines = self.hako.cli("egress", "log", box, "--json").stdout.splitlines()
        records = [json.loads(line) for line in lines]
        denied = sum(r["count"] for r in records if r["verdict"] == "denied")
        tried = sum(r["kind"] == "attack" for r in results)
        self.assertGreaterEqual(denied, tried - 1)  # of the echo, which is masked, is one, too
        self.assertIn("secret one", {r["rule"] for r in records if r["verdict"] == "allowed"})
        for record in records:
            self.assertNotIn(VALUE, json.dumps(record))

    def test_allow(self):
        self.run_level("allow", BODY)

    def test_internet(self):
        self.run_level("internet", {"egress": "internet", "secrets": ["one", "two"]})


class SecretWallsTest(SecretsAttacked, unittest.TestCase):
    """Without a check the attacks that it stops get out, and are noticed."""

    WALLS = {
        "placeholders": [
            "secret-path", "secret-query", "secret-query-escaped", "secret-query-base64",
            "secret-other-header", "secret-header-name", "secret-longer", "secret-cookie",
            "secret-referer", "secret-basic", "secret-body", "secret-body-json",
            "secret-body-form", "secret-body-base64", "secret-body-far", "secret-body-cut",
            "secret-trailer", "secret-gzip", "secret-deflate", "secret-other-host",
            "secret-redirect", "secret-foreign", "secret-plain"],
        "host_header": ["secret-host", "secret-absolute"],
        "echoes": ["secret-echo"],
    }

    def test_each_is_needed(self):
        self.start(gate=GATE_WITHOUT_WALLS)
        box, stranger = self.box(BODY), self.box(BODY)
        for wall, attacks in self.WALLS.items():
            self.hako.variables = {"HAKO_TEST_WITHOUT_WALL": wall}
            self.hako.cli("restart", timeout=180)
            results, _ = self.attack(box, self.plan(box, stranger, only=attacks))
            judge.report(f"without {wall}", results)
            leaked = {result["id"] for result in results if result["verdict"] == "LEAKED"}
            self.assertEqual(set(attacks) - leaked, set(), f"not noticed without {wall}")


if __name__ == "__main__":
    unittest.main()
