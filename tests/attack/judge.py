"""From what the box saw and what arrived outside to a verdict, and to a report."""

import collections
import json
import os
import sys
import zipfile

from recorder import needles

HERE = os.path.dirname(os.path.abspath(__file__))
GOOD = ("refused", "passed", "skipped")


def pack_probe(path):
    """The probe as one file that Python runs."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(os.listdir(os.path.join(HERE, "probe"))):
            if name.endswith(".py"):
                archive.write(os.path.join(HERE, "probe", name), name)


def parse(output):
    """The results in what a probe has printed."""
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def convict(results, arrived):
    """Adds what only the outside knows: words of attacks that have arrived there."""
    by_id = {result["id"]: result for result in results}
    heard = collections.defaultdict(set)
    for said in arrived["said"]:
        heard[said["attack"]].add(f"{said.get('protocol', 'tcp')} {said['address']} "
                                  f"port {said['port']}")
    for entry in arrived["log"]:
        if entry["kind"] == "said":
            heard[entry["attack"]].add(f"{entry['address']} port {entry['port']}")
    for attack, places in heard.items():
        result = by_id.get(attack)
        if result and result["kind"] == "attack":
            result["verdict"] = "LEAKED"
            result["how"] = f"arrived at {', '.join(sorted(places)[:3])}; {result['how']}"
    return results


def attacks_in(text):
    """The attacks whose words are in `text`."""
    return needles(text.encode())


def bad(results):
    return [result for result in results if result["verdict"] not in GOOD]


def report(title, results, out=sys.stderr):
    """One paragraph: counts, the slowest, and each that went wrong."""
    count = collections.Counter((result["kind"], result["verdict"]) for result in results)
    attacks = sum(n for (kind, _), n in count.items() if kind == "attack")
    honest = sum(n for (kind, _), n in count.items() if kind == "legitimate")
    slowest = max(results, key=lambda r: r["seconds"], default=None)
    print(f"{title}: {attacks} attacks, {count['attack', 'refused']} refused; {honest} legitimate, "
          f"{count['legitimate', 'passed']} passed; slowest {slowest['id']} "
          f"{slowest['seconds']:.1f} s" if slowest else f"{title}: nothing", file=out)
    for result in bad(results):
        print(f"  {result['verdict']} {result['id']}: {result['title']}: {result['how']} "
              f"({result['seconds']:.1f} s)", file=out)
