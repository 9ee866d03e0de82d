"""What the daemon in a box does on a real machine that it cannot do as a plain process."""

import http.client
import json
import struct
import subprocess
import threading
import unittest

from harness import Hako

# Runs in a box's network namespace, where the host's side of its link is: asks for each port of
# the box's loopback address, and prints the answer's first byte and what comes behind it.
ASK = """
import socket, sys
for port in map(int, sys.argv[1:]):
    with socket.create_connection(("169.254.0.21", 49982), 10) as relay:
        relay.sendall(port.to_bytes(2, "big"))
        answer = relay.recv(1)
        if answer == b"\\0":
            relay.sendall(b"GET /mine HTTP/1.0\\r\\n\\r\\n")
        text = b""
        while piece := relay.recv(65536):
            text += piece
        print(answer[0], text.split(b"\\r\\n\\r\\n")[-1].decode().strip())
"""


class GuestTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.hako = Hako(pool=1)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()
        cls.box = cls.hako.create(timeout=600)
        cls.id = cls.box["sandboxID"]

    def headers(self, **more):
        return {"E2b-Sandbox-Id": self.id, "E2b-Sandbox-Port": "49983",
                "X-Access-Token": self.box["envdAccessToken"],
                **{k.replace("_", "-"): v for k, v in more.items()}}

    def call(self, method, message):
        status, _, body = self.hako.request("POST", f"/filesystem.Filesystem/{method}", message,
                                            key=False, headers=self.headers())
        self.assertEqual(status, 200, body)
        return body

    def upload(self, path, content, **headers):
        status, _, body = self.hako.request(
            "POST", f"/files?path={path}", content, key=False,
            headers=self.headers(Content_Type="application/octet-stream", **headers))
        self.assertEqual(status, 200, body)

    def test_metadata_is_kept_with_a_file(self):
        self.upload("kept", b"x", X_Metadata_Purpose="test")
        entry = self.call("Stat", {"path": "/home/user/kept"})["entry"]
        self.assertEqual(entry["metadata"], {"purpose": "test"})
        self.assertEqual(entry["owner"], "user")
        self.upload("kept", b"x")
        self.assertNotIn("metadata", self.call("Stat", {"path": "/home/user/kept"})["entry"])

    def events(self, path):
        """The events of a recursive watch, as they come; the watch is set before this returns."""
        connection = http.client.HTTPConnection("127.0.0.1", self.hako.api_port, timeout=60)
        self.addCleanup(connection.close)
        message = json.dumps({"path": path, "recursive": True}).encode()
        connection.request("POST", "/filesystem.Filesystem/WatchDir",
                           b"\0" + struct.pack(">I", len(message)) + message,
                           self.headers(Content_Type="application/connect+json"))
        response = connection.getresponse()
        self.assertEqual(response.status, 200)

        def frames():
            while True:
                flags, length = struct.unpack(">BI", response.read(5))
                payload = json.loads(response.read(length))
                if flags & 2:
                    self.assertEqual(payload, {})
                    return
                yield payload

        stream = frames()
        self.assertEqual(next(stream), {"start": {}})
        return ((e["filesystem"]["type"].removeprefix("EVENT_TYPE_"), e["filesystem"]["name"])
                for e in stream if "filesystem" in e)

    def test_watches_see_the_disk_of_a_box(self):
        self.call("MakeDir", {"path": "/home/user/watched/old"})
        events = self.events("/home/user/watched")
        # A folder of the image's layer would behave like this one of the scratch disk: both are
        # seen through the overlay.
        self.hako.exec(self.id, "sh", "-c",
                       "cd watched && mkdir -p new/deep && echo x > new/deep/file && "
                       "mv new/deep old/moved && echo y >> old/moved/file && rm -r old/moved && "
                       "touch last")
        seen = []
        for event in events:
            seen.append(event)
            if event == ("CREATE", "last"):
                break
        wanted = [("CREATE", "new"), ("CREATE", "new/deep"), ("RENAME", "new/deep"),
                  ("CREATE", "old/moved"), ("WRITE", "old/moved/file"),
                  ("REMOVE", "old/moved/file"), ("REMOVE", "old/moved"), ("CREATE", "last")]
        order = iter(seen)
        self.assertTrue(all(event in order for event in wanted), seen)
        self.assertEqual(seen.count(("CREATE", "new/deep/file")), 1, seen)
        # The watch ends with its folder.
        ended = threading.Event()
        threading.Thread(target=lambda: (list(events), ended.set()), daemon=True).start()
        self.call("Remove", {"path": "/home/user/watched"})
        self.assertTrue(ended.wait(30))

    def test_its_way_out_and_its_name_server_are_the_host(self):
        told = self.hako.exec(self.id, "sh", "-c", "ip route show default; cat /etc/resolv.conf")
        self.assertEqual(told.stdout.split("\n")[:2],
                         ["default via 169.254.0.22 dev eth0 ", "nameserver 169.254.0.22"])

    def test_the_host_reaches_services_on_the_loopback_address(self):
        self.hako.exec(self.id, "sh", "-c",
                       f"mkdir served && cd served && echo {self.id} > mine && "
                       "(python3 -m http.server --bind 127.0.0.1 8123 >/dev/null 2>&1 &) && "
                       "for i in $(seq 300); do "
                       "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8123))'"
                       " 2>/dev/null && exit; sleep 0.1; done; exit 1")
        slot = self.hako.record_of(self.id)["slot"]
        done = subprocess.run(
            ["nsenter", f"--net={self.hako.run_dir}/netns/slot-{slot}", "python3", "-c", ASK,
             "8123", "8124"], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.stdout.split("\n")[:2], [f"0 {self.id}", "1 "], done.stderr)
        # Programs in the box have no use of it: their address is not the host's.
        refused = self.hako.exec(
            self.id, "python3", "-c",
            "import socket\ntry:\n  s = socket.create_connection(('127.0.0.1', 49982))\n"
            "  s.sendall(b'\\x1f\\xbb'); print(s.recv(1))\n"
            "except OSError: print('reset')").stdout
        self.assertIn(refused.strip(), ("reset", "b''"))


if __name__ == "__main__":
    unittest.main()
