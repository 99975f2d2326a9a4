#!/usr/bin/env python3
"""docs/formats/operator-table.md is what `convert --list-operators` prints. Written again by:

    espalier convert --list-operators --md docs/formats/operator-table.md -q

  operator_table_test.py PROGRAM
"""
import os
import subprocess
import sys

TABLE = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/formats/operator-table.md"))


def main(program):
    done = subprocess.run([program, "convert", "--list-operators", "--md", "-"], capture_output=True, text=True)
    with open(TABLE, encoding="utf-8") as file:
        stored = file.read()
    if done.returncode == 0 and done.stdout == stored and "| LSTM |" in stored and "| deconv |" in stored:
        return 0
    print(f"{TABLE} is out of date: espalier convert --list-operators --md docs/formats/operator-table.md -q\n{done.stderr}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
