#!/usr/bin/env python3
"""Golden runs of the program: each folder CASE beside this file holds `cmd` (a shell line; $ESPALIER is the program, $TESTDATA the
repository's testdata, $PYTHON this interpreter), `expected_stdout` and `expected_exit`. A case runs in an empty folder of its own.

  golden_test.py PROGRAM [--update] [CASE ...]     --update writes what came out as what is expected
"""
import difflib
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TESTDATA = os.path.abspath(os.path.join(HERE, "../../testdata"))


def read(case, name):
    path = os.path.join(HERE, case, name)
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()


def run(program, case):
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "ESPALIER": program, "TESTDATA": TESTDATA, "PYTHON": sys.executable, "COLUMNS": "110", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(["/bin/sh", "-c", read(case, "cmd")], cwd=folder, env=environment, stdout=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, text=True, errors="replace", timeout=300)
    return done.stdout.replace(TESTDATA, "$TESTDATA").replace(os.path.realpath(folder), "$PWD"), f"{done.returncode}\n"


def main():
    program, *rest = sys.argv[1:]
    update = "--update" in rest
    cases = [c for c in rest if c != "--update"] or sorted(c for c in os.listdir(HERE) if os.path.exists(os.path.join(HERE, c, "cmd")))
    failed = 0
    for case in cases:
        stdout, code = run(os.path.abspath(program), case)
        if update:
            for name, text in (("expected_stdout", stdout), ("expected_exit", code)):
                with open(os.path.join(HERE, case, name), "w", encoding="utf-8") as file:
                    file.write(text)
            continue
        expected = (read(case, "expected_stdout"), read(case, "expected_exit"))
        if (stdout, code) == expected:
            continue
        failed += 1
        print(f"FAIL {case}: exit {code.strip()}, {expected[1].strip()} expected")
        sys.stdout.writelines(difflib.unified_diff(expected[0].splitlines(True), stdout.splitlines(True), "expected", "found"))
    print(f"{len(cases) - failed} of {len(cases)} golden runs as expected")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
