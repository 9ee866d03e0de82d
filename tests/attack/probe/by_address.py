"""Connections to addresses that no name led to: public ones, every port, IPv6."""

import errno
import random
import select
import socket
import struct
import time

import hello
from core import reached, refused, silent, trial
from talk import get, outcome_of, say

COMMON = (1, 7, 20, 21, 22, 23, 25, 43, 69, 79, 80, 88, 110, 111, 119, 123, 135, 139, 143, 161, 179,
          389, 443, 445, 465, 500, 502, 514, 515, 554, 563, 587, 631, 636, 853, 873, 989, 993, 995,
          1080, 1194, 1433, 1521, 1723, 1883, 2049, 2082, 2181, 2222, 2375, 2376, 2379, 3000, 3002,
          3128, 3306, 3389, 4443, 4789, 5000, 5060, 5222, 5353, 5432, 5672, 5900, 5985, 6379, 6443,
          6666, 6667, 7000, 8000, 8008, 8080, 8081, 8443, 8888, 9000, 9001, 9050, 9092, 9200, 9418,
          9999, 10250, 11211, 15001, 25565, 27017, 32400, 49983, 50051, 51820, 65535)


@trial("direct-tcp", "connects to a public address by its number", attack="none allow",
       legitimate="internet")
def direct_tcp(box):
    return say(box, box.public, 7777, box.word)


@trial("direct-http", "speaks HTTP to a public address", attack="none allow",
       legitimate="internet")
def direct_http(box):
    return say(box, box.public, 80, get(box.evil))


@trial("direct-https", "speaks TLS to a public address", attack="none allow")
def direct_https(box):
    return say(box, box.public, 443, hello.hello(box.evil))


@trial("direct-shared", "connects by number to where an allowed name lives", attack="none allow",
       needs="world")
def direct_shared(box):
    return say(box, box.shared, 7777, box.word)


@trial("listed-network", "connects to an address of a listed network", attack="none",
       legitimate="allow internet", needs="world")
def listed_network(box):
    return say(box, "151.101.9.9", 7777, b"hello")


@trial("listed-network-port", "connects to another port of a listed network", attack="none allow",
       needs="world")
def listed_network_port(box):
    return say(box, "151.101.9.9", 7778, box.word)


@trial("denied-address", "connects to an address that is on a deny list",
       attack="none allow internet", needs="world")
def denied_address(box):
    return say(box, "93.184.216.66", 7777, box.word)


def scan(box, address, ports, at_once, deadline, pace=None):
    """Speaks to many ports at once. (tried, refused, answered, without an answer)."""
    word, events = box.word, select.poll()
    todo, open_ones, answered, quiet = list(reversed(ports)), {}, [], []
    refused_ones = tried = 0

    def done(number):
        events.unregister(number)
        open_ones.pop(number)[0].close()

    while (todo and time.monotonic() < deadline) or open_ones:
        while todo and len(open_ones) < at_once and time.monotonic() < deadline:
            tried += 1
            if pace:
                pace.take()
            port, connection = todo.pop(), socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            # Ports here are not to be used up by connections in TIME_WAIT.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.setblocking(False)
            status = connection.connect_ex((address, port))
            if status not in (0, errno.EINPROGRESS):
                refused_ones += 1
                connection.close()
                continue
            open_ones[connection.fileno()] = [connection, port, time.monotonic() + 3, False]
            events.register(connection, select.POLLOUT)
        for number, _ in events.poll(100):
            connection, port, _, spoken = open_ones[number]
            try:
                if not spoken:
                    connection.send(get(box.evil) if port == 80 else word)
                    open_ones[number][3] = True
                    events.modify(connection, select.POLLIN)
                    continue
                data = connection.recv(4096)
                told = data.startswith(b"HTTP/1.1 4") and not box.is_marked(data)
                if data and not told:
                    answered.append(port)
                else:
                    refused_ones += 1
            except OSError:
                refused_ones += 1
            done(number)
        now = time.monotonic()
        for number, (_, port, end, _) in list(open_ones.items()):
            if now > end:
                quiet.append(port)
                done(number)
    return tried, refused_ones, answered, quiet


def verdict_of(tried, refused_ones, answered, quiet):
    if answered:
        return reached(f"ports {answered[:10]} of {tried}")
    if quiet:
        return silent(f"ports {quiet[:10]} of {tried} gave no answer")
    return refused(f"{tried} ports")


@trial("ports", "tries many ports of a public address", attack="none allow", limit=12.0)
def some_ports(box):
    ports = list(COMMON) + random.sample(range(1, 65536), 60)
    return verdict_of(*scan(box, box.public, ports, 24, time.monotonic() + 8, box.connects))


@trial("ports-open", "tries many ports of a public address", legitimate="internet", needs="world")
def open_ports(box):
    # 53 belongs to our own DNS, 80 and 443 to what is spoken there.
    ports = [port for port in COMMON[:40] if port not in (53, 853)]
    tried, _, answered, _ = scan(box, box.public, ports, 16, time.monotonic() + 8, box.connects)
    missing = sorted(set(ports) - set(answered))
    return reached(f"{tried} ports") if not missing else refused(f"not {missing}")


@trial("all-ports", "tries every port of a public address, as far as time goes", attack="none",
       limit=150.0, last=True)
def all_ports(box):
    ports = list(range(1, 65536))
    random.shuffle(ports)
    seconds = box.plan.get("scan_seconds", 15)
    return verdict_of(*scan(box, box.public, ports, 64, time.monotonic() + seconds))


IPV6 = {"public": "2606:4700:4700::1111", "private": "fd00:ec2::254",
        "mapped": "::ffff:151.101.66.6", "nat64": "64:ff9b::9765:4206",
        "sixtofour": "2002:9765:4206::1"}


def ipv6(name, address):
    @trial(f"ipv6-{name}", f"connects to {address}", attack="none allow")
    def connect6(box):
        return say(box, address, 7777, box.word)

    @trial(f"ipv6-{name}-udp", f"sends UDP to {address}", attack="none allow internet")
    def send6(box):
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
            try:
                sender.connect((address, 7777))
                sender.send(box.word)
                sender.settimeout(0.5)
                return reached(repr(sender.recv(100)))
            except OSError as error:
                return outcome_of(error)


for _name, _address in IPV6.items():
    ipv6(_name, _address)
