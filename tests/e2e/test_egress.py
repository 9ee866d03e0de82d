"""Labels, links and the log of what leaves boxes, through the command line and real boxes."""

import json
import tempfile
import time
import unittest

from harness import Hako

# Prints what a program is told: the status of a page, or how it failed.
FETCH = """
import sys, urllib.request, urllib.error
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=20).status)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode(errors="replace"))
except Exception as error:
    print(type(error).__name__, error)
"""


class EgressTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.hako = Hako(pool=2, settings="""
            [egress]
            ceiling = "internet"
            resolvers = ["127.0.0.1:9"]
        """).start()

    @classmethod
    def tearDownClass(cls):
        cls.hako.stop()
        cls.hako.remove()

    def box(self, *options):
        return self.hako.cli("create", *options).stdout.strip()

    def detail(self, box):
        return self.hako.request("GET", f"/sandboxes/{box}")[2]

    def fetch(self, box, url):
        return self.hako.cli("exec", box, "--", "python3", "-c", FETCH, url).stdout

    def wait_for_record(self, box, **members):
        """The first record with these members; the gate gathers them for a moment."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            lines = self.hako.cli("egress", "log", box, "--json").stdout.splitlines()
            for record in map(json.loads, lines):
                if all(record[name] == value for name, value in members.items()):
                    return record
            time.sleep(0.1)
        raise AssertionError(f"no record with {members} in {lines}")

    def serve(self, box):
        """Starts a web server on port 8080 of the box that goes on by itself."""
        self.hako.cli("exec", box, "--", "sh", "-c",
                      "cd /tmp && setsid python3 -m http.server 8080 >/dev/null 2>&1 </dev/null & "
                      "for i in $(seq 100); do python3 -c 'import socket; "
                      "socket.create_connection((\"127.0.0.1\", 8080))' 2>/dev/null && exit 0; "
                      "sleep 0.1; done; exit 1")

    def test_confidential_and_the_internet_is_refused_with_the_rule(self):
        refused = self.hako.cli("run", "--label", "confidential", "--egress", "internet", "--",
                                "true", check=False)
        self.assertEqual(refused.returncode, 125)
        self.assertIn("label.confidential", refused.stderr)
        checked = self.hako.cli("policy", "check", "--label", "confidential", "--egress", "internet",
                                "a.example:443", check=False)
        self.assertEqual(checked.returncode, 1)
        self.assertIn("denied:", checked.stdout)
        self.assertIn("to allow it:", checked.stdout)
        allowed = self.hako.cli("policy", "check", "--allow", "a.example", "a.example:443")
        self.assertIn("allowed:", allowed.stdout)

    def test_a_denial_is_quick_and_in_the_log(self):
        box = self.box("--label", "internal", "--allow", "allowed.example:443")
        self.assertIn(" internal ", self.hako.cli("ps").stdout)
        self.assertIn("URLError", self.fetch(box, "http://denied.example/"))
        record = self.wait_for_record(box, name="denied.example", kind="dns")
        self.assertEqual(record["verdict"], "denied")
        self.assertTrue(record["rule"] and record["reason"], record)
        log = self.hako.cli("egress", "log", box).stdout
        self.assertIn("denied.example", log)

    def test_a_label_rises_and_closes(self):
        box = self.box("--egress", "internet")
        self.assertTrue(self.detail(box)["allowInternetAccess"])
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"numbers")
            file.flush()
            self.hako.cli("cp", "--label", "confidential", file.name, f"{box}:/tmp/report")
            detail = self.detail(box)
            self.assertEqual(detail["label"], "confidential")
            self.assertFalse(detail["allowInternetAccess"])
            self.assertEqual(detail["egress"]["level"], "none")
            self.assertEqual(self.hako.cli("exec", box, "--", "cat", "/tmp/report").stdout, "numbers")
            # What is labelled lower goes in as well, and changes nothing.
            self.hako.cli("cp", "--label", "internal", file.name, f"{box}:/tmp/other")
        self.assertEqual(self.detail(box)["label"], "confidential")
        self.assertIn("URLError", self.fetch(box, "http://a.example/"))
        lowered = self.hako.cli("label", box, "public", check=False)
        self.assertEqual(lowered.returncode, 1)
        self.assertIn("label.falls", lowered.stderr)
        self.assertEqual(self.hako.cli("label", box, "secret").stdout.strip(), "secret")

    def test_ports_of_a_box_that_gets_a_label_ask_for_a_token(self):
        box = self.box()
        self.serve(box)
        to_port = {"Host": f"8080-{box}.hako.localhost"}
        gate = self.hako.gate_port
        self.assertEqual(self.hako.request("GET", "/", headers=to_port, port=gate)[0], 200)
        status, _, raised = self.hako.request("POST", f"/v1/sandboxes/{box}/label",
                                              {"label": "internal"})
        self.assertEqual(status, 200, raised)
        self.assertEqual(self.hako.request("GET", "/", headers=to_port, port=gate)[0], 403)
        to_port["e2b-traffic-access-token"] = raised["trafficAccessToken"]
        self.assertEqual(self.hako.request("GET", "/", headers=to_port, port=gate)[0], 200)

    def test_an_upload_brings_its_label(self):
        made = self.hako.create()
        box = made["sandboxID"]
        headers = {"E2b-Sandbox-Id": box, "X-Access-Token": made["envdAccessToken"],
                   "X-Hako-Label": "internal", "Content-Type": "application/octet-stream"}
        path = "/files?path=/tmp/in"
        gate = self.hako.request("POST", path, b"data", headers, port=self.hako.gate_port)
        self.assertEqual(gate[0], 400, gate)
        self.assertEqual(self.detail(box)["label"], "public")
        status, _, answer = self.hako.request("POST", path, b"data", headers, key=False)
        self.assertEqual(status, 200, answer)
        self.assertEqual(self.detail(box)["label"], "internal")
        self.assertEqual(self.hako.cli("exec", box, "--", "cat", "/tmp/in").stdout, "data")

    def test_a_box_reaches_another_by_a_link_and_only_so(self):
        attacker, target = self.box(), self.box()
        self.serve(target)
        url = "http://target.box:8080/"
        self.assertIn("URLError", self.fetch(attacker, url))
        link = self.hako.cli("link", "add", attacker, target, "8080", "--name",
                             "target.box").stdout.strip()
        self.assertIn(link, self.hako.cli("link", "ls").stdout)
        self.assertEqual(self.fetch(attacker, url).strip(), "200")
        self.assertNotIn("200", self.fetch(attacker, "http://target.box:22/"))
        self.assertNotIn("200", self.fetch(target, f"http://{attacker}.box:8080/"))
        self.wait_for_record(attacker, kind="link", name="target.box", verdict="allowed")
        # A label that rises takes the link with it.
        self.hako.cli("label", target, "internal")
        self.assertNotIn(link, self.hako.cli("link", "ls").stdout)
        self.assertNotIn("200", self.fetch(attacker, url))
        refused = self.hako.cli("link", "add", attacker, target, "8080", check=False)
        self.assertIn("link.label", refused.stderr)

    def test_following_the_log_ends_with_the_box(self):
        box = self.box()
        following = self.hako.popen("egress", "log", box, "--follow", stdout=-1, text=True)
        self.assertIn("URLError", self.fetch(box, "http://a.example/"))
        self.assertIn("a.example", following.stdout.readline())
        self.hako.cli("kill", box)
        following.communicate(timeout=40)
        self.assertEqual(following.returncode, 0)

    def test_everything_holds_after_a_restart(self):
        box = self.box("--label", "internal", "--allow", "a.example")
        other = self.box("--label", "internal")
        self.serve(other)
        self.hako.cli("link", "add", box, other, "8080", "--name", "other.box")
        self.hako.cli("restart")
        detail = self.detail(box)
        self.assertEqual(detail["label"], "internal")
        self.assertEqual(detail["egress"]["level"], "allow")
        self.assertEqual(self.fetch(box, "http://other.box:8080/").strip(), "200")
        self.assertIn("URLError", self.fetch(box, "http://denied.example/"))


if __name__ == "__main__":
    unittest.main()
