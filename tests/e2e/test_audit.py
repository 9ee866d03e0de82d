"""The audit log of a real hako: what it holds after its processes were killed under load, what a copy
of it shows when somebody has changed it, and what it must never hold."""

import glob
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse

from harness import Hako

PRINTABLE = set(range(0x20, 0x7f))


def plane(hako, sandbox, method, path, body=None):
    """Status of a request to the daemon in a box, through the port of the API."""
    headers = {"E2b-Sandbox-Id": sandbox["sandboxID"], "E2b-Sandbox-Port": "49983",
               "X-Access-Token": sandbox["envdAccessToken"],
               "Content-Type": "application/octet-stream"}
    return hako.request(method, path, body, headers, key=False)[0]


def put_file(hako, sandbox, path, body=b"content"):
    return plane(hako, sandbox, "POST", "/files?" + urllib.parse.urlencode({"path": path}), body)


def records(folder):
    """All records of a copy, in order, each with its place."""
    found = []
    for path in sorted(glob.glob(os.path.join(folder, "audit-*.jsonl"))):
        with open(path, "rb") as file:
            for number, line in enumerate(file.read().split(b"\n")[:-1], 1):
                assert set(line) <= PRINTABLE, (path, number, line)
                record = json.loads(line)
                found.append((os.path.basename(path), number, record))
    return found


class AuditCase(unittest.TestCase):
    SETTINGS = "[audit]\nsign_every_s = 1\nsegment_mib = 1\n"

    @classmethod
    def setUpClass(cls):
        cls.hako = Hako(pool=2, settings=cls.SETTINGS)
        cls.hako.start()
        cls.hako.wait_for_pool()

    @classmethod
    def tearDownClass(cls):
        cls.hako.stop()
        cls.hako.remove()

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="hako-audit-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, self.folder, True)

    def export(self, name="copy"):
        copy = os.path.join(self.folder, name)
        self.hako.cli("audit", "export", copy)
        return copy

    def verify(self, copy, *options):
        """The verdict on a copy, with the public key that was taken from elsewhere."""
        key = os.path.join(self.hako.state, "api", "audit-key.pem")
        done = self.hako.cli("audit", "verify", copy, "--key", key, "--json", *options, check=False)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        verdict = json.loads(done.stdout)
        self.assertEqual(verdict["ok"], done.returncode == 0)
        return verdict

    def expect_good(self, copy):
        verdict = self.verify(copy)
        self.assertTrue(verdict["ok"], verdict)
        return verdict

    def wait_for(self, **fields):
        """The record with these fields, once it is there: the gate tells of things a bit later."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            for record in self.search(fields.get("sandbox", "")):
                if all(record.get(name) == value for name, value in fields.items()):
                    return record
            time.sleep(0.3)
        raise AssertionError(f"no record with {fields}")

    def search(self, sandbox):
        query = urllib.parse.urlencode({"sandbox": sandbox, "limit": 1000})
        status, _, page = self.hako.request("GET", f"/v1/audit?{query}")
        self.assertEqual(status, 200, page)
        return page["records"]

    def logs_text(self):
        """Everything that lies in the folder of the log."""
        text = b""
        for path in glob.glob(os.path.join(self.hako.state, "api", "audit*", "*")):
            with open(path, "rb") as file:
                text += file.read()
        return text


class KilledTest(AuditCase):
    def test_nothing_acknowledged_is_lost(self):
        """The api and the gate are killed at random moments under load; then all is there."""
        created, ended, written = set(), set(), []
        stop = threading.Event()

        def load(number):
            while not stop.is_set():
                try:
                    status, _, box = self.hako.request(
                        "POST", "/v2/sandboxes", {"templateID": "base", "timeout": 60}, timeout=90)
                    if status != 201:
                        time.sleep(0.1)
                        continue
                    created.add(box["sandboxID"])
                    path = f"/tmp/file-{number}-{len(created)}"
                    if put_file(self.hako, box, path) == 200:
                        written.append((box["sandboxID"], path))
                    if self.hako.destroy(box) == 204:
                        ended.add(box["sandboxID"])
                except OSError:
                    time.sleep(0.05)  # killed

        threads = [threading.Thread(target=load, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        kills = 0
        end = time.monotonic() + 45
        while time.monotonic() < end:
            time.sleep(random.uniform(0.5, 4))
            try:
                pid = self.hako.role("api" if kills % 4 != 3 else "gate")
                with open(f"/proc/{pid}/cmdline", "rb") as file:  # never 0, nor anybody else's
                    if pid > 1 and b"/hako" in file.read():
                        os.kill(pid, signal.SIGKILL)
                        kills += 1
            except (OSError, StopIteration, ValueError, TypeError):
                continue
        stop.set()
        for thread in threads:
            thread.join()
        self.assertGreater(kills, 5)
        self.assertGreater(len(created), 3)

        self.wait_until_it_answers()
        copy = self.export()
        verdict = self.expect_good(copy)
        told = [record for _, _, record in records(copy)]
        self.assertEqual(verdict["records"], len(told))

        def boxes_of(action):
            return {r.get("sandbox") for r in told
                    if r.get("action") == action and r.get("outcome") == "ok"}

        self.assertLessEqual(created, boxes_of("sandbox.create"))
        self.assertLessEqual(ended, boxes_of("sandbox.delete") | boxes_of("sandbox.destroy"))
        starts = [r for r in told if r.get("audit") == "head" and r["why"] == "start"]
        self.assertGreater(len(starts), kills // 2)
        print(f"{kills} kills, {len(created)} creates, {len(written)} files, {len(told)} records")


    def wait_until_it_answers(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if self.hako.request("GET", "/v2/sandboxes")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.2)
        raise AssertionError("the api does not answer\n" + self.hako.logs())


class CopyTest(AuditCase):
    def test_changes_are_found_where_they_are(self):
        for number in range(12):
            box = self.hako.create(timeout=30)
            put_file(self.hako, box, f"/tmp/f{number}")
            self.hako.destroy(box)
        time.sleep(2.5)  # a head, and what the gate tells
        self.hako.request("GET", "/v2/sandboxes")
        good = self.export("good")
        self.expect_good(good)
        all_records = records(good)
        self.assertGreater(len(all_records), 30)
        name, line, record = all_records[len(all_records) // 2]

        def changed(change):
            copy = os.path.join(self.folder, "changed")
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(good, copy)
            path = os.path.join(copy, name)
            with open(path, "rb") as file:
                lines = file.read().split(b"\n")[:-1]
            change(lines)
            with open(path, "wb") as file:
                file.write(b"".join(one + b"\n" for one in lines))
            verdict = self.verify(copy)
            self.assertFalse(verdict["ok"])
            problem = verdict["problem"]
            return problem["flaw"], problem["line"], problem["sequence"]

        at = line - 1

        def flip(lines):
            body = bytearray(lines[at])
            body[len(body) // 2] ^= 1
            lines[at] = bytes(body)

        def swap(lines):
            lines[at], lines[at + 1] = lines[at + 1], lines[at]

        self.assertEqual(changed(flip), ("changed", line, record["seq"]))
        self.assertEqual(changed(lambda lines: lines.pop(at)), ("missing", line, record["seq"]))
        self.assertEqual(changed(swap), ("out of order", line, record["seq"] + 1))
        self.assertEqual(changed(lambda lines: lines.insert(at, lines[at])),
                         ("out of order", line + 1, record["seq"]))

        # The end: first with the head of the copy, then with one that was noted elsewhere.
        noted = os.path.join(self.folder, "noted")
        shutil.copy(os.path.join(good, "head.json"), noted)
        copy = os.path.join(self.folder, "cut")
        shutil.copytree(good, copy)
        last_name, _, _ = all_records[-1]
        path = os.path.join(copy, last_name)
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")[:-1]
        kept = [r for n, _, r in all_records if n == last_name][:-8]
        with open(path, "wb") as file:
            file.write(b"".join(one + b"\n" for one in lines[:len(kept)]))
        problem = self.verify(copy)["problem"]
        self.assertEqual((problem["flaw"], problem["sequence"]),
                         ("truncated", kept[-1]["seq"] + 1))
        os.unlink(os.path.join(copy, "head.json"))
        self.assertTrue(self.verify(copy)["ok"])  # what was never signed, or not noted, is not seen
        self.assertEqual(self.verify(copy, "--head", noted)["problem"]["flaw"], "truncated")

        # Another key, and a log that begins anew.
        other = os.path.join(self.folder, "other.pub")
        with open(other, "w") as file:
            file.write("11" * 32 + "\n")
        done = self.hako.cli("audit", "verify", good, "--key", other, "--json", check=False)
        self.assertEqual(done.returncode, 1)

    def test_openssl_agrees(self):
        """What is signed is what the documentation says: a head is checked by other programs."""
        status, _, head = self.hako.request("GET", "/v1/audit/head")
        self.assertEqual(status, 200)
        line = head["head"]
        text, signature = line.split(',"signature":"')
        paths = {}
        for name, data in (("text", text.encode()), ("sig", bytes.fromhex(signature[:128])),
                           ("pem", head["publicKeyPEM"].encode())):
            paths[name] = os.path.join(self.folder, name)
            with open(paths[name], "wb") as file:
                file.write(data)
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", paths["pem"], "-rawin",
                   "-in", paths["text"], "-sigfile", paths["sig"]]
        self.assertEqual(subprocess.run(command, capture_output=True).returncode, 0)
        with open(paths["text"], "ab") as file:
            file.write(b" ")
        self.assertNotEqual(subprocess.run(command, capture_output=True).returncode, 0)


class HostileTest(AuditCase):
    def test_a_guest_forges_nothing(self):
        box = self.hako.create(timeout=120)
        zeros = "0" * 64
        forged = ('x"}\n{"seq":1,"prev":"' + zeros + '","time":"2026-01-01T00:00:00.000Z",'
                  '"actor":"operator","action":"forged.record","outcome":"ok"}\n'
                  "\u2028\u202e\x1b[2J")
        self.hako.exec(box["sandboxID"], "/bin/echo", forged)
        self.assertEqual(put_file(self.hako, box, "/tmp/" + forged.replace("/", "_")), 200)
        plane(self.hako, box, "POST", "/files?path=%ff%fe%00" + "a" * 5000, b"x")
        started = self.wait_for(sandbox=box["sandboxID"], action="command.start")
        self.assertIn("forged.record", started["details"]["command"])
        self.wait_for(sandbox=box["sandboxID"], action="file.write")
        self.hako.destroy(box)
        copy = self.export()
        self.expect_good(copy)
        for _, _, record in records(copy):
            self.assertNotEqual(record.get("action"), "forged.record")

    def test_no_secrets(self):
        value, password = "env-value-8c1d70", "hunter2-55aa91"
        box = self.hako.create(timeout=120, envVars={"VARIABLE": value}, metadata={"m": "data"})
        key = self.hako.key()
        self.hako.exec(box["sandboxID"], "/bin/echo", f"key {key}",
                       f"Authorization: Bearer {password}", f"--password={password}")
        self.hako.exec(box["sandboxID"], "/bin/true", flags=("-e", f"OTHER={value}"))
        put_file(self.hako, box, f"/tmp/{key}")
        self.hako.request("GET", f"/sandboxes/{key}")
        self.hako.request("GET", "/sandboxes/" + box["envdAccessToken"])
        self.hako.request("GET", "/v2/sandboxes", headers={"X-API-Key": "e2b_" + "ab" * 20},
                          key=False)
        self.wait_for(sandbox=box["sandboxID"], action="command.start")
        self.wait_for(sandbox=box["sandboxID"], action="file.write")
        self.hako.destroy(box)
        time.sleep(2)
        text = self.logs_text()
        self.assertIn(box["sandboxID"].encode(), text)
        for secret in (key, value, password, "e2b_" + "ab" * 20):
            self.assertNotIn(secret.encode(), text)

    def test_denials_are_told(self):
        self.assertEqual(self.hako.request("GET", "/v2/sandboxes", key=False)[0], 401)
        box = self.hako.create(timeout=120)
        self.hako.exec(box["sandboxID"], "/bin/sh", "-c",
                       "getent hosts denied.example || true", check=False)
        told = self.wait_for(sandbox=box["sandboxID"], action="egress.dns", outcome="denied")
        self.assertEqual(told["actor"], "box " + box["sandboxID"])
        self.hako.destroy(box)
        self.wait_for(sandbox=box["sandboxID"], action="box.destroyed")
        page = self.hako.request("GET", "/v1/audit?outcome=denied&limit=50")[2]
        self.assertTrue(any(r["actor"] == "nobody" and r["details"]["status"] == "401"
                            for r in page["records"]))


if __name__ == "__main__":
    unittest.main()
