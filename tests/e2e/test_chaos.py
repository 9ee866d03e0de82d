"""Whatever is killed at whatever moment: nothing is lost that was promised, nothing left behind.

HAKO_CHAOS_ROUNDS: how many rounds (100); HAKO_CHAOS_INJECTIONS: how many failing system calls (none);
HAKO_CHAOS_SEED: which ones.
"""

import os
import random
import shutil
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "chaos"))

from harness import Hako  # noqa: E402
from injection import FAULTS, count_calls, injected  # noqa: E402
from inventory import orphans  # noqa: E402
from planting import Planted  # noqa: E402
from rounds import Chaos  # noqa: E402

ROUNDS = int(os.environ.get("HAKO_CHAOS_ROUNDS", "100"))
INJECTIONS = int(os.environ.get("HAKO_CHAOS_INJECTIONS", "0"))
SEED = int(os.environ.get("HAKO_CHAOS_SEED", "1"))
NOTHING = {"processes": [], "folders": [], "slots": [], "sockets": []}


class KillingTest(unittest.TestCase):
    def test_random_rounds(self):
        with Hako(pool=2, settings="[template]\ndisk_mib = 128") as hako:
            hako.wait_for_pool()
            chaos = Chaos(hako, SEED)
            began = time.monotonic()
            chaos.run(ROUNDS)
            print(f"\n{ROUNDS} rounds, seed {SEED}, {time.monotonic() - began:.0f} s: {chaos.done}",
                  flush=True)
            hako.stop()
            self.assertEqual(hako.leftovers(), NOTHING)


class PlantedTest(unittest.TestCase):
    """The check can fail: it names what is planted. And hako removes it while it runs."""

    def test_each_kind_is_found_and_removed(self):
        with Hako(pool=1, settings="[template]\ndisk_mib = 128") as hako, Planted(hako) as planted:
            hako.wait_for_pool()
            kept = hako.create(timeout=3600)["sandboxID"]
            lost = hako.create(timeout=3600)["sandboxID"]
            hako.wait_for_pool()
            self.assertEqual(orphans(hako), [])
            words = planted.everything()
            words["record"] = planted.dead_record(hako.record_of(kept)["machine"])
            planted.lose_row(lost)
            words["box"] = lost
            found = orphans(hako)
            for kind, word in words.items():
                self.assertTrue([l for l in found if l.startswith(kind + ":") and word in l],
                                f"{kind} {word} is not in {found}")
            # A box without a row may be one that is being made; it gets a minute.
            end = time.monotonic() + 180
            while orphans(hako) and time.monotonic() < end:
                time.sleep(1)
            self.assertEqual(orphans(hako), [])
            self.assertEqual(hako.exec(kept, "echo", "alive").stdout, "alive\n")
            self.assertEqual(hako.request("GET", f"/sandboxes/{kept}")[0], 200)


@unittest.skipUnless(INJECTIONS, "HAKO_CHAOS_INJECTIONS says how many")
@unittest.skipUnless(shutil.which("strace"), "needs Debian's package strace")
class FailingCallsTest(unittest.TestCase):
    """A system call fails at some step of making and of ending a box, one at a time."""

    def test_node(self):
        # Without a pool each create goes through every step itself.
        with Hako(pool=0, settings="[template]\ndisk_mib = 128") as hako:
            chaos = Chaos(hako, SEED)
            hako.destroy(hako.create())  # the template's snapshot is made
            kept = chaos.create()
            counts = count_calls(hako.role("node"), lambda: hako.destroy(hako.create()))
            places = [(call, error, nth) for call, error in FAULTS
                      for nth in range(1, counts[call] + 1)]
            # Each call at its first place, and then anywhere.
            chosen = [(c, e, 1) for c, e in FAULTS if counts[c]]
            rest = [place for place in places if place not in chosen]
            more = max(0, INJECTIONS - len(chosen))
            chosen += random.Random(SEED).sample(rest, min(len(rest), more))
            outcomes = {}
            for number, (call, error, nth) in enumerate(chosen, 1):
                chaos.number = f"{call}:{error}:{nth}"
                with injected(hako.role("node"), call, error, nth):
                    status, _, answer = chaos._request(
                        "POST", "/v2/sandboxes", {"templateID": "base", "timeout": 600},
                        timeout=90)
                    if status == 201:
                        chaos._request("DELETE", f"/sandboxes/{answer['sandboxID']}", timeout=60)
                    elif status:
                        self.assertTrue(answer["message"], (chaos.number, status, answer))
                outcomes[status] = outcomes.get(status, 0) + 1
                if status == 201:
                    # Its end may have met the fault; asked for again it must come.
                    chaos.wait_until_calm()
                    chaos.destroy(answer["sandboxID"])
                if number % 10 == 0:
                    chaos.check()
            chaos.check()
            self.assertIn(kept, chaos.promised)
            print(f"\n{len(chosen)} failing calls of {len(places)} places, seed {SEED}: "
                  f"answers {outcomes}", flush=True)
            self.assertGreater(sum(n for s, n in outcomes.items() if s != 201), 5,
                               "hardly any fault was met")


if __name__ == "__main__":
    unittest.main(verbosity=2)
