"""Talking over TCP, and telling a refusal from an answer."""

import errno
import json
import select
import socket
import ssl
import time

import names
from core import REACHED, reached, refused, silent

UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EPERM,
               errno.EADDRNOTAVAIL, errno.EINVAL, errno.EAFNOSUPPORT, errno.ENODEV)


def connect(box, address, port):
    box.connects.take()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(box.limit)
    try:
        connection.connect((address, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


def outcome_of(error):
    """A refusal, for what the kernel tells."""
    if isinstance(error, (ConnectionResetError, ConnectionRefusedError, BrokenPipeError)):
        return refused("reset")
    if isinstance(error, TimeoutError):
        return silent()
    if error.errno in UNREACHABLE:
        return refused(errno.errorcode[error.errno])
    raise error


def say(box, address, port, *parts, pause=0.0):
    """Connects, sends each part (with a pause in between) and takes what comes."""
    try:
        with connect(box, address, port) as connection:
            for index, part in enumerate(parts):
                if index and pause:
                    # An answer in between is an answer.
                    if select.select([connection], [], [], pause)[0]:
                        break
                connection.sendall(part)
            return answer_on(box, connection)
    except OSError as error:
        return outcome_of(error)


def answer_on(box, connection, enough=None):
    """Reads until it is clear who answers: the world, or whoever refuses. `enough` is asked about
    what has come so far, if the first bytes do not suffice."""
    data, end = b"", time.monotonic() + box.limit
    while (left := end - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            more = connection.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            return refusal_in(box, data, enough) or refused("reset")
        except TimeoutError:
            break
        data += more
        if not more:
            return refusal_in(box, data, enough) or refused("closed")
        if enough(data) if enough else not maybe_refusal(box, data):
            return reached(repr(data[:60]))
        if is_whole(data) and not enough:
            return refusal_in(box, data, enough)
    return refusal_in(box, data, enough) or silent(repr(data[:60]) if data else "no answer")


def maybe_refusal(box, data):
    """Whether this can be the beginning of an answer of the gate's own."""
    return not box.is_marked(data) and (
        data.startswith(b"HTTP/1.") and data[9:10] in (b"", b"4", b"5") or data[0] == 0x15)


def is_whole(data):
    """Whether this is a response of HTTP with all of its body."""
    head, end, body = data.partition(b"\r\n\r\n")
    sizes = [int(line[15:]) for line in head.lower().split(b"\r\n")
             if line.startswith(b"content-length:")]
    return bool(end) and bool(sizes) and len(body) >= sizes[0]


def refusal_in(box, data, enough):
    """What a finished answer says: nothing if it is empty."""
    if not data:
        return None
    if maybe_refusal(box, data):
        words = data.split(b"\r\n\r\n", 1)
        return refused((words[0].split(b"\r\n")[0] + b": " + words[-1].strip()).decode("latin-1"))
    return None if enough else reached(repr(data[:60]))


def by_name(box, name, port, *parts, pause=0.0):
    """say(), to what the name stands for."""
    address = names.address_of(box, name)
    if not isinstance(address, str):
        return address
    return say(box, address, port, *parts, pause=pause)


def get(host, path="/", *fields):
    """The bytes of a request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode()


def fetch(box, name, path="/", port=443, hello_name=None, host=None, verify=True):
    """HTTPS as a client does it, with its certificate verified. The outcome, and the answer."""
    address = names.address_of(box, name)
    if not isinstance(address, str):
        return address, b""
    context = ssl.create_default_context(cadata=box.plan.get("authority"))
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with connect(box, address, port) as plain:
            with context.wrap_socket(plain, server_hostname=hello_name or name) as connection:
                connection.sendall(get(host or name, path, "Connection: close"))
                answer = read_answer(connection)
    except OSError as error:
        if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return refused("closed"), b""
        if isinstance(error, ssl.SSLError):
            return refused(str(error)), b""
        return outcome_of(error), b""
    marked = box.is_marked(answer) or "secret" not in box.plan
    return (reached if marked else refused)(repr(answer[:40])), answer


def read_answer(connection):
    """One response with a length, whole; what there is if it ends early."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65536)):
            return data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n")
               if line.startswith(b"content-length:")]
    missing = int(lengths[0]) - len(body) if lengths else 0
    while missing > 0 and (more := connection.recv(65536)):
        data += more
        missing -= len(more)
    return data


def is_reached(outcome):
    return outcome.what == REACHED


def conversation_host(box, address, name, port=80):
    """An honest request. The outcome, and the address that answered (None without an answer)."""
    try:
        with connect(box, address, port) as connection:
            connection.sendall(get(name))
            answer = read_answer(connection)
    except OSError as error:
        return outcome_of(error), None
    if not box.is_marked(answer):
        return refused(repr(answer[:60])), None
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    return reached(f"{name} at {body['address']}"), body["address"]
