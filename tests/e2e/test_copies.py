"""A copy of a machine that was in use is a machine of its own: each hazard of docs/fork.md, with
its remedy, and without it."""

import base64
import json
import os
import re
import secrets
import socket
import struct
import subprocess
import time
import unittest
import uuid

from builds import Builds
from harness import Hako

DOCS = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "fork.md")

# Runs in every clone of a template, and was running when the snapshot was taken.
WATCHER = """
import json, os, random, socket, time
def read(path):
    with open(path) as file:
        return file.read().strip()
random.seed(os.urandom(16))
with open('/tmp/looks', 'a', buffering=1) as out:
    while True:
        out.write(json.dumps({
            'generation': read('/run/hako/generation'), 'random': os.urandom(16).hex(),
            'own random': random.getrandbits(64), 'host name': socket.gethostname(),
            'machine id': read('/etc/machine-id'),
            'boot id': read('/proc/sys/kernel/random/boot_id'),
            'time': time.time()}) + '\\n')
        time.sleep(0.002)
"""

# One connection in, one out, one between two sockets of its own: it writes down what becomes of
# them.
CONNECTIONS = """
import json, os, socket, threading
log = open('/tmp/connections', 'a', buffering=1)
def wait(name, connection):
    try:
        piece = connection.recv(4096)
        log.write(json.dumps([name, 'ended' if not piece else piece.decode()]) + '\\n')
    except OSError as error:
        log.write(json.dumps([name, type(error).__name__]) + '\\n')
def watch(name, connection):
    threading.Thread(target=wait, args=(name, connection)).start()
listener = socket.create_server(('0.0.0.0', 9000))
inner = socket.create_server(('127.0.0.1', 9001))
near = socket.create_connection(('127.0.0.1', 9001))
far, _ = inner.accept()
watch('between', far)
out = socket.create_connection(('peer.box', 9000))
watch('out', out)
log.write(json.dumps(['ready', '']) + '\\n')
into, _ = listener.accept()
into.recv(4096)
log.write(json.dumps(['accepted', '']) + '\\n')
watch('in', into)
while not os.path.exists('/tmp/say'):
    threading.Event().wait(0.05)
near.sendall(b'said')
threading.Event().wait()
"""

# A service that takes connections and never says a word.
SILENT = """
import socket
listener = socket.create_server(('0.0.0.0', 9000))
kept = []
while True:
    kept.append(listener.accept())
"""

# Waits in the kernel for a page that nobody brings: no signal but SIGKILL ends that.
STUCK = """
import ctypes, mmap, os, struct, fcntl
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
page = libc.mmap(None, ctypes.c_size_t(4096), 3, 0x22, -1, ctypes.c_size_t(0))
faults = libc.syscall(323, 0x80000)
fcntl.ioctl(faults, 0xc018aa3f, bytearray(struct.pack('QQQ', 0xaa, 0, 0)))
fcntl.ioctl(faults, 0xc020aa00, bytearray(struct.pack('QQQQ', page, 4096, 1, 0)))
print(os.getpid(), flush=True)
libc.read(os.open('/dev/zero', os.O_RDONLY), ctypes.c_void_p(page), ctypes.c_size_t(4096))
"""

# Sent from the host's end of the box's link, as the gate does it for the node.
AS_HOST = """
import http.client, json, sys
path, token = sys.argv[1], sys.argv[2]
connection = http.client.HTTPConnection('169.254.0.21', 49983, timeout=60)
headers = {'X-Access-Token': token, 'Content-Type': 'application/json'}
connection.request('POST', path, sys.stdin.buffer.read(), headers)
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


def start_watched_template(case):
    case.build("watched", fromTemplate="base", startCmd="python3 /opt/watcher.py",
               readyCmd="test -s /tmp/looks", steps=[
                   {"type": "USER", "args": ["root"]},
                   {"type": "RUN", "args": [f"cat > /opt/watcher.py <<'END'\n{WATCHER}\nEND"]},
                   {"type": "USER", "args": ["user"]}])


class Clone:
    """What the program that every clone has saw in one of them."""

    def __init__(self, hako):
        self.before = time.time()
        self.box = hako.create(templateID="watched", timeout=300)["sandboxID"]
        # Some of what it sees has to be its own.
        deadline = time.monotonic() + 30
        size = 0
        while time.monotonic() < deadline:
            text = hako.exec(self.box, "cat", "/tmp/looks").stdout
            self.looks = [json.loads(line) for line in text.splitlines(True)
                          if line.endswith("\n")]
            if size and len(self.looks) > size + 50:
                break
            size = size or len(self.looks)
            time.sleep(0.1)
        self.after = time.time()

    def split(self, other):
        """Leaves out what it has in common with another clone, which is their template's, and the
        look during which the template was stopped."""
        common = 0
        for ours, theirs in zip(self.looks, other.looks):
            if ours != theirs:
                break
            common += 1
        self.own, other.own = self.looks[common + 1:], other.looks[common + 1:]
        self.common = other.common = self.looks[:common]

    def values(self, name):
        return [look[name] for look in self.own]


def two_clones(hako):
    first, second = Clone(hako), Clone(hako)
    first.split(second)
    for clone in (first, second):
        hako.cli("kill", clone.box)
    return first, second


class ClonesTest(Builds, unittest.TestCase):
    """Two machines from one snapshot, with a program that was running in it."""

    @classmethod
    def setUpClass(cls):
        cls.hako = Hako(pool=0)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()
        start_watched_template(cls("test_no_program_moves_before"))
        time.sleep(3)  # the clock of the snapshot stands still meanwhile
        cls.first, cls.second = two_clones(cls.hako)

    def test_no_program_moves_before(self):
        for clone in (self.first, self.second):
            self.assertEqual({look["generation"] for look in clone.common}, {"0"})
            self.assertNotIn("0", clone.values("generation"))

    def test_random(self):
        for clone in (self.first, self.second):
            self.assertGreater(len(clone.own), 50)
        seen = self.first.values("random") + self.second.values("random")
        self.assertEqual(len(set(seen)), len(seen))

    def test_own_generators_repeat(self):
        # What nobody outside the program can change, and docs/fork.md says so.
        self.assertEqual(self.first.values("own random")[:40],
                         self.second.values("own random")[:40])

    def test_clock(self):
        for clone in (self.first, self.second):
            self.assertGreater(clone.values("time")[0], clone.before - 0.5)
            self.assertLess(clone.values("time")[-1], clone.after + 0.5)

    def test_names(self):
        for name in ("host name", "machine id", "boot id"):
            firsts, seconds = set(self.first.values(name)), set(self.second.values(name))
            self.assertEqual((len(firsts), len(seconds)), (1, 1), name)
            self.assertFalse(firsts & seconds, name)
        self.assertEqual(set(self.first.values("host name")), {self.first.box})

    def test_told(self):
        for clone in (self.first, self.second):
            self.assertEqual(set(clone.values("generation")), {"1"})

    def test_the_same_from_the_pool(self):
        hako = self.hako
        hako.write_config("[pool]\nsize = 2")
        hako.cli("restart", timeout=180)
        for _ in range(3):  # a template that is used gets a pool
            hako.cli("kill", hako.create(templateID="watched")["sandboxID"])
        end = time.monotonic() + 60
        while time.monotonic() < end:
            clone = Clone(hako)
            hako.cli("kill", clone.box)
            if clone.looks[-1]["generation"] == "2":
                break
            time.sleep(1)
        looks = clone.looks
        self.assertEqual(looks[-1]["generation"], "2", "no clone came from the pool")
        # In the pool it was nobody's; from then on only what it is now is seen.
        own = [look for look in looks if look["generation"] == "2"]
        self.assertEqual({look["host name"] for look in own}, {clone.box})
        self.assertGreater(own[0]["time"], clone.before - 0.5)
        mixed = [look for look in looks
                 if (look["host name"] == clone.box) != (look["generation"] == "2")]
        self.assertLess(len(mixed), 2, mixed)  # one may have been under way


class ClonesWithoutTest(Builds, unittest.TestCase):
    """The remedies taken out, to see what they are for. If one of these fails, the test above that
    it belongs to proves nothing."""

    def hako_without(self, *remedies):
        words = " ".join(f"hako.test_skip_{remedy}=1" for remedy in remedies)
        self.hako = Hako(pool=0, settings=f'[engine]\nkernel_args = "{words}"')
        self.addCleanup(self.hako.remove)
        self.addCleanup(self.hako.stop)
        self.hako.start()
        start_watched_template(self)

    def test_what_the_others_prevent(self):
        self.hako_without("clock", "names", "generation")
        time.sleep(3)
        first, second = two_clones(self.hako)
        with self.subTest("clock"):
            self.assertLess(first.values("time")[0], first.before - 1)
        with self.subTest("names"):
            for name in ("host name", "machine id", "boot id"):
                self.assertEqual(set(first.values(name)), set(second.values(name)))
        with self.subTest("generation"):
            self.assertEqual(set(first.values("generation")), {"0"})

    def test_without_the_freeze_programs_move_before(self):
        self.hako_without("freeze")
        for _ in range(3):
            clones = two_clones(self.hako)
            moved = [clone for clone in clones if "0" in clone.values("generation")]
            if moved:
                return
        self.fail("no program has moved before it was told")

    def test_without_the_reseed_clones_repeat_each_other(self):
        self.hako_without("reseed")
        for _ in range(3):
            first, second = two_clones(self.hako)
            if set(first.values("random")) & set(second.values("random")):
                return
        self.fail("no random number came twice")


class UsedMachineTest(unittest.TestCase):
    """One machine in use, to which this test is the host."""

    remedies_out = ()

    @classmethod
    def setUpClass(cls):
        words = " ".join(f"hako.test_skip_{remedy}=1" for remedy in cls.remedies_out)
        cls.hako = Hako(pool=1, settings=f'[engine]\nkernel_args = "{words}"' if words else "")
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()

    def setUp(self):
        self.box = self.hako.create(timeout=600)
        self.id = self.box["sandboxID"]
        self.addCleanup(self.hako.cli, "kill", self.id, check=False)
        self.record = self.hako.record_of(self.id)
        self.generation = self.record["generation"]

    def as_host(self, path, body=None, token=""):
        """(status, text) of a request that comes from the host's end of the box's link."""
        done = subprocess.run(
            ["nsenter", f"--net={self.hako.run_dir}/netns/slot-{self.record['slot']}",
             "python3", "-c", AS_HOST, path, token],
            input=json.dumps(body or {}), capture_output=True, text=True, timeout=90)
        self.assertEqual(done.returncode, 0, done.stderr)
        status, _, text = done.stdout.partition(" ")
        return int(status), text.strip()

    def become(self, **members):
        self.generation += 1
        body = {"entropy": base64.b64encode(secrets.token_bytes(64)).decode(),
                "timestampNs": str(time.time_ns()), "hostname": "another",
                "machineId": secrets.token_hex(16), "bootId": str(uuid.uuid4()),
                "generation": self.generation, "sandboxId": self.id, "templateId": "base",
                "accessToken": self.record["access_token"], **members}
        self.assertEqual(self.as_host("/init", body), (204, ""))

    def start(self, script, *flags):
        """Starts a Python program that outlives its starter."""
        self.hako.exec(self.id, "sh", "-c",
                       "(setsid python3 -c \"$1\" >/tmp/started.out 2>&1 </dev/null &)", "sh",
                       script, flags=flags)

    def wait_for(self, condition, what, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return
            time.sleep(0.1)
        self.fail(f"{what}\n" + self.hako.exec(self.id, "cat", "/tmp/started.out").stdout)

    def connections(self):
        """What the program has seen of its connections."""
        text = self.hako.exec(self.id, "cat", "/tmp/connections", check=False).stdout
        return dict(json.loads(line) for line in text.splitlines())

    def open_connections(self):
        peer = self.hako.create(timeout=600)["sandboxID"]
        self.addCleanup(self.hako.cli, "kill", peer, check=False)
        self.hako.exec(peer, "sh", "-c",
                       "(setsid python3 -c \"$1\" >/dev/null 2>&1 </dev/null &); "
                       "until python3 -c 'import socket; "
                       "socket.create_connection((\"127.0.0.1\", 9000))' 2>/dev/null; "
                       "do sleep 0.1; done", "sh", SILENT)
        self.hako.cli("link", "add", self.id, peer, "9000", "--name", "peer.box")
        self.start(CONNECTIONS)
        self.wait_for(lambda: "ready" in self.connections(), "no connection out")
        client = socket.create_connection(("127.0.0.1", self.hako.gate_port), 30)
        self.addCleanup(client.close)
        client.sendall(f"GET / HTTP/1.1\r\nHost: 9000-{self.id}.hako.localhost\r\n\r\n".encode())
        self.wait_for(lambda: "accepted" in self.connections(), "no connection in")
        self.assertEqual(set(self.connections()), {"ready", "accepted"})
        return client

    def wait_told(self):
        told = "ConnectionAbortedError"
        self.wait_for(lambda: (self.connections().get("in"), self.connections().get("out")) ==
                      (told, told), f"told of {self.connections()}")


class CopyInUseTest(UsedMachineTest):
    def test_connections(self):
        client = self.open_connections()
        self.become()
        self.wait_told()
        # Whoever was served by it hears of it, too.
        self.assertIn(client.recv(4096)[:12], (b"", b"HTTP/1.1 502"))
        # Its own are whole.
        self.assertNotIn("between", self.connections())
        self.hako.exec(self.id, "touch", "/tmp/say")
        self.wait_for(lambda: self.connections().get("between") == "said", "nothing came through")

    def test_streams(self):
        command = self.hako.popen("exec", self.id, "--", "sleep", "987", stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
        self.addCleanup(command.kill)
        pids = lambda: self.hako.exec(self.id, "pgrep", "-f", "sleep 98[7]", check=False).stdout
        self.wait_for(pids, "the command does not run")
        pid = int(pids())
        self.become()
        command.communicate(timeout=30)
        self.assertNotEqual(command.returncode, 0)
        # The command itself runs on; it is listed, and can be attached to.
        self.assertEqual(int(pids()), pid)
        headers = {"E2b-Sandbox-Id": self.id, "E2b-Sandbox-Port": "49983",
                   "X-Access-Token": self.box["envdAccessToken"]}
        status, _, listed = self.hako.request("POST", "/process.Process/List", {}, headers,
                                              key=False)
        self.assertEqual(status, 200, listed)
        self.assertIn(pid, [process["pid"] for process in listed["processes"]])
        message = json.dumps({"process": {"pid": pid}}).encode()
        stream = socket.create_connection(("127.0.0.1", self.hako.api_port), 30)
        self.addCleanup(stream.close)
        body = b"\0" + struct.pack(">I", len(message)) + message
        fields = {**headers, "Host": "x", "Content-Type": "application/connect+json",
                  "Content-Length": str(len(body))}
        stream.sendall(b"POST /process.Process/Connect HTTP/1.1\r\n" +
                       "".join(f"{k}: {v}\r\n" for k, v in fields.items()).encode() + b"\r\n" +
                       body)
        seen = b""
        while b'"start"' not in seen:
            piece = stream.recv(4096)
            self.assertTrue(piece, seen)
            seen += piece

    def test_told(self):
        with open(DOCS) as file:
            python, = re.findall(r"```python\n(.*?)```", file.read(), re.DOTALL)
        self.hako.exec(self.id, "sh", "-c",
                       "(setsid sh -c 'while known=$(/run/hako/wait-generation $known); "
                       "do echo $known $(hostname); done' > /tmp/told 2>&1 </dev/null &)")
        self.start(python)
        told = lambda: self.hako.exec(self.id, "cat", "/tmp/started.out", "/tmp/told").stdout
        began = f"generation {self.generation}\n"
        self.wait_for(lambda: told() == began, "the example does not run")
        # In read(2).
        waiting = lambda: self.hako.exec(self.id, "sh", "-c",
                                         "cat /proc/$(pgrep wait-generat)/syscall").stdout
        self.wait_for(lambda: waiting().startswith("0 "), "it does not wait")
        first = self.generation + 1
        for name in ("another", "a-third"):
            self.become(hostname=name)
            self.wait_for(lambda: f"{self.generation} {name}\n" in told(), told())
        self.assertEqual(told(), began + f"generation {first}\ngeneration {first + 1}\n"
                                         f"{first} another\n{first + 1} a-third\n")

    def test_token(self):
        old = self.record["access_token"]
        self.assertEqual(self.as_host("/process.Process/List", token=old)[0], 200)
        self.become(accessToken="the-copys-own")
        self.assertEqual(self.as_host("/process.Process/List", token=old)[0], 401)
        self.assertEqual(self.as_host("/process.Process/List", token="the-copys-own")[0], 200)

    def test_network(self):
        self.become()
        told = self.hako.exec(self.id, "sh", "-c",
                              "ip -o neigh; ip -o -4 addr show eth0; cat /etc/resolv.conf").stdout
        self.assertEqual(told.split("\n")[0].strip(),
                         "169.254.0.22 dev eth0 lladdr 02:68:61:6b:6f:01 PERMANENT")
        self.assertIn("169.254.0.21/30", told)
        self.assertIn("nameserver 169.254.0.22", told)

    def test_frozen_it_answers_its_host_and_its_users_wait(self):
        self.start("import time\nwhile True:\n    open('/tmp/ticks', 'a').write('x')\n"
                   "    time.sleep(0.002)")
        ticks = lambda: int(self.hako.exec(self.id, "stat", "-c", "%s", "/tmp/ticks",
                                           check=False).stdout or 0)
        self.wait_for(ticks, "it does not tick")
        self.assertEqual(self.as_host("/freeze"), (204, ""))
        waiting = self.hako.popen("exec", self.id, "--", "stat", "-c", "%s", "/tmp/ticks",
                                  stdout=subprocess.PIPE, text=True)
        self.addCleanup(waiting.kill)
        with self.assertRaises(subprocess.TimeoutExpired):
            waiting.communicate(timeout=1)
        self.assertEqual(self.as_host("/thaw"), (204, ""))
        waiting.communicate(timeout=30)
        self.assertEqual(waiting.returncode, 0)
        before = ticks()
        self.wait_for(lambda: ticks() > before, "it does not go on")

    def test_a_program_that_cannot_be_stopped(self):
        self.start(STUCK, "--user", "root")
        pid = lambda: self.hako.exec(self.id, "cat", "/tmp/started.out").stdout.strip()
        self.wait_for(lambda: pid().isdigit(), "it does not start")
        status, text = self.as_host("/freeze")
        self.assertEqual(status, 504, text)
        self.assertIn(f"program {pid()} (python3)", text)
        # And everything goes on.
        self.assertEqual(self.hako.exec(self.id, "echo", "on").stdout, "on\n")
        self.hako.exec(self.id, "kill", "-KILL", pid(), flags=("--user", "root"))
        self.assertEqual(self.as_host("/freeze"), (204, ""))
        self.assertEqual(self.as_host("/thaw"), (204, ""))

    def test_nobody_in_the_box_may_ask(self):
        ask = ("import http.client\n"
               "for path in ('/freeze', '/thaw', '/init'):\n"
               "    c = http.client.HTTPConnection('169.254.0.21', 49983)\n"
               "    c.request('POST', path, '{}', {'X-Access-Token': '%s'})\n"
               "    print(c.getresponse().status)\n" % self.record["access_token"])
        self.assertEqual(self.hako.exec(self.id, "python3", "-c", ask).stdout, "404\n404\n404\n")
        for path in ("/freeze", "/thaw"):
            headers = {"E2b-Sandbox-Id": self.id, "E2b-Sandbox-Port": "49983",
                       "X-Access-Token": self.box["envdAccessToken"]}
            status, _, _ = self.hako.request("POST", path, {}, headers, key=False,
                                             port=self.hako.gate_port)
            self.assertEqual(status, 404)


class ConnectionsNotCutTest(UsedMachineTest):
    remedies_out = ("connections",)

    def test_who_waits_hears_nothing(self):
        self.open_connections()
        self.become()
        # Time enough for the test above to pass many times over.
        time.sleep(3)
        self.assertEqual(set(self.connections()), {"ready", "accepted"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
