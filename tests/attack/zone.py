"""The names of the outside world, and a server's side of DNS, as far as the tests need it."""

import ipaddress
import struct

A, CNAME, TXT, AAAA = 1, 5, 16, 28
REFUSED, NXDOMAIN = 5, 3

PUBLIC = "93.184.216.10"    # of the names that tests allow
SHARED = "151.101.1.1"      # a provider's, with many names on it, good ones and evil ones
EVIL = "151.101.66.6"
INWARD = "10.0.0.5"
METADATA = "169.254.169.254"
RESOLVER = "9.9.9.9"
HOST = "94.130.10.2"        # the machine that hako runs on, as others see it
GATEWAY = "94.130.10.1"
HOST6 = "2a01:4f8:10::2"
GATEWAY6 = "2a01:4f8:10::1"
PUBLIC6 = "2606:2800:220:1::10"

# name: addresses, or another name. A list of lists is answered in turn: rebinding.
NAMES = {
    "allowed.test": [PUBLIC],
    "ssh.test": ["93.184.216.22"],
    "mail.test": ["93.184.216.25"],
    "dual.test": ["93.184.216.11", PUBLIC6],
    "six.test": [PUBLIC6],
    "alias.test": "allowed.test",
    "shared.test": [SHARED],
    "doh.test": ["93.184.216.53"],
    "wild.test": ["151.101.2.1"],
    "vault.test": ["93.184.216.77"],
    "denied.test": ["93.184.216.66"],
    "keys.test": ["93.184.216.80"], "other-keys.test": ["93.184.216.81"],
    "opened.test": ["10.20.0.5"],
    "mixed.test": [INWARD, "93.184.216.21"],
    "inward.test": [INWARD],
    "inward192.test": ["192.168.1.1"],
    "inward172.test": ["172.16.0.1"],
    "inward100.test": ["100.64.0.1"],
    "inward-alias.test": "inward.test",
    "metadata.test": [METADATA],
    "metadata.google.internal": [METADATA],
    # A resolver that believes these to be names may be brought to ask for them.
    "169.254.169.254": [METADATA], "2852039166": [METADATA], "0xa9fea9fe": [METADATA],
    "10.5": [INWARD], "127.1": ["127.0.0.1"], "0": ["0.0.0.0"],
    "loopback.test": ["127.0.0.1"],
    "zero.test": ["0.0.0.0"],
    "host.test": [HOST],
    "synthetic.test": ["198.18.0.1"],
    "slot.test": ["169.254.0.22"],
    "mapped.test": ["::ffff:10.0.0.5"],
    "compatible.test": ["::10.0.0.5"],
    "nat64.test": ["64:ff9b::a00:5"],
    "sixtofour.test": ["2002:a00:5::1"],
    "local6.test": ["fd00:ec2::254"],
    "loopback6.test": ["::1"],
    "link6.test": ["fe80::1"],
    "host6.test": [HOST6],
}
# Every name below.
BELOW = {"evil.test": EVIL, "wild.test": "151.101.2.2", "nip.test": METADATA,
         "box": "151.101.3.3", "rebind.test": [["93.184.216.20"], [INWARD]]}


class Zone:
    """Answers questions. Not for several threads at once."""

    def __init__(self):
        self._turns = {}

    def answer(self, query):
        """(name, type, answer) for a message; None if it is none."""
        parsed = parse_question(query)
        if parsed is None:
            return None
        name, kind, end = parsed
        records, known = self._look_up(name, kind)
        flags = 0x8580 | (0 if known else NXDOMAIN)
        head = query[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0)
        return name, kind, head + query[12:end] + b"".join(records)

    def _look_up(self, name, kind):
        records, asked, owner = [], name, b"\xc0\x0c"
        for _ in range(4):
            held = NAMES.get(asked)
            if held is None:
                below = asked.partition(".")[2]
                while below and below not in BELOW:
                    below = below.partition(".")[2]
                if not below:
                    return [], False
                held = BELOW[below] if isinstance(BELOW[below], list) else [BELOW[below]]
            if isinstance(held, str):
                target = pack_name(held)
                records.append(record(owner, CNAME, target))
                asked, owner = held, target
                continue
            if isinstance(held[0], list):
                turn = self._turns.get(asked, 0)
                if kind == A:
                    self._turns[asked] = turn + 1
                held = held[min(turn, len(held) - 1)]
            break
        if kind == TXT:
            return [record(owner, TXT, b"\x0bhello world")], True
        for text in held:
            address = ipaddress.ip_address(text)
            if kind == (A if address.version == 4 else AAAA):
                records.append(record(owner, kind, address.packed))
        return records, True


def record(owner, kind, data, ttl=0):
    return owner + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data


def pack_name(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def parse_question(message):
    """(name in lower case, type, where the question ends) of a query; None if it is none."""
    if len(message) < 17 or message[2] & 0x80 or message[4:6] != b"\0\1":
        return None
    labels, at = [], 12
    while at < len(message) and message[at]:
        size = message[at]
        if size > 63 or at + 1 + size > len(message):
            return None
        labels.append(message[at + 1:at + 1 + size].decode("latin-1").lower())
        at += 1 + size
    if at + 5 > len(message):
        return None
    return ".".join(labels), int.from_bytes(message[at + 1:at + 3], "big"), at + 5
