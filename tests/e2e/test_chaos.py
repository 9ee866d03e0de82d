"""Whatever is killed at whatever moment: nothing is lost that was promised, nothing left behind.

HAKO_CHAOS_ROUNDS: how many rounds (200), with failing system calls among them; HAKO_CHAOS_INJECTIONS:
how many different steps fail besides, one by one (20); HAKO_CHAOS_SEED: which ones.
HAKO_CHAOS_INJECTIONS=steps: all of them, with each error; HAKO_CHAOS_PART=2/5: a part of these.
HAKO_CHAOS_ROLES: whose calls fail (node,api,gate,start).
HAKO_CHAOS_PLACE="api epoll_ctl:ENOMEM:1" (or node, gate, start) fails only that one; with :main,
:others or :child behind it, only that of the first thread, of another, or of what it starts next.
"""

import collections
import json
import os
import random
import re
import shutil
import sys
import time
import unittest
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "chaos"))

from harness import Hako  # noqa: E402
from injection import find_steps, injected, met  # noqa: E402
from inventory import open_descriptors, orphans, remains  # noqa: E402
from planting import Planted  # noqa: E402
from processes import stat_of  # noqa: E402
from rounds import Chaos  # noqa: E402
from violence import kill_role, pid_of  # noqa: E402

ROUNDS = int(os.environ.get("HAKO_CHAOS_ROUNDS", "200"))
INJECTIONS = os.environ.get("HAKO_CHAOS_INJECTIONS", "20")
PLACE = os.environ.get("HAKO_CHAOS_PLACE", "")
EACH_STEP = INJECTIONS == "steps" and not PLACE
INJECTIONS = 0 if INJECTIONS == "steps" else int(INJECTIONS)
PART, OF_PARTS = map(int, os.environ.get("HAKO_CHAOS_PART", "1/1").split("/"))
SEED = int(os.environ.get("HAKO_CHAOS_SEED", "1"))
PARTS = ("node", "api", "gate", "start")
# Whose calls are told from each other's: of a start the supervisor's, and all of the node's.
TASKS = {"node": ("main", "others", "child"), "api": ("main", "others"), "gate": ("main",),
         "start": ("main", "child")}
SHARES = {"node": 0.5, "api": 0.2, "gate": 0.1, "start": 0.2}
CHOSEN = os.environ.get("HAKO_CHAOS_ROLES", ",".join(PARTS)).split(",")
assert set(CHOSEN) <= set(PARTS), f"HAKO_CHAOS_ROLES names some of {PARTS}"
SMALL = "[template]\ndisk_mib = 128\n"
# Nothing is held back: what fills the disk fills it.
NO_RESERVE = "[limits]\nmin_free_disk_mib = 0\n"


class Places:
    """Which calls fail, each as what injected() takes, while something is done again and again."""

    # Threads share the work otherwise each time, so that an nth call may be that of another step.
    MOST_TRIES = 3

    def __init__(self, part, pid, action):
        self.part, self.pid, self.action = part, pid, action
        self.chosen, self.steps = [], {}
        self.tries = self.hits = 0
        self.met = set()  # steps
        self.opened = []  # what could not be opened
        if PLACE:
            name, place = PLACE.split()
            call, error, nth, of = [*place.split(":"), "all"][:4]
            if name == part:
                self.chosen = [(call, error, int(nth), of)]
        elif not EACH_STEP:
            self._look_for_steps()
            number = min(max(1, int(INJECTIONS * SHARES[part])), len(self.steps))
            self.chosen = random.Random(SEED).sample(list(self.steps.values()), number)
            # Besides, what one needs to know of a new VMM to find it again.
            if part == "node":
                self.chosen += [("openat", "EMFILE", nth, "main") for nth in range(1, 9)]

    def _look_for_steps(self):
        for of in TASKS[self.part]:
            found = find_steps(self.pid(), self.action, of)
            self.steps |= {step: place for step, place in found.items()
                           if zlib.crc32(repr(step).encode()) % OF_PARTS == PART - 1}

    def __iter__(self):
        if not EACH_STEP:
            yield from self.chosen
            return
        for _ in range(self.MOST_TRIES):
            self._look_for_steps()
            for step, place in list(self.steps.items()):
                if step not in self.met:
                    yield place

    def tried(self, trace, error):
        self.tries += 1
        failed = met(trace)
        self.hits += bool(failed)
        # What failed after the first, in another thread or process, may not have been looked at any more.
        self.met |= {(error, call.step()) for call in failed[:1]}
        self.opened += [call.text for call in failed if call.name == "openat"]

    def enough(self):
        """Of some steps there is none the second time."""
        if PLACE:
            return True
        if EACH_STEP:
            return len(self.met & set(self.steps)) > len(self.steps) / 2
        found = self.part != "node" or any(re.search(r'"/proc/\d+/stat"', text)
                                           for text in self.opened)
        return found and self.hits > 0

    def __str__(self):
        if not EACH_STEP:
            return f"{self.hits} of {self.tries} places, out of {len(self.steps)} steps, seed {SEED}"
        missed = collections.Counter(f"{place[3]} {place[0]}:{place[1]}"
                                     for step, place in self.steps.items() if step not in self.met)
        return (f"{len(self.steps) - missed.total()} of {len(self.steps)} different steps in "
                f"{self.tries} tries, not met {dict(missed)}")


class KillingTest(unittest.TestCase):
    def test_random_rounds(self):
        with Hako(pool=2, settings=SMALL + NO_RESERVE, disk_mib=2048) as hako:
            hako.wait_for_pool()
            chaos = Chaos(hako, SEED)
            began = time.monotonic()
            chaos.run(ROUNDS, check_every=max(25, ROUNDS // 20))
            print(f"\n{ROUNDS} rounds, seed {SEED}, {time.monotonic() - began:.0f} s\n"
                  f"{chaos.summary()}", flush=True)
            hako.stop()
            self.assertEqual(remains(hako), [])
        self.assertEqual(chaos.met["create: 404"], 0, "the template was there all the time")
        # What was done did something.
        if ROUNDS >= 200:
            self.assertGreater(chaos.met["create: 201"], ROUNDS / 4)
            self.assertGreater(chaos.met["boxes looked at"], ROUNDS / 20)
            self.assertGreater(chaos.met["launch: killed"], 0)
            self.assertGreater(chaos.met["node at a launch: killed"], 0)


class PlantedTest(unittest.TestCase):
    """The check can fail: it names what is planted. And hako removes it while it runs."""

    def test_each_kind_is_found_and_removed(self):
        with Hako(pool=1, settings=SMALL) as hako, Planted(hako) as planted:
            hako.wait_for_pool()
            kept = hako.create(timeout=3600)["sandboxID"]
            lost = hako.create(timeout=3600)["sandboxID"]
            hako.wait_for_pool()
            self.assertEqual(orphans(hako), [])
            machine = hako.record_of(kept)["machine"]
            words = planted.everything() | planted.kept_state(kept)
            words["record"] = planted.dead_record(machine)
            words["life"] = planted.late_box(machine)
            words["clone"] = "2 are pooled"
            planted.extra_clone(hako.record_of("")["machine"])
            planted.lose_row(lost)
            words["box"] = lost
            self.check_found(hako, {**words, **planted.what_nobody_else_makes()})
            planted.take_away_what_nobody_else_makes()
            # A box without a row may be one that is being made; it gets a minute.
            end = time.monotonic() + 180
            while orphans(hako) and time.monotonic() < end:
                time.sleep(1)
            self.assertEqual(orphans(hako), [])
            self.assertEqual(hako.exec(kept, "echo", "alive").stdout, "alive\n")
            self.assertEqual(hako.request("GET", f"/sandboxes/{kept}")[0], 200)
            # What is left when it has stopped is seen, too.
            self.assertNotEqual(remains(hako), [])
            hako.stop()
            self.assertEqual(remains(hako), [])

    def test_parts_of_templates_go_with_the_next_start(self):
        with Hako(pool=1, settings=SMALL) as hako, Planted(hako) as planted:
            hako.wait_for_pool()
            kept = hako.create(timeout=3600)["sandboxID"]
            chaos = Chaos(hako, SEED)
            self.assertEqual(chaos.wait_until_owned(), [])
            self.check_found(hako, planted.parts_of_templates())
            kill_role(hako, "node")
            chaos.wait_until_calm()
            self.assertEqual(chaos.wait_until_owned(), [])
            self.assertEqual(hako.exec(kept, "echo", "alive").stdout, "alive\n")

    def test_the_root_of_a_template_that_cannot_be_read_stays(self):
        with Hako(pool=1, settings=SMALL) as hako, Planted(hako) as planted:
            hako.wait_for_pool()
            chaos = Chaos(hako, SEED)
            planted.parts_of_templates()
            record = os.path.join(hako.state, "node", "templates", "planted", "template.json")
            with open(record, "w") as file:
                file.write("{")
            kill_role(hako, "node")
            chaos.wait_until_calm()
            root = os.path.join(hako.state, "node", "roots", "planted")
            self.assertTrue(os.path.exists(root))
            self.assertTrue(os.path.exists(record))
            shutil.rmtree(os.path.dirname(record))
            kill_role(hako, "node")
            chaos.wait_until_calm()
            self.assertFalse(os.path.exists(root), "nobody's root stays")

    def check_found(self, hako, words):
        found = orphans(hako)
        for kind, word in words.items():
            self.assertTrue([l for l in found if l.startswith(kind + ":") and word in l]
                            or kind == "box" and f"box: {word} has no row" in found,
                            f"{kind} {word} is not in {found}")


@unittest.skipUnless(shutil.which("strace"), "needs Debian's package strace")
class FailingCallsTest(unittest.TestCase):
    """System calls fail, one at a time."""

    def test_in_the_making_and_ending_of_a_box(self):
        # Without a pool each create goes through every step itself.
        with Hako(pool=0, settings=SMALL) as hako:
            chaos = Chaos(hako, SEED)
            hako.destroy(hako.create())  # the template's snapshot is made
            held = {role: (hako.role(role), open_descriptors(hako, role)) for role in CHOSEN
                    if role != "start"}
            kept = chaos.create()
            outcomes = collections.Counter()
            for role in ("node", "api", "gate"):
                if role in CHOSEN:
                    self.fail_calls_of(chaos, role, outcomes)
            self.assertIn(kept, chaos.promised)
            if not PLACE and "node" in CHOSEN:
                self.assertGreater(sum(n for s, n in outcomes.items() if s != 201), 5,
                                   "hardly any fault was met")
            chaos.destroy(kept)
            for role, (pid, before) in held.items():
                if pid_of(hako, role) == pid:
                    self.check_descriptors(hako, role, before)
            hako.stop()
            self.assertEqual(remains(hako), [])

    def fail_calls_of(self, chaos, role, all_outcomes):
        hako = chaos.hako
        places = Places(role, lambda: hako.role(role), lambda: hako.destroy(hako.create()))
        outcomes, blamed = collections.Counter(), []
        for done, place in enumerate(places, 1):
            call, error, nth = place[:3]
            chaos.number = f"{role} {call}:{error}:{nth}"
            with injected(hako.role(role), *place, frames=EACH_STEP) as trace:
                status, _, answer = chaos._request(
                    "POST", "/v2/sandboxes", {"templateID": "base", "timeout": 600}, timeout=90)
                if status == 201:
                    self.check_record(hako, answer["sandboxID"])
                    chaos._request("DELETE", f"/sandboxes/{answer['sandboxID']}", timeout=60)
                elif status:
                    self.assertTrue(answer["message"], (chaos.number, status, answer))
                    # The client has done nothing wrong.
                    if 400 <= status < 500 and status != 429:
                        blamed.append((chaos.number, answer))
            places.tried(trace, error)
            outcomes[status] += 1
            chaos.wait_until_calm()
            if status == 201:
                # Its end may have met the fault; asked for again it must come.
                chaos.destroy(answer["sandboxID"])
            else:
                # What failed once is not broken for good.
                hako.destroy(hako.create())
            if done % 10 == 0:
                chaos.check()
        chaos.check()
        print(f"\n{role}: failing calls at {places}: answers {dict(outcomes)}", flush=True)
        self.assertEqual(blamed, [])
        self.assertTrue(places.enough(), places)
        all_outcomes.update(outcomes)

    def check_record(self, hako, box):
        """By what is written down, another node would find its machine."""
        record = hako.record_of(box)
        began = int(stat_of(record["pid"])[19])
        self.assertEqual((record["state"], record["pid_start_time"]), ("box", began))

    def check_descriptors(self, hako, role, before):
        """None was lost on the way out of a failure."""
        # A gate that lost the node keeps machines for a minute, as they may be told of again.
        end = time.monotonic() + 90
        while (now := open_descriptors(hako, role)) - before and time.monotonic() < end:
            time.sleep(0.5)
        self.assertEqual(now - before, {}, f"descriptors of the {role}: {before}, then {now}")

    @unittest.skipUnless("start" in CHOSEN, "not asked for")
    def test_in_the_start_of_a_node_that_finds_boxes(self):
        """What cannot be looked at for a moment is not taken for gone."""
        with Hako(pool=1, settings=SMALL) as hako:
            chaos = Chaos(hako, SEED)
            kept = {chaos.create(), chaos.create()}
            supervisor = self.supervisor(hako)

            def restart():
                kill_role(hako, "node")
                chaos.wait_until_calm()

            places = Places("start", lambda: supervisor, restart)
            for place in places:
                call, error, nth = place[:3]
                chaos.number = f"start of the node {call}:{error}:{nth}"
                before = pid_of(hako, "node")
                with injected(supervisor, *place, frames=EACH_STEP) as trace:
                    kill_role(hako, "node")
                    # Where the fault ends it, it ends each time that it is started.
                    end = time.monotonic() + 10
                    while pid_of(hako, "node") in (0, before) and time.monotonic() < end:
                        time.sleep(0.05)
                    chaos._await(2)
                places.tried(trace, error)
                chaos.check()
                hako.wait_for_pool()
                hako.destroy(hako.create())
            self.assertEqual(set(chaos.promised), kept)
            print(f"\nstart: failing calls at {places}", flush=True)
            self.assertTrue(places.enough(), places)

    def supervisor(self, hako):
        with open(os.path.join(hako.run_dir, "up.json")) as file:
            return json.load(file)["supervisor"]["pid"]


if __name__ == "__main__":
    unittest.main(verbosity=2)
