#!/usr/bin/env python3
"""Counts test cases over one run: count_tests.py RESULTS.

RESULTS holds ctest's JUnit files (one entry per program) and, in cases/, those that GoogleTest
programs wrote themselves. A program that failed without a failed case of its own (it crashed, hung
or is no GoogleTest program) counts as one failure. Exit status 1 if anything failed or nothing ran.
"""

import sys
import xml.etree.ElementTree as xml
from pathlib import Path


def read(path):
    """The root element, or None for a file that a dying program left unfinished."""
    try:
        return xml.parse(path).getroot()
    except xml.ParseError:
        return None


def count_cases(root):
    """(passed, failed, skipped) of one GoogleTest file."""
    passed = failed = skipped = 0
    for case in root.iter("testcase"):
        if case.find("failure") is not None:
            failed += 1
        elif case.find("skipped") is not None or case.get("status") == "notrun":
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def main():
    results = Path(sys.argv[1])
    cases = {}
    for path in results.glob("cases/*.xml"):
        root = read(path)
        if root is not None:
            cases[path.stem] = count_cases(root)

    total = [0, 0, 0]
    broken = []
    for path in sorted(results.glob("*.xml")):
        for program in read(path).iter("testcase"):
            name = program.get("name")
            counts = list(cases.get(name, (0, 0, 0)))
            if program.get("status") == "fail" and counts[1] == 0:
                counts[1] = 1
            elif program.get("status") == "run" and sum(counts) == 0:
                counts[0] = 1
            elif program.get("status") not in ("run", "fail"):
                counts = [0, 0, 1]
            if counts[1]:
                broken.append(name)
            total = [sum(pair) for pair in zip(total, counts)]

    if broken:
        print("failed:", " ".join(broken))
    print("{} passed, {} failed, {} skipped".format(*total))
    return 1 if total[1] or not total[0] else 0


if __name__ == "__main__":
    sys.exit(main())
