"""The Model Context Protocol over HTTP, as no client that behaves would speak it: sessions, headers, others'
boxes, permissions, connections that break. Real boxes throughout.
"""

import http.client
import json
import time
import unittest

from mcp_messages import ACCEPT, VERSIONS, WithHako, call, initialize, request


class HttpTest(WithHako):
    def ask(self, message, headers=None, method="POST", key=None, session=None, raw=False):
        """(status, headers, messages) of a request to /mcp."""
        send = {"X-API-Key": key or self.hako.key(), "Accept": ACCEPT,
                "Content-Type": "application/json"}
        if session:
            send["Mcp-Session-Id"] = session
        send |= headers or {}
        send = {name: value for name, value in send.items() if value is not None}
        connection = http.client.HTTPConnection("127.0.0.1", self.hako.api_port, timeout=120)
        body = message if isinstance(message, (bytes, type(None))) else json.dumps(message)
        connection.request(method, "/mcp", body=body, headers=send)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        if response.headers.get_content_type() == "text/event-stream":
            found = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
        else:
            found = [json.loads(text)] if text else []
        return response.status, response.headers, found

    def begin(self, key=None):
        status, headers, messages = self.ask(initialize(), key=key)
        self.assertEqual(status, 200, messages)
        session = headers["Mcp-Session-Id"]
        self.assertRegex(session, "^[!-~]{32,}$")
        note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        self.assertEqual(self.ask(note, key=key, session=session)[0], 202)
        return session

    def use(self, name, arguments, key=None, session=None):
        session = session or self.begin(key)
        status, _, messages = self.ask(call(name, arguments), key=key, session=session)
        self.assertEqual(status, 200, messages)
        return messages[-1]["result"]

    def key(self, *words):
        return self.hako.cli("key", "create", *words).stdout.strip()

    def test_requests(self):
        session = self.begin()
        listing = request("tools/list")
        refused = [
            (401, dict(headers={"X-API-Key": None})),
            (401, dict(key="e2b_" + "0" * 40)),
            (403, dict(headers={"Origin": "https://evil.example"})),
            (403, dict(headers={"Origin": "http://localhost.evil.example"})),
            (403, dict(headers={"Origin": "null"})),
            (406, dict(headers={"Accept": "application/json"})),
            (406, dict(headers={"Accept": "text/event-stream"})),
            (415, dict(headers={"Content-Type": "text/plain"})),
            (400, dict(headers={"MCP-Protocol-Version": "1999-01-01"})),
            (400, dict(session=None)),
            (404, dict(session="0" * 64)),
            (404, dict(session=session[:-1] + ("0" if session[-1] != "0" else "1"))),
        ]
        for status, options in refused:
            with self.subTest(options):
                answer = self.ask(listing, **({"session": session} | options))
                self.assertEqual(answer[0], status, answer[2])
                self.assertEqual(len(answer[2]), 1)
        for origin in ("http://localhost:5173", "http://127.0.0.1", "http://[::1]:80"):
            answer = self.ask(listing, headers={"Origin": origin}, session=session)
            self.assertEqual(answer[0], 200)
        for version in VERSIONS:
            answer = self.ask(listing, headers={"MCP-Protocol-Version": version}, session=session)
            self.assertEqual(answer[0], 200)
        status, headers, _ = self.ask(None, method="GET", session=session)
        self.assertEqual((status, headers["Allow"]), (405, "POST, DELETE"))
        status, _, messages = self.ask(b"[]", session=session)
        self.assertEqual((status, messages[0]["error"]["code"]), (400, -32600))
        status, _, messages = self.ask(b"{", session=session)
        self.assertEqual((status, messages[0]["error"]["code"]), (400, -32700))
        status, _, messages = self.ask(request("no/such"), session=session)
        self.assertEqual((status, messages[0]["error"]["code"]), (200, -32601))
        self.assertEqual(self.ask(b"x" * (2 << 20), session=session)[0], 413)
        self.assertEqual(self.ask(None, method="DELETE", session=session)[0], 204)

    def test_sessions_outlive_the_api(self):
        session = self.begin()
        self.hako.cli("restart")
        self.assertEqual(self.ask(request("ping"), session=session)[0], 200)

    def test_others_do_not_exist(self):
        """A session is its caller's own, and so is what tools see."""
        self.hako.cli("tenant", "create", "acme")
        theirs = self.hako.cli("--tenant", "acme", "key", "create").stdout.strip()
        box = self.hako.create()["sandboxID"]
        session = self.begin()
        self.assertEqual(self.ask(request("ping"), key=theirs, session=session)[0], 404)
        told = self.use("box_info", {"box": box})
        self.assertFalse(told["isError"])
        nothing = "iaaaaaaaaaaaaaaaaaaaa"
        for name, more in (("box_info", {}), ("box_run", {"command": "true"}),
                           ("box_read_file", {"path": "/etc/hostname"}),
                           ("box_write_file", {"path": "x", "content": ""}),
                           ("box_list_files", {}), ("box_pause", {}), ("box_fork", {}),
                           ("box_snapshot", {}), ("box_expose_port", {"port": 80}),
                           ("box_set_timeout", {"ttl_seconds": 60})):
            seen = [self.use(name, {"box": one} | more, key=theirs)["content"][0]["text"]
                    .replace(one, "ID") for one in (box, nothing)]
            self.assertEqual(seen[0], seen[1], name)
            self.assertIn("not", seen[0])
        gone = self.use("box_kill", {"box": box}, key=theirs)["structuredContent"]
        self.assertEqual(gone["done"], "it was not there")
        self.assertEqual(self.use("box_list", {}, key=theirs)["structuredContent"], {"boxes": []})
        self.assertFalse(self.use("box_info", {"box": box})["isError"])

    def test_permissions_are_those_of_the_key(self):
        box = self.hako.create()["sandboxID"]
        viewer = self.key("--role", "viewer")
        self.assertFalse(self.use("box_info", {"box": box}, key=viewer)["isError"])
        for name, more in (("box_run", {"command": "true"}), ("box_kill", {}),
                           ("box_write_file", {"path": "x", "content": ""})):
            refused = self.use(name, {"box": box} | more, key=viewer)
            self.assertTrue(refused["isError"], name)
            self.assertIn("permission_denied", refused["content"][0]["text"])
        token = self.hako.cli("token", "mint", "--sandbox", box, "--actions",
                              "sandbox.exec,sandbox.read").stdout.strip()
        done = self.use("box_run", {"box": box, "command": "seq 1 10000"}, key=token)
        self.assertTrue(done["structuredContent"]["truncated"])
        # Without the right to write files, what is too long cannot be kept: and that is said.
        self.assertIn("could not be kept", done["structuredContent"]["note"])
        self.assertTrue(self.use("box_create", {}, key=token)["isError"])

    def test_what_tools_do_is_recorded(self):
        box = self.use("box_create", {})["structuredContent"]["box"]
        self.use("box_run", {"box": box, "command": "echo recorded-words"})
        self.use("box_kill", {"box": box})
        end = time.monotonic() + 20
        while time.monotonic() < end:
            found = self.hako.cli("audit", "search", "--box", box).stdout
            if all(word in found for word in ("sandbox.create", "sandbox.delete", "recorded-words")):
                break
            time.sleep(0.3)
        else:
            self.fail(found)
        self.assertIn("mcp.message", self.hako.cli("audit", "search").stdout)

    def stream(self, message, session):
        connection = http.client.HTTPConnection("127.0.0.1", self.hako.api_port, timeout=120)
        connection.request("POST", "/mcp", body=json.dumps(message), headers={
            "X-API-Key": self.hako.key(), "Accept": ACCEPT, "Content-Type": "application/json",
            "Mcp-Session-Id": session})
        return connection, connection.getresponse()

    def test_client_gone_leaves_the_command(self):
        """A broken connection says nothing about what the client wants."""
        box = self.hako.create()["sandboxID"]
        session = self.begin()
        command = {"box": box, "command": "sleep 7361 | sleep 7362", "timeout_seconds": 900}
        connection, response = self.stream(call("box_run", command), session)
        self.wait_for_count(box, "sleep 736", 3)
        response.close()
        connection.close()
        # A silent connection is looked at every 15 s.
        time.sleep(20)
        self.assertEqual(self.count_in(box, "sleep 736"), 3)

    def test_ended_session_ends_the_command(self):
        box = self.hako.create()["sandboxID"]
        session = self.begin()
        command = {"box": box, "command": "sleep 6361 | sleep 6362", "timeout_seconds": 900}
        connection, response = self.stream(call("box_run", command), session)
        self.wait_for_count(box, "sleep 636", 3)
        self.assertEqual(self.ask(None, method="DELETE", session=self.begin())[0], 204)
        self.assertEqual(self.count_in(box, "sleep 636"), 3)
        self.assertEqual(self.ask(None, method="DELETE", session=session)[0], 204)
        self.assertEqual(response.read().decode().count("data:"), 0)
        connection.close()
        self.wait_for_count(box, "sleep 636", 0)

    def test_too_many_at_once(self):
        box = self.hako.create()["sandboxID"]
        session = self.begin()
        open_ones = []
        for i in range(32):
            command = {"box": box, "command": "sleep 20"}
            open_ones.append(self.stream(call("box_run", command, id=i), session))
        status, headers, messages = self.ask(call("box_info", {"box": box}, id=99), session=session)
        self.assertEqual((status, headers["Retry-After"]), (429, "1"), messages)
        self.assertEqual(self.ask(request("ping"), session=session)[0], 200)
        self.ask(None, method="DELETE", session=session)
        for connection, response in open_ones:
            response.read()
            connection.close()
        self.assertEqual(self.ask(call("box_info", {"box": box}), session=session)[0], 200)


if __name__ == "__main__":
    unittest.main()
