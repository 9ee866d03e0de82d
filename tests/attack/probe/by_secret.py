"""Getting a secret out, or its placeholder to where it does not belong.

The plan's `secrets`: {"host", "other", "plain", "placeholder", "other_placeholder", "foreign"}: two hosts
with a secret each, one without, the placeholders of the two, and one of another box. Each attack says
its own name beside the placeholder, so that the world notices it if the request arrives.
"""

import base64
import gzip
import json
import ssl
import urllib.parse
import zlib

import hello
import names
from core import reached, refused, trial
from talk import by_name, connect, outcome_of, read_answer

LEVELS = "allow internet"


def request(box, *fields, method="GET", path="/", body=b"", host=None, version="1.1"):
    """The bytes of a request that says who is attacking."""
    lines = [f"{method} {path} HTTP/{version}", f"Host: {host or box.secrets['host']}",
             f"X-Said: {box.evil}", *fields]
    if body and not any(field.lower().startswith("transfer-encoding") for field in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def encrypted(box, *parts, name=None, hello_name=None, enough=1):
    """Says it over TLS, verified as a program in the box would, and takes the answers."""
    name = name or box.secrets["host"]
    address = names.address_of(box, name)
    if not isinstance(address, str):
        return address, b""
    context = ssl.create_default_context()
    if "box_authority" in box.plan:
        context.load_verify_locations(cadata=box.plan["box_authority"])
    try:
        with connect(box, address, 443) as plain:
            with context.wrap_socket(plain, server_hostname=hello_name or name) as connection:
                for part in parts:
                    connection.sendall(part)
                answers = b""
                for _ in range(enough):
                    answers += read_answer(connection)
    except ssl.SSLError as error:
        return refused(str(error)), b""
    except OSError as error:
        return outcome_of(error), b""
    if box.is_marked(answers):
        return reached(repr(answers[:80])), answers
    return refused(answers.replace(b"\r\n", b" ")[-120:].decode("latin-1") or "closed"), answers


def key(box):
    return "x-api-key: " + box.secrets["placeholder"]


def chunked(*pieces, trailer=""):
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return body + b"0\r\n" + trailer.encode() + b"\r\n"


@trial("secret-header", "puts the placeholder where it belongs", legitimate=LEVELS, needs="secrets")
def honest(box):
    return encrypted(box, request(box, key(box)))[0]


@trial("secret-none", "asks the host without a secret", legitimate=LEVELS, needs="secrets")
def without(box):
    return encrypted(box, request(box))[0]


@trial("secret-upload", "sends a body beside the secret, in chunks", legitimate=LEVELS,
       needs="secrets")
def upload(box):
    return encrypted(box, request(box, key(box), "Transfer-Encoding: chunked", method="POST",
                                  body=chunked(b"hello", bytes(70000))))[0]


@trial("secret-gzip-honest", "sends a compressed body beside the secret", legitimate=LEVELS,
       needs="secrets")
def compressed(box):
    return encrypted(box, request(box, key(box), "Content-Encoding: gzip", method="POST",
                                  body=gzip.compress(b"hello" * 1000)))[0]


@trial("secret-websocket", "opens a WebSocket with the secret", legitimate=LEVELS, needs="secrets")
def websocket(box):
    name = box.secrets["host"]
    address = names.address_of(box, name)
    if not isinstance(address, str):
        return address
    context = ssl.create_default_context()
    try:
        with connect(box, address, 443) as plain, \
                context.wrap_socket(plain, server_hostname=name) as connection:
            connection.sendall(request(box, key(box), "Connection: Upgrade", "Upgrade: websocket"))
            head = connection.recv(4096)
            connection.sendall(b"hello")
            said = connection.recv(4096)
    except OSError as error:
        return outcome_of(error)
    return (reached if b" 101 " in head and said == b"world:hello" else refused)(repr(head + said))


def misplaced(id, title, make):
    @trial(f"secret-{id}", f"sends the placeholder {title}", attack=LEVELS, needs="secrets",
           limit=6.0)
    def attack(box):
        return encrypted(box, make(box, box.secrets["placeholder"]))[0]


def percent(text):
    return "".join(f"%{ord(c):02x}" for c in text)


def post(box, body, *fields):
    return request(box, *fields, method="POST", body=body)


MISPLACED = {
    "path": ("in the path", lambda box, fake: request(box, path="/" + fake)),
    "query": ("in the query", lambda box, fake: request(box, path="/?key=" + fake)),
    "query-escaped": ("in the query, escaped", lambda box, fake: request(
        box, path="/?key=" + percent(fake))),
    "query-base64": ("in the query, in base64", lambda box, fake: request(
        box, path="/?key=" + urllib.parse.quote(base64.b64encode(b"ab" + fake.encode())))),
    "other-header": ("in another header", lambda box, fake: request(box, "X-Other: " + fake)),
    "header-name": ("as the name of a header", lambda box, fake: request(box, fake + ": 1")),
    "longer": ("in its header, with more", lambda box, fake: request(
        box, "x-api-key: Bearer " + fake)),
    "cookie": ("in a cookie", lambda box, fake: request(box, "Cookie: a=" + fake)),
    "referer": ("in Referer", lambda box, fake: request(
        box, f"Referer: https://{box.evil}/{fake}")),
    "basic": ("as a user", lambda box, fake: request(
        box, "Authorization: Basic " + base64.b64encode(f"{fake}:x".encode()).decode())),
    "twice": ("twice", lambda box, fake: request(box, key(box), key(box))),
    "body": ("in the body", lambda box, fake: post(box, fake.encode())),
    "body-json": ("in JSON, escaped", lambda box, fake: post(
        box, ('{"a":"' + "".join(f"\\u{ord(c):04x}" for c in fake) + '"}').encode())),
    "body-form": ("in a form, escaped", lambda box, fake: post(
        box, b"a=" + percent(fake).encode())),
    "body-base64": ("in the body, in base64", lambda box, fake: post(
        box, base64.b64encode(b"x" * 301 + fake.encode() + b"y" * 100))),
    "body-far": ("far behind in a body", lambda box, fake: post(
        box, bytes(300000) + fake.encode() + bytes(1000))),
    "body-cut": ("in chunks of one byte", lambda box, fake: request(
        box, "Transfer-Encoding: chunked", method="POST",
        body=chunked(*(bytes([c]) for c in fake.encode())))),
    "trailer": ("behind the body", lambda box, fake: request(
        box, "Transfer-Encoding: chunked", "Trailer: x-api-key", method="POST",
        body=chunked(b"a", trailer=f"x-api-key: {fake}\r\n"))),
    "gzip": ("in a compressed body", lambda box, fake: post(
        box, gzip.compress(bytes(5000) + fake.encode()), "Content-Encoding: gzip")),
    "deflate": ("in a deflated body", lambda box, fake: post(
        box, zlib.compress(fake.encode()), "Content-Encoding: deflate")),
    "gzip-twice": ("in a body that is compressed twice", lambda box, fake: post(
        box, gzip.compress(gzip.compress(fake.encode())), "Content-Encoding: gzip, gzip")),
    "gzip-behind": ("behind a compressed body", lambda box, fake: post(
        box, gzip.compress(b"a") + fake.encode(), "Content-Encoding: gzip")),
    "brotli": ("in a body of another compression", lambda box, fake: post(
        box, fake.encode(), "Content-Encoding: br")),
    "bomb": ("behind a body that becomes very long", lambda box, fake: post(
        box, bomb(fake), "Content-Encoding: gzip")),
    "folded": ("in a header that goes on in the next line", lambda box, fake: request(
        box, "X-A: 1\r\n x-api-key: " + fake)),
    "injected": ("behind a line break in a header", lambda box, fake: request(
        box, "X-A: 1\nX-Other: " + fake)),
    "nul": ("behind a NUL", lambda box, fake: request(box, "x-api-key: \0" + fake)),
    "space": ("in a header with a space behind its name", lambda box, fake: request(
        box, "x-api-key : " + fake)),
    "host": ("for another host", lambda box, fake: request(box, key(box), host=box.evil)),
    "host-twice": ("for two hosts", lambda box, fake: request(
        box, "Host: " + box.evil, key(box))),
    "host-none": ("for none", lambda box, fake: request(box, key(box)).replace(
        f"Host: {box.secrets['host']}\r\n".encode(), b"")),
    "absolute": ("for another host by a URL", lambda box, fake: request(
        box, key(box), path=f"https://{box.evil}/")),
    "proxy": ("through CONNECT", lambda box, fake: request(
        box, key(box), method="CONNECT", path=f"{box.evil}:443")),
    "trace": ("to be repeated", lambda box, fake: request(box, key(box), method="TRACE")),
    "lengths": ("with two lengths", lambda box, fake: request(
        box, "Content-Length: 1", "Content-Length: 30", key(box), method="POST")),
    "smuggled": ("in a request within another", lambda box, fake: request(
        box, "Content-Length: 5", "Transfer-Encoding: chunked", method="POST",
        body=b"0\r\n\r\n" + request(box, "X-Other: " + fake))),
    "smuggled-coding": ("with a coding that is not known", lambda box, fake: request(
        box, "Transfer-Encoding: chunked, x", key(box), method="POST", body=chunked(b"a"))),
    "bad-chunk": ("in a chunk without a length", lambda box, fake: request(
        box, "Transfer-Encoding: chunked", method="POST", body=b"zz\r\n" + fake.encode())),
}


def bomb(fake):
    """Some hundred MiB in a few hundred KiB. One block is packed and repeated, as a box is slow at it;
    so the sum at the end is wrong, to which nobody should come."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    first, again = (packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + again * 300 + packer.compress(fake.encode()) + packer.flush()


for _id, (_title, _make) in MISPLACED.items():
    misplaced(_id, _title, _make)


@trial("secret-other-host", "sends one host's placeholder to another host with a secret",
       attack=LEVELS, needs="secrets")
def other_host(box):
    other = box.secrets["other"]
    return encrypted(box, request(box, key(box), host=other), name=other)[0]


@trial("secret-redirect", "follows a redirect to another host with a secret", attack=LEVELS,
       needs="secrets")
def redirect(box):
    other = box.secrets["other"]
    outcome, answer = encrypted(box, request(box, path=f"/redirect?to=https://{other}/"))
    if b" 302 " not in answer:
        return refused("no redirect: " + outcome.how)
    return encrypted(box, request(box, key(box), host=other), name=other)[0]


@trial("secret-plain", "sends it without TLS", attack="allow", needs="secrets")
def plain(box):
    return by_name(box, box.secrets["host"], 80, request(box, key(box)))


@trial("secret-sni", "names the host on a connection to another", attack=LEVELS, needs="secrets")
def sni(box):
    return by_name(box, box.secrets["plain"], 443, hello.hello(box.secrets["host"],
                                                               said=box.evil.encode()))


@trial("secret-sni-address", "names the host on a connection to an address", attack=LEVELS,
       needs="secrets")
def sni_by_address(box):
    from talk import say
    return say(box, box.public, 443, hello.hello(box.secrets["host"], said=box.evil.encode()))


@trial("secret-sni-other", "names another host on a connection to this one", attack=LEVELS,
       needs="secrets")
def sni_other(box):
    return by_name(box, box.secrets["host"], 443, hello.hello(box.evil))


@trial("secret-no-tls", "speaks no TLS where the gate ends it", attack=LEVELS, needs="secrets")
def no_tls(box):
    return by_name(box, box.secrets["host"], 443, request(box, key(box)))


@trial("secret-foreign", "sends the placeholder of another box", attack=LEVELS, needs="secrets")
def foreign(box):
    return encrypted(box, request(box, "x-api-key: " + box.secrets["foreign"]))[0]


@trial("secret-echo", "has the host send the secret back", attack=LEVELS, needs="secrets")
def echo(box):
    """The request may arrive; what must not come is the secret."""
    box.id = "secret-echo-said"  # its arrival is no leak
    outcome, answer = encrypted(box, request(box, key(box), path="/fields"))
    body = answer.partition(b"\r\n\r\n")[2]
    if not body.startswith(b"{"):
        return refused("not answered: " + outcome.how)
    seen = json.loads(body)["fields"]["x-api-key"]
    return (refused if seen == box.secrets["placeholder"] else reached)(repr(seen))
