"""What an agent in a box is to reach: a model and a git server, in a network namespace of their own, under
names that only the gate's resolver knows. Other names are asked of this machine's resolver, as agents are
installed from the registry that this machine's npm uses.
"""

import ipaddress
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def run(*words):
    subprocess.run(words, check=True, capture_output=True)


class Names(threading.Thread):
    """A resolver on a port of 127.0.0.1."""

    def __init__(self, known):
        super().__init__(daemon=True)
        self.known = known
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                query, peer = self.socket.recvfrom(4096)
            except OSError:
                return
            threading.Thread(target=self.answer, args=(query, peer), daemon=True).start()

    def answer(self, query, peer):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        name, kind = ".".join(labels).lower(), struct.unpack(">H", query[at + 1:at + 3])[0]
        addresses = self.look_up(name) if kind == 1 else []
        records = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 30, 4) +
                           ipaddress.ip_address(address).packed for address in addresses)
        head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, len(addresses), 0, 0)
        self.socket.sendto(head + query[12:at + 5] + records, peer)

    def look_up(self, name):
        if name in self.known:
            return [self.known[name]]
        try:
            found = socket.getaddrinfo(name, 443, socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            return []
        return sorted({address[4][0] for address in found})


class World:
    """Use as a context manager. `made`: Certificates; the servers' are signed by its authority."""

    MODEL, GIT = "model.agents.test", "git.agents.test"

    def __init__(self, made):
        self.made = made
        # By the process, so that two runs on one machine do not meet.
        number = os.getpid() % 16384
        self.network = f"10.213.{number // 64}.{number % 64 * 4}"
        first = int(ipaddress.ip_address(self.network))
        self.near, self.address = (str(ipaddress.ip_address(first + i)) for i in (1, 2))
        self.link = f"hag{os.getpid()}"
        self.servers = []

    def __enter__(self):
        # The namespace lives as long as this process, and the link as long as the namespace.
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self.inside = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]
        ours = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.holder.pid}/ns/net") == ours:
            time.sleep(0.01)
        run("ip", "link", "add", self.link, "type", "veth", "peer", "name", "up0", "netns",
            str(self.holder.pid))
        run("ip", "address", "add", f"{self.near}/30", "dev", self.link)
        run("ip", "link", "set", self.link, "up")
        run(*self.inside, "ip", "address", "add", f"{self.address}/30", "dev", "up0")
        run(*self.inside, "ip", "link", "set", "up0", "up")
        run(*self.inside, "ip", "link", "set", "lo", "up")
        self.names = Names({self.MODEL: self.address, self.GIT: self.address})
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.kill()
            server.wait()
            server.stdout.close()
        self.names.socket.close()
        self.holder.kill()
        self.holder.wait()

    def _serve(self, program, *words):
        server = subprocess.Popen([*self.inside, sys.executable,
                                   os.path.join(HERE, program), "--address", self.address, *words],
                                  stdout=subprocess.PIPE, text=True)
        self.servers.append(server)
        if not server.stdout.readline().strip().isdigit():
            raise RuntimeError(f"{program} does not serve")

    def serve_model(self, moves, secret, port=443, **options):
        """Starts a scripted model; where it writes down what it is asked."""
        certificate, key = self.made.issue("model", f"DNS:{self.MODEL}")
        base = os.path.join(self.made.folder, f"model-{port}-{time.monotonic_ns()}")
        with open(base + ".json", "w") as file:
            json.dump(moves, file)
        more = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._serve("model_server.py", "--port", str(port), "--certificate", certificate, "--key",
                    key, "--script", base + ".json", "--log", base + ".jsonl", "--secret", secret,
                    *more)
        return base + ".jsonl"

    def serve_git(self, folder, secret, port=8443):
        """Serves the bare repositories in `folder` to whoever shows `secret` as a password."""
        certificate, key = self.made.issue("git", f"DNS:{self.GIT}")
        log = os.path.join(self.made.folder, "git.jsonl")
        self._serve("git_server.py", "--port", str(port), "--certificate", certificate, "--key",
                    key, "--folder", folder, "--secret", secret, "--log", log)
        return log


def requests_in(log):
    """What a server has written down; a line that it is at is left out."""
    with open(log) as file:
        return [json.loads(line) for line in file if line.endswith("\n")]
