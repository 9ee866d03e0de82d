"""A client with as little of its own cost as Python allows: one socket, kept open."""

import base64
import json
import socket
import time
import urllib.parse


class Connection:
    """One keep-alive HTTP connection."""

    def __init__(self, hako=None, address=None):
        self.address = address or ("127.0.0.1", hako.api_port)
        self.key = hako.key() if hako else None
        self.socket = socket.create_connection(self.address, timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""

    def send(self, method, path, headers, body=b""):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.address[0]}",
                 f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def _until(self, end):
        while end not in self.pending:
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionError("the connection ended")
            self.pending += more
        head, self.pending = self.pending.split(end, 1)
        return head

    def _exactly(self, count):
        while len(self.pending) < count:
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionError("the connection ended")
            self.pending += more
        body, self.pending = self.pending[:count], self.pending[count:]
        return body

    def head(self):
        lines = self._until(b"\r\n\r\n").decode().split("\r\n")
        fields = {l.split(":", 1)[0].lower(): l.split(":", 1)[1].strip() for l in lines[1:]}
        return int(lines[0].split()[1]), fields

    def pieces(self, fields):
        """The body as it comes."""
        if "chunked" in fields.get("transfer-encoding", ""):
            while True:
                size = int(self._until(b"\r\n").split(b";")[0], 16)
                piece = self._exactly(size)
                self._exactly(2)
                if size == 0:
                    return
                yield piece
        elif int(fields.get("content-length", 0)):
            yield self._exactly(int(fields["content-length"]))

    def request(self, method, path, headers, body=b""):
        self.send(method, path, headers, body)
        status, fields = self.head()
        return status, b"".join(self.pieces(fields))


def connect_frame(message):
    data = json.dumps(message).encode()
    return b"\0" + len(data).to_bytes(4, "big") + data


def run_command(connection, headers, cmd, args, expect=None):
    """process.Process/Start; what it wrote, once the stream has ended well."""
    body = connect_frame({"process": {"cmd": cmd, "args": args}, "stdin": False})
    connection.send("POST", "/process.Process/Start",
                    {**headers, "Content-Type": "application/connect+json",
                     "Connect-Protocol-Version": "1"}, body)
    status, fields = connection.head()
    stream = b"".join(connection.pieces(fields))
    if status != 200:
        raise RuntimeError(f"Start answered {status}: {stream[:500]!r}")
    output, ended = b"", False
    while stream:
        flags, size = stream[0], int.from_bytes(stream[1:5], "big")
        message, stream = json.loads(stream[5:5 + size]), stream[5 + size:]
        if flags & 2:
            if "error" in message:
                raise RuntimeError(message["error"])
            ended = True
            continue
        event = message.get("event", {})
        output += base64.b64decode(event.get("data", {}).get("stdout", ""))
    if not ended or (expect is not None and output != expect):
        raise RuntimeError(f"unexpected output {output!r}")
    return output


def time_requests(connection, headers, count):
    """Seconds of each of `count` small requests to the daemon of a box."""
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        status, _ = connection.request("GET", "/health", headers)
        seconds.append(time.perf_counter() - start)
        if status != 204:
            raise RuntimeError(f"/health answered {status}")
    return seconds


def time_download(connection, headers, path):
    """Seconds of downloading a file of a box, the bytes thrown away."""
    start = time.perf_counter()
    connection.send("GET", "/files?path=" + urllib.parse.quote(path), headers)
    status, fields = connection.head()
    if status != 200:
        raise RuntimeError(f"/files answered {status}")
    left = int(fields["content-length"])
    left -= len(connection.pending)
    connection.pending = b""
    while left > 0:
        left -= len(connection.socket.recv(min(left, 1 << 20)))
    return time.perf_counter() - start


class Box:
    """A sandbox and the connection it is used over."""

    def __init__(self, hako, connection, sandbox):
        self.hako, self.connection, self.id = hako, connection, sandbox["sandboxID"]
        self.headers = {"E2b-Sandbox-Id": self.id, "E2b-Sandbox-Port": "49983"}
        if sandbox.get("envdAccessToken"):
            self.headers["X-Access-Token"] = sandbox["envdAccessToken"]

    @classmethod
    def create(cls, hako, connection, timeout=600):
        body = json.dumps({"templateID": "base", "timeout": timeout}).encode()
        status, answer = connection.request(
            "POST", "/v2/sandboxes",
            {"X-API-KEY": connection.key, "Content-Type": "application/json"}, body)
        if status != 201:
            raise RuntimeError(f"create answered {status}: {answer[:500]!r}")
        return cls(hako, connection, json.loads(answer))

    def exec(self, cmd, *args, expect=None):
        return run_command(self.connection, self.headers, cmd, list(args), expect)

    def destroy(self):
        status, answer = self.connection.request("DELETE", f"/sandboxes/{self.id}",
                                                 {"X-API-KEY": self.connection.key})
        if status != 204:
            raise RuntimeError(f"destroy answered {status}: {answer[:500]!r}")
