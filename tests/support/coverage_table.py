#!/usr/bin/env python3
"""Lines that tests ran, folder by folder, from gcovr's JSON summary."""
import collections
import json
import sys


def main(path):
    with open(path, encoding="utf-8") as file:
        files = json.load(file)["files"]
    folders = collections.defaultdict(lambda: [0, 0])
    for entry in files:
        name = entry["filename"].split("/")
        folder = folders["/".join(name[: 1 if name[0] == "apps" else 2])]
        folder[0] += entry["line_covered"]
        folder[1] += entry["line_total"]
    folders["all"] = [sum(f[0] for f in folders.values()), sum(f[1] for f in folders.values())]
    for name, (covered, total) in folders.items():
        print(f"{name:<20}{covered:>8} of {total:>6} lines {100 * covered / max(total, 1):6.1f} %")


if __name__ == "__main__":
    main(sys.argv[1])
