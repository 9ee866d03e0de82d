"""Too much of everything: what is refused is told so, and the rest goes on.

docs/overload.md says what is bounded; the rows that need the whole system are tested here.
"""

import resource
import socket
import subprocess
import unittest

from harness import Hako


def available_mib():
    with open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) // 1024
    raise AssertionError("no MemAvailable")


def take_memory(mib):
    """A process that holds so much, and is rid of by kill()."""
    code = (f"import time; held = bytearray({mib} << 20)\n"
            "for i in range(0, len(held), 4096): held[i] = 1\n"
            "print('held', flush=True); time.sleep(600)")
    holder = subprocess.Popen(["python3", "-c", code], stdout=subprocess.PIPE)
    with holder.stdout as told:
        assert told.readline() == b"held\n"
    return holder


class CapacityTest(unittest.TestCase):
    def assert_no_room(self, hako, word):
        status, fields, body = hako.request("POST", "/v2/sandboxes", {"templateID": "base"})
        self.assertEqual(status, 503, body)
        self.assertEqual(body["code"], 503)
        self.assertEqual(body["error_code"], "sandbox_capacity_unavailable")
        self.assertIn(word, body["message"])
        self.assertGreater(int(fields["Retry-After"]), 0)

    def test_creates_stop_before_memory_is_used_up(self):
        part = available_mib() // 6
        limit = available_mib() - part
        with Hako(pool=0, settings=f"[limits]\nmin_free_memory_mib = {limit}") as hako:
            hako.destroy(hako.create())  # the snapshot is there now
            holder = take_memory(2 * part)
            try:
                self.assert_no_room(hako, "memory")
                self.assertEqual(hako.vm_folders(), [])
                # Without the wall it would have been made.
                hako.write_config("[limits]\nmin_free_memory_mib = 0")
                hako.cli("restart", timeout=180)
                hako.destroy(hako.create())
            finally:
                holder.kill()
                holder.wait()
            hako.write_config(f"[limits]\nmin_free_memory_mib = {limit}")
            hako.cli("restart", timeout=180)
            hako.destroy(hako.create())

    def test_no_more_boxes_than_the_operator_allows(self):
        with Hako(pool=0, settings="[limits]\nboxes = 2") as hako:
            boxes = [hako.create(), hako.create()]
            self.assert_no_room(hako, "2 boxes")
            hako.destroy(boxes[0])
            hako.destroy(hako.create())
            hako.destroy(boxes[1])


class StrangersTest(unittest.TestCase):
    """Connections of those who show no key."""

    def setUp(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        self.open = []
        self.addCleanup(lambda: [each.close() for each in self.open])

    def strangers(self, port, count):
        """Some say nothing, some begin a request, some wait for their next one."""
        says = (b"", b"GET /v2/sand", b"GET /v2/sandboxes HTTP/1.1\r\nHost: x\r\n\r\n")
        for number in range(count):
            each = socket.create_connection(("127.0.0.1", port), timeout=30)
            self.open.append(each)
            try:
                each.sendall(says[number % 3])
            except OSError:
                pass  # it had to give way already

    def assert_serves(self, hako, box):
        self.assertEqual(hako.request("GET", "/v2/sandboxes")[0], 200)
        self.assertEqual(hako.exec(box["sandboxID"], "echo", "well").stdout, "well\n")
        target = {"E2b-Sandbox-Id": box["sandboxID"], "E2b-Sandbox-Port": "49983"}
        status, _, body = hako.request("GET", "/health", headers=target, key=False,
                                       port=hako.gate_port)
        self.assertIn(status, (200, 204), body)

    def test_do_not_shut_out_those_with_a_key(self):
        with Hako(pool=0) as hako:
            box = hako.create()
            working = hako.popen("exec", box["sandboxID"], "--", "sh", "-c",
                                 "echo begun; sleep 8; echo done", stdout=subprocess.PIPE)
            self.assertEqual(working.stdout.readline(), b"begun\n")
            for port in (hako.api_port, hako.gate_port):
                self.strangers(port, 4300)
                self.assert_serves(hako, box)
            # What was under way has gone on.
            self.assertEqual(working.communicate(timeout=60)[0], b"done\n")

    def test_leave_descriptors_for_the_rest(self):
        # Fewer than there are connections: the kernel has none left before a bound is reached.
        with Hako(pool=0, prefix=("prlimit", "--nofile=300:300")) as hako:
            box = hako.create()
            for port in (hako.api_port, hako.gate_port):
                self.strangers(port, 400)
                self.assert_serves(hako, box)
            hako.destroy(box)
            hako.destroy(hako.create())


if __name__ == "__main__":
    unittest.main(verbosity=2)
