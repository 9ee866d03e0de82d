"""Every clone is a different machine: and without the reseed it is not."""

import unittest

from harness import Hako

# First thing in a clone: bytes from the kernel, from Python, and identifiers.
LOOK = """
import os, secrets, socket, uuid
print(os.urandom(16).hex())
print(uuid.uuid4())
print(secrets.token_hex(16))
print(open('/proc/sys/kernel/random/uuid').read().strip())
print(open('/proc/sys/kernel/random/boot_id').read().strip())
print(open('/etc/machine-id').read().strip())
print(socket.gethostname())
"""
NAMES = ("urandom", "uuid4", "secrets", "kernel uuid", "boot_id", "machine-id", "hostname")
RANDOM = NAMES[:4]


def look_at_clones(hako, count):
    boxes, seen = [], []
    for _ in range(count):
        boxes.append(hako.create(timeout=600)["sandboxID"])
        # At once: a kernel reseeds itself after seconds, and that would hide what is missing.
        seen.append(hako.exec(boxes[-1], "/usr/bin/python3", "-c", LOOK).stdout.split("\n")[:-1])
    for box in boxes:
        hako.cli("kill", box)
    return [dict(zip(NAMES, values)) for values in seen]


class IdentityTest(unittest.TestCase):
    def assert_all_differ(self, clones):
        for name in NAMES:
            values = [clone[name] for clone in clones]
            self.assertEqual(len(set(values)), len(values), (name, values))

    def test_clones_made_on_demand_differ(self):
        with Hako(pool=0) as hako:
            self.assert_all_differ(look_at_clones(hako, 3))

    def test_clones_from_the_pool_differ(self):
        with Hako(pool=3) as hako:
            hako.wait_for_pool()
            self.assert_all_differ(look_at_clones(hako, 3))

    def test_without_the_reseed_clones_repeat_each_other(self):
        # The wall taken away: the guest credits the entropy but does not reseed. If this fails, the
        # tests above prove nothing. Kernels reseed themselves after seconds, so that on a busy
        # machine a clone may be looked at too late; not every time, though.
        for _ in range(3):
            with Hako(pool=0,
                      settings='[engine]\nkernel_args = "hako.test_skip_reseed=1"') as hako:
                clones = look_at_clones(hako, 3)
            repeated = [name for name in RANDOM
                        if len({clone[name] for clone in clones}) < len(clones)]
            if repeated:
                return
        self.fail(clones)

    def test_clock_is_the_hosts(self):
        import time
        with Hako(pool=1) as hako:
            hako.wait_for_pool()
            time.sleep(3)  # the pooled clone's clock stands still meanwhile
            box = hako.create()["sandboxID"]
            before = time.time()
            inside = float(hako.exec(box, "date", "+%s.%N").stdout)
            self.assertGreater(inside, before - 0.5)
            self.assertLess(inside, time.time() + 0.5)


if __name__ == "__main__":
    unittest.main(verbosity=2)
