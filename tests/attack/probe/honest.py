"""Honest traffic without TLS, which must pass where it is allowed."""

import names
from by_http import SHARED, text
from core import reached, refused, trial
from talk import by_name, connect, get, outcome_of, read_answer

ALLOWED = "allowed.test"


def conversation(box, *requests, name=ALLOWED, port=80):
    """Each request on one connection, each answered by the world."""
    address = names.address_of(box, name)
    if not isinstance(address, str):
        return address
    try:
        with connect(box, address, port) as connection:
            for request in requests:
                connection.sendall(request)
                answer = read_answer(connection)
                if not box.is_marked(answer):
                    return refused(repr(answer[:80]))
    except OSError as error:
        return outcome_of(error)
    return reached(f"{len(requests)} answers")


REQUESTS = {
    "get": ("asks", [get(ALLOWED)]),
    "again": ("asks three times on a connection", [get(ALLOWED, f"/{n}") for n in range(3)]),
    "port": ("names the port with the host", [get(ALLOWED + ":80")]),
    "letters": ("names the host in capitals", [get("Allowed.TEST")]),
    "absolute": ("asks by a URL", [text(f"GET http://{ALLOWED}/ HTTP/1.1", "Host: " + ALLOWED)]),
    "http10": ("speaks HTTP/1.0", [text("GET / HTTP/1.0", "Host: " + ALLOWED)]),
    "post": ("sends a body", [text("POST / HTTP/1.1", "Host: " + ALLOWED,
                                   "Content-Length: 5") + b"hello", get(ALLOWED)]),
    "chunks": ("sends a body in chunks", [text(
        "POST / HTTP/1.1", "Host: " + ALLOWED, "Transfer-Encoding: chunked") +
        b"5\r\nhello\r\n0\r\n\r\n", get(ALLOWED)]),
    "slow": ("waits for a slow server", [get(ALLOWED, "/slow?seconds=1.5")]),
    "upgrade": ("switches to another protocol", [text(
        "GET / HTTP/1.1", "Host: " + ALLOWED, "Connection: Upgrade", "Upgrade: websocket")]),
    "bytes": ("takes a large answer", [get(ALLOWED, "/bytes?n=200000")]),
}


def requests(id, title, listed):
    @trial(f"web-{id}", f"{title} on port 80", legitimate="allow internet", needs="world",
           limit=8.0)
    def on_80(box):
        return conversation(box, *listed)


for _id, (_title, _listed) in REQUESTS.items():
    requests(_id, _title, _listed)


@trial("web-other-port", "speaks HTTP on port 8080", legitimate="allow internet", needs="world")
def other_port(box):
    return conversation(box, get(ALLOWED + ":8080"), get(ALLOWED + ":8080"), port=8080)


@trial("web-host-free", "names another host where every host is allowed", legitimate="internet",
       needs="world")
def host_free(box):
    return by_name(box, SHARED, 80, get(box.evil))


@trial("other-echo", "speaks a protocol nobody knows on port 7777", legitimate="allow internet",
       needs="world")
def echo(box):
    return by_name(box, ALLOWED, 7777, b"\x00\x01hello")


@trial("other-ssh", "waits for a server that speaks first", legitimate="allow internet",
       needs="world")
def ssh(box):
    return by_name(box, "ssh.test", 22)


@trial("other-smtp", "waits for a mail server that speaks first", legitimate="allow internet",
       needs="world")
def smtp(box):
    return by_name(box, "mail.test", 25)


@trial("other-dual", "connects to a name with addresses of both kinds",
       legitimate="allow internet", needs="world")
def dual(box):
    return by_name(box, "dual.test", 7777, b"hello\n")
