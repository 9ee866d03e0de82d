"""The API behind TLS, with the command line and a program in front of it; and what is refused
without."""

import json
import os
import shutil
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request

from certificates import Certificates
from harness import BIN, Hako

NAMES = "DNS:localhost,IP:127.0.0.1"


def wait_for(what, done, seconds=30):
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain: {what}")
        time.sleep(0.05)


class WithFolder(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="hako-tls-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.made = Certificates(cls.folder)


class SecureTest(WithFolder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.made.issue("first", NAMES)
        cls.made.issue("second", NAMES)
        cls.certificate = os.path.join(cls.folder, "api.pem")
        cls.key_file = os.path.join(cls.folder, "api.key")
        cls.use("first", "first")
        # Root alone reads the key, and the API is not root.
        os.chmod(cls.folder, 0o700)
        cls.hako = Hako(pool=1, settings=f"""
            [api]
            certificate = "{cls.certificate}"
            key = "{cls.key_file}"
            [gate]
            certificate = "{cls.certificate}"
            key = "{cls.key_file}"
            """)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()
        cls.url = f"https://localhost:{cls.hako.api_port}"

    @classmethod
    def use(cls, certificate, key):
        """Puts files where the configuration names them, as a tool that renews does."""
        for source, target in ((f"{certificate}.pem", cls.certificate),
                               (f"{key}.key", cls.key_file)):
            shutil.copy(os.path.join(cls.folder, source), target + ".new")
            os.chmod(target + ".new", 0o600)
            os.rename(target + ".new", target)

    def secure(self, *words, **options):
        return self.hako.cli("--api-url", self.url, "--ca", self.made.authority, *words, **options)

    def shown(self):
        """The serial number of the certificate that the API shows."""
        text = ssl.get_server_certificate(("localhost", self.hako.api_port))
        return subprocess.run(["openssl", "x509", "-noout", "-serial"], input=text, text=True,
                              check=True, capture_output=True).stdout

    def serial(self, name):
        return subprocess.run(
            ["openssl", "x509", "-noout", "-serial", "-in", f"{self.folder}/{name}.pem"],
            text=True, check=True, capture_output=True).stdout

    def test_the_command_line(self):
        self.assertEqual(self.secure("run", "--", "echo", "said").stdout, "said\n")
        box = self.secure("create").stdout.strip()
        data = os.urandom(20_000_000)
        echoed = self.secure("exec", "-i", box, "--", "cat", input=data, text=False)
        self.assertEqual(echoed.stdout, data)
        path = os.path.join(self.folder, "data")
        with open(path, "wb") as file:
            file.write(data)
        self.secure("cp", path, f"{box}:/home/user/data")
        self.secure("cp", f"{box}:/home/user/data", path + ".back")
        with open(path + ".back", "rb") as file:
            self.assertEqual(file.read(), data)
        ticks = self.secure("exec", box, "--", "sh", "-c",
                            "for i in 1 2 3 4 5 6; do echo $i; sleep 1; done; exit 3", check=False)
        self.assertEqual((ticks.returncode, ticks.stdout), (3, "1\n2\n3\n4\n5\n6\n"))
        # Without TLS, too, on this machine.
        self.assertEqual(self.hako.exec(box, "echo", "plainly").stdout, "plainly\n")
        self.secure("kill", box)

    def test_who_is_not_trusted_is_not_asked(self):
        done = self.hako.cli("--api-url", self.url, "ps", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("not trusted here (CN = hako test authority)", done.stderr)

    def test_another_program(self):
        context = ssl.create_default_context(cafile=self.made.authority)
        request = urllib.request.Request(self.url + "/v2/sandboxes",
                                         headers={"X-API-Key": self.hako.key()})
        with urllib.request.urlopen(request, context=context) as answer:
            self.assertIsInstance(json.loads(answer.read()), list)

    def test_a_new_certificate_cuts_nothing(self):
        box = self.secure("create").stdout.strip()
        running = self.hako.popen("--api-url", self.url, "--ca", self.made.authority, "exec", "-i",
                                  box, "--", "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(running.kill)
        running.stdin.write(b"before\n")
        running.stdin.flush()
        self.assertEqual(running.stdout.readline(), b"before\n")
        failures, asked, stop = [], [], threading.Event()

        def keep_asking():
            context = ssl.create_default_context(cafile=self.made.authority)
            while not stop.is_set():
                request = urllib.request.Request(self.url + f"/sandboxes/{box}",
                                                 headers={"X-API-Key": self.hako.key()})
                try:
                    with urllib.request.urlopen(request, context=context, timeout=30) as answer:
                        asked.append(answer.status)
                except OSError as error:
                    failures.append(error)

        asking = [threading.Thread(target=keep_asking) for _ in range(2)]
        for thread in asking:
            thread.start()
        self.assertEqual(self.shown(), self.serial("first"))
        self.use("second", "first")
        wait_for("the log says what is wrong",
                 lambda: "the key is not that of the certificate" in self.hako.logs(None))
        self.assertEqual(self.shown(), self.serial("first"))
        self.use("second", "second")
        wait_for("the new certificate", lambda: self.shown() == self.serial("second"))
        stop.set()
        for thread in asking:
            thread.join()
        self.assertEqual(failures, [])
        self.assertGreater(len(asked), 10)
        running.stdin.write(b"after\n")
        running.stdin.close()
        self.assertEqual(running.stdout.read(), b"after\n")
        self.assertEqual(running.wait(30), 0)
        running.stdout.close()
        self.secure("kill", box)

    def test_the_doctor_looks_at_it(self):
        checks = json.loads(self.hako.cli("doctor", "--json", check=False).stdout)["checks"]
        found = {check["id"]: check for check in checks}
        for server in ("api", "gate"):
            check = found[f"{server}_certificate"]
            self.assertEqual(check["status"], "ok", check)
            self.assertIn("for localhost, 127.0.0.1, until ", check["detail"])


class RefusedTest(WithFolder):
    """What does not start. Nothing of it is to be reached, so no machine is made."""

    def up(self, settings):
        hako = Hako(pool=0, settings=settings)
        self.addCleanup(hako.remove)
        self.addCleanup(hako.stop)
        done = hako.cli("up", check=False)
        self.assertEqual(done.returncode, 1, done.stdout)
        return done.stderr

    def test_plain_beyond_loopback(self):
        for section in ("api", "gate"):
            said = self.up(f'[{section}]\naddress = "0.0.0.0"\n'
                           "[engine]\nallow_emulated_beyond_loopback = true")
            self.assertIn("0.0.0.0 can be reached from other machines", said)
            self.assertIn(f"set [{section}] certificate and key", said)
            self.assertIn(f"[{section}] allow_plain_beyond_loopback = true", said)

    def test_files_that_do_not_fit(self):
        certificate, _ = self.made.issue("one", NAMES)
        _, key = self.made.issue("other", NAMES)
        said = self.up(f'[api]\ncertificate = "{certificate}"\nkey = "{key}"')
        self.assertIn("the key is not that of the certificate", said)
        self.assertIn("FIX:", said)
        said = self.up(f'[api]\ncertificate = "{certificate}.none"\nkey = "{key}"')
        self.assertIn(f"{certificate}.none", said)

    def test_the_gate_by_itself(self):
        """It listens before any node has told it anything."""
        hako = Hako(pool=0, settings='[gate]\naddress = "0.0.0.0"')
        self.addCleanup(hako.remove)
        command = [os.path.join(BIN, "hako-gate"), "--config", hako.config]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 1)
        self.assertIn("[gate] allow_plain_beyond_loopback = true", done.stderr)
        hako.write_config('[gate]\naddress = "0.0.0.0"\nallow_plain_beyond_loopback = true')
        with subprocess.Popen(command, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as gate:
            try:
                request = f"http://127.0.0.1:{hako.gate_port}/"

                def answers():
                    try:
                        urllib.request.urlopen(request, timeout=5)
                    except urllib.error.HTTPError:
                        return True
                    except OSError:
                        return False
                    return True

                wait_for("the gate answers", answers)
            finally:
                gate.terminate()


if __name__ == "__main__":
    unittest.main()
