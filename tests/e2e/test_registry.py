"""Images pulled from registries, by real ones and by one that means ill."""

import glob
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
import unittest

import test_sdk
from builds import Builds
from harness import Hako, free_port
from images import Layout
from registries import Hostile, Registry

LOGIN = ("puller", "a-pa55word-of-Its-0wn")
PULL_MIB = 24


def write_layout(folder, *texts, ballast=0):
    """A small image whose file /text holds what `texts` say, one layer for each."""
    shutil.rmtree(folder, ignore_errors=True)
    image = Layout(folder)
    image.layer(image.programs)
    for text in texts:
        image.layer(lambda tar: image.file(tar, "text", text))
    if ballast:
        image.layer(lambda tar: tar.addfile(*random_file("ballast", ballast)))
    image.finish({"Env": ["FROM_IMAGE=yes"]})
    return folder


def random_file(name, size):
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry, io.BytesIO(os.urandom(size))


@unittest.skipIf(subprocess.run(["unshare", "--user", "true"], capture_output=True).returncode,
                 "pulls need a user namespace, and the kernel makes none here, as in a chroot")
class RegistryTest(Builds, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="hako-oci-", dir="/var/tmp")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.open, cls.closed, cls.hostile = Registry(), Registry(LOGIN), Hostile()
        cls.elsewhere, cls.secure = Hostile(), Registry(tls=True)
        for each in (cls.open, cls.closed, cls.hostile, cls.elsewhere, cls.secure):
            cls.addClassCleanup(each.remove)
        cls.down = f"127.0.0.1:{free_port()}"
        hosts = [cls.open.host, cls.closed.host, cls.hostile.host, cls.down]
        cls.hako = Hako(pool=1, settings=f"""
            [template]
            registries = ["{cls.secure.host}"]
            insecure_registries = {json.dumps(hosts)}
            pull_mib = {PULL_MIB}
            """)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()

    def setUp(self):
        self.hostile.asked.clear()
        self.elsewhere.asked.clear()
        self.hostile.blob_answer = self.hostile.manifest_answer = self.hostile.ping_answer = None

    def layout(self, *texts, **options):
        return write_layout(os.path.join(self.folder, "layout"), *texts, **options)

    def pulls(self):
        try:
            return os.listdir(os.path.join(self.hako.state, "api", "pulls"))
        except FileNotFoundError:  # an api that has just begun makes it anew
            return []

    def fail_to_pull(self, image, **recipe):
        """(the reason, all messages) of a build on `image` that must fail."""
        answer, log = self.finish(self.start("failing", fromImage=image, **recipe))
        self.assertEqual((answer["status"], answer["reason"]["step"]), ("error", "base"), log)
        end = time.monotonic() + 10
        while self.pulls() and time.monotonic() < end:
            time.sleep(0.1)
        self.assertEqual(self.pulls(), [])
        return answer["reason"]["message"], log

    def refused(self, status, **recipe):
        made = self.call(202, "POST", "/v3/templates", {"name": "failing"})
        answer = self.call(status, "POST",
                           f"/v2/templates/{made['templateID']}/builds/{made['buildID']}",
                           dict(recipe, steps=[]))
        return answer["message"]

    def text_in(self, template):
        sandbox = self.hako.create(templateID=template)
        told = self.shell(sandbox, "cat /text; echo; echo $FROM_IMAGE")
        self.hako.destroy(sandbox)
        return told

    def test_an_image_is_pulled_once_and_again_when_its_tag_has_moved(self):
        image = self.open.host + "/team/tiny:1"
        first = self.open.push(self.layout("first"), "team/tiny:1")
        _, log = self.build("pulled", fromImage=image)
        text = "\n".join(log)
        for line in (f"[base] Asking {self.open.host} for {image}", f"tiny@{first}, ",
                     "[base] [pull]: Copying blob sha256:", "[unpack] [stdout]: layer 1 of 2",
                     f"[base] FROM {image}"):
            self.assertIn(line, text)
        self.assertEqual(self.text_in("pulled"), "first\nyes\n")
        self.assertEqual(self.pulls(), [])

        cached = f"CACHED [base] {self.open.host}/team/tiny@{first}"
        _, log = self.build("again", fromImage=image)
        self.assertIn(cached, log)
        self.assertNotIn("[pull]", "\n".join(log))

        second = self.open.push(self.layout("second"), "team/tiny:1")
        self.assertNotEqual(first, second)
        _, log = self.build("moved", fromImage=image)
        self.assertIn(f"tiny@{second}, ", "\n".join(log))
        self.assertEqual(self.text_in("moved"), "second\nyes\n")
        # What is asked for by digest does not move.
        _, log = self.build("again", fromImage=f"{self.open.host}/team/tiny@{first}")
        self.assertIn(cached, log)
        self.assertEqual(self.text_in("again"), "first\nyes\n")

        listed = self.call(200, "GET", "/templates/pulled%2Ftiny/tags")
        self.assertEqual({tag["tag"] for tag in listed},
                         {each.replace(":", "-") for each in (first, second)})
        # What it was pulled for may have a label, which it has not, so the log stays there.
        what = self.call(200, "GET", "/templates/aliases/pulled%2Ftiny")["templateID"]
        for tag in listed:
            told = self.call(200, "GET", f"/templates/{what}/builds/{tag['buildID']}/status")
            self.assertEqual((told["status"], told["logEntries"]), ("ready", []))
        for name in ("pulled/tiny", "pulled/other:1"):
            self.call(409, "POST", "/v3/templates", {"name": name})
        self.call(409, "POST", "/templates/tags",
                  {"target": "pulled/tiny:" + first.replace(":", "-"), "tags": ["default"]})
        # Whoever has not got the registry's word for it gets no box from what is kept of it.
        kept = "pulled/tiny:" + first.replace(":", "-")
        self.call(409, "POST", "/v2/sandboxes", {"templateID": kept})
        # Its id is another name for it; and no key can take it from the others.
        self.call(409, "POST", "/v3/templates", {"name": what, "label": "internal"})
        self.call(409, "PATCH", "/v2/templates/" + what, {"label": "internal"})
        self.assertEqual(self.call(200, "GET", "/templates/" + what)["label"], "public")

        # A registry that is down has nothing to say about its tags.
        self.open.stop()
        try:
            reason, _ = self.fail_to_pull(image)
        finally:
            self.open.start()
        self.assertIn(f"{self.open.host} does not answer", reason)

    def test_logins(self):
        image = self.closed.host + "/private:1"
        digest = self.closed.push(self.layout("private"), "private:1")
        reason, _ = self.fail_to_pull(image)
        self.assertIn("authentication required", reason)
        wrong = {"type": "registry", "username": LOGIN[0], "password": "wr0ng-password"}
        reason, log = self.fail_to_pull(image, fromImageRegistry=wrong)
        self.assertRegex(reason, "(?i)unauthorized|authentication required|invalid username")
        right = dict(wrong, password=LOGIN[1])
        _, more = self.build("private", fromImage=image, fromImageRegistry=right)
        self.assertEqual(self.text_in("private"), "private\nyes\n")
        # That it is here does not open it to those who may not have it.
        self.fail_to_pull(image)
        tag = digest.replace(":", "-")
        what = self.call(200, "GET", "/templates/aliases/pulled%2Fprivate")["templateID"]
        for kept in ("pulled/private:" + tag, f"{what}:{tag}"):
            self.refused(403, fromImage=kept)
        for secret in (LOGIN[1], wrong["password"]):
            self.assertNotIn(secret, "\n".join(log + more))
            self.assertNotIn(secret, self.hako.logs(lines=None))
            folders = [os.path.join(self.hako.state, name) for name in ("api", "log")]
            done = subprocess.run(["grep", "-rlaF", secret, *folders], capture_output=True,
                                  text=True, check=False, timeout=60)
            self.assertEqual(done.stdout, "")

        for kind in ("aws", "gcp"):
            self.assertIn(kind, self.refused(501, fromImage=image,
                                             fromImageRegistry={"type": kind}))
        self.refused(400, fromImage=image, fromImageRegistry={"type": "registry"})
        self.refused(400, fromImage=image, fromImageRegistry={"type": "other"})

    def test_certificates_are_verified(self):
        self.secure.push(self.layout("secure"), "secure:1")
        reason, _ = self.fail_to_pull(self.secure.host + "/secure:1")
        self.assertRegex(reason, "x509: .*certificate")
        self.secure.trust()
        self.build("secure", fromImage=self.secure.host + "/secure:1")
        self.assertEqual(self.text_in("secure"), "secure\nyes\n")

    def test_what_cannot_be_pulled(self):
        for image, host in (("python:3.12", "docker.io"), ("quay.io/a/b", "quay.io"),
                            ("localhost/x", "localhost"), ("127.0.0.1:1/x", "127.0.0.1:1"),
                            ("169.254.169.254/x", "169.254.169.254")):
            message = self.refused(403, fromImage=image)
            self.assertIn(f'add "{host}" to [template] registries', message)
        for image in ("a b", "--help", f"{self.open.host}/x@sha256:12", f"{self.open.host}/../x",
                      f"{self.open.host}/x:", f"user:pw@{self.open.host}/x"):
            self.refused(400, fromImage=image)

        reason, _ = self.fail_to_pull(self.open.host + "/no/such:1")
        self.assertRegex(reason, "unknown|not found")
        reason, _ = self.fail_to_pull(self.down + "/x:1")
        self.assertIn(f"{self.down} does not answer", reason)

        self.open.push(self.layout(ballast=(PULL_MIB + 1) << 20), "big:1")
        reason, log = self.fail_to_pull(self.open.host + "/big:1")
        self.assertIn("[template] pull_mib", reason)
        self.assertNotIn("Copying", "\n".join(log))

    def test_a_hostile_registry(self):
        evil = self.hostile
        evil.image("x")
        image = evil.host + "/evil:x"

        for garbage in (b"", b"{", b"[]", b"\xff\xfe\x00", b'{"layers": [{"size": -1}]}',
                        b'{"manifests": [7, {}]}', b'{"layers": 3}', b"9" * (5 << 20)):
            evil.manifest_answer = lambda each, body=garbage: each.reply(
                200, body, Content_Type="application/vnd.oci.image.manifest.v1+json")
            self.fail_to_pull(image)
        # Another image than the one that the digest names.
        reason, _ = self.fail_to_pull(f"{evil.host}/evil@sha256:{'0' * 64}")
        evil.manifest_answer = None

        away = ["http://169.254.169.254/latest/meta-data", "http://metadata.test/x",
                f"http://{self.elsewhere.host}/x", f"http://127.0.0.1:{self.hako.api_port}/health",
                f"http://[::1]:{self.hako.api_port}/health"]
        for place in away:
            # With the layers, with the description, and with the place where tokens are had.
            evil.blob_answer = lambda each, to=place: each.reply(307, Location=to)
            reasons = [self.fail_to_pull(image)[0]]
            evil.manifest_answer = evil.blob_answer
            reasons.append(self.fail_to_pull(image)[0])
            evil.manifest_answer = None
            evil.ping_answer = lambda each, to=place: each.reply(
                401, WWW_Authenticate=f'Bearer realm="{to}",service="x"')
            reasons.append(self.fail_to_pull(image)[0])
            evil.ping_answer = None
            if "127.0.0.1" in place or "[::1]" in place:
                continue  # nothing is there to connect to
            for reason in reasons:
                self.assertIn("[template] registry_hosts", reason)
        self.assertEqual(self.elsewhere.asked, [])

        # A layer that never ends, fast.
        evil.blob_answer = lambda each: each.endless()
        reason, _ = self.fail_to_pull(image)
        self.assertIn("[template] pull_mib", reason)

    def test_a_kill_in_the_middle_leaves_nothing(self):
        evil = self.hostile
        evil.image("slow")
        evil.blob_answer = lambda each: each.endless(pause=0.5)
        login = {"type": "registry", "username": "me", "password": "never-Seen-in-a-list"}
        self.start("failing", fromImage=evil.host + "/evil:slow", fromImageRegistry=login)

        def pulling():
            found = []
            for path in glob.glob("/proc/[0-9]*/cmdline"):
                try:
                    with open(path, "rb") as file:
                        line = file.read()
                    with open(path.replace("cmdline", "environ"), "rb") as file:
                        line += file.read()
                except OSError:
                    continue
                if b"skopeo\0" in line and evil.host.encode() + b"/evil@" in line:
                    found.append((int(path.split("/")[2]), line))
            return found

        end = time.monotonic() + 30
        while not pulling() and time.monotonic() < end:
            time.sleep(0.1)
        (pid, line), = pulling()
        self.assertNotIn(login["password"].encode(), line)
        with open(f"/proc/{pid}/status") as file:
            status = file.read()
        self.assertIn("CapEff:\t0000000000000000", status)
        self.assertIn("NoNewPrivs:\t1", status)
        self.assertNotEqual(os.readlink(f"/proc/{pid}/ns/net"), os.readlink("/proc/self/ns/net"))
        folder, = self.pulls()
        path = os.path.join(self.hako.state, "api", "pulls", folder)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o700)
        self.assertEqual(os.stat(path + "/auth.json").st_mode & 0o777, 0o600)

        with open(f"/proc/{pid}/stat") as file:
            api = int(file.read().rsplit(")", 1)[1].split()[1])
        os.kill(api, signal.SIGKILL)
        end = time.monotonic() + 30
        while (pulling() or self.pulls()) and time.monotonic() < end:
            time.sleep(0.1)
        self.assertEqual((pulling(), self.pulls()), ([], []))
        while time.monotonic() < end:
            try:
                if self.hako.request("GET", "/health")[0] < 500:
                    break
            except OSError:
                time.sleep(0.2)
        evil.blob_answer = None


class PulledByClientTest(test_sdk.WithClients):
    """E2B's own client, on an image whose layers are compressed with zstd, over TLS."""

    @classmethod
    def configure(cls):
        cls.registry = Registry(LOGIN, tls=True)
        cls.addClassCleanup(cls.registry.remove)
        cls.hako.write_config(f"""
            [template]
            insecure_registries = ["{cls.registry.host}"]
            """)
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            cls.registry.push(write_layout(folder + "/layout", "by the client"), "sdk/tiny:1",
                              "--dest-compress-format=zstd")

    def settings(self):
        return super().settings() | {"HAKO_IMAGE": f"{self.registry.host}/sdk/tiny:1",
                                     "HAKO_LOGIN": json.dumps(LOGIN)}

    def test_registry(self):
        self.run_cases("e2b", os.path.join(test_sdk.CASES, "registry.test.mjs"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
