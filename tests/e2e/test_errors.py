"""What goes wrong is said clearly and leaves nothing behind."""

import glob
import json
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
import unittest

from harness import HAKO, IMAGES, Hako

NOTHING = {"processes": [], "folders": [], "slots": [], "sockets": []}


class RunningTest(unittest.TestCase):
    """Faults of requests against one daemon that must go on working."""

    @classmethod
    def setUpClass(cls):
        cls.hako = Hako(pool=0, settings="[template]\ndisk_mib = 128")
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()

    def tearDown(self):
        for box in self.hako.request("GET", "/v2/sandboxes")[2]:
            self.hako.destroy(box)
        folders = self.hako.vm_folders()
        self.assertEqual(folders, [], "a failed request left a machine behind")

    def assert_error(self, answer, status, *words):
        got, _, body = answer
        self.assertEqual(got, status, body)
        self.assertEqual(body["code"], status)
        for word in words:
            self.assertIn(word, body["message"])

    def test_unknown_template(self):
        self.assert_error(self.hako.request("POST", "/v2/sandboxes", {"templateID": "nope"}), 404,
                          "nope")
        done = self.hako.cli("run", "--template", "nope", "--", "true", check=False)
        self.assertEqual(done.returncode, 125)
        self.assertIn("nope", done.stderr)

    def test_bad_key(self):
        for key in ("e2b_" + "0" * 40, "x", ""):
            answer = self.hako.request("POST", "/v2/sandboxes", {"templateID": "base"},
                                       headers={"X-API-KEY": key})
            self.assert_error(answer, 401)
        self.assert_error(self.hako.request("GET", "/v2/sandboxes", key=False), 401)

    def test_malformed_json(self):
        for body in (b"{", b"[1,2", b"\xff\xfe", b'{"templateID": "base"', b"[]", b"7", b""):
            self.assert_error(self.hako.request("POST", "/v2/sandboxes", body), 400)
        deep = b'{"templateID":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        self.assert_error(self.hako.request("POST", "/v2/sandboxes", deep), 400)

    def test_template_is_not_named(self):
        for body in (b"", b"{}", b'{"timeout": 60}', b'{"templateID": null}'):
            self.assert_error(self.hako.request("POST", "/v2/sandboxes", body), 400, "templateID")

    def test_oversized_json(self):
        body = json.dumps({"templateID": "base", "metadata": {"a": "x" * 2_000_000}}).encode()
        self.assert_error(self.hako.request("POST", "/v2/sandboxes", body), 413)

    def test_wrong_types(self):
        for field, value in (("templateID", 7), ("timeout", "soon"), ("timeout", 1.5),
                             ("timeout", -1), ("timeout", 10**12), ("metadata", ["a"]),
                             ("metadata", {"a": 1}), ("envVars", "A=b"), ("envVars", {"A": 1}),
                             ("memoryMB", "much"), ("memoryMB", 1), ("cpuCount", 10_000)):
            body = {"templateID": "base", field: value}
            self.assert_error(self.hako.request("POST", "/v2/sandboxes", body), 400, field)

    def test_unknown_sandbox(self):
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/timeout")):
            body = {"timeout": 5} if method == "POST" else None
            self.assert_error(
                self.hako.request(method, "/sandboxes/i00000000000000000000" + path, body), 404)
        status, _, body = self.hako.request(
            "GET", "/files?path=/etc/hostname", key=False,
            headers={"E2b-Sandbox-Id": "i00000000000000000000", "E2b-Sandbox-Port": "49983"})
        self.assertEqual((status, body["message"]), (502, "The sandbox was not found"))

    def test_port_that_is_closed(self):
        box = self.hako.create()["sandboxID"]
        status, _, body = self.hako.request(
            "GET", "/", key=False, headers={"E2b-Sandbox-Id": box, "E2b-Sandbox-Port": "8080"})
        self.assertEqual(status, 502)
        self.assertEqual(body["message"], "The sandbox is running but port is not open")
        self.assertEqual(body["port"], 8080)

    def test_internal_routes_are_closed(self):
        box = self.hako.create()
        headers = {"E2b-Sandbox-Id": box["sandboxID"], "E2b-Sandbox-Port": "49983",
                   "X-Access-Token": box["envdAccessToken"]}
        for path in ("/init", "/init?x", "//init", "/%69nit", "/./init", "/freeze"):
            status, _, _ = self.hako.request("POST", path, {"generation": 99}, headers=headers,
                                             key=False)
            self.assertEqual(status, 404, path)
        self.assertEqual(self.hako.exec(box["sandboxID"], "hostname").stdout.strip(),
                         box["sandboxID"])

    def test_the_daemon_in_the_box_wants_its_token(self):
        box = self.hako.create()
        headers = {"E2b-Sandbox-Id": box["sandboxID"], "E2b-Sandbox-Port": "49983"}
        self.assertEqual(self.hako.request("GET", "/files?path=/etc/hostname", key=False,
                                           headers=headers)[0], 401)
        headers["X-Access-Token"] = box["envdAccessToken"]
        status, _, body = self.hako.request("GET", "/files?path=/etc/hostname", key=False,
                                            headers=headers)
        self.assertEqual((status, body.decode().strip()), (200, box["sandboxID"]))

    def test_path_that_does_not_exist(self):
        box = self.hako.create()["sandboxID"]
        done = self.hako.cli("cp", f"{box}:/no/such/file", "/tmp/x", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("/no/such/file", done.stderr)
        done = self.hako.cli("cp", "/no/such/file", f"{box}:/tmp/", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("/no/such/file", done.stderr)
        done = self.hako.cli("exec", box, "--cwd", "/no/such/folder", "--", "true", check=False)
        self.assertIn("/no/such/folder", done.stderr)

    def test_command_that_does_not_exist(self):
        box = self.hako.create()["sandboxID"]
        done = self.hako.cli("exec", box, "--", "/no/such/command", check=False)
        self.assertEqual(done.returncode, 127)
        self.assertIn("/no/such/command", done.stderr)
        self.assertEqual(self.hako.exec(box, "echo", "still here").stdout, "still here\n")

    def test_full_disk_in_the_guest(self):
        box = self.hako.create(timeout=600)["sandboxID"]
        done = self.hako.cli("exec", box, "--", "sh", "-c",
                             "dd if=/dev/zero of=/home/user/fill bs=1M 2>&1; true", timeout=300)
        self.assertIn("No space left on device", done.stdout)
        source = os.path.join(self.hako.state, "ten")
        with open(source, "wb") as file:
            file.write(os.urandom(10_000_000))
        done = self.hako.cli("cp", source, f"{box}:/home/user/ten", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr.lower(), "space|disk")
        # No half of it stays, and the box works on.
        self.assertEqual(self.hako.cli("exec", box, "--", "ls", "/home/user/ten",
                                       check=False).stdout, "")
        self.hako.exec(box, "rm", "/home/user/fill")
        self.hako.cli("cp", source, f"{box}:/home/user/ten")


def device_with(case, options, device, major, minor):
    """A command prefix under which `device` lies on a file system mounted with `options`."""
    if not os.path.exists(device):
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
        case.addCleanup(os.unlink, device)
    folder = tempfile.mkdtemp(prefix="hako-e2e-")
    case.addCleanup(os.rmdir, folder)
    # In a chroot "/" is no mount point whose propagation one could change.
    with open("/proc/self/mountinfo") as file:
        root_is_mounted = any(line.split()[4] == "/" for line in file)
    propagation = "private" if root_is_mounted else "unchanged"
    script = (f"mount -t tmpfs -o {options} none {folder} && mknod -m 666 {folder}/node c {major} {minor}"
              f" && mount --bind {folder}/node {device} && umount -l {folder} && exec \"$@\"")
    return ["unshare", "--mount", "--propagation", propagation, "sh", "-c", script, "sh"]


def without_permission(case, device, major, minor):
    """A command prefix under which nobody may open `device`, root included: the node is there, but
    its file system has no devices."""
    return device_with(case, "nodev", device, major, minor)


def up_fails(case, hako, *words, prefix=()):
    """`hako up` must fail, say these words, and leave nothing running."""
    try:
        done = hako.cli("up", check=False, timeout=120, prefix=prefix)
        case.assertNotEqual(done.returncode, 0, done.stdout)
        for word in words:
            case.assertIn(word, done.stderr + done.stdout)
        case.assertEqual(hako.leftovers(), NOTHING)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", hako.gate_port))  # the gate is not running
    finally:
        hako.stop()
        hako.remove()


class StartTest(unittest.TestCase):
    """Faults that keep a daemon from starting."""

    def test_qemu_is_missing(self):
        up_fails(self, Hako(settings='[engine]\nqemu = "/usr/bin/no-such-qemu"'),
                 "/usr/bin/no-such-qemu", "qemu-system-x86")

    def test_kvm_demanded_where_it_does_not_work(self):
        hako = Hako(settings='[engine]\naccel = "kvm"')
        doctor = json.loads(hako.cli("doctor", "--json", check=False).stdout)
        if doctor["isolation"] == "hardware":
            hako.remove()
            self.skipTest("KVM works on this machine")
        up_fails(self, hako, "KVM")

    def test_no_permission_for_kvm(self):
        prefix = without_permission(self, "/dev/kvm", 10, 232)
        up_fails(self, Hako(settings='[engine]\naccel = "kvm"'), "/dev/kvm: Permission denied",
                 prefix=prefix)
        # Where KVM is only preferred, the same is a reason to say, and no fault.
        with Hako(pool=0, prefix=prefix) as hako:
            self.assertEqual(hako.cli("run", "--", "echo", "hello").stdout, "hello\n")
            self.assertIn("/dev/kvm", hako.logs(lines=None))

    def test_no_permission_for_tun(self):
        up_fails(self, Hako(), "/dev/net/tun",
                 prefix=without_permission(self, "/dev/net/tun", 10, 200))

    def test_port_in_use(self):
        for name in ("api_port", "gate_port"):
            with self.subTest(name), socket.socket() as taken:
                taken.bind(("127.0.0.1", 0))
                taken.listen()
                hako = Hako()
                setattr(hako, name, taken.getsockname()[1])
                hako.write_config()
                port = str(taken.getsockname()[1])
                try:
                    done = hako.cli("up", check=False, timeout=120)
                    self.assertNotEqual(done.returncode, 0)
                    self.assertIn(port, done.stderr + done.stdout)
                    self.assertIn("in use", done.stderr + done.stdout)
                    self.assertEqual(hako.leftovers(), NOTHING)
                finally:
                    hako.stop()
                    hako.remove()

    def test_image_is_missing(self):
        empty = tempfile.mkdtemp(prefix="hako-e2e-")
        up_fails(self, Hako(images=empty), "scripts/build-image")
        os.rmdir(empty)

    def test_image_is_corrupted(self):
        broken = tempfile.mkdtemp(prefix="hako-e2e-", dir="/var/tmp")
        shutil.copytree(os.path.join(IMAGES, "base"), os.path.join(broken, "base"))
        with open(os.path.join(broken, "base", "initramfs.cpio"), "r+b") as file:
            file.seek(1000)
            file.write(b"\xff\xff")
        up_fails(self, Hako(images=broken), "initramfs.cpio")
        shutil.rmtree(broken)

    def test_configuration_is_wrong(self):
        up_fails(self, Hako(settings="[pool]\nsise = 3"), "sise", "size")

    def test_not_root(self):
        # The build tree may be closed to others.
        folder = tempfile.mkdtemp(prefix="hako-e2e-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, folder)
        os.chmod(folder, 0o755)
        program = shutil.copy(HAKO, folder)
        os.chmod(program, 0o755)
        done = subprocess.run([program, "up"], capture_output=True, text=True, user=65534,
                              group=65534, extra_groups=[], cwd="/")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("root", done.stderr + done.stdout)

    def test_no_daemon(self):
        hako = Hako()
        try:
            done = hako.cli("run", "--", "true", check=False)
            self.assertEqual(done.returncode, 125)
            self.assertIn("hako up", done.stderr)
        finally:
            hako.remove()


class HostTest(unittest.TestCase):
    def test_kvm_that_no_guest_comes_up_under(self):
        # Naming a kernel says that it may run where others do not, so the probe of instructions is
        # left out; and then it is an ordinary one after all.
        with open(os.path.join(IMAGES, "base", "manifest.json")) as file:
            kernel = os.path.join(IMAGES, "base", json.load(file)["kernel"])
        prefix = device_with(self, "dev", "/dev/kvm", 10, 232)  # for all, unlike some hosts' own
        with Hako(pool=0, prefix=prefix,
                  settings=f'[engine]\nkernel = "{kernel}"\n'
                           "boot_deadline_ms = 15000\nboot_tries = 1") as hako:
            if "kvm_on_trial" not in hako.logs(None) or "kvm_proved" in hako.logs(None):
                self.skipTest("KVM works on this machine, or cannot even make a machine")
            self.assertEqual(hako.cli("run", "--", "echo", "hello").stdout, "hello\n")
            self.assertIn("kvm_does_not_run_guests", hako.logs(None))
            self.assertIn("kvm_failed_before", hako.logs(None))
            report = hako.cli("doctor", check=False).stdout
            self.assertIn("a guest did not come up under it", report)

    def test_guest_that_hangs_at_boot(self):
        # A kernel that finds no init panics, and with panic=0 stands still for ever.
        settings = ('[engine]\nkernel_args = "rdinit=/no-such-init panic=0"\n'
                    "boot_deadline_ms = 3000\nboot_tries = 2")
        hako = Hako(pool=0, settings=settings)
        try:
            start = time.monotonic()
            done = hako.cli("up", check=False, timeout=180)
            self.assertNotEqual(done.returncode, 0, done.stdout)
            self.assertIn("did not come up", done.stderr + done.stdout)
            self.assertLess(time.monotonic() - start, 90)  # it gives up at all
            self.assertEqual(hako.vmm_processes(), [])
            self.assertEqual(hako.vm_folders(), [])
        finally:
            hako.stop()
            hako.remove()

    def opened_in_time(self, path):
        """For a disk so small that it is full while a snapshot is still being kept."""
        end = time.monotonic() + 10
        while True:
            try:
                return open(path, "wb")
            except OSError:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.1)

    def test_full_disk_on_the_host(self):
        hako = Hako(pool=0, settings="[limits]\nmin_free_disk_mib = 0")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m,mode=711", "tmpfs", hako.state],
                       check=True)
        try:
            hako.write_config("[limits]\nmin_free_disk_mib = 0")
            hako.start()
            hako.destroy(hako.create())  # the snapshot is there now
            with self.opened_in_time(os.path.join(hako.state, "fill")) as file:
                try:
                    while True:
                        file.write(b"x" * 65536)
                        file.flush()
                except OSError:
                    pass
            status, _, body = hako.request("POST", "/v2/sandboxes", {"templateID": "base"})
            self.assertEqual(status, 503, body)
            self.assertEqual(hako.vm_folders(), [])
            self.assertEqual(hako.vmm_processes(), [])
            os.unlink(os.path.join(hako.state, "fill"))
            # Where the audit log was what met the full disk first, it looks again in a moment.
            end = time.monotonic() + 10
            while (made := hako.request("POST", "/v2/sandboxes", {"templateID": "base"}))[0] == 503:
                self.assertLess(time.monotonic(), end, made)
                time.sleep(0.2)
            self.assertEqual(made[0], 201, made)
            hako.destroy(made[2])
        finally:
            hako.stop()
            subprocess.run(["umount", "-l", hako.state])
            hako.remove()

    def test_creates_stop_before_the_disk_is_full(self):
        hako = Hako(pool=0)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600m,mode=711", "tmpfs", hako.state],
                       check=True)

        def free_mib():
            status = os.statvfs(hako.state)
            return status.f_bavail * status.f_frsize >> 20

        try:
            hako.write_config("[limits]\nmin_free_disk_mib = 100")
            hako.start()
            hako.destroy(hako.create())  # the snapshot is there now
            fill = os.path.join(hako.state, "fill")
            with open(fill, "wb") as file:
                while free_mib() >= 90:
                    file.write(b"x" * (1 << 20))
                    file.flush()
            self.assertGreater(free_mib(), 0, "it is not full yet")
            status, fields, body = hako.request("POST", "/v2/sandboxes", {"templateID": "base"})
            self.assertEqual(status, 503, body)
            self.assertIn("disk", body["message"])
            self.assertEqual(body["error_code"], "sandbox_capacity_unavailable")
            self.assertGreater(int(fields["Retry-After"]), 0)
            self.assertEqual(hako.vm_folders(), [])
            os.unlink(fill)
            hako.destroy(hako.create())
        finally:
            hako.stop()
            subprocess.run(["umount", "-l", hako.state])
            hako.remove()

    def test_corrupted_snapshot_is_made_again(self):
        for victim in ("disk.raw", "memory/*"):
            with self.subTest(victim), Hako(pool=0) as hako:
                hako.destroy(hako.create())
                hako.cli("down")
                pattern = os.path.join(hako.state, "node", "snapshots", "base.*", victim)
                largest = max(glob.glob(pattern), key=os.path.getsize)
                with open(largest, "r+b") as file:
                    file.seek(os.path.getsize(largest) // 2)
                    file.write(b"not what it was")
                hako.start()
                box = hako.create()
                self.assertEqual(hako.exec(box["sandboxID"], "echo", "well").stdout, "well\n")
                self.assertIn("snapshot_made_again", hako.logs(lines=None))


if __name__ == "__main__":
    unittest.main(verbosity=2)
