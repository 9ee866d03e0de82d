"""What the boxes of the tests may reach, and what may therefore arrive outside."""

import collections
import ipaddress

import zone

# The limits are wide, so that what is refused is not refused by them; floods go beyond them.
CONNECTS_PER_SECOND, NAMES_PER_SECOND = 400, 200
SETTINGS = f"""
[egress]
ceiling = "internet"
resolvers = ["{zone.RESOLVER}"]
private_networks = ["10.20.0.0/16:8080"]
connects_per_second = {CONNECTS_PER_SECOND}
names_per_second = {NAMES_PER_SECOND}
[labels]
confidential = "allow"
confidential_allow = ["vault.test:443"]
"""

# Under an allow-list: good names, names that lead inwards all the same, a network.
ALLOW = [
    "allowed.test", "*.wild.test:443", "shared.test", "ssh.test:22", "mail.test:25", "dual.test",
    "alias.test", "*.rebind.test", "mixed.test", "opened.test:8080", "opened.test:9090",
    "151.101.9.0/24:443,7777", "metadata.google.internal", "*.nip.test",
    *(name for name in zone.NAMES if name.startswith(("inward", "loopback", "link6", "local6"))),
    "metadata.test", "zero.test", "host.test", "host6.test", "synthetic.test", "slot.test",
    "mapped.test", "compatible.test", "nat64.test", "sixtofour.test",
]
DENY = ["93.184.216.66/32"]

BODIES = {
    "none": {"egress": "none"},
    "allow": {"egress": "allow", "allow": ALLOW, "deny": DENY},
    "internet": {"egress": "internet", "deny": DENY},
}

# What the operator lists for confidential data.
VAULT = ["vault.test:443"]

# Where connections may arrive under ALLOW: of names, and of the network.
_ALLOWED_NAMES = ("allowed.test", "shared.test", "ssh.test", "mail.test", "dual.test", "alias.test",
                  "mixed.test", "opened.test")
_EXACT = {target.partition(":")[0] for target in ALLOW}


def _addresses():
    found = {zone.BELOW["wild.test"], *zone.BELOW["rebind.test"][0]}
    for name in _ALLOWED_NAMES:
        held = zone.NAMES[name]
        held = zone.NAMES[held] if isinstance(held, str) else held
        for entry in held:
            found.update([entry] if isinstance(entry, str) else entry)
    return found - {zone.INWARD}


ALLOWED_ADDRESSES = _addresses()


def strays(level, arrived, vault=False):
    """What arrived outside and may not: lines for a reader. Whatever attack it came from. `vault`:
    what is listed for confidential data may."""
    found = collections.Counter()
    for packet in arrived["packets"]:
        if vault and _is_for_vault(packet):
            continue
        if not _may_arrive(level, packet):
            found[f"{packet['protocol']} from {packet['source']} to {packet['address']} port "
                  f"{packet['port']}"] += packet["count"]
    for entry in arrived["log"]:
        if entry["kind"] == "dns" and not (vault and entry["name"] == "vault.test" or
                                           _may_be_asked(level, entry)):
            found[f"the question for {entry['name']}, type {entry['type']}"] += 1
        if entry["kind"] == "http" and level == "allow" and not _may_be_named(entry["host"]):
            found[f"{entry['method']} {entry['target']} for {entry['host']!r} at "
                  f"{entry['address']} port {entry['port']}"] += 1
        if entry["kind"] == "tls" and level == "allow" and not _may_be_named(entry["sni"]):
            found[f"TLS for {entry['sni']!r} at {entry['address']}"] += 1
    return [f"{what} ({count} times)" for what, count in found.items()]


def _is_for_vault(packet):
    return (packet["protocol"], packet["address"], packet["port"]) in (
        ("tcp", zone.NAMES["vault.test"][0], 443), ("udp", zone.RESOLVER, 53))


def _may_arrive(level, packet):
    protocol, address, port = packet["protocol"], packet["address"], packet["port"]
    if protocol == "arp" or protocol == "ip-0":  # multicast listeners of the machine's own
        return True
    if protocol == "icmp6" and port in (133, 135, 136, 143):
        return True
    if packet["source"] not in (zone.HOST, zone.HOST6) or level == "none":
        return False
    if address == zone.RESOLVER:
        return protocol in ("udp", "tcp") and port == 53 or (protocol, port) == ("icmp", 3)
    if protocol != "tcp" or address in DENY[0]:
        return False
    if ipaddress.ip_address(address) in ipaddress.ip_network("10.20.0.0/16"):
        return port == 8080
    if level == "internet":
        return ipaddress.ip_address(address).is_global
    listed = ipaddress.ip_address(address) in ipaddress.ip_network("151.101.9.0/24")
    return address in ALLOWED_ADDRESSES or listed and port in (443, 7777)


def _may_be_asked(level, entry):
    if level == "none" or entry["type"] not in (1, 28):
        return False
    return level == "internet" or _is_allowed(entry["name"])


def _may_be_named(host):
    return _is_allowed(host.partition(":")[0].lower())


def _is_allowed(name):
    parent = "*." + name.partition(".")[2]
    return name in _EXACT or parent in _EXACT
