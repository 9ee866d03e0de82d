"""What an attack is, how it can end, and how all of them are run."""

import dataclasses
import inspect
import json
import time
import traceback

LEVELS = ("none", "allow", "internet")
REFUSED, REACHED, SILENT, SKIPPED = "refused", "reached", "silent", "skipped"


@dataclasses.dataclass
class Outcome:
    """How it ended: `what` is one of the words above, `how` says it to a reader."""
    what: str
    how: str = ""


def refused(how):
    return Outcome(REFUSED, how)


def reached(how):
    return Outcome(REACHED, how)


def silent(how="no answer"):
    return Outcome(SILENT, how)


@dataclasses.dataclass
class Trial:
    id: str
    title: str
    act: object
    attack: tuple       # levels at which it must be refused
    legitimate: tuple   # levels at which it must pass
    needs: tuple        # members that the plan must have
    quiet: bool         # that nothing answers is refusal enough: there is nobody to be told
    limit: float        # seconds in which it must have been refused
    last: bool          # comes when all others have gone


TRIALS = []


def trial(id, title, *, attack="", legitimate="", needs="", quiet=False, limit=3.0, last=False):
    """Registers a function of a Box that gives an Outcome. One that yields is resumed when all the
    others have been run."""
    def register(act):
        TRIALS.append(Trial(id, title, act, tuple(attack.split()), tuple(legitimate.split()),
                            tuple(needs.split()), quiet, limit, last))
        return act
    return register


class Pace:
    """Keeps us below what a box may do in a second: what a limit refuses shows no other wall."""

    def __init__(self, rate, burst):
        self._rate, self._burst = rate, burst
        self._left, self._then = burst, time.monotonic()

    def take(self):
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._then) * self._rate)
        self._then = now
        self._left -= 1
        if self._left < 0:
            time.sleep(-self._left / self._rate)


class Box:
    """What an attack knows: the plan, and its own name for what it says."""

    def __init__(self, plan):
        self.plan = plan
        # With some room, as the gate's clock is not ours. 0 is no limit.
        connects, questions = (plan.get(name, 64) or 10**6 for name in (
            "connects_per_second", "names_per_second"))
        self.connects = Pace(connects * 0.8, (plan.get("connections", 256) or 10**6) * 0.5)
        self.questions = Pace(questions * 0.8, questions * 0.5)
        self.level = plan["level"]
        self.limit = 3.0
        self.id = ""

    def __getattr__(self, name):
        try:
            return self.plan[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def evil(self):
        """A name that only this attack says, for the world outside to hear."""
        return f"at-{self.id}.evil.test"

    @property
    def word(self):
        """That name as a line of a protocol that nobody knows."""
        return self.evil.encode() + b"\n"

    def is_marked(self, data):
        """Whether the bytes come from the world outside, which has a mark of its own."""
        secret = self.plan.get("secret")
        return bool(secret) and secret.encode() in data


# What really hangs does so each time; a box that had no processor for a moment does not.
TRIES = 3


def run(plan, say):
    """Runs what the plan wants and says each result, a dictionary."""
    box = Box(plan)
    chosen = [t for t in TRIALS if wanted(t, plan)]
    waiting = []
    for each in sorted(chosen, key=lambda t: t.last):
        if each.last and waiting:
            waiting = finish(box, waiting, say)
        box.id, box.limit = each.id, each.limit
        for left in reversed(range(1 if each.last else TRIES)):
            begun = time.monotonic()
            result = attempt(lambda: each.act(box))
            if inspect.isgenerator(result):
                begin = attempt(lambda: next(result))
                if not isinstance(begin, Outcome):
                    waiting.append((each, result))
                    break
                result = begin
            judged = judge(box, each, result, time.monotonic() - begun)
            if judged["verdict"] != "HUNG" or left == 0:
                say(judged)
                break
    finish(box, waiting, say)


def finish(box, waiting, say):
    for each, generator in waiting:
        box.id, box.limit = each.id, each.limit
        begun = time.monotonic()
        result = attempt(lambda: conclude(generator))
        say(judge(box, each, result, time.monotonic() - begun))
    return []


def conclude(generator):
    """A generator returns its outcome when it is resumed; pauses of its own do not count."""
    try:
        next(generator)
    except StopIteration as end:
        return end.value
    return Outcome("failed", "it never ended")


def attempt(function):
    try:
        return function()
    except StopIteration as end:
        return end.value
    except Exception:
        return Outcome("failed", traceback.format_exc(limit=-2).replace("\n", " | "))


def wanted(each, plan):
    if plan.get("only") is not None and each.id not in plan["only"]:
        return False
    if each.id in plan.get("skip", ()) or any(need not in plan for need in each.needs):
        return False
    return plan["level"] in each.attack + (() if plan.get("attacks_only") else each.legitimate)


def judge(box, each, outcome, seconds):
    """The result, with a verdict: refused, passed, LEAKED, HUNG, FALSELY REFUSED or FAILED."""
    kind = "attack" if box.level in each.attack else "legitimate"
    if outcome.what == SKIPPED:
        verdict = "skipped"
    elif outcome.what not in (REFUSED, REACHED, SILENT):
        verdict = "FAILED"
    elif kind == "legitimate":
        verdict = "passed" if outcome.what == REACHED else "FALSELY REFUSED"
    elif outcome.what == REACHED:
        verdict = "LEAKED"
    elif "too often" in outcome.how and not each.last:
        verdict = "FAILED"  # a limit has refused it, which proves nothing
    elif outcome.what == SILENT and not each.quiet or seconds > each.limit:
        verdict = "HUNG"
    else:
        verdict = "refused"
    return {"id": each.id, "title": each.title, "kind": kind, "verdict": verdict,
            "how": outcome.how, "seconds": round(seconds, 3)}


def main(plan):
    run(plan, lambda result: print(json.dumps(result), flush=True))
