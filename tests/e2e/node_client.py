"""Speaks to the node as the api does, for what only the node can be asked."""

import itertools
import json
import os
import socket
import struct
import sys

from harness import uids_of

sys.path.append(os.path.join(os.path.dirname(__file__), "..", "..", "bench"))
from client import Box, Connection  # noqa: E402


class NodeError(Exception):
    def __init__(self, error):
        super().__init__(f"{error['code']}: {error['message']}")
        self.code = error["code"]


class NodeClient:
    """One connection. Not for more than one thread."""

    def __init__(self, hako):
        self.hako = hako
        uid = uids_of(hako.role("api"))[0]
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The node asks the kernel who has connected.
        os.setegid(uid)
        os.seteuid(uid)
        try:
            self.socket.connect(os.path.join(hako.run_dir, "node.sock"))
        except OSError:
            self.socket.close()
            raise
        finally:
            os.seteuid(0)
            os.setegid(0)
        self.bytes = b""
        self.ids = itertools.count(1)
        self.notices = []

    def close(self):
        self.socket.close()

    def _read(self, count):
        while len(self.bytes) < count:
            more = self.socket.recv(1 << 16)
            if not more:
                raise ConnectionError("the node has closed the connection")
            self.bytes += more
        head, self.bytes = self.bytes[:count], self.bytes[count:]
        return head

    def _message(self):
        length, _ = struct.unpack("<II", self._read(8))
        return json.loads(self._read(length))

    def call(self, method, timeout=120, **body):
        number = next(self.ids)
        text = json.dumps({"id": number, "method": method, "body": body}).encode()
        self.socket.settimeout(timeout)
        self.socket.sendall(struct.pack("<II", len(text), 0) + text)
        while True:
            message = self._message()
            if message.get("id") != number:
                self.notices.append(message)
            elif "error" in message:
                raise NodeError(message["error"])
            else:
                return message.get("body", {})

    def wait_notice(self, method, box, timeout=60):
        """The body of the next notice of that kind about the box."""
        self.socket.settimeout(timeout)
        while True:
            for notice in self.notices:
                if notice.get("method") == method and notice["body"].get("box") == box:
                    self.notices.remove(notice)
                    return notice["body"]
            self.notices.append(self._message())


class NodeBox:
    """A box that only the node knows of, reached through the gate."""

    def __init__(self, hako, name):
        self.hako, self.name = hako, name

    def run(self, script):
        """What a shell says to `script`."""
        connection = Connection(address=("127.0.0.1", self.hako.gate_port))
        box = Box(self.hako, connection, {"sandboxID": self.name})
        try:
            return box.exec("/bin/sh", "-c", script).decode()
        finally:
            connection.socket.close()
