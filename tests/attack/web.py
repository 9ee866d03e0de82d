"""An HTTP server that believes whatever names a host, the most evil word first."""

import json
import re
import time
import urllib.parse


def serve(stream):
    """Answers requests on `stream` until it ends."""
    while True:
        head = _read_head(stream)
        if head is None:
            return
        lines = re.split(rb"\r?\n", head)
        words = lines[0].split()
        if words[0] == b"PRI":
            stream.services.note("http", host="", target="*", method="PRI", address=stream.address,
                                 port=stream.port, sni=stream.sni)
            return stream.send(b"\0\0\0\x04\0\0\0\0\0" + stream.services.secret.encode())
        target = words[1].decode("latin-1") if len(words) > 1 else ""
        fields = _fields(lines[1:])
        whole = _read_body(stream, fields)
        host = _host(target, fields)
        method = words[0].decode("latin-1").upper()
        # What hosts with secrets are sent is to be seen whole.
        shown = fields if "keys.test" in (stream.sni or host) else []
        stream.services.note("http", host=host, target=target, method=method,
                             address=stream.address, port=stream.port, sni=stream.sni,
                             fields=shown, whole=whole)
        if not _answer(stream, method, host, target, fields):
            return


def _read_head(stream):
    while True:
        stream.held = stream.held.lstrip(b"\r\n")
        end = re.search(rb"\r?\n\r?\n", stream.held)
        # HTTP/0.9 is a line.
        if end is None and re.match(rb"[A-Z]+ \S+\r?\n$", stream.held):
            end = re.search(rb"\r?\n$", stream.held)
        if end is not None:
            head, stream.held = stream.held[:end.start()], stream.held[end.end():]
            return head
        if len(stream.held) > 1 << 20 or not stream.more():
            return None


def _fields(lines):
    fields = []
    for line in lines:
        text = line.decode("latin-1")
        if text[:1] in " \t" and fields:  # folded, as it once was allowed
            fields[-1] = (fields[-1][0], fields[-1][1] + " " + text.strip())
            if re.match(r"[\s]*host\s*:", text, re.IGNORECASE):
                fields.append(("host", text.split(":", 1)[1].strip()))
        elif ":" in text:
            name, value = text.split(":", 1)
            fields.append((name.strip().lower(), value.strip()))
    return fields


def _host(target, fields):
    """Who is meant: the request's target, else the most evil of the fields that might say it."""
    if re.match("[a-z]+://", target):
        return urllib.parse.urlsplit(target).netloc
    named = [value for name, value in fields if name in ("host", ":authority")]
    evil = [value for value in named if "evil" in value]
    return (evil or named or [""])[-1]


def _read_body(stream, fields):
    """Whether there was all of it."""
    values = dict(fields)
    if "chunked" in values.get("transfer-encoding", "").lower():
        while not re.search(rb"(^|\n)0\r?\n(.*\n)*?\r?\n", stream.held):
            if not stream.more():
                return False
        end = re.search(rb"(^|\n)0\r?\n(.*\n)*?\r?\n", stream.held)
        stream.held = stream.held[end.end():]
        return True
    size = int(values.get("content-length", "0") or 0)
    while len(stream.held) < size:
        if not stream.more():
            return False
    stream.held = stream.held[size:]
    return True


def _answer(stream, method, host, target, fields):
    path = urllib.parse.urlsplit(target)
    query = dict(urllib.parse.parse_qsl(path.query))
    secret = stream.services.secret
    if method == "CONNECT":
        stream.send(f"HTTP/1.1 200 Connected\r\nX-World: {secret}\r\n\r\n".encode())
        return False
    if "upgrade" in dict(fields):
        stream.send(f"HTTP/1.1 101 Switching\r\nUpgrade: {dict(fields)['upgrade']}\r\n"
                    f"Connection: Upgrade\r\nX-World: {secret}\r\n\r\n".encode())
        while data := stream.more():
            stream.send(b"world:" + data)
        return False
    if path.path == "/slow":
        time.sleep(float(query.get("seconds", "1")))
    body = json.dumps({"world": secret, "host": host, "address": stream.address,
                       "port": stream.port, "sni": stream.sni}).encode()
    status, more = "200 OK", ""
    if path.path == "/fields":
        body = json.dumps({"world": secret, "fields": dict(fields)}).encode()
    if path.path == "/redirect":
        status, more = "302 Found", f"Location: {query['to']}\r\n"
    if path.path == "/bytes":
        body = b"x" * int(query["n"])
    stream.send(f"HTTP/1.1 {status}\r\nX-World: {secret}\r\nContent-Length: {len(body)}\r\n"
                f"{more}\r\n".encode() + (b"" if method == "HEAD" else body))
    return True
