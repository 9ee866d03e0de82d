"""kill -9 at each step of pause, resume, snapshot, fork, rollback and of removing what was kept.

Steps are system calls that change what others see (tests/chaos/stepper.py). Of all of them some are
taken, spread over stories and victims.

HAKO_POWERCUT_PLACES: how many (8), or "all", or "3/20" for the third of twenty parts of all;
HAKO_POWERCUT_STORIES: only these ("pause,fork"); HAKO_POWERCUT_VICTIMS: only these ("node,api,VMMs");
HAKO_POWERCUT_SEED: which ones.
HAKO_POWERCUT_PLACE="pause node 17" (or any other story, victim and step) is the only one.
"""

import collections
import itertools
import os
import random
import shutil
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "chaos"))

from harness import Hako  # noqa: E402
from inventory import orphans, remains  # noqa: E402
from powercut import STORIES, VICTIMS, PowerCuts  # noqa: E402
from rounds import Broken  # noqa: E402
from violence import kill_role  # noqa: E402

PLACES = os.environ.get("HAKO_POWERCUT_PLACES", "8")
PART, PARTS = map(int, PLACES.split("/")) if "/" in PLACES else (1, 1)
ALL = PLACES == "all" or "/" in PLACES
SEED = int(os.environ.get("HAKO_POWERCUT_SEED", "1"))
PLACE = os.environ.get("HAKO_POWERCUT_PLACE", "")
WHOM = os.environ.get("HAKO_POWERCUT_VICTIMS", ",".join(VICTIMS)).split(",")
# A supervisor lets a role wait that ends again and again: a new one does not know that yet.
AFRESH = 4
SMALL = "[template]\ndisk_mib = 128\n"


def worth_it(names):
    """Numbers of the steps to kill at: of calls of one kind behind each other the first, the last, and
    one between them."""
    at, chosen = 1, []
    for _, run in itertools.groupby(names):
        length = len(list(run))
        chosen += sorted({at, at + length // 2, at + length - 1})
        at += length
    return chosen


def places_of(story, steps):
    """Every (story, victim, step) of a story."""
    return [(story, victim, at) for victim in WHOM for at in worth_it(steps[VICTIMS[victim][0]])]


def choose(places, number, chance):
    """As many of each victim as of any other."""
    by_victim = collections.defaultdict(list)
    for place in places:
        by_victim[place[1]].append(place)
    victims = list(by_victim)
    chance.shuffle(victims)
    for of_victim in by_victim.values():
        chance.shuffle(of_victim)
    chosen = []
    for victim in itertools.islice(itertools.cycle(victims), min(number, len(places)) * len(victims)):
        if by_victim[victim] and len(chosen) < number:
            chosen.append(by_victim[victim].pop())
    return chosen


class PowerCutTest(unittest.TestCase):
    def test_each_step(self):
        chance = random.Random(SEED)
        stories = os.environ.get("HAKO_POWERCUT_STORIES", ",".join(STORIES)).split(",")
        if PLACE:
            stories = [PLACE.split(" ", 1)[0]]
        elif not ALL and int(PLACES) < 2 * len(stories):
            stories = chance.sample(stories, max(1, int(PLACES) // 2))
        with Hako(pool=0, settings=SMALL) as hako:
            hako.destroy(hako.create())  # the template's snapshot is made
            began = time.monotonic()
            cuts, hit, done = PowerCuts(hako), collections.Counter(), 0
            for story in stories:
                done += self.cut(cuts, story, len(stories), chance, hit)
            print(f"\n{done} places, seed {SEED}, {time.monotonic() - began:.0f} s; killed at "
                  f"{sum(hit.values())}: {dict(hit)}", flush=True)
            self.assertEqual(orphans(hako), [])
            if not PLACE:
                self.assertGreater(sum(hit.values()), done / 2)
            hako.stop()
            self.assertEqual(remains(hako), [])

    def test_a_loss_would_be_seen(self):
        """The same look, when what was kept is taken away or changed."""
        with Hako(pool=0, settings=SMALL) as hako:
            cuts = PowerCuts(hako)
            for take_away in (shutil.rmtree, self.change_content):
                cuts.text = os.urandom(6).hex()
                told = STORIES["pause"](cuts)
                told.prepare()
                answered = told.act()
                self.assertIsNotNone(answered)
                kept = cuts.checkpoint(f"p-{told.box}-1")
                kill_role(hako, "node")
                take_away(kept)
                cuts.chaos.wait_until_calm()
                with self.assertRaises(Broken):
                    told.check(answered, vmms_killed=False)
                with self.assertRaises(Broken):
                    cuts.check_content(cuts.create_with("other"), {"first"}, may_be_gone=False)
                cuts.clean()

    def change_content(self, kept):
        with open(os.path.join(kept, "machine"), "r+b") as file:
            file.seek(100_000)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))

    def cut(self, cuts, story, stories, chance, hit):
        """How many places of a story it was killed at; `hit`: whom there was to kill."""
        if PLACE:
            victim, at = PLACE.split(" ", 1)[1].rsplit(" ", 1)
            chosen = [(story, victim, int(at))]
        else:
            steps = cuts.steps_of(story)
            # It is seen to do what it is about.
            for call, of in (("process_vm_readv", ("pause", "snapshot", "fork")),
                             ("process_vm_writev", ("resume", "fork", "rollback")),
                             ("rename", ("drop", "collect"))):
                if story in of:
                    self.assertIn(call, steps["node"])
            places = places_of(story, steps)
            if ALL:
                chosen = places[PART - 1::PARTS]
            else:
                chosen = choose(places, -(-int(PLACES) // stories), chance)
        began = time.monotonic()
        for number, (story, victim, at) in enumerate(chosen, 1):
            hit[victim] += cuts.cut(story, victim, at)
            if number % AFRESH == 0:
                cuts.hako.stop()
                cuts.hako.start()
        if ALL or int(PLACES) > 20:
            print(f"\n{story}: {len(chosen)} places, {time.monotonic() - began:.0f} s", flush=True)
        return len(chosen)


if __name__ == "__main__":
    unittest.main(verbosity=2)
