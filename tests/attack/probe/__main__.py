"""Attacks from inside a box. The plan is the argument, or comes on standard input: JSON. Each
result is a line of JSON. Needs root in the box, Python and nothing else."""

import json
import sys

# Each registers its attacks, which are run in this order: first those that wait for something
# meanwhile, last those that may spoil the link.
import core
import patience
import inward
import by_address
import by_dns
import by_tls
import by_http
import by_secret
import honest
import datagrams
import link

DEFAULTS = {"level": "none", "gateway": "169.254.0.22", "resolver": "169.254.0.22",
            "public": "1.1.1.1", "shared": "151.101.1.1"}

if __name__ == "__main__":
    given = sys.argv[1] if len(sys.argv) > 1 else sys.stdin.read()
    core.main({**DEFAULTS, **json.loads(given)})
