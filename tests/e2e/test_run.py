"""hako run, exec and cp do what a person expects of them."""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import time
import unittest

from harness import HAKO, Hako


class RunTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.hako = Hako(pool=3)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()

    def test_kernel_is_the_guests(self):
        inside = self.hako.cli("run", "--", "uname", "-r").stdout.strip()
        self.assertRegex(inside, r"^6\.1\.\d+-\d+-amd64$")
        self.assertNotEqual(inside, os.uname().release)

    def test_exit_status_is_passed_on(self):
        self.assertEqual(self.hako.cli("run", "--", "sh", "-c", "exit 7", check=False).returncode, 7)
        self.assertEqual(self.hako.cli("run", "--", "true", check=False).returncode, 0)
        killed = self.hako.cli("run", "--", "sh", "-c", "kill -TERM $$", check=False)
        self.assertEqual(killed.returncode, 128 + signal.SIGTERM)

    def test_stdin_reaches_the_command(self):
        self.assertEqual(self.hako.cli("run", "-i", "--", "cat", input="hi\n").stdout, "hi\n")

    def test_stdout_and_stderr_stay_apart(self):
        done = self.hako.cli("run", "--", "sh", "-c", "echo out; echo err >&2")
        self.assertEqual((done.stdout, done.stderr), ("out\n", "err\n"))

    def test_environment_and_user(self):
        done = self.hako.cli("run", "--env", "A=b c", "--", "sh", "-c", 'echo "$A"; id -un; pwd')
        self.assertEqual(done.stdout, "b c\nuser\n/home/user\n")
        self.assertEqual(self.hako.cli("run", "--", "sudo", "id", "-u").stdout, "0\n")

    def test_memory_and_cpus_can_be_chosen(self):
        done = self.hako.cli("run", "--memory", "512", "--cpu", "2", "--", "sh", "-c",
                             "nproc; awk '/MemTotal/ {print $2}' /proc/meminfo", timeout=180)
        cpus, kib = done.stdout.split()
        self.assertEqual(cpus, "2")
        self.assertGreater(int(kib), 400 * 1024)
        self.assertLess(int(kib), 512 * 1024)

    def test_hundred_megabytes_through_stdin_and_stdout(self):
        data = random.Random(1).randbytes(100_000_000)
        done = self.hako.cli("run", "-i", "--ttl", "15m", "--", "cat", input=data, text=False,
                             timeout=600)
        self.assertEqual(len(done.stdout), len(data))
        self.assertEqual(hashlib.sha256(done.stdout).hexdigest(), hashlib.sha256(data).hexdigest())

    def test_large_file_in_and_out(self):
        box = self.hako.create(timeout=900)["sandboxID"]
        source = os.path.join(self.hako.state, "in.bin")
        target = os.path.join(self.hako.state, "out.bin")
        digest = hashlib.sha256()
        numbers = random.Random(2)
        with open(source, "wb") as file:
            for _ in range(200):
                piece = numbers.randbytes(1_000_000)
                digest.update(piece)
                file.write(piece)
        self.hako.cli("cp", source, f"{box}:/home/user/big.bin", timeout=600)
        inside = self.hako.exec(box, "sha256sum", "/home/user/big.bin", timeout=600).stdout
        self.assertEqual(inside.split()[0], digest.hexdigest())
        self.hako.cli("cp", f"{box}:/home/user/big.bin", target, timeout=600)
        with open(target, "rb") as file:
            self.assertEqual(hashlib.file_digest(file, "sha256").hexdigest(), digest.hexdigest())
        self.hako.cli("kill", box)

    def test_folder_in_and_out(self):
        box = self.hako.create()["sandboxID"]
        tree = os.path.join(self.hako.state, "tree")
        os.makedirs(os.path.join(tree, "a", "b"))
        for name, text in (("one", "1"), ("a/two", "2"), ("a/b/drei ö", "3")):
            with open(os.path.join(tree, name), "w") as file:
                file.write(text)
        os.chmod(os.path.join(tree, "one"), 0o755)
        self.hako.cli("cp", tree, f"{box}:/home/user/tree")
        back = os.path.join(self.hako.state, "back")
        self.hako.cli("cp", f"{box}:/home/user/tree", back)
        subprocess.run(["diff", "-r", tree, back], check=True)
        self.hako.cli("kill", box)

    def test_interrupt_destroys_the_box(self):
        process = self.hako.popen("run", "--", "sleep", "600", stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while not self.boxes() and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(len(self.boxes()), 1)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 128 + signal.SIGINT)
        self.assertEqual(self.boxes(), [])

    def boxes(self):
        status, _, listed = self.hako.request("GET", "/v2/sandboxes")
        self.assertEqual(status, 200)
        return listed

    def test_terminal(self):
        # script(1) gives hako a terminal of its own to pass on.
        done = subprocess.run(
            ["script", "-qec", f"stty rows 33 cols 77; {HAKO} run -t -- sh -c 'tty; stty size'",
             "/dev/null"],
            env=self.hako.environment(), capture_output=True, text=True, timeout=60,
            stdin=subprocess.DEVNULL)
        self.assertIn("/dev/pts/", done.stdout)
        self.assertRegex(done.stdout, r"33 77")

    def test_shell(self):
        box = self.hako.create()["sandboxID"]
        shell = subprocess.Popen(["script", "-qec", f"{HAKO} shell {box}", "/dev/null"],
                                 env=self.hako.environment(), text=True, stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            # What is typed comes back too, but without the product.
            shell.stdin.write("echo =$((6*7))=; exit\n")
            shell.stdin.flush()
            status = shell.wait(timeout=60)  # the keyboard stays open meanwhile
            said = shell.stdout.read()
        finally:
            shell.kill()
            shell.communicate()
        self.assertIn("=42=", said)
        self.assertEqual(status, 0, said)
        self.assertEqual(self.hako.exec(box, "echo", "still here").stdout, "still here\n")
        self.hako.cli("kill", box)

    def test_logs_are_the_console(self):
        box = self.hako.create()["sandboxID"]
        self.hako.exec(box, "sudo", "sh", "-c", "echo said on the console > /dev/console")
        end = time.monotonic() + 15
        said = ""
        while "said on the console" not in said and time.monotonic() < end:
            said = self.hako.cli("logs", box).stdout
            time.sleep(0.2)
        self.assertIn("said on the console", said)
        self.hako.cli("kill", box)
        done = self.hako.cli("logs", box, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(box, done.stderr)

    def test_info(self):
        box = self.hako.create(timeout=300, metadata={"who": "me"})["sandboxID"]
        info = json.loads(self.hako.cli("info", box, "--json").stdout)
        self.assertEqual(info["sandboxID"], box)
        self.assertEqual(info["templateID"], "base")
        self.assertEqual(info["state"], "running")
        self.assertEqual(info["metadata"], {"who": "me"})
        self.assertIn(box, self.hako.cli("info", box).stdout)
        self.hako.cli("kill", box)

    def test_template_built_used_and_removed(self):
        built = self.hako.cli("template", "build", "made", "--run", "echo x > /home/user/made",
                              timeout=300)
        self.assertEqual(built.stdout, "made\n")
        self.assertIn("made", self.template_names())
        done = self.hako.cli("run", "--template", "made", "--", "cat", "/home/user/made",
                             timeout=180)
        self.assertEqual(done.stdout, "x\n")
        # Of the template it came from it is independent.
        done = self.hako.cli("run", "--", "ls", "/home/user/made", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(self.hako.cli("template", "rm", "made").stdout, "made\n")
        self.assertNotIn("made", self.template_names())
        done = self.hako.cli("run", "--template", "made", "--", "true", check=False)
        self.assertEqual(done.returncode, 125)

    def test_template_step_that_fails(self):
        done = self.hako.cli("template", "build", "broken", "--run", "echo why >&2; exit 3",
                             check=False, timeout=300)
        self.assertEqual(done.returncode, 1)
        self.assertIn("3", done.stderr)
        self.assertNotIn("broken", self.template_names())

    def template_names(self):
        listed = json.loads(self.hako.cli("template", "ls", "--json").stdout)
        return [each["name"] for each in listed]

    def test_doctor(self):
        done = self.hako.cli("doctor", "--json", check=False)
        report = json.loads(done.stdout)
        worst = 1 if report["failures"] else 3 if report["warnings"] else 0
        self.assertEqual(done.returncode, worst)
        self.assertEqual(report["ok"], worst != 1)
        self.assertIn(report["isolation"], ("hardware", "emulated", "none"))
        self.assertTrue(report["checks"])
        for check in report["checks"]:
            self.assertIn(check["status"], ("ok", "warn", "fail", "skip"), check)
            self.assertTrue(check["reads"] and check["wants"], check)
            if check["status"] in ("fail", "warn"):
                self.assertTrue(check["fix"], check)
        # A real machine with a box in it.
        found = {check["id"]: check for check in report["checks"]}
        self.assertEqual(found["egress"]["status"], "ok", found["egress"])
        self.assertRegex(found["egress"]["detail"], r"whole in all of \d+")

    def test_command_that_does_not_exist(self):
        done = self.hako.cli("run", "--", "no-such-command", check=False)
        self.assertEqual(done.returncode, 127)
        self.assertIn("no-such-command", done.stderr)

    def test_no_way_out(self):
        done = self.hako.cli("run", "--", "python3", "-c", """
import socket, time
for target in (("1.1.1.1", 443), ("10.0.0.1", 22), ("169.254.169.254", 8080), ("169.254.0.22", 22)):
    start = time.time()
    try:
        # Every connection comes as far as the gate, which resets what is not allowed.
        socket.create_connection(target, timeout=10).recv(1)
        print("open", target)
    except OSError as error:
        print("closed", time.time() - start < 2)
""")
        self.assertEqual(done.stdout.split("\n")[:4], ["closed True"] * 4)


if __name__ == "__main__":
    unittest.main(verbosity=2)
