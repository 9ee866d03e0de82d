"""Packets made by hand, and the link that they go out on."""

import fcntl
import socket
import struct

ETHERNET = {"ip": 0x0800, "arp": 0x0806, "ip6": 0x86dd, "vlan": 0x8100}
BROADCAST = "ff:ff:ff:ff:ff:ff"


def packed_mac(text):
    return bytes.fromhex(text.replace(":", ""))


class Link:
    """The one interface of the box."""

    def __init__(self, gateway):
        self.name = next(name for _, name in socket.if_nameindex() if name != "lo")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            request = struct.pack("256s", self.name.encode())
            address = fcntl.ioctl(any_socket, 0x8915, request)  # SIOCGIFADDR
            hardware = fcntl.ioctl(any_socket, 0x8927, request)  # SIOCGIFHWADDR
        self.address = socket.inet_ntoa(address[20:24])
        self.mac = hardware[18:24].hex(":")
        self.gateway = gateway
        self.gateway_mac = self._neighbour(gateway)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.bind((self.name, 0))

    def _neighbour(self, address):
        with open("/proc/net/arp") as file:
            for line in file.readlines()[1:]:
                words = line.split()
                if words[0] == address:
                    return words[3]
        return BROADCAST

    def send(self, kind, payload, target=None, source=None):
        """One frame; `kind` is a word of ETHERNET or a number."""
        head = (packed_mac(target or self.gateway_mac) + packed_mac(source or self.mac) +
                struct.pack(">H", ETHERNET.get(kind, kind)))
        self._socket.send((head + payload).ljust(60, b"\0"))


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ip(source, target, protocol, payload, options=b"", fragment=0, ttl=64, id=0x6861):
    """An IPv4 packet; `fragment` is the field with its flags."""
    options += b"\0" * (-len(options) % 4)
    words = 5 + len(options) // 4
    addresses = socket.inet_aton(source) + socket.inet_aton(target)

    def header(sum):
        return struct.pack(">BBHHHBBH", 0x40 | words, 0, words * 4 + len(payload), id, fragment,
                           ttl, protocol, sum) + addresses + options
    return header(checksum(header(0))) + payload


def ip6(source, target, protocol, payload):
    return (struct.pack(">IHBB", 0x60000000, len(payload), protocol, 64) +
            socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target) +
            payload)


def pseudo(source, target, protocol, size):
    """What checksums count in addition."""
    if ":" in source:
        return (socket.inet_pton(socket.AF_INET6, source) +
                socket.inet_pton(socket.AF_INET6, target) + struct.pack(">II", size, protocol))
    return (socket.inet_aton(source) + socket.inet_aton(target) +
            struct.pack(">BBH", 0, protocol, size))


def udp(source, target, data, port=53, source_port=40000):
    def datagram(sum):
        return struct.pack(">HHHH", source_port, port, 8 + len(data), sum) + data
    whole = datagram(0)
    return datagram(checksum(pseudo(source, target, 17, len(whole)) + whole) or 0xffff)


def tcp(source, target, data=b"", port=443, source_port=40000, flags=0x02, sequence=1, ack=0):
    def segment(sum):
        return struct.pack(">HHIIBBHHH", source_port, port, sequence, ack, 0x50, flags, 65535, sum,
                           0) + data
    whole = segment(0)
    return segment(checksum(pseudo(source, target, 6, len(whole)) + whole))


def icmp(kind, data, code=0, id=0x6b6f):
    def message(sum):
        return struct.pack(">BBHHH", kind, code, sum, id, 1) + data
    return message(checksum(message(0)))


def arp(operation, sender_mac, sender, target_mac, target, padding=b""):
    return (struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation) + packed_mac(sender_mac) +
            socket.inet_aton(sender) + packed_mac(target_mac) + socket.inet_aton(target) + padding)


def dhcp(kind, mac, said, wanted=None):
    """A DHCP message: 1 discovers, 2 offers, 3 requests, 5 acknowledges."""
    options = b"\x63\x82\x53\x63" + bytes([53, 1, kind, 12, len(said)]) + said
    if wanted:
        options += b"\x32\x04" + socket.inet_aton(wanted)
    address = socket.inet_aton(wanted or "0.0.0.0")
    return (struct.pack(">BBBBIHH", 2 if kind in (2, 5) else 1, 1, 6, 0, 0x68616b6f, 0, 0x8000) +
            bytes(4) + address + bytes(8) + packed_mac(mac).ljust(16, b"\0") + bytes(192) +
            options + b"\xff")
