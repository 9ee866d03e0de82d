"""Real agents from npm with a scripted model: their actions in boxes, and they themselves in boxes.

They are large and slow in emulation, so they run only with HAKO_AGENTS=1. What they need is fetched by
`scripts/setup --agents`, and in boxes by `hako agent build`.
"""

import array
import base64
import errno
import glob
import hashlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse

from certificates import Certificates
from harness import Hako

HERE = os.path.dirname(os.path.abspath(__file__))
AGENTS = os.path.join(HERE, "..", "agents")
sys.path.insert(0, AGENTS)

import task  # noqa: E402
from model_server import OUTPUT_TOKENS, ModelServer  # noqa: E402
from world import World, requests_in  # noqa: E402

ENABLED = bool(os.environ.get("HAKO_AGENTS"))
with open(os.path.join(AGENTS, "package.json")) as pinned:
    _pinned = json.load(pinned)["dependencies"]
# What is installed in boxes. `hako agent build` takes the newest if nobody says.
VERSIONS = {"claude": _pinned["@anthropic-ai/claude-code"], "codex": _pinned["@openai/codex"],
            "gemini": "0.61.0"}
# Of the shape of a real one, and in no file but the server's.
SECRET = "sk-ant-api03-" + hashlib.sha256(os.urandom(16)).hexdigest()


def program(pattern):
    """A program in what scripts/setup --agents has fetched."""
    with open(os.path.join(AGENTS, "package-lock.json"), "rb") as file:
        name = hashlib.sha256(file.read()).hexdigest()[:16]
    folder = os.path.join(os.environ.get("HAKO_NPM_DIR", "/var/cache/hako/npm"), name)
    found = glob.glob(os.path.join(folder, "node_modules", pattern))
    if not found:
        raise FileNotFoundError(f"no {pattern} in {folder}: scripts/setup --agents fetches it")
    return found[0]


class WithModel(unittest.TestCase):
    """One hako, and model servers with a script for each test."""

    SETTINGS = ""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="hako-agents-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.made = Certificates(cls.folder)
        cls.hako = Hako(pool=1, settings=cls.SETTINGS)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()

    def model(self, moves, names="IP:127.0.0.1,DNS:localhost", **options):
        certificate, key = self.made.issue("model", names)
        log = tempfile.mkstemp(dir=self.folder, suffix=".jsonl")[1]
        server = ModelServer(certificate, key, moves, log, SECRET, **options).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server


@unittest.skipUnless(ENABLED, "agents run with HAKO_AGENTS=1")
class OutsideTest(WithModel):
    """Action in box: the agent runs here, without tools of its own, and acts through `hako mcp`."""

    def setUp(self):
        self.home = tempfile.mkdtemp(dir=self.folder)
        box = self.hako.create(timeout=300)["sandboxID"]
        self.hako.exec(box, "sh", "-c", task.REPOSITORY % "/home/user/origin.git")
        self.hako.cli("snapshot", "create", box, "with-repository")
        self.hako.cli("kill", box)
        self.moves = task.moves("/home/user/origin.git", "/home/user/stats",
                                [{"call": ["box_create", {"template": "with-repository"}]}])

    def environment(self, **more):
        clean = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return clean | {"HOME": self.home, "TMPDIR": self.home} | more

    def mcp_settings(self):
        return {"HAKO_API_URL": f"http://127.0.0.1:{self.hako.api_port}",
                "HAKO_API_KEY": self.hako.key()}

    def check(self, model, output):
        boxes = json.loads(self.hako.cli("ps", "--json").stdout)
        self.assertEqual(len(boxes), 1, output)
        done = self.hako.exec(boxes[0]["sandboxID"], "sh", "-c",
                              task.CHECK.format(folder="/home/user/stats"), check=False)
        told = output + "".join(f"\n{request.get('move')}\n{request.get('results')}"
                                for request in model.requests())
        self.assertEqual(done.stdout, task.CHECKED, told)
        self.hako.cli("kill", boxes[0]["sandboxID"])
        steps = [request for request in model.requests() if "move" in request]
        self.assertTrue(all(request["key"] for request in steps))
        self.assertIn("mended", output)
        # The test had failed first, as the model was told.
        self.assertTrue(any("AssertionError" in text for step in steps for text in step["results"]))
        return steps

    def test_claude(self):
        model = self.model(self.moves)
        config = os.path.join(self.home, "mcp.json")
        with open(config, "w") as file:
            json.dump({"mcpServers": {"hako": {"command": self.hako.program, "args": ["mcp"],
                                               "env": self.mcp_settings()}}}, file)
        done = subprocess.run(
            [program("@anthropic-ai/claude-code-linux-x64/claude"), "--strict-mcp-config", "--mcp-config", config,
             "--tools", "", "--allowedTools", "mcp__hako", "-p", task.PROMPT],
            env=self.environment(
                ANTHROPIC_BASE_URL=f"https://127.0.0.1:{model.server_address[1]}",
                ANTHROPIC_API_KEY=SECRET, NODE_EXTRA_CA_CERTS=self.made.authority,
                CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1", DISABLE_AUTOUPDATER="1"),
            cwd=self.home, stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout + json.dumps(model.requests())[-4000:])
        steps = self.check(model, done.stdout)
        # One that stands for tools that are not loaded does nothing.
        offered = {tool for step in steps for tool in step["tools"]} - {"DeferredToolPlaceholder"}
        self.assertTrue(all(tool.startswith("mcp__hako__") for tool in offered), offered)

    def test_codex(self):
        model = self.model(self.moves)
        settings = self.mcp_settings()
        os.mkdir(os.path.join(self.home, ".codex"))
        with open(os.path.join(self.home, ".codex", "config.toml"), "w") as file:
            file.write(f"""
model = "scripted"
model_provider = "scripted"
approval_policy = "never"
[features]
shell_tool = false
[model_providers.scripted]
name = "scripted"
base_url = "https://127.0.0.1:{model.server_address[1]}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
[mcp_servers.hako]
command = "{self.hako.program}"
args = ["mcp"]
env = {{ HAKO_API_URL = "{settings['HAKO_API_URL']}", HAKO_API_KEY = "{settings['HAKO_API_KEY']}" }}
""")
        done = subprocess.run(
            [program("@openai/codex-linux-x64/vendor/*/bin/codex"), "exec", "--skip-git-repo-check",
             "--dangerously-bypass-approvals-and-sandbox", task.PROMPT],
            env=self.environment(OPENAI_API_KEY=SECRET, SSL_CERT_FILE=self.made.authority,
                                 CODEX_CA_CERTIFICATE=self.made.authority),
            cwd=self.home, stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout + json.dumps(model.requests())[-4000:])
        self.check(model, done.stdout)


def registry():
    """(host, port, addresses) of the registry that this machine's npm uses."""
    url = urllib.parse.urlsplit(subprocess.run(["npm", "config", "get", "registry"], text=True,
                                               stdout=subprocess.PIPE, check=True).stdout.strip())
    port = url.port or (443 if url.scheme == "https" else 80)
    found = socket.getaddrinfo(url.hostname, port, socket.AF_INET, socket.SOCK_STREAM)
    return url.hostname, port, sorted({address[4][0] for address in found})


@unittest.skipUnless(ENABLED, "agents run with HAKO_AGENTS=1")
class InsideTest(unittest.TestCase):
    """Agent in box: installed there through the gate, and given keys that it does not have."""

    API = {"claude": "anthropic", "codex": "openai", "gemini": "gemini"}
    PORTS = {"claude": 443, "codex": 8444, "gemini": 8445}
    BELOW = {"codex": "/v1"}
    # Gemini CLI switches git's credential helpers off for its shell, so it clones what --repo has cloned.
    CLONED = {"gemini": "/home/user/stats"}

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="hako-agents-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.made = Certificates(cls.folder)
        cls.world = World(cls.made)
        cls.world.__enter__()
        cls.addClassCleanup(cls.world.__exit__)
        host, port, addresses = registry()
        targets = [f"{host}:{port}", f"{World.GIT}:8443",
                   *(f"{World.MODEL}:{number}" for number in cls.PORTS.values())]
        opened = [f"{cls.world.address}/32", *(f"{address}/32" for address in addresses)]
        bundle, master, models = (os.path.join(cls.folder, name)
                                  for name in ("bundle.pem", "master.key", "models.toml"))
        with open(bundle, "w") as file, open(cls.made.authority) as authority:
            file.write(authority.read())
        with open(master, "w") as file:
            file.write(os.urandom(32).hex() + "\n")
        os.chmod(master, 0o600)
        with open(models, "w") as file:
            for name, api in cls.API.items():
                file.write(f'[[endpoint]]\nhost = "{World.MODEL}"\nport = {cls.PORTS[name]}\n'
                           f'api = "{api}"\n')
        os.chmod(cls.folder, 0o755)
        cls.hako = Hako(pool=0, settings=f"""
            [egress]
            ceiling = "allow"
            allow = {json.dumps(targets)}
            private_networks = {json.dumps(opened)}
            resolvers = ["127.0.0.1:{cls.world.names.port}"]
            [gate]
            upstream_ca_file = "{bundle}"
            [secrets]
            master_key_file = "{master}"
            [models]
            file = "{models}"
            """)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()
        cls.git_secret = "github_pat_" + os.urandom(20).hex()
        cls.serve_repository()
        cls.keep("git-key", cls.git_secret, "--host", f"{World.GIT}:8443", "--use", "basic",
                 "--env", "GIT_TOKEN")

    @classmethod
    def serve_repository(cls):
        folder = os.path.join(cls.folder, "repositories")
        os.mkdir(folder)
        subprocess.run(["sh", "-c", task.REPOSITORY % f"{folder}/stats.git"], check=True,
                       capture_output=True)
        cls.git_log = cls.world.serve_git(folder, cls.git_secret)

    @classmethod
    def keep(cls, name, value, *words):
        cls.hako.cli("secret", "add", name, *words, input=value)

    def build(self, name):
        began = time.monotonic()
        done = self.hako.cli("agent", "build", name, "--version", VERSIONS[name], timeout=1500)
        self.assertEqual(done.stdout, f"agent-{name}\n", done.stderr)
        self.assertIn(f"{name} ", done.stderr)
        # What lies there is searched, too, and takes time.
        self.addCleanup(self.hako.cli, "snapshot", "rm", f"agent-{name}")
        tell(f"{name} {VERSIONS[name]}: built in {time.monotonic() - began:.0f} s")

    def look_for(self, box, texts):
        """Where in a box, or in what hako keeps on disk, each of some texts is."""
        found = {text: set() for text in texts}

        def look(place, pieces):
            for text in found_in(pieces, texts):
                found[text].add(place)

        for pid in self.hako.vmm_processes():
            look("memory", memory_of(pid))
        for folder, _, files in os.walk(self.hako.state):
            for path in (os.path.join(folder, file) for file in files):
                if os.path.isfile(path) and not os.path.islink(path):
                    look("disk", content_of(path))
        for place, file in (("environment", "environ"), ("arguments", "cmdline")):
            # Processes that end meanwhile have neither.
            told = self.hako.exec(box, "sh", "-c", f"cat /proc/[0-9]*/{file}", text=False,
                                  flags=("-u", "root"), check=False)
            self.assertTrue(told.stdout, told.stderr)
            look(place, [told.stdout])
        return found

    def check_that_keys_are_nowhere(self, box, variable, secret):
        """While the agent runs, with all that it holds."""
        placeholder = self.hako.exec(box, "sh", "-c", f'printf %s "${variable}"').stdout
        self.assertNotEqual(placeholder, secret)
        self.assertEqual(placeholder[:4], secret[:4])
        planted = {place: f"planted-{place}-{os.urandom(16).hex()}"
                   for place in ("disk", "environment", "arguments")}
        self.hako.exec(
            box, "sh", "-c", 'echo "$1" >planted; sync; PLANTED="$2" setsid sh -c "sleep 900; :" "$3" '
            "</dev/null >/dev/null 2>&1 &", "plant", *planted.values())
        # As git shows it: in base64, behind a name whose length makes that of the key stand alone.
        shown = base64.b64encode(self.git_secret.encode()).decode().rstrip("=")[:-1]
        found = self.look_for(box, [secret, self.git_secret, shown, placeholder, *planted.values()])
        for key in (secret, self.git_secret, shown):
            self.assertEqual(found[key], set(), "a key is in the box")
        # The same search finds what is there.
        self.assertLessEqual({"memory", "environment"}, found[placeholder])
        for place, text in planted.items():
            self.assertLessEqual({"memory", place}, found[text], place)

    def run_agent(self, name, variable, use, base_url, secret, *words):
        hold = os.path.join(self.folder, f"{name}-may-end")
        moves = task.moves(self.CLONED.get(name, f"https://{World.GIT}:8443/stats.git"), "/home/user/again")
        log = self.world.serve_model(moves, secret, self.PORTS[name], hold=hold)
        self.keep(f"{name}-key", secret, "--host", f"{World.MODEL}:{self.PORTS[name]}", "--use",
                  use, "--env", variable)
        output = os.path.join(self.folder, f"{name}.out")

        def told():
            with open(output, errors="replace") as file:
                return (f"{file.read()}\n{json.dumps(requests_in(log))[-6000:]}\n"
                        f"{self.hako.cli('egress', 'log', '--json', check=False).stdout[-4000:]}\n{self.hako.logs()}")

        began = time.monotonic()
        with open(output, "w") as file:
            agent = self.hako.popen(
                "agent", "run", name, "--keep", "--ttl", "30m", "--secret", f"{name}-key",
                "--repo-secret", "git-key", "--repo", f"https://{World.GIT}:8443/stats.git", "-e",
                f"{base_url}=https://{World.MODEL}:{self.PORTS[name]}{self.BELOW.get(name, '')}",
                "--", *words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        self.addCleanup(self.kill_boxes, name)
        self.addCleanup(agent.wait)
        self.addCleanup(agent.kill)
        # Its last word is held back until it has been looked for keys.
        said = ["say", moves[-1]["say"]]
        while not any(one.get("move") == said for one in requests_in(log)):
            self.assertIsNone(agent.poll(), told())
            self.assertLess(time.monotonic() - began, 900, told())
            time.sleep(0.5)
        held = time.monotonic()
        box = self.boxes_of(name)[0]
        self.check_that_keys_are_nowhere(box, variable, secret)
        with open(hold, "w"):
            released = time.monotonic()
        self.assertEqual(agent.wait(timeout=300), 0, told())
        took = time.monotonic() - released + held - began
        tell(f"{name} {VERSIONS[name]}: {took:.0f} s from `hako agent run` to its end, "
             f"{released - held:.0f} s of looking for keys not counted")
        with open(output, errors="replace") as file:
            self.assertIn("mended", file.read())
        checked = self.hako.exec(box, "sh", "-c", task.CHECK.format(folder="/home/user/again"))
        self.assertEqual(checked.stdout, task.CHECKED, told())
        # The model saw the real key each time, and so did the git server.
        steps = [one for one in requests_in(log) if one["method"] == "POST"]
        self.assertGreater(len(steps), 4, told())
        self.assertTrue(all(step["key"] for step in steps), told())
        self.assertTrue(any("AssertionError" in text for step in steps
                            for text in step.get("results", [])), told())
        logins = [one for one in requests_in(self.git_log) if one["shown"]]
        self.assertTrue(logins and all(one["key"] for one in logins), told())
        # And the broker has counted what the model said that it used.
        counted = [step for step in steps if "move" in step]
        usage = json.loads(self.hako.cli("usage", "--by", "all", "--sandbox", box, "--json").stdout)
        self.assertEqual([(row["requests"], row["outputTokens"], row["unconfirmedTokens"]) for row in usage],
                         [(len(counted), len(counted) * OUTPUT_TOKENS, 0)], usage)

    def boxes_of(self, name):
        return [box["sandboxID"] for box in json.loads(self.hako.cli("ps", "--json").stdout)
                if box.get("alias", box["templateID"]).startswith(f"agent-{name}")]

    def kill_boxes(self, name):
        for box in self.boxes_of(name):
            self.hako.cli("kill", box)

    def test_claude(self):
        self.build("claude")
        self.run_agent("claude", "ANTHROPIC_API_KEY", "header:x-api-key", "ANTHROPIC_BASE_URL",
                       "sk-ant-api03-" + os.urandom(32).hex(), "-p", task.PROMPT)

    def test_codex(self):
        self.build("codex")
        self.run_agent("codex", "OPENAI_API_KEY", "bearer", "OPENAI_BASE_URL",
                       "sk-proj-" + os.urandom(32).hex(), "exec", "--skip-git-repo-check",
                       task.PROMPT)

    def test_gemini(self):
        self.build("gemini")
        self.run_agent("gemini", "GEMINI_API_KEY", "header:x-goog-api-key",
                       "GOOGLE_GEMINI_BASE_URL", "AIza" + os.urandom(18).hex()[:35], "-p",
                       task.PROMPT)


def tell(text):
    print(text, file=sys.stderr, flush=True)


PIECE = 16 << 20


def found_in(pieces, texts):
    """Which texts are in bytes that come in pieces; None among them is where they do not go on."""
    needles = {text: text.encode() for text in texts}
    longest = max(len(needle) for needle in needles.values())
    found, kept = set(), b""
    for piece in pieces:
        if piece is None:
            kept = b""
            continue
        both = kept + piece
        found |= {text for text, needle in needles.items() if needle in both}
        kept = both[-longest:]
    return found


PAGE = os.sysconf("SC_PAGE_SIZE")


def present(pid):
    """Ranges of pages that a process has mapped, may read, and has touched. The others are as the file has
    them that is mapped there; to read them from here would make them, at the box's expense."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/pagemap", "rb", 0) as pages:
        for line in maps:
            span, rights, *_ = line.split()
            begin, end = (int(part, 16) for part in span.split("-"))
            # What the kernel lends each process cannot be read from outside.
            if not rights.startswith("r") or "[v" in line:
                continue
            pages.seek(begin // PAGE * 8)
            entries = array.array("Q", pages.read((end - begin) // PAGE * 8))
            at = begin
            for there, run in itertools.groupby(entries, lambda entry: entry >> 62 != 0):
                size = sum(1 for _ in run) * PAGE
                if there:
                    yield at, at + size
                at += size


def memory_of(pid):
    """All that a process has in memory, as pieces. It runs meanwhile."""
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        behind = None
        for at, end in list(present(pid)):
            if at != behind:
                yield None
            while at < end:
                try:
                    memory.seek(at)
                    piece = memory.read(min(PIECE, end - at))
                except OSError:
                    if any(first <= at < last for first, last in present(pid)):
                        raise
                    break
                if not piece:
                    return  # it has ended
                yield piece
                at += len(piece)
            behind = at
    for file in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{file}"
        if os.path.isfile(path):
            yield None
            yield from content_of(path)


def content_of(path):
    """A file, as pieces, without its holes."""
    with open(path, "rb", 0) as file:
        end = 0
        while True:
            try:
                begin = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                raise
            end = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            file.seek(begin)
            while begin < end and (piece := file.read(min(PIECE, end - begin))):
                yield piece
                begin += len(piece)
            yield None


if __name__ == "__main__":
    unittest.main()
