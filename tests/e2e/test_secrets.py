"""Secrets through the command line, and what is in real boxes of them: a placeholder, and trust."""

import json
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import unittest

from harness import Hako
from node_client import NodeClient

REAL = "sk-ant-api03-THIS-is-the-real-value-0123456789abcdef"
PLANTED = "planted-in-the-box-to-be-found-0123456789"

# What a client in the box says of https://a.test/ on port 8443 of the box itself.
PYTHON = ("import urllib.request; "
          "print(urllib.request.urlopen('https://a.test:8443/', timeout=20).status)")


class Broker(NodeClient):
    """Asks the api as a gate does."""

    def __init__(self, hako):
        self.hako = hako
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The kernel says who asks: root may.
        self.socket.connect(os.path.join(hako.run_dir, "broker.sock"))
        self.bytes = b""
        self.ids = itertools.count(1)
        self.notices = []


def memory_of(pid):
    """Everything that a process has in memory that can be read."""
    pieces = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            span, rights = line.split()[:2]
            if "r" not in rights or "[v" in line:
                continue
            begin, end = (int(part, 16) for part in span.split("-"))
            try:
                memory.seek(begin)
                pieces.append(memory.read(end - begin))
            except (OSError, ValueError, OverflowError):
                continue
    return pieces


class SecretsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="hako-secrets-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        key = os.path.join(cls.folder, "master-key")
        with open(key, "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(os.urandom(32).hex() + "\n")
        cls.hako = Hako(pool=2, settings=f"""
            [egress]
            ceiling = "internet"
            resolvers = ["127.0.0.1:9"]
            [secrets]
            master_key_file = "{key}"
        """)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()
        cls.hako.cli("secret", "add", "model", "--host", "a.test", "--env", "API_KEY", input=REAL)

    def material(self, box):
        broker = Broker(self.hako)
        try:
            return broker.call("intercept.get", box=box)
        finally:
            broker.close()

    def serve(self, box, ca):
        """A server in the box that shows a certificate of this authority for a.test."""
        folder = tempfile.mkdtemp(dir=self.folder)
        path = lambda name: os.path.join(folder, name)
        for name, text in (("ca.pem", ca["certificate"]), ("ca.key", ca["key"])):
            with open(path(name), "w") as file:
                file.write(text)
        openssl = lambda *words: subprocess.run(["openssl", *words], cwd=folder, check=True,
                                                capture_output=True)
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-subj", "/CN=a.test", "-addext", "subjectAltName=DNS:a.test", "-keyout", "leaf.key",
                "-out", "leaf.csr")
        openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-CAcreateserial", "-copy_extensions", "copyall", "-days", "2", "-out", "leaf.pem")
        for name in ("leaf.pem", "leaf.key"):
            self.hako.cli("cp", path(name), f"{box}:/tmp/{name}")
        self.hako.exec(box, "sh", "-c", """
            sudo sh -c 'grep -q a.test /etc/hosts || echo 127.0.0.1 a.test >> /etc/hosts'
            pid=$(cat /tmp/server 2>/dev/null) && kill $pid
            setsid openssl s_server -accept 8443 -cert /tmp/leaf.pem -key /tmp/leaf.key -www \
                >/dev/null 2>&1 </dev/null & echo $! > /tmp/server
            for i in $(seq 100); do
              python3 -c 'import socket; socket.create_connection(("127.0.0.1", 8443))' 2>/dev/null && exit 0
              sleep 0.1
            done; exit 1""", timeout=120)

    def trusts(self, box, *words):
        return self.hako.exec(box, *words, check=False, timeout=120)

    def clients(self):
        return {
            "curl": ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "https://a.test:8443/"],
            "python": ["python3", "-c", PYTHON],
            "python without variables": ["env", "-i", "/usr/bin/python3", "-c", PYTHON],
            "curl as root": ["sudo", "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}",
                             "https://a.test:8443/"],
            "openssl": ["sh", "-c", "openssl s_client -verify_return_error -verify_hostname a.test "
                        "-connect a.test:8443 </dev/null >/dev/null 2>&1 && echo 200"],
        }

    def test_every_kind_of_client_trusts_the_box_s_own_authority(self):
        box = self.hako.cli("create", "--secret", "model").stdout.strip()
        material = self.material(box)
        self.serve(box, material["ca"])
        for name, words in self.clients().items():
            said = self.trusts(box, *words)
            self.assertEqual(said.stdout.strip(), "200", (name, said.stdout, said.stderr))
        git = self.trusts(box, "git", "ls-remote", "https://a.test:8443/")
        self.assertNotIn("certificate", git.stderr.lower())
        # update-ca-certificates makes the list anew, and it is still on it.
        self.hako.exec(box, "sudo", "update-ca-certificates", timeout=300)
        said = self.trusts(box, *self.clients()["curl"])
        self.assertEqual(said.stdout.strip(), "200", said.stderr)
        # Another box's is not trusted, whatever its name.
        other = self.hako.cli("create", "--secret", "model").stdout.strip()
        self.serve(box, self.material(other)["ca"])
        for name, words in self.clients().items():
            said = self.trusts(box, *words)
            self.assertNotEqual(said.stdout.strip(), "200", name)
        self.hako.cli("kill", box, other)

    def test_a_copy_has_another_and_what_goes_on_has_the_same(self):
        box = self.hako.cli("create", "--secret", "model").stdout.strip()
        material = self.material(box)
        self.serve(box, material["ca"])
        forked = json.loads(self.hako.cli("fork", box, "--json").stdout)
        text = json.dumps(forked)
        child = next(word for word in text.replace('"', " ").replace(",", " ").split()
                     if word.startswith("i") and len(word) == 21 and word != box)
        theirs = self.material(child)
        self.assertNotEqual(theirs["placeholders"], material["placeholders"])
        variable = self.hako.exec(child, "sh", "-c", 'echo "$API_KEY"').stdout.strip()
        self.assertEqual(variable, theirs["placeholders"][0]["placeholder"])
        # Its parent's server runs in it, too, and is not trusted by what starts now.
        said = self.trusts(child, *self.clients()["curl"])
        self.assertNotEqual(said.stdout.strip(), "200")
        self.serve(child, theirs["ca"])
        for name, words in self.clients().items():
            said = self.trusts(child, *words)
            self.assertEqual(said.stdout.strip(), "200", (name, said.stdout, said.stderr))
        self.hako.cli("pause", box)
        self.hako.cli("resume", box)
        # Names of its own have gone with the new identity, and the certificate is of the same authority.
        self.serve(box, material["ca"])
        said = self.trusts(box, *self.clients()["curl"])
        self.assertEqual(said.stdout.strip(), "200", said.stderr)
        variable = self.hako.exec(box, "sh", "-c", 'echo "$API_KEY"').stdout.strip()
        self.assertEqual(variable, material["placeholders"][0]["placeholder"])
        self.hako.cli("kill", box, child)

    def test_the_value_is_nowhere_in_the_box(self):
        box = self.hako.cli("create", "--secret", "model", "-e", f"PLANTED={PLANTED}").stdout.strip()
        seen = self.hako.exec(box, "sh", "-c", 'echo "$API_KEY"; env; cat /proc/*/environ '
                              '/proc/*/cmdline 2>/dev/null | tr "\\0" "\\n"').stdout
        placeholder = seen.splitlines()[0]
        self.assertEqual(len(placeholder), len(REAL))
        self.assertTrue(placeholder.startswith("sk-ant-api03-"))
        self.assertNotIn(REAL, seen)
        found = {REAL: 0, PLANTED: 0, placeholder: 0}
        for pid in self.hako.vmm_processes():
            for piece in memory_of(pid):
                for text in found:
                    found[text] += piece.count(text.encode())
        self.assertEqual(found[REAL], 0)
        self.assertGreater(found[PLANTED], 0, "the search finds what is there")
        self.assertGreater(found[placeholder], 0)
        # Nor in what the node and the api keep, nor in what they say.
        for needle, there in ((REAL, False), (PLANTED, True)):
            said = subprocess.run(["grep", "-rlaF", needle, self.hako.state, self.hako.run_dir],
                                  capture_output=True, text=True)
            self.assertEqual(bool(said.stdout), there, said.stdout)
        self.hako.cli("kill", box)

    def test_the_command_line_keeps_and_never_shows(self):
        hako = self.hako
        made = hako.cli("secret", "add", "Git", "--host", "git.test:443,8443", "--use",
                        "basic:x-access-token", "--use", "header:X-Key:Key {}", "--label", "internal",
                        "--for-agent", "bot", input="a-token-that-nobody-sees\n")
        listed = hako.cli("secret", "ls")
        shown = json.loads(hako.cli("secret", "show", "git", "--json").stdout)
        self.assertEqual(shown["hosts"], ["git.test:443,8443"])
        self.assertEqual(shown["use"][1], {"kind": "header", "header": "X-Key", "template": "Key {}"})
        self.assertEqual(shown["grants"], [{"agent": "bot"}])
        self.assertEqual(shown["label"], "internal")
        changed = hako.cli("secret", "set", "git", "--for-tenant", "default", "--env", "TOKEN")
        path = os.path.join(self.folder, "value")
        with open(path, "w") as file:
            file.write("another-token-that-nobody-sees\n")
        rotated = hako.cli("secret", "rotate", "git", "--value-file", path)
        self.assertIn("version         2", rotated.stdout)
        for said in (made, listed, changed, rotated):
            self.assertNotIn("nobody-sees", said.stdout + said.stderr)
        self.assertIn("git", listed.stdout)
        box = hako.cli("create", "--label", "internal", "--allow", "git.test").stdout.strip()
        used = hako.cli("secret", "use", box, "git").stdout
        self.assertRegex(used, r"^TOKEN=[0-9A-Za-z]+\n$")
        self.assertEqual(hako.cli("secret", "use", box).stdout, used)
        self.assertEqual(hako.cli("secret", "use", box, "--none").stdout, "")
        open_box = hako.cli("create").stdout.strip()
        refused = hako.cli("secret", "use", open_box, "git", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("secret.label", refused.stderr)
        self.assertEqual(hako.cli("secret", "rm", "git").stdout, "git\n")
        self.assertIn("no secret 'git'", hako.cli("secret", "rm", "git", check=False).stderr)
        empty = hako.cli("secret", "add", "x", input="", check=False)
        self.assertIn("there is no value", empty.stderr)
        logs = hako.logs(lines=None)
        self.assertNotIn("nobody-sees", logs)
        self.assertNotIn(REAL, logs)
        hako.cli("kill", box, open_box)

    def test_a_repository_that_is_none_is_said_so_before_anything_is_made(self):
        for url in ("http://git.test/a", "https://user:pass@git.test/a", "https://git.test/",
                    "git@git.test:a", "https://git.test/a b", "https://-x/a"):
            refused = self.hako.cli("run", "--repo", url, "--", "true", check=False)
            self.assertEqual(refused.returncode, 125, url)
            self.assertIn("is no repository", refused.stderr)


if __name__ == "__main__":
    unittest.main()
