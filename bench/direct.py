#!/usr/bin/env python3
"""Talks to a box's daemon from inside the box's own network namespace, past hako's proxies.

    nsenter --net=NAMESPACE bench/direct.py ADDRESS PORT HEADERS-AS-JSON

Reads orders from standard input, a line each, and answers each with one line of JSON: the seconds
of every request. "health N": GET /health, N times. "get PATH": one download.
"""

import json
import sys

from client import Connection, time_download, time_requests


def main():
    address, port, headers = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    connection = Connection(address=(address, port))
    for line in sys.stdin:
        order, argument = line.split(maxsplit=1)
        if order == "health":
            seconds = time_requests(connection, headers, int(argument))
        else:
            seconds = [time_download(connection, headers, argument.strip())]
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main()
