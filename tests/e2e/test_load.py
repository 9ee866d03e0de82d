"""Who reads slowly must not make the daemons keep what he has not read.

HAKO_SDK_FULL=1 reads the whole gigabyte; without, the reader leaves after some of it.
"""

import base64
import glob
import json
import os
import re
import socket
import struct
import time
import unittest

from harness import Hako

MIB = 1 << 20
GIB = 1 << 30
FULL = bool(os.environ.get("HAKO_SDK_FULL"))
# What may lie in buffers of one stream in one process, above what it had before.
MOST_GROWTH = 24 * MIB


def peak_in(status):
    """The most that a process ever had resident, in bytes, by its /proc/PID/status."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def peak_of(pid):
    with open(f"/proc/{pid}/status") as file:
        return peak_in(file.read())


def daemons(hako):
    """{role: pid} of this hako's long-lived processes."""
    found = {}
    for path in glob.glob("/proc/[0-9]*"):
        try:
            with open(f"{path}/environ", "rb") as file:
                if f"HAKO_CONFIG={hako.config}".encode() not in file.read().split(b"\0"):
                    continue
            with open(f"{path}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        name = os.path.basename(words[0])
        role = words[1] if name == "hakod" else name
        if role in ("api", "node", "hako-gate"):
            found[role] = int(path.rsplit("/", 1)[1])
    return found


class SlowReader:
    """A request whose answer is read only when told to, through a small window."""

    def __init__(self, hako, sandbox, method, path, body=b"", headers=""):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        self.socket.settimeout(120)
        self.socket.connect(("127.0.0.1", hako.api_port))
        self.socket.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            f"E2b-Sandbox-Id: {sandbox['sandboxID']}\r\nE2b-Sandbox-Port: 49983\r\n"
            f"X-Access-Token: {sandbox['envdAccessToken']}\r\n{headers}"
            f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.file = self.socket.makefile("rb", buffering=0)
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            self.head += self.file.read(1)

    def read(self, count):
        """Exactly `count` bytes, or fewer at the end."""
        pieces, left = [], count
        while left and (piece := self.file.read(min(left, MIB))):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def close(self):
        self.file.close()
        self.socket.close()


class SlowReaderTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.hako = Hako(pool=1)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()
        cls.sandbox = cls.hako.create(timeout=1800)
        cls.box = cls.sandbox["sandboxID"]

    def peak_in_guest(self):
        return peak_in(self.hako.exec(self.box, "cat", "/proc/1/status").stdout)

    def check_bounded(self, reader, step):
        """Reads a little at a time, and looks at what everybody needed for that at most."""
        roles = daemons(self.hako)
        self.assertEqual(set(roles), {"api", "node", "hako-gate"})
        before = {role: peak_of(pid) for role, pid in roles.items()}
        inside = self.peak_in_guest()
        for _ in range(8):
            step(reader)
            time.sleep(0.5)  # time in which a daemon without a bound would fetch on
        for role, pid in roles.items():
            grown = peak_of(pid) - before[role]
            self.assertLess(grown, MOST_GROWTH, f"{role} keeps {grown} bytes")
        grown = self.peak_in_guest() - inside
        self.assertLess(grown, MOST_GROWTH, f"the guest's daemon keeps {grown} bytes")

    def test_file(self):
        self.hako.exec(self.box, "truncate", "-s", "1G", "/home/user/big")
        reader = SlowReader(self.hako, self.sandbox, "GET", "/files?path=/home/user/big")
        self.addCleanup(reader.close)
        self.assertIn(b" 200 ", reader.head)
        self.check_bounded(reader, lambda reader: reader.read(MIB))
        if FULL:
            left = GIB - 8 * MIB
            while piece := reader.read(min(left, MIB)):
                self.assertEqual(piece.count(0), len(piece))
                left -= len(piece)
            self.assertEqual(left, 0)
        # Whoever leaves in the middle leaves nothing in the way.
        reader.close()
        self.assertEqual(self.hako.exec(self.box, "echo", "on").stdout, "on\n")

    def test_output_of_a_command(self):
        command = {"cmd": "/usr/bin/head", "args": ["-c", str(GIB), "/dev/zero"]}
        words = json.dumps({"process": command, "stdin": False}).encode()
        reader = SlowReader(self.hako, self.sandbox, "POST", "/process.Process/Start",
                            b"\0" + struct.pack(">I", len(words)) + words,
                            "Content-Type: application/connect+json\r\n"
                            "Connect-Protocol-Version: 1\r\n")
        self.addCleanup(reader.close)
        self.assertIn(b" 200 ", reader.head)
        events = events_of(reader)
        self.assertIn("start", next(events))
        seen = 0

        def step(_):
            nonlocal seen
            end = seen + MIB
            while seen < end:
                data = base64.b64decode(next(events)["data"]["stdout"])
                self.assertEqual(data.count(0), len(data))
                seen += len(data)

        self.check_bounded(reader, step)
        if FULL:
            for event in events:
                if "end" in event:
                    self.assertEqual(event["end"].get("exitCode", 0), 0)
                    break
                seen += len(base64.b64decode(event["data"]["stdout"]))
            self.assertEqual(seen, GIB)
        reader.close()
        self.assertEqual(self.hako.exec(self.box, "echo", "on").stdout, "on\n")


def events_of(reader):
    """The process events of a Connect stream in a chunked body."""
    body = b""

    def take(count):
        nonlocal body
        while len(body) < count:
            size = b""
            while not size.endswith(b"\r\n"):
                size += reader.read(1)
            length = int(size, 16)
            body += reader.read(length)
            reader.read(2)
            if not length:
                raise AssertionError("the stream ended")
        piece, body = body[:count], body[count:]
        return piece

    while True:
        flags, length = struct.unpack(">BI", take(5))
        message = json.loads(take(length))
        if flags & 2:
            return
        yield message["event"]


if __name__ == "__main__":
    unittest.main()
