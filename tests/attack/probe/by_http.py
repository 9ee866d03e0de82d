"""Saying one name to DNS and another in HTTP."""

import socket

import hello
import names
from core import refused, trial
from talk import answer_on, by_name, connect, get, outcome_of, read_answer, say

SHARED = "shared.test"


def text(*lines, end="\r\n"):
    return end.join([*lines, "", ""]).encode()


# Each gives the bytes of a connection. `good` is the name that DNS was asked for.
TRICKS = {
    "host-other": ("names another host", lambda good, evil: get(evil)),
    "host-none": ("names no host", lambda good, evil: text(
        "GET / HTTP/1.1", "X-Said: " + evil)),
    "host-empty": ("names an empty host", lambda good, evil: text(
        "GET / HTTP/1.1", "Host:", "X-Said: " + evil)),
    "http10-none": ("is HTTP/1.0 without a host", lambda good, evil: text(
        "GET / HTTP/1.0", "X-Said: " + evil)),
    "http09": ("is HTTP/0.9", lambda good, evil: b"GET /" + evil.encode() + b"\r\n"),
    "absolute": ("has a whole URL as its target", lambda good, evil: text(
        f"GET http://{evil}/ HTTP/1.1", "Host: " + good)),
    "absolute-https": ("has a whole URL of another scheme as its target", lambda good, evil: text(
        f"GET https://{evil}/ HTTP/1.1", "Host: " + good)),
    "absolute-user": ("hides the host behind a user's name", lambda good, evil: text(
        f"GET http://{good}@{evil}/ HTTP/1.1", "Host: " + good)),
    "host-two": ("names two hosts", lambda good, evil: text(
        "GET / HTTP/1.1", "Host: " + good, "Host: " + evil)),
    "host-two-reversed": ("names two hosts, the other first", lambda good, evil: text(
        "GET / HTTP/1.1", "Host: " + evil, "Host: " + good)),
    "host-list": ("names two hosts in a list", lambda good, evil: get(good + ", " + evil)),
    "host-port": ("hides the host behind a port", lambda good, evil: get(f"{good}:80@{evil}")),
    "host-port-name": ("has a name for a port", lambda good, evil: get(f"{good}:{evil}")),
    "host-suffix": ("names a host that begins like the other", lambda good, evil: get(
        good + "." + evil)),
    "host-user": ("names a user before the host", lambda good, evil: get(f"{good}@{evil}")),
    "host-folded": ("folds the host into two lines", lambda good, evil: text(
        "GET / HTTP/1.1", "Host: " + good, " " + evil)),
    "host-tab": ("has a tab before the host's line", lambda good, evil: text(
        "GET / HTTP/1.1", "\tHost: " + evil, "Host: " + good)),
    "host-space": ("has a space behind the word Host", lambda good, evil: text(
        "GET / HTTP/1.1", "Host : " + evil, "Host: " + good)),
    "host-nul": ("has a NUL in the host's line", lambda good, evil: text(
        "GET / HTTP/1.1", f"Host: {good}\0{evil}")),
    "host-cr": ("has a lone CR in a line", lambda good, evil: text(
        "GET / HTTP/1.1", f"X: y\rHost: {evil}", "Host: " + good)),
    "line-feeds": ("ends its lines with line feeds", lambda good, evil: text(
        "GET / HTTP/1.1", "Host: " + evil, end="\n")),
    "line-feeds-hidden": ("hides a host behind a lone line feed", lambda good, evil: text(
        "GET / HTTP/1.1", f"X: y\nHost: {evil}", "Host: " + good)),
    "empty-lines": ("begins with empty lines", lambda good, evil: b"\r\n\r\n" + get(evil)),
    "spaces": ("begins with a space", lambda good, evil: b" " + get(evil)),
    "small-method": ("has a method in small letters", lambda good, evil: get(evil).replace(
        b"GET", b"get")),
    "odd-method": ("has a method nobody knows", lambda good, evil: get(evil).replace(
        b"GET", b"FROB")),
    "http2": ("is HTTP/2", lambda good, evil: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" +
              bytes(3) + b"\x04" + bytes(5) + headers_frame(evil)),
    "http2-upgrade": ("goes over to HTTP/2", lambda good, evil: text(
        "GET / HTTP/1.1", "Host: " + evil, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAAQAAP__")),
    "pipelined": ("asks twice at once, the second time for another", lambda good, evil:
                  get(good, "/slow?seconds=0.2") + get(evil)),
    "connect": ("asks for a tunnel", lambda good, evil: text(
        f"CONNECT {evil}:443 HTTP/1.1", f"Host: {evil}:443")),
    "connect-good": ("asks for a tunnel, with the host that is allowed", lambda good, evil: text(
        f"CONNECT {evil}:443 HTTP/1.1", "Host: " + good)),
    "options": ("asks for the options of another", lambda good, evil: text(
        f"OPTIONS http://{evil} HTTP/1.1", "Host: " + good)),
    "length-twice": ("has two lengths, and a request in between", lambda good, evil: text(
        "POST / HTTP/1.1", "Host: " + good, "Content-Length: 0",
        f"Content-Length: {len(get(evil))}") + get(evil)),
    "length-chunked": ("has a length and chunks, and a request in between", lambda good, evil:
                       text("POST / HTTP/1.1", "Host: " + good, "Content-Length: 5",
                            "Transfer-Encoding: chunked") + b"0\r\n\r\n" + get(evil)),
    "chunked-odd": ("has chunks under another name", lambda good, evil: text(
        "POST / HTTP/1.1", "Host: " + good, "Transfer-Encoding: xchunked",
        f"Content-Length: {len(get(evil))}") + get(evil)),
    "get-body": ("asks again behind a request without a body", lambda good, evil:
                 get(good) + b"\r\n" + get(evil)),
    "socks5": ("is SOCKS 5", lambda good, evil: b"\x05\x01\0\x05\x01\0\x03" +
               bytes([len(evil)]) + evil.encode() + b"\x01\xbb"),
    "socks4": ("is SOCKS 4", lambda good, evil: b"\x04\x01\x01\xbb\0\0\0\x01me\0" +
               evil.encode() + b"\0"),
    "tls": ("is TLS for another host", lambda good, evil: hello.hello(evil)),
    "not-http": ("is no HTTP", lambda good, evil: b"\0" + evil.encode()),
    "proxy-line": ("begins like a proxy that tells an address", lambda good, evil:
                   b"PROXY TCP4 10.0.0.5 10.0.0.6 1 80\r\n" + get(evil)),
}
# Where a first, allowed request comes before the trick: only a second answer tells anything.
SECOND = ("pipelined", "get-body", "length-twice", "length-chunked", "chunked-odd")


def headers_frame(host):
    """HTTP/2's HEADERS of a GET for `host`, without compression."""
    block = b"\x82\x86\x84\x41" + bytes([len(host)]) + host.encode()
    return len(block).to_bytes(3, "big") + b"\x01\x05\0\0\0\x01" + block


def tricks(id, title, make):
    @trial(f"http-{id}", f"the request on port 80 {title}", attack="allow", needs="world")
    def on_80(box):
        data = make(SHARED, box.evil)
        if id in SECOND:
            return second_of(box, 80, data)
        return by_name(box, SHARED, 80, data)


for _id, (_title, _make) in TRICKS.items():
    tricks(_id, _title, _make)


def answers_in(data):
    """The hosts that the world says to have answered for."""
    hosts, at = [], 0
    while (at := data.find(b'"host": "', at) + 9) > 8:
        hosts.append(data[at:data.find(b'"', at)].decode("latin-1"))
    return hosts


def second_of(box, port, data, then=None):
    """Sends requests of which the first may be answered; reached if one for another host is."""
    address = names.address_of(box, SHARED)
    if not isinstance(address, str):
        return address

    def other_host(said):
        return any("evil" in host for host in answers_in(said))
    try:
        with connect(box, address, port) as connection:
            connection.sendall(data)
            if then:
                first = read_answer(connection)
                if not box.is_marked(first):
                    return refused("the first already: " + repr(first[:40]))
                connection.sendall(then)
                return answer_on(box, connection)
            # The end of what we say lets the servers end, when all has been answered.
            connection.shutdown(socket.SHUT_WR)
            result = answer_on(box, connection, enough=other_host)
            if result.what == "silent" and box.is_marked(result.how.encode()):
                return refused("only the first is answered")
            return result
    except OSError as error:
        return outcome_of(error)


@trial("http-second", "asks for another host in the second request of a connection",
       attack="allow", needs="world")
def second(box):
    return second_of(box, 80, get(SHARED), get(box.evil))


@trial("http-second-absolute", "asks by a URL for another host in the second request",
       attack="allow", needs="world")
def second_absolute(box):
    return second_of(box, 80, get(SHARED), text(f"GET http://{box.evil}/ HTTP/1.1",
                                                "Host: " + SHARED))


@trial("http-folded", "hides another host in a folded line", attack="allow", needs="world")
def folded(box):
    """Not every server takes it for a part of the line above it."""
    return by_name(box, SHARED, 80, text("GET / HTTP/1.1", "X: y", " Host: hidden.denied.test",
                                         "Host: " + SHARED))


@trial("http-upgraded", "asks for another host behind a switch of protocols", attack="allow",
       needs="world")
def upgraded(box):
    switch = text("GET / HTTP/1.1", "Host: " + box.evil, "Connection: Upgrade",
                  "Upgrade: websocket")
    return by_name(box, SHARED, 80, switch)


@trial("http-denied", "asks a host that is not allowed", attack="none allow")
def denied(box):
    return by_name(box, box.evil, 80, get(box.evil))


for _port in (8080, 7777, 3128, 1080, 443):
    def _other(port):
        @trial(f"http-port-{port}", f"names another host on port {port}", attack="allow",
               needs="world")
        def other_port(box):
            return by_name(box, SHARED, port, get(box.evil))

        if port != 443:
            @trial(f"http-port-{port}-lines", f"names another host behind empty lines on port "
                   f"{port}", attack="allow", needs="world")
            def other_port_lines(box):
                return by_name(box, SHARED, port, b"\r\n", b"\n" + get(box.evil), pause=0.1)

            @trial(f"http-port-{port}-pieces", f"names another host in pieces on port {port}",
                   attack="allow", needs="world")
            def other_port_pieces(box):
                data = get(box.evil)
                return by_name(box, SHARED, port, data[:2], data[2:20], data[20:], pause=0.2)

            @trial(f"http-port-{port}-second", f"names another host in the second request on port "
                   f"{port}", attack="allow", needs="world")
            def other_port_second(box):
                return second_of(box, port, get(f"{SHARED}:{port}"), get(f"{box.evil}:{port}"))

            @trial(f"http-port-{port}-connect", f"asks for a tunnel on port {port}",
                   attack="allow", needs="world")
            def other_port_connect(box):
                return by_name(box, SHARED, port, text(f"CONNECT {box.evil}:443 HTTP/1.1",
                                                       f"Host: {box.evil}:443"))
    _other(_port)


for _where, _address in (("gate", None), ("public", "public")):
    def _proxies(where, address):
        for port in (80, 443, 1080, 3128, 8080):
            @trial(f"proxy-{where}-{port}", f"takes {where} for a proxy, port {port}",
                   attack="none allow")
            def connect_through(box):
                target = box.public if address else box.gateway
                return say(box, target, port, text(f"CONNECT {box.evil}:443 HTTP/1.1",
                                                   f"Host: {box.evil}:443"))

            @trial(f"socks-{where}-{port}", f"takes {where} for a SOCKS proxy, port {port}",
                   attack="none allow")
            def socks_through(box):
                target = box.public if address else box.gateway
                name = box.evil.encode()
                return say(box, target, port, b"\x05\x01\0", b"\x05\x01\0\x03" +
                           bytes([len(name)]) + name + b"\x01\xbb", pause=0.1)
    _proxies(_where, _address)


@trial("other-ssh-port", "tries another port than the listed one", attack="allow", needs="world")
def ssh_port(box):
    return by_name(box, "ssh.test", 2222, box.word)
