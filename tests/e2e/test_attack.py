"""Nothing leaves a box but what its policy allows: attacks from inside real boxes, judged by what
has arrived in a world outside that the test makes; the same without a wall, where they must be
noticed; and a report of it all."""

import json
import os
import signal
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

# What only a gate that looks up names itself can be tricked by: they are noticed below, where its
# walls are taken away one by one. And what needs a host with vsock.
ONLY_BEHIND_A_GATE = ("inward-", "vsock-host")
# What takes long, or wears the gate out: once for each level is enough.
LONG = ["all-ports", "ports", "gateway-ports", "rebind", "loris-tls", "loris-tls-drip",
        "loris-http", "loris-http-drip", "loris-dns", "flood-connections", "flood-names",
        "flood-syn", "flood-datagrams", "flood-over"]


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
            "neighbour": {"id": "itest", "port": 8000}, "patience": 24,
            "connects_per_second": rules.CONNECTS_PER_SECOND,
            "names_per_second": rules.NAMES_PER_SECOND,
            "scan_seconds": 120 if FULL else 6, **more}


class ControlTest(unittest.TestCase):
    """Behind an ordinary router each attack arrives, or hangs: so its refusal by hako is hako's."""

    def test_without_hako_attacks_are_noticed(self):
        done = set()
        with control.OpenBox() as box:
            for level in ("allow", "none", "internet"):
                missed = self.missed_at(box, level, done)
                if missed:
                    # A machine too busy for its own servers ends slow talkers as if it refused them.
                    missed = self.missed_at(box, level, done - missed)
                self.assertEqual(missed, set())
        self.assertGreater(len(done), 350)

    def missed_at(self, box, level, done):
        """Attacks that seem to be refused, of all that are not done; then they are."""
        world.take()
        box.recorder.take()
        plan = plan_for(level, resolver=control.ROUTER, patience=3, scan_seconds=3,
                        skip=sorted(done))
        results = judge.parse(box.run(probe, plan))
        judge.convict(results, world.take())
        on_link = {said["attack"] for said in box.recorder.take()[1]}
        done.update(result["id"] for result in results)
        failed = [result for result in results
                  if result["verdict"] in ("FAILED", "FALSELY REFUSED")]
        self.assertEqual(failed, [])
        return {result["id"] for result in results if result["kind"] == "attack" and
                result["verdict"] == "refused" and result["id"] not in on_link and
                not result["id"].startswith(ONLY_BEHIND_A_GATE)}


# All results from behind walls that stand, for the report's last line.
tally = []


def tearDownModule():
    if tally:
        judge.report("in all", tally)


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

    def attack(self, box, plan):
        """The results of a probe in the box, with what arrived outside counted in."""
        world.take()
        host.reached.clear()
        done = self.hako.cli("exec", box, "-u", "root", "-i", "--", "python3", "/tmp/probe.zip",
                             input=json.dumps(plan), timeout=400)
        results = judge.parse(done.stdout)
        self.assertGreater(len(results), 0, done.stdout + done.stderr)
        arrived = world.take()
        judge.convict(results, arrived)
        for what in rules.strays(plan["level"], arrived, vault="vault" in plan):
            results.append({"id": "stray", "title": "arrived outside", "kind": "attack",
                            "verdict": "LEAKED", "how": what, "seconds": 0})
        for sender, port in host.reached:
            results.append({"id": "host", "title": "reached the host itself", "kind": "attack",
                            "verdict": "LEAKED", "how": f"{sender} at port {port}", "seconds": 0})
        return results

    def assert_holds(self, title, results):
        judge.report(title, results)
        tally.extend(results)
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



    def test_the_command(self):
        """`hako attack`, which knows nothing of the world outside."""
        done = self.hako.cli("attack", "--egress", "internet", "--json", timeout=300)
        report = json.loads(done.stdout)
        self.assertEqual(report["level"], "internet")
        self.assertGreater(report["tried"], 100)
        self.assertEqual(report["refused"], report["tried"])
        left = self.hako.request("GET", "/v2/sandboxes")[2]
        self.assertEqual([box["sandboxID"] for box in left], [self.neighbour])

    def test_a_neighbours_flood_stops_nobody(self):
        noisy, honest = self.box(rules.BODIES["allow"]), self.box(rules.BODIES["allow"])
        flood = threading.Thread(target=self.hako.cli, args=(
            "exec", noisy, "-u", "root", "-i", "--", "python3", "/tmp/probe.zip"),
            kwargs={"input": json.dumps(plan_for("allow", only=[
                "flood-connections", "flood-names", "flood-syn", "flood-datagrams"]))})
        flood.start()
        try:
            results = []
            while flood.is_alive():
                results += self.attack(honest, plan_for("allow", only=[
                    "web-get", "tls-verified", "dns-answer", "direct-tcp"]))
        finally:
            flood.join()
        self.assert_holds("beside a flood", [r for r in results if r["id"] != "stray"])


    def test_nothing_gets_out_while_programs_end_and_begin(self):
        box = self.box(rules.BODIES["allow"])
        plan = plan_for("allow", only=["direct-tcp", "dns-a", "http-host-other", "tls-sni-other",
                                       "udp-udp", "inward-ten", "http-port-8080"])
        world.take()
        rounds = ("(for i in $(seq 8); do python3 /tmp/probe.zip \"$0\"; done >/tmp/going 2>&1; "
                  "mv /tmp/going /tmp/results) &")
        self.hako.cli("exec", box, "-u", "root", "--", "sh", "-c", rounds, json.dumps(plan))
        for role in ("gate", "node"):
            time.sleep(1)
            os.kill(self.hako.role(role), signal.SIGKILL)
            time.sleep(2)
        end = time.monotonic() + 60
        while (done := self.hako.cli("exec", box, "--", "cat", "/tmp/results",
                                     check=False)).returncode != 0:
            self.assertLess(time.monotonic(), end, done.stdout + done.stderr)
            time.sleep(0.5)
        results = judge.parse(done.stdout)
        self.assertEqual(len(results), 8 * len(plan["only"]))
        arrived = world.take()
        judge.convict(results, arrived)
        self.assertEqual(rules.strays("allow", arrived), [])
        self.assert_holds("while gate and node are killed", results)
        self.assert_holds("afterwards", self.attack(box, plan_for("allow", only=[
            "web-get", "tls-verified", "dns-answer", "direct-tcp"])))


class LabelsTest(Attacked, unittest.TestCase):
    """A label closes what a request would have opened."""

    @classmethod
    def setUpClass(cls):
        cls.start()

    def attacked(self, title, level, body, **more):
        results = self.attack(self.box(body), plan_for(level, skip=[] if FULL else LONG, **more))
        self.assert_holds(title, results)

    def test_internal(self):
        self.attacked("label internal, level allow", "allow",
                      {**rules.BODIES["allow"], "label": "internal"})

    def test_confidential(self):
        self.attacked("label confidential, its own list", "none",
                      {"label": "confidential", "egress": "allow", "allow": rules.VAULT},
                      vault=True)

    def test_secret(self):
        self.attacked("label secret", "none", {"label": "secret"})

    def test_too_much_is_refused_with_the_rule(self):
        for label, asked in (("internal", {"egress": "internet"}),
                             ("confidential", {"egress": "internet"}),
                             ("secret", {"egress": "internet"}),
                             ("secret", {"egress": "allow", "allow": ["allowed.test"]})):
            with self.subTest(label=label, asked=asked):
                status, _, body = self.hako.request("POST", "/v2/sandboxes", {
                    "templateID": "base", "label": label, **asked})
                self.assertEqual(status, 403, body)
                self.assertIn(f"label.{label}", body["message"])

    def test_a_risen_label_cuts_what_is_open(self):
        box = self.box(rules.BODIES["internet"])
        talker = self.hako.popen("exec", box, "--", "python3", "-c", TALKER,
                                 stdout=subprocess.PIPE, text=True)
        self.assertEqual(talker.stdout.readline(), "talking\n")
        world.take()
        time.sleep(0.5)
        self.assertNotEqual(rules.strays("none", world.take()), [])
        status, _, body = self.hako.request("POST", f"/v1/sandboxes/{box}/label",
                                            {"label": "confidential"})
        self.assertEqual(status, 200, body)
        # What the cut itself says may be on its way; then nothing.
        time.sleep(0.05)
        world.take()
        self.assertEqual(talker.communicate(timeout=20)[0], "reset\n")
        time.sleep(0.5)
        self.assertEqual(rules.strays("none", world.take()), [])
        results = self.attack(box, plan_for("none", only=["direct-tcp", "dns-a", "tls-vault"]))
        self.assert_holds("a risen label", results)


TALKER = """
import socket, time
connection = socket.create_connection(("allowed.test", 7777))
connection.sendall(b"hello\\n")
connection.recv(100)
print("talking", flush=True)
try:
    while True:
        connection.sendall(b"word\\n")
        time.sleep(0.02)
except ConnectionError:
    print("reset")
"""


class WallsTest(Attacked, unittest.TestCase):
    """Without a wall the attacks that it stops get out, and are noticed."""

    WALLS = {
        "sni": ["tls-sni-other", "tls-sni-none", "tls-ech-outer", "tls-port-8443",
                "tls-port-8443-ech"],
        "host_header": ["http-host-other", "http-absolute", "http-second", "http-port-8080"],
        "dns_names": ["dns-a", "dns-google-tcp", "dns-google-udp", "dns-library-denied"],
        "private_ranges": ["redirect-name", "mixed-answer", "opened-port"] + [
            f"inward-{name}{way}" for way in ("", "-web") for name in (
                "ten", "192", "172", "100", "alias", "metadata", "google", "nip", "synthetic",
                "slot", "mapped", "nat64", "6to4", "local6")],
        "own_addresses": ["inward-host", "inward-host-web", "inward-host6", "inward-host6-web"],
        # Two walls are before these.
        "private_ranges,own_addresses": ["inward-loopback", "inward-loopback-web", "inward-zero",
                                         "inward-zero-web", "inward-loopback6",
                                         "inward-loopback6-web"],
    }

    def test_each_wall_is_needed(self):
        self.start(gate=GATE_WITHOUT_WALLS)
        box = self.box(rules.BODIES["allow"])
        for wall, attacks in self.WALLS.items():
            self.hako.variables = {"HAKO_TEST_WITHOUT_WALL": wall}
            self.hako.cli("restart", timeout=180)
            results = self.attack(box, plan_for("allow", only=attacks, system_resolver=True))
            judge.report(f"without {wall}", results)
            leaked = {result["id"] for result in results if result["verdict"] == "LEAKED"}
            self.assertEqual(set(attacks) - leaked, set(), f"not noticed without {wall}")
        self.hako.variables = {}
        self.hako.cli("restart", timeout=180)
        every = [attack for attacks in self.WALLS.values() for attack in attacks]
        self.assert_holds("with all walls again", self.attack(
            box, plan_for("allow", only=every, system_resolver=True)))


class ForwardTest(Attacked, unittest.TestCase):
    """A namespace that somebody has given a way out: what is forwarded is dropped all the same."""

    ATTACKS = ["udp-udp", "udp-quic", "icmp-echo", "raw-gre", "raw-sctp", "frame-icmp",
               "frame-fragments"]

    def test_the_forward_drop_is_needed(self):
        self.start()
        box = self.box(rules.BODIES["none"])
        slot = os.path.join(self.hako.run_dir, "netns", f"slot-{self.hako.record_of(box)['slot']}")
        self.open_way(slot)
        with self.subTest("with the drop"):
            self.assertEqual(self.leaked(box), set())
        namespaces.run_inside(slot, "nft delete chain inet hako forward")
        with self.subTest("without it"):
            self.assertEqual(self.leaked(box), {"stray", *self.ATTACKS})

    def leaked(self, box):
        results = self.attack(box, plan_for("none", only=self.ATTACKS))
        return {result["id"] for result in results if result["verdict"] == "LEAKED"}

    def open_way(self, slot):
        """An interface, routes and forwarding: all that leads from a slot into the world."""
        inside = lambda command: namespaces.run_inside(slot, command)
        inside(f"ip link add out0 type veth peer name in0 netns {os.getpid()}")
        self.addCleanup(namespaces.run, "ip link del in0", check=False)
        inside("ip address add 94.130.20.2/30 dev out0")
        inside("ip link set out0 up")
        namespaces.run("ip address add 94.130.20.1/30 dev in0")
        namespaces.run("ip link set in0 up")
        namespaces.run("ip route add 169.254.0.20/30 via 94.130.20.2")
        self.addCleanup(namespaces.run, "ip route del 169.254.0.20/30", check=False)
        inside("ip route del local default dev lo table main")
        inside("ip route add default via 94.130.20.1")
        for name in ("ip_forward", "conf/all/forwarding"):
            inside(["sh", "-c", f"echo 1 > /proc/sys/net/ipv4/{name}"])
            namespaces.write_sysctl("ipv4/" + name, 1)
        namespaces.nft("table ip way {\n chain out {\n type nat hook postrouting priority srcnat;\n"
                       "oifname up0 masquerade\n }\n }")
        self.addCleanup(namespaces.run, "nft delete table ip way", check=False)


def load_tests(loader, *_):
    """Those that give boxes a way out come last: their packets linger for a while."""
    suite = unittest.TestSuite()
    for case in (LevelsTest, LabelsTest, WallsTest, ForwardTest, ControlTest):
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite


if __name__ == "__main__":
    unittest.main()
