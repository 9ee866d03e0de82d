"""`hako run --repo`: a repository is cloned into a new box, and egress closes behind it.

The server is in a network namespace of its own, as boxes never reach addresses of their host."""

import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import unittest
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from certificates import Certificates
from harness import Hako

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "attack"))
import namespaces  # noqa: E402

SERVER = "10.77.0.2"


def setUpModule():
    namespaces.leave()


def answer_names(server):
    """A DNS server for which every name is the one server there is."""
    while True:
        try:
            question, sender = server.recvfrom(4096)
        except OSError:
            return
        end = question.index(b"\0", 12) + 5
        is_a = question[end - 4:end - 2] == b"\0\1"
        answer = (b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(SERVER)
                  if is_a else b"")
        head = question[:2] + struct.pack(">HHHHH", 0x8180, 1, int(is_a), 0, 0)
        server.sendto(head + question[12:end] + answer, sender)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class RepositoryTest(unittest.TestCase):
    """A repository is cloned into a new box, and what the label closes is closed behind it."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="hako-repository-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        names.bind(("127.0.0.1", 0))
        cls.addClassCleanup(names.close)
        threading.Thread(target=answer_names, args=(names,), daemon=True).start()
        cls.make_repository()
        certificate, key = Certificates(cls.folder).issue("git", "DNS:git.test,DNS:other.test")
        cls.server = subprocess.Popen(["unshare", "-n", "python3", os.path.abspath(__file__), "serve",
                                       cls.folder, certificate, key], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)
        cls.addClassCleanup(cls.server.wait)
        cls.addClassCleanup(cls.server.kill)
        cls.server.stdout.readline()
        pid = cls.server.pid
        namespaces.run(f"ip link add hosts type veth peer name eth0 netns {pid}")
        namespaces.run("ip address add 10.77.0.1/24 dev hosts")
        namespaces.run("ip link set hosts up")
        namespaces.run_inside(pid, f"ip address add {SERVER}/24 dev eth0")
        namespaces.run_inside(pid, "ip link set eth0 up")
        cls.hako = Hako(pool=2, settings=f"""
            [egress]
            ceiling = "internet"
            resolvers = ["127.0.0.1:{names.getsockname()[1]}"]
            private_networks = ["{SERVER}/32"]
        """)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()

    @classmethod
    def make_repository(cls):
        work = os.path.join(cls.folder, "work")
        git = lambda *words, cwd=work: subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@t.test", *words], cwd=cwd, check=True,
            capture_output=True)
        os.mkdir(work)
        git("init", "-q", "-b", "main")
        with open(os.path.join(work, "marker"), "w") as file:
            file.write("in the clone\n")
        git("add", "marker")
        git("commit", "-q", "-m", "one")
        git("clone", "-q", "--bare", work, "app.git", cwd=cls.folder)
        # As files that any server can show.
        git("update-server-info", cwd=os.path.join(cls.folder, "app.git"))

    def run_in_clone(self, *words, label=None, more=()):
        options = ["--label", label] if label else []
        # The authority of this server is not the box's: what is shown here is the clone.
        return self.hako.cli("run", "-e", "GIT_SSL_NO_VERIFY=1", "--repo",
                             "https://git.test/app.git", *options, *more, "--", *words,
                             check=False, timeout=240)

    def reaches(self, name):
        return ["sh", "-c", f"pwd; cat marker; curl -sk -m 20 -o /dev/null -w '%{{http_code}}\\n' "
                f"https://{name}/app.git/HEAD"]

    def test_the_command_runs_in_the_clone_and_nothing_else_is_reached(self):
        done = self.run_in_clone(*self.reaches("git.test"))
        self.assertEqual(done.stdout, "/home/user/app\nin the clone\n200\n", done.stderr)
        other = self.run_in_clone(*self.reaches("other.test"))
        self.assertEqual(other.stdout, "/home/user/app\nin the clone\n000\n", other.stderr)
        asked = self.run_in_clone(*self.reaches("other.test"), more=["--allow", "other.test"])
        self.assertEqual(asked.stdout, "/home/user/app\nin the clone\n200\n", asked.stderr)

    def test_the_label_of_the_clone_closes_behind_it(self):
        internal = self.run_in_clone(*self.reaches("git.test"), label="internal")
        self.assertEqual(internal.stdout, "/home/user/app\nin the clone\n200\n", internal.stderr)
        closed = self.run_in_clone(*self.reaches("git.test"), label="confidential")
        self.assertEqual(closed.stdout, "/home/user/app\nin the clone\n000\n", closed.stderr)

    def test_one_that_is_not_there_is_said_so(self):
        done = self.hako.cli("run", "-e", "GIT_SSL_NO_VERIFY=1", "--repo",
                             f"https://git.test/none.git", "--", "true", check=False)
        self.assertEqual(done.returncode, 125)
        self.assertIn("could not be cloned", done.stderr)


def serve(folder, certificate, key):
    """The repository's server, until it is killed. It says when its namespace is there."""
    server = ThreadingHTTPServer(("0.0.0.0", 443), partial(Quiet, directory=folder))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True,
                                        do_handshake_on_connect=False)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(*sys.argv[2:])
    else:
        unittest.main()
