"""What tests of the Model Context Protocol have in common."""

import time
import unittest

from harness import Hako

ACCEPT = "application/json, text/event-stream"
VERSIONS = ["2025-11-25", "2025-06-18"]


def request(method, params=None, id=1):
    message = {"jsonrpc": "2.0", "id": id, "method": method}
    return message | ({} if params is None else {"params": params})


def initialize(version=VERSIONS[0], id=0):
    return request("initialize", {"protocolVersion": version, "capabilities": {},
                                  "clientInfo": {"name": "raw", "version": "1"}}, id)


def call(name, arguments, id=1, **params):
    return request("tools/call", {"name": name, "arguments": arguments, **params}, id)


class WithHako(unittest.TestCase):
    """One hako for all classes of a file."""

    hako = None

    @classmethod
    def setUpClass(cls):
        if WithHako.hako:
            return
        hako = Hako(pool=2)
        unittest.addModuleCleanup(hako.remove)
        unittest.addModuleCleanup(hako.stop)
        WithHako.hako = hako.start()

    def count_in(self, box, words):
        """Processes of the box with this in their command line."""
        script = ("for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null && echo; done"
                  f" | grep -v grep | grep -c '{words}' || true")
        return int(self.hako.exec(box, "sh", "-c", script).stdout)

    def wait_for_count(self, box, words, count):
        end = time.monotonic() + 30
        while self.count_in(box, words) != count:
            self.assertLess(time.monotonic(), end, f"not {count} of {words}\n{self.hako.logs()}")
            time.sleep(0.2)
