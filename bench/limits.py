"""What a box's neighbour notices of it when it wants everything that there is."""

import subprocess
import time

from client import Box, Connection
from harness import Hako
from neighbour import make_tenant

# Everything that keeps a box from the host's means, taken away.
UNLIMITED = """
[fairness]
cpu_shares = false
[limits]
spare_cpu_percent = 0
spare_memory_mib = 0
boxes_memory_percent = 0
threads = 0
disk_mib_per_second = 0
disk_operations_per_second = 0
network_mib_per_second = 0
packets_per_second = 0
connects_per_second = 0
names_per_second = 0
"""

SPIN = "for i in 1 2 3 4; do (while :; do :; done) & done; wait"
FILL = "while :; do dd if=/dev/zero of=/home/user/fill bs=1M; rm /home/user/fill; done"
HOG = "while :; do head -c 1G /dev/zero | tail -c 1G >/dev/null; done"
# Names, datagrams to where nobody listens, and connections.
FLOOD = ("exec 3>/dev/udp/192.0.2.1/53 4>/dev/udp/192.0.2.1/9; "
         "(while :; do echo x >&3; done) & (while :; do echo x >&4; done) & "
         "while :; do (: >/dev/tcp/192.0.2.1/80) & wait $!; done")
# name, program of bash, user; without a program: output that a client reads as fast as it can.
KINDS = [
    ("a fork bomb", "f() { f | f & }; f; sleep 1000", "user"),
    ("a memory hog", HOG, "user"),
    ("a disk filler", FILL, "user"),
    ("a console flood", "yes console >/dev/hvc0", "root"),
    ("an output flood", None, "user"),
    ("a spinner", SPIN, "user"),
    ("a packet flood", FLOOD, "user"),
]


class Noise:
    """A box of another tenant in which a program does its worst."""

    def __init__(self, hako, key, program, user):
        self.hako, self.key, self.program, self.user = hako, key, program, user

    def __enter__(self):
        self.connection = Connection(self.hako)
        self.connection.key = self.key
        self.box = Box.create(self.hako, self.connection)
        environment = {**self.hako.environment(), "HAKO_API_KEY": self.key}
        command = [self.hako.program, "exec", self.box.id, "--user", self.user, "--"]
        self.reader = None
        if self.program:
            subprocess.run(
                [*command, "bash", "-c", f"setsid bash -c '{self.program}' >/dev/null 2>&1 &"],
                env=environment, check=True)
        else:
            # Elsewhere it would be another machine's work, and not take this one's processors.
            self.reader = subprocess.Popen(["nice", "-n", "19", *command, "yes"], env=environment,
                                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(2)
        return self

    def __exit__(self, *_):
        # It may have ended by itself.
        self.hako.request("DELETE", f"/sandboxes/{self.box.id}", headers={"X-API-KEY": self.key},
                          key=False)
        if self.reader:
            self.reader.kill()
            self.reader.wait()
        time.sleep(2)


def trips(box, count):
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        box.exec("/bin/true")
        seconds.append(time.perf_counter() - start)
    return seconds


def run(settings, rounds, each, kinds):
    """{kind: (alone, beside)}: rounds alternate, so that a busy moment of the machine meets both."""
    got = {name: ([], []) for name, _, _ in kinds}
    with Hako(pool=2, settings=settings) as hako:
        noisy, small = make_tenant(hako, "noisy", {}), make_tenant(hako, "small", {})
        hako.wait_for_pool()
        connection = Connection(hako)
        connection.key = small
        box = Box.create(hako, connection, timeout=3600)
        trips(box, 50)
        for _ in range(rounds):
            for name, program, user in kinds:
                hako.wait_for_pool()
                time.sleep(1)
                alone, beside = got[name]
                alone += trips(box, each)
                with Noise(hako, noisy, program, user):
                    beside += trips(box, each)
        box.destroy()
    return got


def measure(report, quick, only=None):
    rounds, each = (2, 100) if quick else (4, 250)
    kinds = [kind for kind in KINDS if not only or only in kind[0]]
    for settings, what in (("", ""), (UNLIMITED, ", without limits")):
        for name, (alone, beside) in run(settings, rounds, each, kinds).items():
            report.times(f"exec of true, alone (beside {name} later){what}", alone)
            report.times(f"exec of true, beside {name}{what}", beside)
            without, along = report.rows[-2], report.rows[-1]
            for part in ("p50", "p99"):
                report.value(f"{part} beside {name}, as a multiple of alone{what}",
                             along[part] / without[part], "times")
