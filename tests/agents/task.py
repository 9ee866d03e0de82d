"""The task that every agent is given: clone, see a test fail, mend what it tests, see it pass, commit."""

REPOSITORY = r"""
set -e
rm -rf /tmp/seed && mkdir -p /tmp/seed && cd /tmp/seed
git init -q -b main .
git config user.name seed && git config user.email seed@example.com
printf 'def mean(numbers):\n    return sum(numbers) / (len(numbers) + 1)\n' >stats.py
printf 'import unittest\nfrom stats import mean\n\n\nclass MeanTest(unittest.TestCase):\n    def test_mean(self):\n        self.assertEqual(mean([2, 4, 6]), 4)\n' >test_stats.py
printf '__pycache__/\n' >.gitignore
git add . && git commit -q -m 'mean of numbers'
git clone -q --bare . %s
"""

PROMPT = "Clone the repository, find out why its test fails, mend it, and commit."


def moves(clone_from, folder, begin=()):
    """What the model says. `folder`: an absolute path in the box."""
    return [
        *begin,
        {"run": f"git clone {clone_from} {folder}"},
        {"run": f"cd {folder} && cat stats.py; python3 -m unittest"},
        {"edit": [f"{folder}/stats.py", "(len(numbers) + 1)", "len(numbers)"]},
        {"run": f"cd {folder} && python3 -m unittest && git -c user.name=agent "
                "-c user.email=agent@example.com commit -q -a -m 'mend the mean' && git log --oneline"},
        {"say": "The mean was divided by one too many. It is mended and committed."},
    ]


CHECK = ("cd {folder} && git status --porcelain && git log --format='%an %s' -1 && "
         "python3 -m unittest 2>&1 | tail -1")
CHECKED = "agent mend the mean\nOK\n"
