"""`hako agent run` and `hako run --repo`, with a program in an agent's place: what it is given, its terminal, and
what becomes of the box. Agents themselves are in test_agents.py.
"""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import termios
import time
import unittest

from harness import Hako

# What stands where an agent's program would be.
PROGRAM = r"""#!/bin/sh
printf 'arguments:'; printf ' <%s>' "$@"; echo
echo "base: $ANTHROPIC_BASE_URL, folder: $PWD"
if [ -t 0 ] && [ -t 1 ]; then
  echo "terminal of $(stty size), $TERM"
  printf 'say something: '; read -r words; echo "said: $words"
else
  cat
fi
exit 7
"""


class AgentRunTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.hako = Hako(pool=1, settings="""
            [egress]
            ceiling = "allow"
            allow = ["api.anthropic.com:443", "model.test:8443", "git.test:443"]
            resolvers = ["127.0.0.1:9"]
            """)
        cls.addClassCleanup(cls.hako.remove)
        cls.addClassCleanup(cls.hako.stop)
        cls.hako.start()
        box = cls.hako.create(timeout=300)["sandboxID"]
        cls.hako.exec(box, "sh", "-c", "cat >/usr/local/bin/claude; chmod 755 /usr/local/bin/claude",
                      flags=("-u", "root", "-i"), input=PROGRAM)
        cls.hako.cli("snapshot", "create", box, "agent-claude")
        cls.hako.cli("kill", box)

    def boxes(self):
        return json.loads(self.hako.cli("ps", "--json").stdout)

    def test_what_it_is_given(self):
        done = self.hako.cli("agent", "run", "claude", "-e",
                             "ANTHROPIC_BASE_URL=https://model.test:8443", "--", "-p", "a  b", "--keep",
                             input="piped\n", check=False)
        self.assertEqual(done.returncode, 7, done.stderr)
        self.assertEqual(done.stdout,
                         "arguments: <--dangerously-skip-permissions> <-p> <a  b> <--keep>\n"
                         "base: https://model.test:8443, folder: /home/user\npiped\n")
        self.assertEqual(self.boxes(), [])

    def test_its_model_is_let_through(self):
        for more, target in (((), "api.anthropic.com:443"),
                             (("-e", "ANTHROPIC_BASE_URL=https://model.test:8443"), "model.test:8443")):
            done = self.hako.cli("agent", "run", "claude", "--keep", "--ttl", "2m", *more, input="",
                                 check=False)
            self.assertEqual(done.returncode, 7, done.stderr)
            box = self.boxes()[0]["sandboxID"]
            for name in ("api.anthropic.com:443", "model.test:8443"):
                checked = self.hako.cli("policy", "check", "--box", box, name, check=False)
                self.assertEqual(checked.returncode, 0 if name == target else 1, checked.stdout)
            self.hako.cli("kill", box)

    def test_terminal(self):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
        process = subprocess.Popen([self.hako.program, "agent", "run", "claude"], stdin=theirs,
                                   stdout=theirs, stderr=theirs,
                                   env=self.hako.environment() | {"TERM": "xterm-256color"})
        os.close(theirs)
        shown, sent, end = b"", False, time.monotonic() + 90
        while time.monotonic() < end:
            if select.select([ours], [], [], 0.5)[0]:
                try:
                    piece = os.read(ours, 4096)
                except OSError:
                    break
                if not piece:
                    break
                shown += piece
            if b"say something" in shown and not sent:
                os.write(ours, "äh\r".encode())
                sent = True
        os.close(ours)
        text = shown.decode()
        self.assertEqual(process.wait(timeout=60), 7, text)
        self.assertIn("terminal of 33 101, xterm-256color", text)
        self.assertIn("said: äh", text)
        self.assertEqual(self.boxes(), [])

    def test_a_repository_that_cannot_be_cloned(self):
        """git is really asked, in the box, and the box ends with it."""
        done = self.hako.cli("agent", "run", "claude", "--repo", "https://git.test/team/it.git",
                             check=False)
        self.assertEqual(done.returncode, 125)
        self.assertIn("git.test", done.stderr)
        self.assertIn("the repository could not be cloned", done.stderr)
        done = self.hako.cli("run", "--repo", "git@git.test:it.git", "--", "true", check=False)
        self.assertEqual(done.returncode, 125)
        self.assertIn("write https://HOST/PATH", done.stderr)
        self.assertEqual(self.boxes(), [])

    def test_what_is_wrong(self):
        for words, told in (
                (("agent", "run", "nobody"), "there are claude, codex, gemini"),
                (("agent", "run", "codex"), "agent-codex"),
                (("agent", "run", "claude", "--budget", "5eur"), "is no budget"),
                (("agent", "run", "claude", "-e", "ANTHROPIC_BASE_URL=nowhere"), "nowhere"),
                (("agent", "run", "claude", "--allow", "other.test"), "other.test")):
            done = self.hako.cli(*words, check=False, input="")
            self.assertEqual(done.returncode, 125, words)
            self.assertIn(told, done.stderr)
        self.assertIn("@openai/codex", self.hako.cli("agent", "ls").stdout)
        self.assertEqual(self.boxes(), [])


if __name__ == "__main__":
    unittest.main()
