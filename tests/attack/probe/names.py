"""A client's side of DNS, which asks what no resolver library would."""

import dataclasses
import os
import select
import socket
import struct
import time

from core import refused, silent

A, NS, CNAME, NULL, PTR, MX, TXT, AAAA, SRV, OPT, HTTPS, AXFR, ANY = (
    1, 2, 5, 10, 12, 15, 16, 28, 33, 41, 65, 252, 255)
RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


@dataclasses.dataclass
class Answer:
    rcode: int
    records: list       # (type, data)
    extended: str = ""  # why, RFC 8914
    message: bytes = b""

    @property
    def addresses(self):
        return [socket.inet_ntoa(data) for kind, data in self.records if kind == A]

    def __str__(self):
        return RCODES.get(self.rcode, str(self.rcode)) + (f" ({self.extended})" if self.extended
                                                          else "")


def question(name, kind, klass=1, edns=True, extra=b"", id=None):
    """A query; `name` is text, or labels as bytes."""
    packed = name if isinstance(name, bytes) else pack(name)
    head = struct.pack(">HHHHHH", int.from_bytes(os.urandom(2), "big") if id is None else id,
                       0x0100, 1, 0, 0, 1 if edns else 0)
    options = b""
    if edns:
        options = b"\0" + struct.pack(">HHIH", OPT, 1232, 0, len(extra)) + extra
    return head + packed + struct.pack(">HH", kind, klass) + options


def pack(name):
    return b"".join(bytes([len(label)]) + label.encode("latin-1")
                    for label in name.split(".") if label) + b"\0"


def skip_name(message, at):
    while message[at]:
        if message[at] & 0xc0:
            return at + 2
        at += 1 + message[at]
    return at + 1


def parse(message):
    """An Answer; None for what is none."""
    try:
        _, flags, questions, answers, authorities, more = struct.unpack(">HHHHHH", message[:12])
        at, records, extended = 12, [], ""
        for _ in range(questions):
            at = skip_name(message, at) + 4
        for index in range(answers + authorities + more):
            at = skip_name(message, at)
            kind, _, _, size = struct.unpack(">HHIH", message[at:at + 10])
            data = message[at + 10:at + 10 + size]
            at += 10 + size
            if index < answers:
                records.append((kind, data))
            if kind == OPT and data[:2] == b"\0\x0f":
                code, text = int.from_bytes(data[4:6], "big"), data[6:].decode("utf-8", "replace")
                extended = f"{code}: {text}"
        return Answer(flags & 15, records, extended, message)
    except (struct.error, IndexError):
        return None


def ask(box, name, kind=A, *, server=None, transport="udp", message=None, limit=None, port=53):
    """The Answer; or the outcome, if there was none."""
    message = message or question(name, kind)
    server, limit = server or box.resolver, limit or box.limit
    box.questions.take()
    try:
        if transport == "udp":
            return ask_datagram(message, server, port, limit)
        with socket.create_connection((server, port), limit) as connection:
            connection.sendall(struct.pack(">H", len(message)) + message)
            return read_message(connection)
    except TimeoutError:
        return silent()
    except OSError as error:
        return refused(error.strerror or str(error))


def ask_datagram(message, server, port, limit):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.connect((server, port))
        connection.send(message)
        end = time.monotonic() + limit
        while (left := end - time.monotonic()) > 0:
            if select.select([connection], [], [], left)[0]:
                if (answer := parse(connection.recv(65536))) is not None:
                    return answer
        return silent()


def read_message(connection):
    """One message over TCP or TLS."""
    data = b""
    while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
        more = connection.recv(4096)
        if not more:
            return refused("closed")
        data += more
    return parse(data[2:]) or refused("no answer to read")


def address_of(box, name):
    """An address to connect to; or the outcome, if the name is refused."""
    answer = ask(box, name)
    if not isinstance(answer, Answer):
        return answer
    if answer.rcode != 0:
        return refused(f"DNS {answer}")
    if not answer.addresses:
        return refused("DNS: no address")
    return answer.addresses[0]
