#!/usr/bin/env python3
"""What the gate costs what leaves a box, beside a direct connection and nginx's stream proxy.

Prints one JSON array of rows for bench/run. Runs in network namespaces of its own (outside.py).
"""

import ctypes
import json
import os
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import outside
from outside import SERVER, machine_busy, nginx, slot_of, within  # says where the others are

import namespaces
from client import Box, Connection
from harness import Hako

GREETING, HOLDING, IPERF = 7000, 7001, 5201
PROXIED = {GREETING: 8000, IPERF: 8201}
RESOLVER = "169.254.0.22"
SETTINGS = """
[egress]
ceiling = "internet"
standard = "internet"
connections = 4000
connects_per_second = 100000
names_per_second = 1000000
"""
NGINX = """
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 8192; }}
stream {{
{servers}
}}
"""


def configuration(folder, servers):
    return NGINX.format(folder=folder, servers="\n".join(servers))


def serve(folder):
    """The process outside: greets, holds connections, and answers iperf3."""
    outside.begin_to_serve()
    holding = socket.create_server(("0.0.0.0", HOLDING), backlog=4096)
    held = []
    iperf = subprocess.Popen(["iperf3", "--server", "--port", str(IPERF)],
                             stdout=subprocess.DEVNULL)
    here = f"{folder}/server"
    with nginx(here, configuration(here, [f"server {{ listen {GREETING}; return x; }}"])):
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([holding, sys.stdin], [], [])
            if sys.stdin in ready:
                break
            held.append(holding.accept()[0])
    iperf.terminate()
    iperf.wait()


class Place:
    """Somewhere that connections begin: a namespace, and where the server is seen from there."""

    def __init__(self, name, address, ports=None, netns=None):
        self.name, self.address, self.ports = name, address, ports or {}
        self.netns = netns

    def target(self, port):
        return self.address, self.ports.get(port, port)

    def __enter__(self):
        # A socket belongs to the namespace that its thread was in when it was made.
        if self.netns:
            self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            self._set(self.netns)
        return self

    def __exit__(self, *_):
        if self.netns:
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.setns(self._home, namespaces.CLONE_NEWNET) == 0
            os.close(self._home)

    @staticmethod
    def _set(path):
        fd = os.open(path, os.O_RDONLY)
        assert ctypes.CDLL(None, use_errno=True).setns(fd, namespaces.CLONE_NEWNET) == 0
        os.close(fd)

    def words(self, *command):
        return within(self.netns, *command)


def greet(place):
    """Seconds from connect() to the first byte from the server: a relay accepts before it dials."""
    start = time.perf_counter()
    with socket.create_connection(place.target(GREETING), timeout=10) as connection:
        if connection.recv(1) != b"x":
            raise RuntimeError(f"{place.name}: the server did not greet")
    return time.perf_counter() - start


def throughput(place, seconds):
    """(bits per second, processor seconds per GiB of the whole machine) of one connection."""
    address, port = place.target(IPERF)
    command = place.words("iperf3", "--client", address, "--port", str(port), "--time",
                          str(seconds), "--json")
    for _ in range(40):
        before = machine_busy()
        report = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)
        busy = machine_busy() - before
        # It may not be through with the one before.
        if "busy" not in report.get("error", ""):
            break
        time.sleep(0.25)
    if "error" in report:
        raise RuntimeError(f"{place.name}: {report['error']}")
    received = report["end"]["sum_received"]
    return received["bits_per_second"], busy / (received["bytes"] / (1 << 30))


def busy_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))


def question(number, name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return number.to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"


def ask_names(place, seconds):
    """Decisions per second: questions for names, 64 under way at a time."""
    with place, socket.socket(type=socket.SOCK_DGRAM) as asking:
        asking.connect((RESOLVER, 53))
        asking.settimeout(1)
        answered, number, lost = 0, 0, 0
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            for _ in range(64):
                number += 1
                asking.send(question(number & 0xffff, f"n{number % 1000}.bench.example"))
            for _ in range(64):
                try:
                    asking.recv(512)
                    answered += 1
                except TimeoutError:
                    lost += 1
                    break
        return answered / (time.perf_counter() - start), lost


def rows_of(places, gate, rounds, seconds):
    rows = []

    def times(name, values):
        rows.append({"name": name, "unit": "ms", "seconds": values})

    def value(name, number, unit):
        rows.append({"name": name, "unit": unit, "value": number})

    greetings = {place.name: [] for place in places}
    rates = {place.name: [] for place in places}
    for _ in range(rounds):
        for place in places:
            with place:
                greetings[place.name] += [greet(place) for _ in range(50)]
    for _ in range(3):
        for place in places:
            rates[place.name].append(throughput(place, seconds))
    for place in places:
        times(f"connect to the first byte, {place.name}", greetings[place.name])
    for place in places:
        best = [rate for rate, _ in rates[place.name]]
        value(f"one connection out, {place.name}", statistics.median(best) / 8 / (1 << 20), "MiB/s")
        value(f"processor time of the whole machine, {place.name}",
              statistics.median(busy for _, busy in rates[place.name]), "s/GiB")

    box = places[-1]
    before, memory = busy_of(gate), memory_of(gate)
    with box:
        idle = [socket.create_connection(box.target(HOLDING), timeout=10) for _ in range(1000)]
    time.sleep(1)
    value("opening 1000 connections, processor time of the gate", busy_of(gate) - before, "s")
    value("memory of the gate for each of 1000 idle connections",
          (memory_of(gate) - memory) / 1000 / 1024, "KiB")
    before = busy_of(gate)
    time.sleep(5)
    value("the gate's processor with 1000 idle connections", (busy_of(gate) - before) / 5 * 100,
          "%")
    for connection in idle:
        connection.close()

    before = busy_of(gate)
    rate, lost = ask_names(box, 5)
    used = busy_of(gate) - before
    value("names decided", rate, "1/s")
    value("processor time of the gate for 10000 of them", used / (rate * 5) * 10_000, "s")
    value("questions that were not answered", lost, "questions")
    return rows


def measure(quick):
    namespaces.leave()
    folder = tempfile.mkdtemp(prefix="hako-bench-")
    servers = [f"server {{ listen 127.0.0.1:{near}; proxy_pass {SERVER}:{far}; }}"
               for far, near in PROXIED.items()]
    try:
        proxy = f"{folder}/proxy"
        with outside.outside(__file__, folder), nginx(proxy, configuration(proxy, servers)), \
                Hako(pool=1, settings=SETTINGS) as hako:
            box = Box.create(hako, Connection(hako))
            slot = slot_of(hako, box.id)
            outside.take_for_the_box(slot, SERVER)
            with open(os.path.join(hako.run_dir, "up.json")) as file:
                gate = next(role["process"]["pid"] for role in json.load(file)["roles"]
                            if role["name"] == "gate")
            places = [Place("direct", SERVER), Place("nginx stream", "127.0.0.1", PROXIED),
                      Place("hako's gate", SERVER, netns=slot)]
            return rows_of(places, gate, 4 if quick else 20, 3 if quick else 5)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        print(json.dumps(measure("--quick" in sys.argv[1:])))
