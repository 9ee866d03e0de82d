"""Everything that arrives on an interface, packet by packet, and what in it must not be there."""

import ipaddress
import re
import socket
import struct
import threading

# Attacks write their own name into this one, in whatever they say. Between the labels stands a dot
# in text and a length in DNS.
NEEDLE = re.compile(rb"at-([a-z0-9-]{1,60}).evil.test", re.IGNORECASE)
PROTOCOLS = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "icmp6"}


def needles(data):
    """Names of the attacks whose words are in `data`."""
    return {found.decode().lower() for found in NEEDLE.findall(data)}


class Recorder:
    """Counts packets by (protocol, destination, port), on a thread of its own."""

    def __init__(self, interface):
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        self._socket.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        self._socket.bind((interface, 0))
        self._lock = threading.Lock()
        self._seen = {}
        self._needles = {}
        threading.Thread(target=self._run, daemon=True).start()

    def take(self):
        """What has arrived since the last call, and forgets it."""
        with self._lock:
            seen, self._seen = self._seen, {}
            found, self._needles = self._needles, {}
        packets = [{"protocol": protocol, "source": source, "address": address, "port": port,
                    "count": count}
                   for (protocol, source, address, port), count in seen.items()]
        said = [{"attack": attack, "protocol": protocol, "address": address, "port": port}
                for attack, (protocol, address, port) in found.items()]
        return packets, said

    def _run(self):
        while True:
            try:
                frame, address = self._socket.recvfrom(65536)
            except OSError:  # the interface has gone
                return
            if address[2] == socket.PACKET_OUTGOING:
                continue
            key = describe(frame)
            found = needles(frame)
            with self._lock:
                self._seen[key] = self._seen.get(key, 0) + 1
                for attack in found:
                    self._needles[attack] = (key[0], key[2], key[3])


def describe(frame):
    """(protocol, source, destination, destination port or type) of an Ethernet frame."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == 0x0800 and len(frame) >= 34:
        header = (frame[14] & 15) * 4
        number, rest = frame[23], frame[14 + header:]
        source, target = (str(ipaddress.ip_address(frame[at:at + 4])) for at in (26, 30))
        if struct.unpack(">H", frame[20:22])[0] & 0x1fff:
            rest = b""  # a later fragment has no ports
    elif kind == 0x86dd and len(frame) >= 54:
        number, rest = frame[20], frame[54:]
        source, target = (str(ipaddress.ip_address(frame[at:at + 16])) for at in (22, 38))
    else:
        name = {0x0806: "arp"}.get(kind, f"ethernet-{kind:04x}")
        return name, frame[6:12].hex(":"), frame[0:6].hex(":"), 0
    protocol = PROTOCOLS.get(number, f"ip-{number}")
    port = 0
    if number in (6, 17) and len(rest) >= 4:
        port = int.from_bytes(rest[2:4], "big")
    elif number in (1, 58) and rest:
        port = rest[0]
    return protocol, source, target, port
