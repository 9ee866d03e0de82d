"""From the box inwards: private networks, metadata services, the host, other boxes."""

import os
import socket
import time

import names
from core import Outcome, reached, refused, trial
from talk import by_name, conversation_host, connect, get, outcome_of, say

ALL = "none allow internet"
OPEN = "allow internet"

PRIVATE = {"ten": "10.0.0.5", "172": "172.16.0.1", "192": "192.168.1.1", "shared": "100.64.0.1",
           "link-local": "169.254.1.1", "loopback": "127.0.0.2", "this": "0.0.0.0",
           "documentation": "192.0.2.1", "benchmark": "198.18.77.1", "reserved": "240.0.0.1",
           "protocol": "192.0.0.8", "relay": "192.88.99.1"}


def private(name, address):
    @trial(f"private-{name}", f"connects to {address}", attack=ALL)
    def connects(box):
        return say(box, address, 8080, box.word)


for _name, _address in PRIVATE.items():
    # In the box these lead to itself.
    if _name not in ("loopback", "this"):
        private(_name, _address)

METADATA = {"plain": "169.254.169.254", "decimal": "2852039166", "hex": "0xA9FEA9FE",
            "hex-dotted": "0xa9.0xfe.0xa9.0xfe", "octal": "0251.0376.0251.0376",
            "octal-padded": "00000251.000376.00251.0376", "two-parts": "169.16689662",
            "three-parts": "169.254.43518", "mixed": "0xa9.254.0251.254",
            "mapped": "::ffff:169.254.169.254", "mapped-hex": "::ffff:a9fe:a9fe",
            "compatible": "::169.254.169.254", "ipv6": "fd00:ec2::254", "ecs": "169.254.170.2",
            "alibaba": "100.100.100.200", "oracle": "192.0.0.192", "azure": "168.63.129.16"}


def metadata(name, spelled):
    @trial(f"metadata-{name}", f"asks the metadata service at {spelled}", attack=ALL)
    def asks(box):
        try:
            found = socket.getaddrinfo(spelled, 80, type=socket.SOCK_STREAM)
        except OSError as error:
            return refused(str(error))
        return say(box, found[0][4][0], 80, get("169.254.169.254", "/latest/meta-data/",
                                                "Metadata-Flavor: Google", "X-Said: " + box.evil))


for _name, _spelled in METADATA.items():
    metadata(_name, _spelled)

# Names that lists allow, and that lead inwards.
NAMES = {"ten": "inward.test", "192": "inward192.test", "172": "inward172.test",
         "100": "inward100.test", "alias": "inward-alias.test", "metadata": "metadata.test",
         "google": "metadata.google.internal", "nip": "169-254-169-254.nip.test",
         "loopback": "loopback.test", "zero": "zero.test", "host": "host.test",
         "synthetic": "synthetic.test", "slot": "slot.test", "mapped": "mapped.test",
         "compatible": "compatible.test", "nat64": "nat64.test", "6to4": "sixtofour.test",
         "local6": "local6.test", "loopback6": "loopback6.test", "link6": "link6.test",
         "host6": "host6.test"}


def inward(name, spelled):
    @trial(f"inward-{name}", f"connects to {spelled}, which is allowed and leads inwards",
           attack=ALL, needs="world", limit=5.0)
    def connects(box):
        own = name.startswith(("host", "loopback", "zero"))
        return by_name(box, spelled, box.host["ports"][0] if own else 8080, box.word)

    @trial(f"inward-{name}-web", f"asks {spelled} on port 80, which leads inwards", attack=ALL,
           needs="world", limit=5.0)
    def asks(box):
        return by_name(box, spelled, 80, get(spelled, "/", "X-Said: " + box.evil))


for _name, _spelled in NAMES.items():
    inward(_name, _spelled)


@trial("mixed-answer", "connects to a name with a private address beside a public one",
       attack=OPEN, needs="world", limit=5.0)
def mixed(box):
    address = names.address_of(box, "mixed.test")
    if not isinstance(address, str):
        return address
    result, answered = conversation_host(box, address, "mixed.test")
    if answered is None:
        return result
    inside = answered.startswith("10.")
    return (reached if inside else refused)(f"answered by {answered}")


@trial("rebind", "connects again when the name has another, private address", attack=OPEN,
       needs="world", limit=8.0)
def rebind(box):
    begun, name = time.monotonic(), f"{os.urandom(4).hex()}.rebind.test"
    first = by_name(box, name, 80, get(name))
    if first.what != "reached":
        return Outcome("failed", f"the first connection: {first.how}")
    yield
    # The gate may keep the first answer for some seconds; then it must judge the second.
    while time.monotonic() < begun + 7:
        time.sleep(0.2)
    address = names.address_of(box, name)
    if not isinstance(address, str):
        return address
    answers = [conversation_host(box, address, name)[1] for _ in range(2)]
    if any(answered and answered.startswith("10.") for answered in answers):
        return reached(f"answered by {answers}")
    return refused(f"answered by {answers}")


@trial("redirect", "follows a redirect to a private address", attack=OPEN, needs="world")
def redirect(box):
    return follow(box, "http://10.0.0.5:8080/")


@trial("redirect-metadata", "follows a redirect to the metadata service", attack=OPEN,
       needs="world")
def redirect_metadata(box):
    return follow(box, "http://169.254.169.254/latest/")


@trial("redirect-name", "follows a redirect to a name that leads inwards", attack=OPEN,
       needs="world")
def redirect_name(box):
    return follow(box, "http://inward.test:8080/")


def follow(box, target):
    import urllib.parse
    first = names.address_of(box, "allowed.test")
    if not isinstance(first, str):
        return first
    try:
        with connect(box, first, 80) as connection:
            connection.sendall(get("allowed.test", "/redirect?to=" + target))
            answer = connection.recv(4096)
    except OSError as error:
        return Outcome("failed", f"no redirect: {error}")
    if b"Location: " + target.encode() not in answer:
        return Outcome("failed", f"no redirect: {answer[:80]!r}")
    place = urllib.parse.urlsplit(target)
    request = get(place.netloc, "/", "X-Said: " + box.evil)
    if place.hostname[0].isdigit():
        return say(box, place.hostname, place.port or 80, request)
    return by_name(box, place.hostname, place.port or 80, request)


@trial("opened", "connects to a private address that the operator has opened", legitimate=OPEN,
       needs="world")
def opened(box):
    return by_name(box, "opened.test", 8080, b"hello\n")


@trial("opened-port", "connects to another port of it", attack=ALL, needs="world")
def opened_port(box):
    return by_name(box, "opened.test", 9090, box.word)


@trial("opened-beside", "connects to a private address beside it", attack=ALL, needs="world")
def opened_beside(box):
    return say(box, "10.21.0.5", 8080, box.word)


@trial("gateway-ports", "tries the ports of the gateway", attack=ALL, limit=10.0)
def gateway(box):
    from by_address import COMMON, scan, verdict_of
    return verdict_of(*scan(box, box.gateway, [p for p in COMMON if p != 53], 24,
                            time.monotonic() + 6, box.connects))


@trial("host-ports", "tries the host's own ports at its own addresses", attack=ALL, needs="host",
       limit=10.0)
def host_ports(box):
    for address in (*box.host["addresses"], "127.0.0.1", "169.254.0.21"):
        own = address in ("127.0.0.1", "169.254.0.21")  # the box's own, where nobody listens
        for port in box.host["ports"]:
            result = say(box, address, port, get("localhost", "/v1/info", "X-Said: " + box.evil))
            if result.what != "refused":
                return Outcome(result.what, f"{address}:{port}: {result.how}")
    return refused("each")


@trial("host-plane", "asks the host's gate for another box", attack=ALL, needs="host neighbour")
def host_plane(box):
    for address in box.host["addresses"]:
        for port in box.host["ports"]:
            for field in (f"Host: {box.neighbour['port']}-{box.neighbour['id']}.hako.test",
                          f"E2b-Sandbox-Id: {box.neighbour['id']}\r\n"
                          f"E2b-Sandbox-Port: {box.neighbour['port']}"):
                result = say(box, address, port,
                             f"GET / HTTP/1.1\r\n{field}\r\nX-Said: {box.evil}\r\n\r\n".encode())
                if result.what != "refused":
                    return Outcome(result.what, f"{address}:{port}: {result.how}")
    return refused("each")


@trial("neighbour-names", "connects to another box by every name it might have", attack=ALL,
       needs="neighbour", limit=8.0)
def neighbour_names(box):
    """The neighbour's port is open and says its secret."""
    for name in (box.neighbour["id"], box.neighbour["id"] + ".box", "neighbour.box", "target.box",
                 "box", "localhost.box", f"{box.neighbour['port']}-{box.neighbour['id']}.hako.test",
                 box.neighbour["id"] + ".hako.internal"):
        result = by_name(box, name, box.neighbour["port"], get(name, "/", "X-Said: " + box.evil))
        if result.what == "refused":
            continue
        return Outcome(result.what, f"{name}: {result.how}")
    return refused("each")


@trial("neighbour-addresses", "connects to another box by every address it might have",
       attack=ALL, needs="neighbour", limit=8.0)
def neighbour_addresses(box):
    for address in ("169.254.0.21", "169.254.0.22", "169.254.0.25", "198.18.0.1", "198.18.0.2"):
        result = say(box, address, box.neighbour["port"], get(address, "/", "X-Said: " + box.evil))
        if result.what != "refused":
            return Outcome(result.what, f"{address}: {result.how}")
    return refused("each")


@trial("link-granted", "reaches the port of another box that a link leads to", legitimate=ALL,
       needs="link")
def link_granted(box):
    address = names.address_of(box, box.link["name"])
    if not isinstance(address, str):
        return address
    try:
        with connect(box, address, box.link["port"]) as connection:
            connection.sendall(get(box.link["name"]))
            answer = connection.recv(4096)
    except OSError as error:
        return outcome_of(error)
    said = box.link["secret"].encode() in answer
    return (reached if said else refused)(repr(answer[:60]))


@trial("link-port", "tries another port of a box that a link leads to", attack=ALL, needs="link")
def link_port(box):
    for port in (box.link["port"] + 1, 49983, 22, 80):
        result = by_name(box, box.link["name"], port, get(box.link["name"], "/",
                                                          "X-Said: " + box.evil))
        if result.what != "refused":
            return Outcome(result.what, f"port {port}: {result.how}")
    return result
