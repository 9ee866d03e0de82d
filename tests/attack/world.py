"""The world outside a machine that runs hako, in a network namespace of its own.

Whoever makes a World must be in a namespace that it may fill (namespaces.leave()): it becomes the
machine, with a public address, and its default routes lead into the world, where every address
there is answers on every port. Nothing goes further than that.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile

import certificates
import namespaces
import zone

LINK, FAR_LINK = "up0", "world0"
SERVICE_PORT = 1
RULES = f"""table inet world {{
  chain arriving {{
    type filter hook prerouting priority mangle;
    iifname {FAR_LINK} meta l4proto {{ tcp, udp }} tproxy to :{SERVICE_PORT} accept
  }}
}}"""


class World:
    """Use as a context manager."""

    def __init__(self):
        self.secret = secrets.token_hex(8)
        self.folder = tempfile.TemporaryDirectory(prefix="hako-world-")
        certificates.make(self.folder.name)

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, __file__, self.folder.name, self.secret], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        self._expect("namespace")
        run = namespaces.run
        run(f"ip link add {LINK} type veth peer name {FAR_LINK} netns {self._process.pid}")
        run(f"ip address add {zone.HOST}/24 dev {LINK}")
        run(f"ip -6 address add {zone.HOST6}/64 dev {LINK} nodad")
        run(f"ip link set {LINK} up")
        self._process.stdin.write("linked\n")
        self._process.stdin.flush()
        self._expect("ready")
        run(f"ip route add default via {zone.GATEWAY}")
        run(f"ip -6 route add default via {zone.GATEWAY6}")
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait()
        self.folder.cleanup()

    @property
    def authority(self):
        """The certificate that the world's servers can be verified with, PEM."""
        with open(os.path.join(self.folder.name, "ca.pem")) as file:
            return file.read()

    def take(self):
        """What has arrived since the last call: {"packets", "said", "log"}."""
        self._process.stdin.write("take\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def _expect(self, word):
        line = self._process.stdout.readline().strip()
        if line != word:
            raise RuntimeError(f"the world has not begun: {line!r} instead of {word!r}")


def live(folder, secret):
    """The process in the world."""
    from recorder import Recorder
    from services import Services
    namespaces.leave()
    print("namespace", flush=True)
    sys.stdin.readline()
    run = namespaces.run
    run(f"ip address add {zone.GATEWAY}/24 dev {FAR_LINK}")
    run(f"ip -6 address add {zone.GATEWAY6}/64 dev {FAR_LINK} nodad")
    run(f"ip link set {FAR_LINK} up")
    # In the main table: nearer routes, back to the machine, go before it.
    for family in ("-4", "-6"):
        run(f"ip {family} route add local default dev lo table main")
    namespaces.nft(RULES)
    recorder = Recorder(FAR_LINK)
    services = Services(zone.Zone(), os.path.join(folder, "server.pem"), secret, SERVICE_PORT)
    print("ready", flush=True)
    while sys.stdin.readline():
        packets, said = recorder.take()
        print(json.dumps({"packets": packets, "said": said, "log": services.take()}), flush=True)


if __name__ == "__main__":
    live(*sys.argv[1:])
