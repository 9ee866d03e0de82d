"""Tokens for single boxes, against the real gate: what they are good for, and how long they last."""

import os
import signal
import time
import unittest

import harness


class AccessTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.hako = harness.Hako(pool=2).start()
        cls.hako.wait_for_pool()

    @classmethod
    def tearDownClass(cls):
        cls.hako.stop()
        left = cls.hako.leftovers()
        cls.hako.remove()
        assert not any(left.values()), left

    def with_key(self, key, method, path, body=None, headers=None, port=None):
        return self.hako.request(method, path, body, key=False, port=port,
                                 headers={"X-API-Key": key, **(headers or {})})

    def mint(self, narrowing):
        status, _, made = self.hako.request("POST", "/v1/tokens", narrowing)
        self.assertEqual(status, 201, made)
        return made["token"]

    def read(self, box, token=None, key=None, port=None):
        """Status of reading a file, with the box's token at the gate or a key at the API."""
        headers = {"E2b-Sandbox-Id": box, "E2b-Sandbox-Port": "49983"}
        if token:
            headers["X-Access-Token"] = token
        if key:
            headers["X-API-Key"] = key
        return self.hako.request("GET", "/files?path=/etc/hostname&username=root", key=False,
                                 headers=headers, port=port)[0]

    def test_each_holder_has_what_they_may_do(self):
        made = self.hako.create()
        box, gate = made["sandboxID"], self.hako.gate_port
        self.assertEqual(self.read(box, token=made["envdAccessToken"], port=gate), 200)
        writer = self.mint({"actions": ["sandbox.read", "files.write"]})
        shown = self.with_key(writer, "GET", f"/sandboxes/{box}")[2]
        self.assertNotEqual(shown["envdAccessToken"], made["envdAccessToken"])
        self.assertEqual(self.read(box, token=shown["envdAccessToken"], port=gate), 403)
        # At the API's own port the key itself will do, and is good for the same.
        self.assertEqual(self.read(box, key=self.hako.key()), 200)
        self.assertEqual(self.read(box, key=writer), 403)
        self.assertEqual(self.read(box, key=self.mint({"sandboxes": ["inone"]})), 404)
        self.assertEqual(self.read(box, key="e2b_" + 40 * "0"), 401)
        self.hako.destroy(made)

    def test_tokens_outlive_every_process_and_not_their_key(self):
        made = self.hako.create()
        box, gate = made["sandboxID"], self.hako.gate_port
        token = made["envdAccessToken"]
        for role in ("api", "node", "gate"):
            os.kill(self.hako.role(role), signal.SIGKILL)
            until = time.monotonic() + 60
            while self.read_or_nothing(box, token, gate) != 200:
                self.assertLess(time.monotonic(), until, role + "\n" + self.hako.logs())
                time.sleep(0.2)
            # Nor does whoever asks again get another one.
            self.assertEqual(self.token_of(self.hako.key(), box), token, role)
        narrow = self.mint({"actions": ["sandbox.read", "files.read"]})
        given = self.token_of(narrow, box)
        self.assertEqual(self.read(box, token=given, port=gate), 200)
        self.assertEqual(self.hako.request("POST", "/v1/tokens/revoke", {"token": narrow})[0], 204)
        self.assertEqual(self.read(box, token=given, port=gate), 401)
        self.assertEqual(self.read(box, token=token, port=gate), 200)
        self.hako.destroy(made)

    def token_of(self, key, box):
        """What the key's holder is given for the box; while the gate is away there is none."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                shown = self.with_key(key, "GET", f"/sandboxes/{box}")[2]
                if "envdAccessToken" in shown:
                    return shown["envdAccessToken"]
            except OSError:
                pass
            time.sleep(0.2)
        self.fail(self.hako.logs())

    def read_or_nothing(self, box, token, port):
        try:
            return self.read(box, token=token, port=port)
        except OSError:
            return None


if __name__ == "__main__":
    unittest.main()
