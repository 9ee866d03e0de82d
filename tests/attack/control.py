"""A box without hako: a namespace on an ordinary router that lets everything through. What an
attack does there shows whether it would be noticed at all."""

import json
import socket
import subprocess
import sys
import threading

import namespaces
import zone
from recorder import Recorder

GUEST, ROUTER = "169.254.0.21", "169.254.0.22"
LINK = "box0"
RULES = f"""table inet open {{
  chain in {{
    type nat hook prerouting priority dstnat;
    iifname {LINK} ip daddr {ROUTER} meta l4proto {{ tcp, udp }} dnat ip to {zone.RESOLVER}
  }}
  chain out {{
    type nat hook postrouting priority srcnat;
    oifname up0 masquerade
  }}
}}"""


class OpenBox:
    """Use as a context manager, inside a World."""

    def __enter__(self):
        self._holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._holder.stdout.readline()
        run, pid = namespaces.run, self._holder.pid
        for name, value in (("ipv4/ip_forward", 1), ("ipv6/conf/all/forwarding", 1),
                            ("ipv4/conf/all/rp_filter", 0), ("ipv4/conf/default/rp_filter", 0),
                            ("ipv4/conf/all/proxy_arp", 1),
                            ("ipv4/conf/all/accept_source_route", 1)):
            namespaces.write_sysctl(name, value)
        run(f"ip link add {LINK} type veth peer name eth0 netns {pid}")
        run(f"ip address add {ROUTER}/30 dev {LINK}")
        run(f"ip -6 address add fd00:68::1/64 dev {LINK} nodad")
        run(f"ip link set {LINK} up")
        for command in (f"ip address add {GUEST}/30 dev eth0",
                        "ip -6 address add fd00:68::2/64 dev eth0 nodad",
                        "ip link set eth0 up", "ip link set lo up",
                        f"ip route add default via {ROUTER}",
                        "ip -6 route add default via fd00:68::1"):
            namespaces.run_inside(pid, command)
        # As hako's boxes have it; else claims by ARP spoil what is tried after them.
        link = namespaces.run_inside(pid, "ip -oneline link show dev eth0")
        mac = link.split("link/ether ")[1].split()[0]
        run(f"ip neighbour replace {GUEST} lladdr {mac} nud permanent dev {LINK}")
        namespaces.nft(RULES)
        self.recorder = Recorder(LINK)
        return self

    def __exit__(self, *_):
        self._holder.stdin.close()
        self._holder.wait()

    def run(self, probe, plan, timeout=240):
        """What the probe prints."""
        done = subprocess.run(
            ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", sys.executable, probe],
            input=json.dumps(plan), capture_output=True, text=True, timeout=timeout)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout


class HostServices:
    """What listens on the machine itself, and says that it has been reached. `port` is at every
    address of the machine, `local` on its loopback alone."""

    def __init__(self, secret):
        self._secret, self.reached = secret, []
        self.port, self.local = self._listen("::"), self._listen("::ffff:127.0.0.1")
        self._listen("::", 80)

    def _listen(self, address, port=0):
        listener = socket.socket(socket.AF_INET6)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((address, port))
        listener.listen(64)
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()
        return listener.getsockname()[1]

    def _serve(self, listener):
        while True:
            connection, sender = listener.accept()
            self.reached.append((sender[0], listener.getsockname()[1]))
            with connection:
                try:
                    connection.settimeout(2)
                    connection.recv(1000)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-World: " +
                                       self._secret.encode() + b"\r\n\r\n")
                except OSError:
                    pass
