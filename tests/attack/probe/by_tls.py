"""Saying one name to DNS and another in TLS, or none, or one that cannot be read."""

import os

import hello
import names
from core import refused, trial
from talk import answer_on, by_name, connect, fetch, get, outcome_of

GREASE = hello.extension(0x0a0a, b"")
PADDING = hello.extension(21, bytes(3000))
ALLOWED, SHARED = "allowed.test", "shared.test"

# Each gives bytes; the name that is allowed is `good`.
HELLOS = {
    "sni-other": ("names another host", lambda good, evil: hello.hello(evil)),
    "sni-none": ("names no host", lambda good, evil: hello.hello(None, said=evil.encode())),
    "sni-two": ("names two hosts", lambda good, evil: hello.hello(
        names=hello.names_extension(good, evil))),
    "sni-two-reversed": ("names two hosts, the other first", lambda good, evil: hello.hello(
        names=hello.names_extension(evil, good))),
    "sni-twice": ("has the extension twice", lambda good, evil: hello.hello(
        good, more=hello.names_extension(evil))),
    "sni-twice-reversed": ("has the extension twice, the other first", lambda good, evil:
                           hello.hello(good, before=hello.names_extension(evil))),
    "sni-other-kind": ("hides the name behind one of an unknown kind", lambda good, evil:
                       hello.hello(names=hello.names_extension((1, good.encode()), evil))),
    "sni-nul": ("ends the name with a NUL", lambda good, evil: hello.hello(
        names=hello.names_extension((0, good.encode() + b"\0." + evil.encode())))),
    "sni-suffix": ("names a host that begins like the other", lambda good, evil: hello.hello(
        good + "." + evil)),
    "sni-prefix": ("names a host that ends like the other", lambda good, evil: hello.hello(
        evil + "." + good)),
    "sni-address": ("names an address", lambda good, evil: hello.hello(
        "151.101.66.6", said=evil.encode())),
    "sni-empty": ("names an empty host", lambda good, evil: hello.hello(
        names=hello.names_extension((0, b"")), said=evil.encode())),
    "sni-after-padding": ("names another host far behind", lambda good, evil: hello.hello(
        before=GREASE + PADDING, more=hello.names_extension(evil))),
    "sni-in-records": ("names another host, in small records", lambda good, evil:
                       hello.in_records(hello.handshake(evil), 16)),
    "sni-tls12": ("names another host, in TLS 1.2", lambda good, evil: hello.hello(
        evil, versions=None)),
    "ech-outer": ("has an encrypted hello within", lambda good, evil: hello.hello(
        good, more=hello.encrypted_hello(), said=evil.encode())),
    "ech-first": ("has an encrypted hello within, before the name", lambda good, evil:
                  hello.hello(good, before=hello.encrypted_hello(), said=evil.encode())),
    "ech-inner": ("says that it is an inner hello", lambda good, evil: hello.hello(
        good, more=hello.encrypted_hello(inner=True), said=evil.encode())),
    "esni": ("has an encrypted name as drafts had it", lambda good, evil: hello.hello(
        None, more=hello.extension(0xffce, os.urandom(200)), said=evil.encode())),
    "sslv2": ("is a hello of SSL 2", lambda good, evil: b"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10" +
              bytes(21) + evil.encode().ljust(32, b"\0")),
    "not-tls": ("is no TLS", lambda good, evil: evil.encode()),
    "http": ("is HTTP", lambda good, evil: get(evil)),
    "http-agrees": ("is HTTP, for the host that is allowed", lambda good, evil: get(
        good, "/", "X-Said: " + evil)),
    "ssh": ("is SSH", lambda good, evil: b"SSH-2.0-" + evil.encode() + b"\r\n"),
    "alert-first": ("comes behind an alert", lambda good, evil: hello.record(
        b"\x01\x00", 0x15) + hello.hello(evil)),
    "early-data": ("comes behind data", lambda good, evil: hello.record(
        evil.encode(), 0x17) + hello.hello(good)),
}


def hellos(id, title, make):
    @trial(f"tls-{id}", f"the hello on port 443 {title}", attack="allow", needs="world")
    def on_443(box):
        return by_name(box, SHARED, 443, make(SHARED, box.evil))


for _id, (_title, _make) in HELLOS.items():
    hellos(_id, _title, _make)


@trial("tls-sni-other-denied", "speaks TLS for a name that is not allowed", attack="none allow")
def denied(box):
    return by_name(box, box.evil, 443, hello.hello(box.evil))


@trial("tls-bytewise", "names another host, byte by byte", attack="allow", needs="world",
       limit=6.0)
def bytewise(box):
    data = hello.hello(box.evil)
    return by_name(box, SHARED, 443, *(data[at:at + 1] for at in range(len(data))), pause=0.002)


@trial("tls-late", "names another host, after a pause within the record", attack="allow",
       needs="world", limit=6.0)
def late(box):
    data = hello.hello(box.evil)
    return by_name(box, SHARED, 443, data[:7], data[7:], pause=1.0)


@trial("tls-second-hello", "names another host in a second hello", attack="allow", needs="world")
def second_hello(box):
    return by_name(box, SHARED, 443, hello.hello(box.evil) + hello.hello(SHARED))


for _port in (443, 8443):
    def _retries(port):
        @trial(f"tls-retry-{port}", f"names another host when the server asks for a second hello "
               f"on port {port}", attack="allow", needs="world")
        def retry(box):
            address = names.address_of(box, SHARED)
            if not isinstance(address, str):
                return address
            try:
                with connect(box, address, port) as connection:
                    connection.sendall(hello.hello(SHARED, shares=False))
                    first = connection.recv(4096)
                    if not first.startswith(b"\x16"):
                        return refused(f"the first already: {first[:40]!r}")
                    connection.sendall(hello.hello(box.evil))
                    return answer_on(box, connection)
            except OSError as error:
                return outcome_of(error)
    _retries(_port)

for _port in (80, 8443, 7777, 22):
    def _other_ports(port):
        @trial(f"tls-port-{port}", f"names another host in TLS on port {port}", attack="allow",
               needs="world")
        def other_port(box):
            if port == 22:  # there the server speaks first, which proves nothing
                return server_first(box, port)
            return by_name(box, SHARED, port, hello.hello(box.evil))

        if port in (8443, 7777):
            @trial(f"tls-port-{port}-ech", f"has an encrypted hello within, on port {port}",
                   attack="allow", needs="world")
            def other_port_ech(box):
                return by_name(box, SHARED, port, hello.hello(
                    SHARED, more=hello.encrypted_hello(), said=box.evil.encode()))
    _other_ports(_port)


def server_first(box, port):
    """Waits for the server's word, then names another host."""
    address = names.address_of(box, SHARED)
    if not isinstance(address, str):
        return address
    try:
        with connect(box, address, port) as connection:
            connection.recv(200)
            connection.sendall(hello.hello(box.evil))
            return answer_on(box, connection)
    except OSError as error:
        return outcome_of(error)


@trial("tls-verified", "speaks TLS to a name that is allowed", legitimate="allow internet",
       needs="world")
def verified(box):
    return fetch(box, ALLOWED)[0]


@trial("tls-vault", "speaks TLS to what is listed for data with this label",
       legitimate="none allow internet", needs="vault")
def vault(box):
    return fetch(box, "vault.test")[0]


@trial("tls-below", "speaks TLS to a name below one that is allowed", legitimate="allow internet",
       needs="world")
def below(box):
    return fetch(box, "one.wild.test")[0]


@trial("tls-below-port", "speaks TLS on another port than the listed one", attack="allow",
       needs="world")
def below_port(box):
    return by_name(box, "one.wild.test", 8443, hello.hello("one.wild.test",
                                                          said=box.evil.encode()))


@trial("tls-above", "speaks TLS to the name above those that are allowed", attack="allow",
       needs="world")
def above(box):
    return by_name(box, "wild.test", 443, hello.hello("wild.test", said=box.evil.encode()))


@trial("tls-other-port", "speaks TLS on port 8443", legitimate="allow internet", needs="world")
def other_port(box):
    return fetch(box, ALLOWED, port=8443)[0]


@trial("tls-tls12", "speaks TLS 1.2", legitimate="allow internet", needs="world")
def tls12(box):
    return by_name(box, ALLOWED, 443, hello.hello(ALLOWED, versions=None))


@trial("tls-records", "spreads its hello over records and segments", legitimate="allow internet",
       needs="world")
def records(box):
    data = hello.in_records(hello.handshake(ALLOWED, before=PADDING), 1000)
    return by_name(box, ALLOWED, 443, data[:3], data[3:700], data[700:], pause=0.05)


@trial("tls-letters", "names the host in capitals", legitimate="allow internet", needs="world")
def letters(box):
    return by_name(box, ALLOWED, 443, hello.hello("ALLOWED.Test"))


@trial("tls-grease", "has what browsers put into their hellos", legitimate="allow internet",
       needs="world")
def grease(box):
    return by_name(box, ALLOWED, 443, hello.hello(ALLOWED, before=GREASE, more=PADDING))


@trial("tls-sni-free", "names another host where every host is allowed", legitimate="internet",
       needs="world")
def free(box):
    return by_name(box, SHARED, 443, hello.hello(box.evil))


@trial("tls-alias", "speaks TLS to a name that is an alias", legitimate="allow internet",
       needs="world")
def alias(box):
    return fetch(box, "alias.test")[0]


@trial("tls-bytes", "takes a large answer whole", legitimate="allow internet", needs="world",
       limit=10.0)
def large(box):
    result, answer = fetch(box, ALLOWED, "/bytes?n=300000")
    return result if len(answer) > 300000 else refused(f"{len(answer)} bytes: {result.how}")
