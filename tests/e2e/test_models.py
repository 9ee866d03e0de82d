"""Budgets of models with real boxes, which call a scripted model as often as they can.

Some boxes call at once; HAKO_MODELS_BOXES=50 makes it so many, and takes a few minutes. What the model has been
asked, and what it has said that this cost, it writes down itself.
"""

import concurrent.futures
import json
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import unittest

from certificates import Certificates
from harness import Hako

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "agents"))

from model_server import CACHED_TOKENS, INPUT_TOKENS, OUTPUT_TOKENS  # noqa: E402
from world import World, requests_in  # noqa: E402

BOXES = int(os.environ.get("HAKO_MODELS_BOXES", "5"))
# For each box, so that all boxes together want more than three times what there is.
CALLS = 8
MOST_CALLS = BOXES * CALLS // 3
# Of each call, as the boxes' clients ask for it; the model says no more.
MOST_OUTPUT = OUTPUT_TOKENS
TOKENS_OF_CALL = INPUT_TOKENS + CACHED_TOKENS + OUTPUT_TOKENS
PLAIN, CUT = 443, 8443
# How long nothing may arrive while nobody can count.
QUIET = 3.0 if BOXES < 20 else 8.0

# One for each box, as starting it is dear where boxes are emulated: it does what a pipe tells it.
CLIENT = r"""
import http.client, json, os, ssl, sys, time

host = sys.argv[1]
trust = ssl.create_default_context()
connections = {}


def call(port, stream, key, tries=5):
    body = json.dumps({"model": "scripted", "max_tokens": %d, "stream": stream,
                       "messages": [{"role": "user", "content": "say " + "something " * 40}]})
    answer = None
    try:
        if port not in connections:
            connections[port] = http.client.HTTPSConnection(host, port, context=trust, timeout=120)
        connections[port].request("POST", "/v1/messages", body, {
            "Content-Type": "application/json", "x-api-key": key or os.environ["MODEL_KEY"]})
        answer = connections[port].getresponse()
        text = answer.read().decode()
        whole = not stream or answer.status != 200 or "message_stop" in text
        return answer.status if whole else "cut", text if answer.status != 200 else ""
    except (OSError, http.client.HTTPException) as error:
        connections.pop(port).close()
        if answer is None and tries > 1:
            # Where boxes hardly get a processor, they are too slow for the gate's patience.
            return call(port, stream, key, tries - 1)
        return "cut" if answer else repr(error), ""


def tell(told):
    with open("/tmp/told", "w") as pipe:
        json.dump(told, pipe)


tell("ready")
while True:
    with open("/tmp/do") as pipe:
        what = json.load(pipe)
    while time.time() < what.get("at", 0):
        time.sleep(0.005)
    told = []
    while len(told) < what["calls"] if "calls" in what else not os.path.exists("/tmp/stop"):
        stream = what.get("stream", len(told) %% 2 == 0)
        told.append(call(what["port"], stream, what.get("key")))
        time.sleep(what.get("pause", 0))
    tell(told)
""" % MOST_OUTPUT


class ModelsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="hako-models-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        made = Certificates(cls.folder)
        cls.world = World(made)
        cls.world.__enter__()
        cls.addClassCleanup(cls.world.__exit__)
        cls.secret = "sk-ant-api03-" + os.urandom(32).hex()
        master, models = (os.path.join(cls.folder, name) for name in ("master.key", "models.toml"))
        with open(master, "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(os.urandom(32).hex() + "\n")
        with open(models, "w") as file:
            for port in (PLAIN, CUT):
                file.write(f'[[endpoint]]\nhost = "{World.MODEL}"\nport = {port}\n'
                           'api = "anthropic"\nsecret = "model-key"\n')
        os.chmod(cls.folder, 0o755)
        cls.hako = Hako(pool=min(BOXES, 6), settings=f"""
            [egress]
            ceiling = "allow"
            standard = "allow"
            allow = ["{World.MODEL}:{PLAIN},{CUT}"]
            private_networks = ["{cls.world.address}/32"]
            resolvers = ["127.0.0.1:{cls.world.names.port}"]
            [gate]
            upstream_ca_file = "{made.authority}"
            [secrets]
            master_key_file = "{master}"
            [models]
            file = "{models}"
            """)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()
        moves = [{"say": "scripted"}]
        # The second breaks streams off behind the events in which they begin.
        cls.logs = [cls.world.serve_model(moves, cls.secret, PLAIN),
                    cls.world.serve_model(moves, cls.secret, CUT, cut=4)]
        cls.hako.cli("tenant", "create", "acme", "--model-requests", str(MOST_CALLS))
        cls.key = cls.hako.cli("key", "create", "--tenant", "acme", "--role", "owner").stdout.strip()
        cls.as_owner = ("env", f"HAKO_API_KEY={cls.key}")
        cls.hako.cli("secret", "add", "model-key", "--host", f"{World.MODEL}:{PLAIN},{CUT}", "--use",
                     "header:x-api-key", "--env", "MODEL_KEY", "--for-tenant", "acme", input=cls.secret)
        cls.threads = concurrent.futures.ThreadPoolExecutor(BOXES)
        cls.addClassCleanup(cls.threads.shutdown)
        # No faster than clones are made.
        with concurrent.futures.ThreadPoolExecutor(2) as few:
            cls.boxes = list(few.map(cls.create, range(BOXES)))

    @classmethod
    def create(cls, _, **more):
        body = {"templateID": "base", "timeout": 1800} | more
        for _ in range(20):
            status, _, box = cls.hako.request("POST", "/v2/sandboxes", body, {"X-API-KEY": cls.key}, timeout=180)
            if status != 504:  # where all of them start at once a clone may be late
                break
            time.sleep(2)
        assert status == 201, (status, box, cls.hako.logs())
        start = (f"cat >/tmp/client.py; mkfifo /tmp/do /tmp/told; "
                 f"setsid python3 /tmp/client.py {World.MODEL} >/tmp/log 2>&1 </dev/null & cat /tmp/told")
        ready = cls.exec(box["sandboxID"], "sh", "-c", start, flags=("-i",), input=CLIENT)
        assert ready.stdout == '"ready"', ready.stdout
        return box["sandboxID"]

    @classmethod
    def exec(cls, box, *words, **options):
        return cls.hako.exec(box, *words, timeout=600, prefix=cls.as_owner, **options)

    def in_each(self, work):
        return list(self.threads.map(work, self.boxes))

    def tell(self, box, **what):
        """What its client is to do next."""
        self.exec(box, "sh", "-c", "cat >/tmp/do", flags=("-i",), input=json.dumps(what))

    def told(self, box):
        """[(status, text)] of all calls, once it has done that."""
        return json.loads(self.exec(box, "cat", "/tmp/told").stdout)

    def burst(self):
        """All boxes call at once, each CALLS times: [(status, text)] of all."""
        at = time.time() + 1 + BOXES / 5
        self.in_each(lambda box: self.tell(box, port=PLAIN, calls=CALLS, at=at))
        told = [one for each in self.in_each(self.told) for one in each]
        self.assertEqual(len(told), BOXES * CALLS)
        return told

    def asked(self):
        """Calls that have reached the model; each with the real key."""
        calls = [one for log in self.logs for one in requests_in(log) if "move" in one]
        for one in calls:
            self.assertEqual(one["headers"]["x-api-key"], self.secret)
        return len(calls)

    def said(self):
        """What the model has said that each call has used."""
        return [one["said"] for log in self.logs for one in requests_in(log) if "said" in one]

    def usage(self):
        (row,) = json.loads(self.hako.cli("usage", "--by", "tenant", "--all-tenants", "--json").stdout)
        self.assertEqual(row["group"], "acme")
        return row

    def check_usage(self):
        """What is counted is what the model has said, once the gate has told the api of all calls."""
        end = time.monotonic() + 60
        while True:
            said, row = self.said(), self.usage()
            told = {"requests": len(said),
                    "inputTokens": sum(one["input_tokens"] for one in said),
                    "cachedTokens": sum(one["cache_read_input_tokens"] for one in said),
                    "outputTokens": sum(one["output_tokens"] for one in said),
                    # A call that was broken off has said its input, and of its output a part.
                    "unconfirmedTokens": sum(MOST_OUTPUT - one["output_tokens"] for one in said)}
            counted = {name: row[name] for name in told}
            if counted == told and len(said) == self.asked():
                return row
            if time.monotonic() > end:
                self.assertEqual(counted, told, self.hako.logs())
                self.assertEqual(len(said), self.asked())
            time.sleep(0.2)

    def limit(self, **most):
        words = [word for name, value in most.items()
                 for word in (f"--model-{name}", str(value))]
        self.hako.cli("tenant", "set", "acme", *words)

    def check_refused(self, told, reason):
        """All that was not answered was refused with this reason, in the form that clients read."""
        refused = [text for status, text in told if status != 200]
        for status, _ in told:
            self.assertIn(status, (200, 429))
        for text in refused:
            error = json.loads(text)["error"]
            self.assertEqual(error["type"], "rate_limit_error")
            self.assertIn(reason, error["message"])
        return len(told) - len(refused)

    def check_alive(self):
        for done in self.in_each(lambda box: self.exec(box, "echo", "alive")):
            self.assertEqual(done.stdout, "alive\n")

    def test_1_never_a_call_more(self):
        told = self.burst()
        answered = self.check_refused(told, f"the model budget of tenant acme is spent: of {MOST_CALLS} calls")
        self.assertLessEqual(answered, MOST_CALLS)
        self.assertEqual(self.asked(), MOST_CALLS)
        self.check_usage()
        self.check_alive()

    def test_2_never_a_token_more(self):
        before = self.usage()
        used = sum(before[name] for name in ("inputTokens", "cachedTokens", "outputTokens"))
        most = used + MOST_CALLS * TOKENS_OF_CALL
        self.limit(requests=10**6, tokens=most)
        told = self.burst()
        answered = self.check_refused(told, f"the model budget of tenant acme is spent: of {most} tokens")
        row = self.check_usage()
        now = sum(row[name] for name in ("inputTokens", "cachedTokens", "outputTokens"))
        self.assertEqual(now, used + answered * TOKENS_OF_CALL)
        self.assertLessEqual(now, most)
        self.assertGreater(answered, 0)
        self.check_alive()

    def wait_for_calls(self, more, seconds=300):
        wanted = self.asked() + more
        end = time.monotonic() + seconds
        while self.asked() < wanted:
            self.assertLess(time.monotonic(), end, "no calls arrive\n" + self.hako.logs())
            time.sleep(0.1)

    def check_quiet(self, what):
        """What was let through before arrives, and from then on nothing."""
        end, last, since = time.monotonic() + 60, self.asked(), time.monotonic()
        while time.monotonic() - since < 1:
            self.assertLess(time.monotonic(), end, f"{what}, and calls arrive")
            time.sleep(0.1)
            if (now := self.asked()) != last:
                last, since = now, time.monotonic()
        time.sleep(QUIET)
        self.assertEqual(self.asked(), last, what)

    def test_3_nobody_to_count(self):
        self.limit(requests=10**6, tokens=10**9)
        self.in_each(lambda box: self.tell(box, port=PLAIN, stream=False, pause=0.03 * BOXES))
        self.wait_for_calls(3 * BOXES)
        with open(os.path.join(self.hako.run_dir, "up.json")) as file:
            supervisor = json.load(file)["supervisor"]["pid"]
        os.kill(supervisor, signal.SIGSTOP)  # or it would start another one
        try:
            os.kill(self.hako.role("api"), signal.SIGKILL)
            self.check_quiet("the api is dead")
        finally:
            os.kill(supervisor, signal.SIGCONT)
        self.wait_for_calls(3 * BOXES)
        store = sqlite3.connect(os.path.join(self.hako.state, "api", "hako.db"), timeout=30,
                                isolation_level=None)
        store.execute("BEGIN IMMEDIATE")
        try:
            self.check_quiet("the store takes nothing")
        finally:
            store.execute("ROLLBACK")
            store.close()
        self.wait_for_calls(3 * BOXES)
        self.in_each(lambda box: self.exec(box, "touch", "/tmp/stop"))
        for told in self.in_each(self.told):
            statuses = {status for status, _ in told}
            self.assertIn(200, statuses)
            self.assertLessEqual(statuses, {200, 503}, told)

    def test_4_streams_that_are_cut(self):
        self.in_each(lambda box: self.tell(box, port=CUT, stream=True, calls=3))
        for told in self.in_each(self.told):
            self.assertEqual([status for status, _ in told], ["cut"] * 3)
        row = self.check_usage()
        # Each was cut behind its input and the first token of its output.
        self.assertEqual(row["unconfirmedTokens"], 3 * BOXES * (MOST_OUTPUT - 1))

    def test_5_confidential_data(self):
        """Where a label closes all else, the model that is called with a kept key is left, by that key."""
        self.limit(requests=10**6, tokens=10**9)
        box = self.create(None, label="confidential", egress="allow", allow=[f"{World.MODEL}:{PLAIN}"])
        self.tell(box, port=PLAIN, calls=1)
        self.assertEqual(self.told(box), [[200, ""]])
        before = self.asked()
        self.tell(box, port=PLAIN, calls=1, key="sk-ant-api03-of-somebody-else-0123456789")
        ((status, text),) = self.told(box)
        self.assertEqual(status, 403)
        self.assertIn("another key", text)
        self.assertEqual(self.asked(), before)
        for more in ({"egress": "internet"}, {"egress": "allow", "allow": ["example.com:443"]}):
            status, _, told = self.hako.request(
                "POST", "/v2/sandboxes", {"templateID": "base", "label": "confidential"} | more,
                {"X-API-KEY": self.key})
            self.assertEqual(status, 403)
            self.assertIn("label.confidential", told["message"])


if __name__ == "__main__":
    unittest.main()
