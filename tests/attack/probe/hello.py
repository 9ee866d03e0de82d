"""TLS ClientHellos made by hand, with what no library would say."""

import os
import struct

ECH, SERVER_NAME = 0xfe0d, 0


def block(data, size):
    return len(data).to_bytes(size, "big") + data


def extension(kind, data):
    return struct.pack(">H", kind) + block(data, 2)


def names_extension(*listed):
    """server_name with these names; each is text, or (type, bytes)."""
    entries = b""
    for name in listed:
        kind, data = (0, name.encode()) if isinstance(name, str) else name
        entries += bytes([kind]) + block(data, 2)
    return extension(SERVER_NAME, block(entries, 2))


def handshake(name=None, *, more=b"", before=b"", versions=b"\x03\x04\x03\x03", said=b"",
              names=None, shares=True):
    """A whole ClientHello message, without its record. A server answers it with a ServerHello, or,
    without `shares` of keys, asks for a second hello. `before` and `more` are extensions around the
    usual ones; `said` goes into the session id."""
    curve = extension(10, block(b"\0\x1d\0\x17", 2))
    signatures = extension(13, block(b"\x04\x03\x08\x04\x04\x01\x08\x05\x05\x01\x02\x01", 2))
    key = b"\0\x1d" + block(os.urandom(31) + b"\x01", 2)
    share = extension(51, block(key if shares else b"", 2))
    supported = extension(43, block(versions, 1)) if versions else b""
    if names is None:
        names = names_extension(name) if name else b""
    extensions = before + names + curve + signatures + supported + share + more
    suites = b"\x13\x01\x13\x02\x13\x03\xc0\x2b\xc0\x2f\xc0\x2c\xc0\x30\xcc\xa9\xcc\xa8"
    body = (b"\x03\x03" + os.urandom(32) + block(said[:32].ljust(32, b" "), 1) + block(suites, 2) +
            b"\x01\x00" + block(extensions, 2))
    return b"\x01" + block(body, 3)


def record(data, kind=0x16):
    return bytes([kind]) + b"\x03\x01" + block(data, 2)


def hello(name=None, **options):
    return record(handshake(name, **options))


def in_records(message, size):
    """A handshake message spread over TLS records of at most `size` bytes."""
    return b"".join(record(message[at:at + size]) for at in range(0, len(message), size))


def encrypted_hello(inner=False):
    """The extension of an encrypted hello; what is in it no one on the way can read."""
    if inner:
        return extension(ECH, b"\x01")
    return extension(ECH, b"\0" + b"\0\x01\0\x01" + b"\x2a" + block(os.urandom(32), 2) +
                     block(os.urandom(208), 2))
