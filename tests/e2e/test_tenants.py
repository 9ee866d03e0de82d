"""Two tenants and the agents of one on a real hako, through its command line."""

import json
import subprocess
import unittest

import harness


class TenantsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.hako = harness.Hako(pool=2).start()
        cls.hako.wait_for_pool()

    @classmethod
    def tearDownClass(cls):
        cls.hako.stop()
        left = cls.hako.leftovers()
        cls.hako.remove()
        assert not any(left.values()), left

    def run_as(self, key, *words, check=True):
        """`hako WORDS` with a key or token; the finished process."""
        environment = {**self.hako.environment(), "HAKO_API_KEY": key}
        done = subprocess.run([self.hako.program, *words], env=environment, capture_output=True,
                              text=True, timeout=120)
        if check and done.returncode != 0:
            raise AssertionError(f"hako {' '.join(words)}: {done.returncode}\n{done.stderr}\n"
                                 + self.hako.logs())
        return done

    def new_tenant(self, name, *options):
        """Its owner's key."""
        self.hako.cli("tenant", "create", name, *options)
        return self.hako.cli("key", "create", "--tenant", name, "--role", "owner").stdout.strip()

    def test_one_tenant_knows_nothing_of_another(self):
        ann = self.new_tenant("acme")
        bob = self.new_tenant("beta")
        box = self.run_as(ann, "create", "--ttl", "2m").stdout.strip()
        self.assertEqual(self.run_as(ann, "exec", box, "--", "echo", "hers").stdout, "hers\n")
        self.assertNotIn(box, self.run_as(bob, "ps").stdout)
        for words in (("info", box), ("exec", box, "--", "true"), ("logs", box), ("kill", box),
                      ("cp", "/etc/hostname", f"{box}:/tmp/x"), ("egress", "log", box)):
            refused = self.run_as(bob, *words, check=False)
            self.assertNotEqual(refused.returncode, 0, words)
            nowhere = self.run_as(bob, *[w.replace(box, "i" + 19 * "0") for w in words],
                                  check=False)
            self.assertEqual(refused.stderr.replace(box, "X"),
                             nowhere.stderr.replace("i" + 19 * "0", "X"), words)
        self.assertEqual(self.run_as(ann, "exec", box, "--", "echo", "still").stdout, "still\n")
        self.assertIn("sandboxes", self.hako.cli("tenant", "rm", "acme", check=False).stderr)
        self.run_as(ann, "kill", box)
        self.hako.cli("tenant", "rm", "acme", "beta")
        self.assertIn("refuses the key", self.run_as(ann, "ps", check=False).stderr)

    def test_agents_and_what_their_tokens_leave(self):
        owner = self.new_tenant("build-co")
        agent = self.run_as(owner, "key", "create", "--agent", "build").stdout.strip()
        worker = self.run_as(agent, "token", "mint", "--agent", "build/one").stdout.strip()
        other = self.run_as(agent, "token", "mint", "--agent", "build/two").stdout.strip()
        box = self.run_as(worker, "create", "--ttl", "2m").stdout.strip()
        # Above it, it is seen; beside it, it does not exist.
        for key in (owner, agent, worker):
            self.assertIn(box, self.run_as(key, "ps").stdout)
        self.assertNotIn(box, self.run_as(other, "ps").stdout)
        helper = self.run_as(worker, "token", "narrow", "--actions",
                             "sandbox.read,sandbox.exec").stdout.strip()
        self.assertEqual(self.run_as(helper, "exec", box, "--", "echo", "run").stdout, "run\n")
        self.assertNotEqual(self.run_as(helper, "cp", f"{box}:/etc/hostname", "/dev/null",
                                        check=False).returncode, 0)
        self.assertNotEqual(self.run_as(helper, "kill", box, check=False).returncode, 0)
        self.run_as(agent, "kill", box)

    def test_a_key_that_ends_takes_its_connections_along(self):
        owner = self.new_tenant("cut-co")
        made = json.loads(self.run_as(owner, "key", "create", "--json").stdout)
        box = self.run_as(made["key"], "create", "--ttl", "2m").stdout.strip()
        environment = {**self.hako.environment(), "HAKO_API_KEY": made["key"]}
        running = subprocess.Popen(
            [self.hako.program, "exec", box, "--", "sh", "-c", "echo on; exec sleep 100"],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(running.stdout.readline(), "on\n")
        self.run_as(owner, "key", "rm", made["keyID"])
        # Far sooner than the command would end by itself.
        self.assertNotEqual(running.wait(timeout=60), 0)
        running.stdout.close()
        running.stderr.close()
        self.assertNotEqual(self.run_as(made["key"], "ps", check=False).returncode, 0)
        # The box itself goes on, for who is left.
        self.assertEqual(self.run_as(owner, "exec", box, "--", "echo", "on").stdout, "on\n")
        self.run_as(owner, "kill", box)


if __name__ == "__main__":
    unittest.main()
