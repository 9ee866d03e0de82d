#!/usr/bin/env python3
"""A tenant that asks for everything it can, in a loop, until it is ended.

    bench/greedy.py API_PORT        its key on standard input

Prints what it got, as JSON, when its standard input closes.
"""

import json
import random
import sys
import threading
import time

from client import Box, Connection

BURN = "while :; do :; done"
# Connections and names that are refused: each is a decision and a record.
KNOCK = ("i=0; while :; do i=$((i+1)); (: > /dev/tcp/192.0.2.$((i%250+1))/80) 2>/dev/null; "
         "getent hosts a$i.example.com >/dev/null; done")

counts = {"created": 0, "refused creates": 0, "execs": 0, "calls": 0, "refused calls": 0,
          "failed": 0}
boxes = []
lock = threading.Lock()


def count(name):
    with lock:
        counts[name] += 1


class Tenant:
    def __init__(self, port, key):
        self.port, self.key = port, key

    def connect(self):
        connection = Connection(address=("127.0.0.1", self.port))
        connection.key = self.key
        return connection

    def ask(self, connection, method, path):
        status, _ = connection.request(method, path, {"X-API-KEY": self.key})
        count("refused calls" if status == 429 else "calls")

    def create(self, connection):
        """As often as it goes, whatever the answer says about waiting."""
        status, answer = connection.request(
            "POST", "/v2/sandboxes",
            {"X-API-KEY": self.key, "Content-Type": "application/json"},
            json.dumps({"templateID": "base", "timeout": 300}).encode())
        if status != 201:
            count("refused creates")
            return
        count("created")
        box = Box(None, connection, json.loads(answer))
        # The programs go on when the stream that started them is gone.
        for program in (BURN, BURN, KNOCK):
            box.exec("/bin/bash", "-c", f"setsid bash -c '{program}' >/dev/null 2>&1 &")
        with lock:
            boxes.append(box)

    def churn(self, connection):
        """Ends one of its boxes now and then, so that there is always something to create."""
        time.sleep(1)
        with lock:
            box = boxes.pop(0) if len(boxes) > 4 else None
        if box:
            connection.request("DELETE", f"/sandboxes/{box.id}", {"X-API-KEY": self.key})

    def exec(self, connection):
        with lock:
            box = random.choice(boxes) if boxes else None
        if not box:
            time.sleep(0.1)
            return
        mine = Box.__new__(Box)
        mine.connection, mine.headers = connection, box.headers
        mine.exec("/bin/true")
        count("execs")

    def look(self, connection):
        for path in ("/v2/sandboxes", "/templates", "/v2/sandboxes?limit=100", "/v1/templates"):
            self.ask(connection, "GET", path)


def repeat(tenant, what):
    connection = None
    while True:
        try:
            connection = connection or tenant.connect()
            what(connection)
        except (OSError, RuntimeError, ValueError, KeyError, IndexError):
            count("failed")
            connection = None
            time.sleep(0.05)


def main():
    tenant = Tenant(int(sys.argv[1]), sys.stdin.readline().strip())
    for what, threads in ((tenant.create, 8), (tenant.churn, 1), (tenant.exec, 4),
                          (tenant.look, 4)):
        for _ in range(threads):
            threading.Thread(target=repeat, args=(tenant, what), daemon=True).start()
    sys.stdin.read()
    with lock:
        print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
