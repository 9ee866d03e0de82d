"""Templates, built as E2B's clients do, on real machines."""

import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import unittest

from builds import Builds
from harness import Hako
from images import Layout


def archive(files):
    """A gzip tar of {path: content or (content, mode)}, as clients upload it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for path, content in files.items():
            mode = 0o644
            if isinstance(content, tuple):
                content, mode = content
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content.encode()))
    return out.getvalue()


class TemplatesTest(Builds, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.hako = Hako(pool=1)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()

    def test_build_run_and_build_again(self):
        steps = [
            {"type": "RUN", "args": ["whoami; pwd; echo made > /tmp/first"]},
            {"type": "ENV", "args": ["GREETING", "hello", "TWICE", "$GREETING $GREETING"]},
            {"type": "WORKDIR", "args": ["/srv/app"]},
            {"type": "RUN", "args": ["echo \"$TWICE\" > here; pwd; echo problem >&2"]},
            {"type": "USER", "args": ["worker"]},
        ]
        server = "python3 -m http.server 8123 --bind 127.0.0.1"
        ready = "python3 -c \"import socket; socket.create_connection(('127.0.0.1', 8123))\""
        made, log = self.build("served:v1", fromTemplate="base", steps=steps, startCmd=server,
                               readyCmd=ready)
        self.assertEqual(made["tags"], ["v1"])
        text = "\n".join(log)
        for line in ("[base] FROM base", "[builder 1/5] RUN whoami",
                     "[builder 1/5] [stdout]: user", "[builder 1/5] [stdout]: /home/user",
                     "[builder 4/5] [stdout]: /srv/app", "[builder 4/5] [stderr]: problem"):
            self.assertIn(line, text)

        sandbox = self.hako.create(templateID="served:v1", envVars={"OWN": "mine"})
        self.assertEqual(sandbox["templateID"], made["templateID"])
        told = self.shell(sandbox, "whoami; pwd; echo $TWICE $OWN; cat here /tmp/first")
        self.assertEqual(told.split("\n"), ["worker", "/srv/app", "hello hello mine",
                                            "hello hello", "made", ""])
        # Started once, at the build; it has served no one yet.
        self.assertIn("here", self.shell(sandbox, "curl -s http://127.0.0.1:8123/"))
        self.hako.destroy(sandbox)

        # The same beginning: what was made once is not made again.
        steps[4] = {"type": "RUN", "args": ["cat here; touch /srv/app/last"]}
        _, log = self.build("served", fromTemplate="base", steps=steps)
        cached = [line for line in log if line.startswith("CACHED")]
        self.assertEqual(len(cached), 4, log)
        self.assertIn("[builder 5/5] [stdout]: hello hello", log)
        _, log = self.build("served", fromTemplate="base", steps=steps[:2], force=True)
        self.assertNotIn("CACHED", "\n".join(log))

    def test_failures_name_their_step(self):
        made = self.start("broken", fromTemplate="base", steps=[
            {"type": "ENV", "args": ["A", "b"]},
            {"type": "RUN", "args": ["echo before; echo why >&2; exit 3"]}])
        answer, log = self.finish(made)
        self.assertEqual(answer["status"], "error")
        self.assertEqual(answer["reason"]["step"], "2")
        self.assertIn("exit status 3", answer["reason"]["message"])
        self.assertIn("[builder 2/2] [stderr]: why",
                      [entry["message"] for entry in answer["reason"]["logEntries"]])
        self.call(404, "POST", "/v2/sandboxes", {"templateID": "broken"})

        answer, _ = self.finish(self.start("broken", fromTemplate="nowhere"))
        self.assertEqual((answer["status"], answer["reason"]["step"]), ("error", "base"))
        self.assertIn("nowhere", answer["reason"]["message"])
        # Unless the operator lists registries, only imported images can be had.
        made = self.call(202, "POST", "/v3/templates", {"name": "broken"})
        refused = self.call(403, "POST",
                            f"/v2/templates/{made['templateID']}/builds/{made['buildID']}",
                            {"fromImage": "nowhere:1"})
        self.assertIn("'nowhere:1' has not been imported", refused["message"])

        done = self.hako.cli("template", "build", "broken", "--run", "echo said; false",
                             check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("said", done.stderr)

    def test_copied_files_and_a_failing_start(self):
        one = archive({"app/run.sh": ("#!/bin/sh\necho ran\n", 0o755), "app/sub/data": "data"})
        two = archive({"notes.txt": "notes"})
        hashes = [hashlib.sha256(each).hexdigest() for each in (one, two)]
        uploads = dict(zip(hashes, (one, two)))
        steps = [
            {"type": "COPY", "args": ["app", "/opt/app", "root", "0755"], "filesHash": hashes[0]},
            {"type": "COPY", "args": ["*.txt", "texts/", "", ""], "filesHash": hashes[1]},
            {"type": "RUN", "args": ["/opt/app/run.sh; cat texts/notes.txt"]},
        ]
        made, log = self.build("copied", uploads, fromTemplate="base", steps=steps)
        self.assertIn("[builder 3/3] [stdout]: ran", log)
        self.assertTrue(self.upload(made["templateID"], hashes[0], one))
        sandbox = self.hako.create(templateID=made["templateID"])
        told = self.shell(sandbox, "stat -c '%U:%G %a %n' /opt/app/sub/data texts texts/notes.txt"
                                   "; ls -A /tmp")
        self.assertEqual(told.split("\n"), ["root:root 755 /opt/app/sub/data",
                                            "user:user 755 texts",
                                            "user:user 644 texts/notes.txt", ""])
        self.hako.destroy(sandbox)

        answer, log = self.finish(self.start("copied", fromTemplate="base", steps=steps,
                                             startCmd="echo no; exit 4", readyCmd="sleep 60"))
        self.assertEqual(len([line for line in log if line.startswith("CACHED")]), 3)
        self.assertEqual((answer["status"], answer["reason"]["step"]), ("error", "finalize"))
        self.assertIn("exit status 4", answer["reason"]["message"])
        # The template is what it was.
        self.hako.destroy(self.hako.create(templateID="copied"))

        absent = dict(steps[0], filesHash="0" * 64)
        answer, _ = self.finish(self.start("other", fromTemplate="base", steps=[absent]))
        self.assertEqual(answer["reason"]["step"], "1")

    def test_an_imported_image(self):
        folder = tempfile.mkdtemp(prefix="hako-oci-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, folder)
        image = Layout(folder)

        def first(tar):
            image.programs(tar)
            for name in ("old", "emptied/lower", "data/kept"):
                image.file(tar, name, name)
            # As images of systems with systemd have it; a box has no such service.
            image.file(tar, "etc/resolv.conf", link="../run/systemd/resolve/stub-resolv.conf",
                       kind=tarfile.SYMTYPE)
            # An absolute link means the image's own folder, also while it is unpacked.
            image.file(tar, "linked", link="/data", kind=tarfile.SYMTYPE)

        def second(tar):
            image.file(tar, ".wh.old")
            image.file(tar, "emptied/.wh..wh..opq")
            image.file(tar, "emptied/upper", "upper")
            image.file(tar, "linked/through", "through")
            image.file(tar, "hard", link="data/kept", kind=tarfile.LNKTYPE)

        image.layer(first)
        image.layer(second)
        image.finish({"Env": ["FROM_IMAGE=yes"], "WorkingDir": "/work"})
        self.hako.cli("template", "import", "tiny:1", folder, timeout=200)

        sandbox = self.hako.create(templateID="tiny:1")
        told = self.shell(sandbox, "id -un; pwd; echo $FROM_IMAGE; ls /emptied /data; cat /hard; "
                                   "ls /old /usr/bin/python3 /bin/bash /image-root "
                                   "2>/dev/null; true")
        self.assertEqual(told.split("\n"), ["user", "/work", "yes", "/data:", "kept", "through", "",
                                            "/emptied:", "upper", "data/kept"])
        self.assertEqual(self.shell(sandbox, "cat /etc/resolv.conf").split("\n")[0],
                         "nameserver 169.254.0.22")
        # Its root is shared by all boxes, not copied for each.
        scratch = os.path.join(self.hako.state, "node", "vms",
                               self.hako.record_of(sandbox["sandboxID"])["machine"], "scratch.raw")
        roots = os.listdir(os.path.join(self.hako.state, "node", "roots"))
        self.assertEqual(len(roots), 1)
        self.assertLess(os.stat(scratch).st_blocks, 4096)
        self.hako.destroy(sandbox)

        steps = [{"type": "USER", "args": ["root"]},
                 {"type": "RUN", "args": ["echo $FROM_IMAGE $0 > /made; id -un"]}]
        _, log = self.build("on-tiny", fromImage="docker.io/library/tiny:1", steps=steps)
        self.assertIn("[builder 2/2] [stdout]: root", log)
        sandbox = self.hako.create(templateID="on-tiny")
        self.assertEqual(self.shell(sandbox, "cat /made; id -un"), "yes /bin/sh\nroot\n")
        self.hako.destroy(sandbox)


if __name__ == "__main__":
    unittest.main(verbosity=2)
