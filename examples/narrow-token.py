#!/usr/bin/env python3
"""Narrows a token of hako without asking anybody: narrow-token.py TOKEN CAVEAT...

    narrow-token.py "$HAKO_API_KEY" "sandbox = iabc123" "expires < 2027-01-01T00:00:00Z"
"""
import hashlib
import hmac
import sys


def narrow(token, *caveats):
    data = bytes.fromhex(token.removeprefix("e2b_"))
    body, signature = data[:-32], data[-32:]
    for caveat in caveats:
        line = caveat.encode("ascii")
        signature = hmac.new(signature, line, hashlib.sha256).digest()
        body += line + b"\n"
    return "e2b_" + (body + signature).hex()


if __name__ == "__main__":
    print(narrow(*sys.argv[1:]))
