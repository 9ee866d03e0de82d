"""What the measurements of the gate share: a server outside that a box reaches through it.

This process becomes the machine that hako runs on, another one the server. The clients stand where
a box's packets arrive, in the namespace of its slot, since an emulated guest would be measured
otherwise and not the gate.
"""

import contextlib
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "tests", "e2e"),
                os.path.join(HERE, "..", "tests", "attack")]

import namespaces  # noqa: E402

# Looks public, and is no further away than the other namespace.
MACHINE, SERVER = "93.184.216.1", "93.184.216.34"


@contextlib.contextmanager
def outside(program, folder):
    """While `program --serve folder` runs, which begins with begin_to_serve()."""
    process = subprocess.Popen([sys.executable, program, "--serve", folder],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "namespace\n"
        namespaces.run(f"ip link add near0 type veth peer name far0 netns {process.pid}")
        namespaces.run(f"ip address add {MACHINE}/24 dev near0")
        namespaces.run("ip link set near0 up")
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.stdin.close()
        process.wait()


def begin_to_serve():
    """In the process outside: a network of its own with SERVER. It prints "ready" when it is."""
    namespaces.leave()
    print("namespace", flush=True)
    sys.stdin.readline()
    namespaces.run(f"ip address add {SERVER}/24 dev far0")
    namespaces.run("ip link set far0 up")


@contextlib.contextmanager
def nginx(folder, configuration):
    """`configuration` has it write its id to `folder`/pid."""
    os.makedirs(folder)
    path = os.path.join(folder, "nginx.conf")
    with open(path, "w") as file:
        file.write(configuration)
    process = subprocess.Popen(["nginx", "-p", folder, "-e", f"{folder}/error.log", "-c", path])
    try:
        while not os.path.exists(f"{folder}/pid"):
            if process.poll() is not None:
                raise RuntimeError("nginx has not begun")
            time.sleep(0.01)
        yield process
    finally:
        process.terminate()
        process.wait()


def slot_of(hako, box):
    """The namespace where the box's packets arrive."""
    return f"{hako.run_dir}/netns/slot-{hako.record_of(box)['slot']}"


def take_for_the_box(slot, addresses):
    """For this measurement, what comes from the slot's own loopback is taken for the box's."""
    namespaces.nft(f"insert rule inet hako prerouting iifname lo ip daddr {addresses} "
                   "meta l4proto tcp tproxy ip to :15001 accept", inside=slot)


def within(netns, *command):
    """The command, to be run in a namespace if one is named."""
    return [*(["nsenter", f"--net={netns}"] if netns else []), *command]


def machine_busy():
    """Processor seconds used by everybody so far."""
    with open("/proc/stat") as file:
        fields = [int(word) for word in file.readline().split()[1:]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")
