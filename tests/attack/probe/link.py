"""Games on the box's own link: frames made by hand, other senders, ARP, DHCP, routes."""

import socket
import subprocess
import time

import frames
import names
from core import reached, refused, silent, trial
from frames import BROADCAST, arp, dhcp, icmp, ip, ip6, tcp, udp

ALL = "none allow internet"


def link_of(box):
    if "_link" not in box.plan:
        box.plan["_link"] = frames.Link(box.gateway)
    return box.plan["_link"]


def frame(id, title, **options):
    """Registers a function of (box, link, what to say) that sends frames. Nothing can answer them
    that the box could tell from its own kernel's doing; what counts is what arrives outside."""
    def register(act):
        @trial(id, title, attack=ALL, quiet=True, **options)
        def send_it(box):
            act(box, link_of(box), box.evil.encode())
            return silent("sent")
        return send_it
    return register


SENDERS = {"gateway": "169.254.0.22", "loopback": "127.0.0.1", "private": "10.0.0.9",
           "public": "93.184.216.99", "zero": "0.0.0.0", "host": "94.130.10.2",
           "synthetic": "198.18.0.5", "neighbour": "169.254.0.25"}
for _name, _sender in SENDERS.items():
    def _make_senders(name, sender):
        @frame(f"spoof-udp-{name}", f"sends UDP as {sender}")
        def send_udp(box, link, said):
            link.send("ip", ip(sender, box.public, 17, udp(sender, box.public, said, 7777)))

        @frame(f"spoof-tcp-{name}", f"sends the beginning of TCP as {sender}")
        def send_tcp(box, link, said):
            link.send("ip", ip(sender, box.public, 6, tcp(sender, box.public, said, 7777)))

        @frame(f"spoof-dns-{name}", f"asks DNS as {sender}")
        def send_dns(box, link, said):
            message = names.question(said.decode(), names.A)
            link.send("ip", ip(sender, box.resolver, 17, udp(sender, box.resolver, message)))
    _make_senders(_name, _sender)


@frame("frame-icmp", "pings by hand")
def frame_icmp(box, link, said):
    link.send("ip", ip(link.address, box.public, 1, icmp(8, said)))


@frame("frame-tcp-data", "sends TCP with data before any handshake")
def frame_data(box, link, said):
    for flags in (0x02, 0x18, 0x10, 0x29, 0x00):
        link.send("ip", ip(link.address, box.public, 6,
                           tcp(link.address, box.public, said, 443, flags=flags)))


@frame("frame-source-route", "asks the kernel to route by the packet's own list")
def source_route(box, link, said):
    for kind in (131, 137):
        options = bytes([kind, 7, 4]) + socket.inet_aton(box.public)
        link.send("ip", ip(link.address, link.gateway, 17,
                           udp(link.address, box.public, said, 7777), options))


@frame("frame-fragments", "sends a datagram in fragments")
def fragments(box, link, said):
    whole = udp(link.address, box.public, said.ljust(96, b" "), 7777)
    link.send("ip", ip(link.address, box.public, 17, whole[:64], fragment=0x2000, id=77))
    link.send("ip", ip(link.address, box.public, 17, whole[64:], fragment=8, id=77))


@frame("frame-tiny-fragments", "hides a TCP header in fragments")
def tiny_fragments(box, link, said):
    whole = tcp(link.address, box.public, said, 443)
    link.send("ip", ip(link.address, box.public, 6, whole[:8], fragment=0x2000, id=78))
    link.send("ip", ip(link.address, box.public, 6, whole[8:], fragment=1, id=78))


@frame("frame-ipip", "wraps a packet into another")
def ipip(box, link, said):
    inner = ip(link.address, box.public, 17, udp(link.address, box.public, said, 7777))
    for target in (link.gateway, box.public):
        link.send("ip", ip(link.address, target, 4, inner))
        link.send("ip", ip(link.address, target, 47, b"\0\0\x08\0" + inner))


@frame("frame-vlan", "puts a packet into a VLAN")
def vlan(box, link, said):
    inner = ip(link.address, box.public, 17, udp(link.address, box.public, said, 7777))
    for kind in (0x8100, 0x88a8):
        link.send(kind, b"\0\x01\x08\0" + inner)
        link.send(kind, b"\0\x01\x81\0\0\x02\x08\0" + inner)


@frame("frame-kinds", "sends frames that carry no IP at all")
def kinds(box, link, said):
    for kind in (0x88cc, 0x8863, 0x8864, 0x8847, 0x88a2, 0x0842, 0x9000, 0x0026):
        link.send(kind, said)
        link.send(kind, said, target="01:80:c2:00:00:0e")


@frame("frame-other-mac", "sends with other senders' and to other receivers' MAC addresses")
def other_mac(box, link, said):
    packet = ip(link.address, box.public, 17, udp(link.address, box.public, said, 7777))
    for mac in ("02:68:61:6b:6f:01", "02:00:00:00:00:99", BROADCAST):
        link.send("ip", packet, source=mac if mac != BROADCAST else None, target=mac)


@frame("frame-to-loopback", "sends to the namespace's loopback")
def to_loopback(box, link, said):
    for port in (53, 80, 443, 3000, 3002, 15001):
        link.send("ip", ip(link.address, "127.0.0.1", 6,
                           tcp(link.address, "127.0.0.1", said, port)))
        link.send("ip", ip("127.0.0.1", "127.0.0.1", 17,
                           udp("127.0.0.1", "127.0.0.1", said, port)))


@frame("frame-ipv6", "sends IPv6 by hand: UDP, TCP, ping, router and neighbour discovery")
def frame_ipv6(box, link, said):
    source, target = "fe80::68:61ff:fe6b:6f02", "2606:4700:4700::1111"
    for mac in (link.gateway_mac, "33:33:00:00:00:01"):
        for sender in (source, "2606:4700::99"):
            link.send("ip6", ip6(sender, target, 17, udp(sender, target, said, 7777)), mac)
            link.send("ip6", ip6(sender, target, 6, tcp(sender, target, said, 443)), mac)
        for kind, to in ((128, target), (133, "ff02::2"), (134, "ff02::1"), (135, "ff02::1"),
                         (136, "ff02::1")):
            body = bytes([kind, 0, 0, 0]) + bytes(4) + said
            total = frames.checksum(frames.pseudo(source, to, 58, len(body)) + body)
            body = body[:2] + total.to_bytes(2, "big") + body[4:]
            link.send("ip6", ip6(source, to, 58, body), mac)


@trial("arp-others", "asks by ARP for addresses beyond the link", attack=ALL, quiet=True,
       last=True)
def arp_others(box):
    link = link_of(box)
    wanted = ["10.0.0.5", "169.254.169.254", "169.254.0.23", "198.18.0.1", box.public, "127.0.0.1"]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as heard:
        heard.bind((link.name, 0x0806))
        for address in wanted:
            link.send("arp", arp(1, link.mac, link.address, "00:00:00:00:00:00", address,
                                 box.evil.encode()), BROADCAST)
        end = time.monotonic() + 0.5
        while (left := end - time.monotonic()) > 0:
            heard.settimeout(left)
            try:
                answer, sender = heard.recvfrom(2048)
            except TimeoutError:
                break
            address = socket.inet_ntoa(answer[28:32])
            if answer[20:22] == b"\0\x02" and sender[2] != 4 and address in wanted:
                return reached(f"somebody answers for {address}")
    return silent("nobody answers")


@frame("arp-claims", "claims by ARP to be the gateway, and others", last=True)
def arp_claims(box, link, said):
    for address in (link.gateway, "169.254.169.254", box.public, "0.0.0.0"):
        for operation in (1, 2):
            for mac in (BROADCAST, link.gateway_mac):
                link.send("arp", arp(operation, link.mac, address, mac, address, said), mac)


@trial("dhcp", "asks for an address by DHCP", attack=ALL, quiet=True)
def dhcp_discover(box):
    link = link_of(box)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind(("", 68))
        for kind, wanted in ((1, None), (3, "169.254.0.23"), (3, "10.0.0.9")):
            message = dhcp(kind, link.mac, box.evil.encode(), wanted)
            link.send("ip", ip("0.0.0.0", "255.255.255.255", 17,
                               udp("0.0.0.0", "255.255.255.255", message, 67, 68)), BROADCAST)
            link.send("ip", ip(link.address, link.gateway, 17,
                               udp(link.address, link.gateway, message, 67, 68)))
        client.settimeout(0.5)
        try:
            answer, sender = client.recvfrom(2048)
            return reached(f"an offer from {sender[0]}")
        except TimeoutError:
            return silent("nobody answers")
        except OSError as error:
            return refused(error.strerror)


@frame("dhcp-serve", "offers addresses by DHCP", last=True)
def dhcp_serve(box, link, said):
    for kind in (2, 5):
        message = dhcp(kind, link.gateway_mac if link.gateway_mac != BROADCAST else link.mac, said,
                       "169.254.0.22")
        link.send("ip", ip(link.address, "255.255.255.255", 17,
                           udp(link.address, "255.255.255.255", message, 68, 67)), BROADCAST)


@trial("routes", "gives itself other addresses and routes, and sends", attack=ALL, quiet=True)
def routes(box):
    link = link_of(box)

    def run(*words):
        subprocess.run(["ip", *words], capture_output=True)
    run("address", "add", "10.0.0.77/8", "dev", link.name)
    run("route", "add", "151.101.66.7/32", "dev", link.name)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("10.0.0.77", 0))
            sender.settimeout(0.2)
            for target in ("10.0.0.5", "151.101.66.7", box.public):
                try:
                    sender.sendto(box.evil.encode(), (target, 7777))
                    return reached(repr(sender.recv(100)))
                except TimeoutError:
                    pass
        return silent("sent")
    except OSError as error:
        return refused(error.strerror)
    finally:
        run("route", "del", "151.101.66.7/32", "dev", link.name)
        run("address", "del", "10.0.0.77/8", "dev", link.name)
