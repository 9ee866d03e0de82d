"""Servers of the outside world: one that answers on every TCP port of every address, whatever is
spoken to it, and one for every UDP port. They take each trick the evil way: who is meant is what an
attacker would want to be meant."""

import re
import socket
import ssl
import struct
import threading
import time

from recorder import needles

IP_TRANSPARENT, IP_RECVORIGDSTADDR = 19, 20
IPV6_TRANSPARENT, IPV6_RECVORIGDSTADDR = 75, 74
SERVER_FIRST = {22: b"SSH-2.0-", 25: b"220 "}
METHOD = re.compile(rb"[\r\n]*[A-Za-z]+ \S")
PATIENCE = 20


class Services:
    """`secret` is in every answer, so that whoever has it has been outside."""

    def __init__(self, zone, certificate, secret, port):
        self.secret = secret
        self._zone = zone
        self._lock = threading.Lock()
        self._log = []
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate)
        self._tls.sni_callback = self._note_name
        for family, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            self._start(self._accept, transparent(family, socket.SOCK_STREAM, any_address, port))
            self._start(self._datagrams, transparent(family, socket.SOCK_DGRAM, any_address, port))

    def take(self):
        """What has been said to the servers since the last call."""
        with self._lock:
            log, self._log = self._log, []
        return log

    def note(self, kind, **fields):
        with self._lock:
            self._log.append({"kind": kind, "time": time.time(), **fields})

    def _start(self, function, *arguments):
        threading.Thread(target=function, args=arguments, daemon=True).start()

    def _note_name(self, connection, name, _context):
        connection.server_name = name or ""

    def _accept(self, listener):
        listener.listen(1024)
        while True:
            connection, _ = listener.accept()
            self._start(self._serve, connection)

    def _serve(self, connection):
        address, port = connection.getsockname()[:2]
        stream = Stream(self, connection, address.removeprefix("::ffff:"), port)
        try:
            connection.settimeout(PATIENCE)
            if port in SERVER_FIRST:
                connection.sendall(SERVER_FIRST[port] + self.secret.encode() + b"\r\n")
            if connection.recv(1, socket.MSG_PEEK) == b"\x16":
                stream.say_what_arrives()
                connection = stream.connection = self._tls.wrap_socket(connection, server_side=True)
                stream.sni = getattr(connection, "server_name", "")
                self.note("tls", sni=stream.sni, address=stream.address, port=port)
            stream.serve()
        except OSError:
            pass
        finally:
            stream.finish()
            connection.close()

    def answer_name(self, message, transport, address):
        with self._lock:
            answered = self._zone.answer(message)
        if answered is None:
            return b""
        name, kind, answer = answered
        self.note("dns", name=name, type=kind, transport=transport, address=address)
        return answer

    def _datagrams(self, listener):
        level, option, size = (socket.SOL_IP, IP_RECVORIGDSTADDR, 16)
        if listener.family == socket.AF_INET6:
            level, option, size = (socket.IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 28)
        listener.setsockopt(level, option, 1)
        listener.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        while True:
            message, extra, _, sender = listener.recvmsg(65536, socket.CMSG_SPACE(size))
            asked = next((data for at, kind, data in extra if (at, kind) == (level, option)), None)
            if asked is None:
                continue
            packed = asked[4:8] if listener.family == socket.AF_INET else asked[8:24]
            address = socket.inet_ntop(listener.family, packed)
            port = struct.unpack(">H", asked[2:4])[0]
            answer = (self.answer_name(message, "udp", address) if port == 53
                      else b"world:" + self.secret.encode())
            if answer:
                with transparent(listener.family, socket.SOCK_DGRAM, address, port) as reply:
                    reply.sendto(answer, sender)


def transparent(family, kind, address, port):
    """A socket with an address that need not be one of ours."""
    made = socket.socket(family, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
    else:
        made.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    made.bind((address, port))
    return made


class Stream:
    """One connection to a server of the world."""

    def __init__(self, services, connection, address, port):
        self.services, self.connection = services, connection
        self.address, self.port, self.sni = address, port, None
        self.held, self.arrived, self.found = b"", b"", set()

    def more(self):
        data = self.connection.recv(16384)
        self.held += data
        self.arrived = self.arrived[-256:] + data  # a word may come in pieces
        self.found |= needles(self.arrived)
        return data

    def say_what_arrives(self):
        """Looks at a TLS hello, in which a name is to be read as well."""
        self.found |= needles(self.connection.recv(16384, socket.MSG_PEEK))

    def finish(self):
        for attack in self.found:
            self.services.note("said", attack=attack, address=self.address, port=self.port)

    def serve(self):
        if not self.more():
            return
        if self.port in (53, 853):
            return self.serve_names()
        if self.held[0] in (4, 5):
            return self.serve_socks()
        if self.held.strip(b"\r\n") == b"" and self.more() == b"":
            return None
        if METHOD.match(self.held):
            return self.serve_http()
        self.send(b"world:" + self.services.secret.encode() + b":" + self.held)
        self.held = b""
        while data := self.more():
            self.send(data)
        return None

    def send(self, data):
        self.connection.sendall(data)

    def serve_names(self):
        while True:
            while len(self.held) < 2 or len(self.held) < 2 + int.from_bytes(self.held[:2], "big"):
                if not self.more():
                    return
            size = int.from_bytes(self.held[:2], "big")
            message, self.held = self.held[2:2 + size], self.held[2 + size:]
            transport = "tcp" if self.port == 53 else "tls"
            answer = self.services.answer_name(message, transport, self.address)
            self.send(struct.pack(">H", len(answer)) + answer)

    def serve_socks(self):
        """SOCKS 4 or 5 without a password; it says yes to everything."""
        self.services.note("socks", address=self.address, port=self.port)
        secret = self.services.secret.encode()
        if self.held[0] == 4:
            return self.send(b"\0\x5a" + bytes(6) + b"world:" + secret)
        self.send(b"\x05\x00")
        if self.more():
            self.send(b"\x05\0\0\x01" + bytes(6) + b"world:" + secret)
        return None

    def serve_http(self):
        from web import serve
        serve(self)
