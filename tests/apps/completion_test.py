#!/usr/bin/env python3
"""Completions and manual pages come from the table of commands: each shell that is installed completes commands, options and values, and each
command has a page that groff formats without a warning and that names each of its options.

  completion_test.py PROGRAM
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

# Words before the cursor, the one at the cursor, what must be among the completions and what must not.
CASES = [([], "pr", {"prune"}, {"inspect", "--block"}),
         ([], "", {"inspect", "mask", "help", "completion"}, set()),
         (["prune", "m.onnx"], "--sp", {"--sparsity"}, {"--scope"}),
         (["prune", "--method"], "ob", {"obs"}, {"l2", "--block"}),
         (["prune", "--diagonal"], "", {"keep", "prune"}, set()),
         (["mask"], "un", {"union"}, {"diff"}),
         (["mask", "apply", "a.npz"], "--inp", {"--inputs", "--input-shape"}, {"--sparsity"}),
         (["help"], "--he", {"--help"}, set())]


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, **more)


def in_bash(script, words, last):
    line = ["espalier", *words, last]
    quoted = " ".join(f"'{word}'" for word in line)
    done = run("bash", "-c", f"source '{script}'; COMP_WORDS=({quoted}); COMP_CWORD={len(line) - 1}; _espalier; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
    return set(done.stdout.split()), done.stderr


def in_fish(script, words, last):
    line = " ".join(["espalier", *words, last])
    done = run("fish", "-c", f"source '{script}'; complete -C '{line}'")
    return {text.split("\t")[0] for text in done.stdout.splitlines()}, done.stderr


SHELLS = {"bash": in_bash, "fish": in_fish}


def completions(program, folder):
    wrong = []
    for shell in ("bash", "zsh", "fish"):
        script = os.path.join(folder, f"espalier.{shell}")
        done = run(program, "completion", shell)
        with open(script, "w", encoding="utf-8") as file:
            file.write(done.stdout)
        if done.returncode != 0 or not done.stdout:
            wrong.append(f"completion {shell}: exit {done.returncode}")
        if shutil.which(shell) is None:
            print(f"{shell} is not installed: its completion is not run")
            continue
        checked = run(shell, "-n", script)
        if checked.returncode != 0 or checked.stderr:
            wrong.append(f"{shell} -n: {checked.stderr}")
        if shell not in SHELLS:
            continue
        for words, last, present, absent in CASES:
            found, error = SHELLS[shell](script, words, last)
            if not present <= found or found & absent or error:
                wrong.append(f"{shell}: 'espalier {' '.join([*words, last])}' completes to {sorted(found)}: {error}")
    return wrong


def commands(program, *words):
    """The command lines of all commands, with their --help."""
    text = run(program, *words, "--help").stdout
    found = [(list(words), text)]
    part = text.split("Subcommands:\n", 1)
    if len(part) == 2:
        for name in re.findall(r"^  (\w+)", part[1].split("\n\n")[0], re.M):
            found += commands(program, *words, name)
    return found


def pages(program, folder):
    wrong = []
    run(program, "man", "-o", folder)
    for words, help_text in commands(program):
        page = run(program, "man", *words)
        if page.returncode != 0:
            wrong.append(f"man {' '.join(words)}: exit {page.returncode}: {page.stderr}")
            continue
        name = "-".join(["espalier", *words]) + ".1"
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            if file.read() != page.stdout:
                wrong.append(f"man -o writes another {name} than man prints")
        if shutil.which("groff") is None:
            continue
        shown = run("groff", "-man", "-ww", "-Tascii", "-P-c", os.path.join(folder, name))
        if shown.stderr:
            wrong.append(f"{name}: {shown.stderr}")
        for option in set(re.findall(r"^  (?:-\w,)?(--[\w-]+)", help_text, re.M)):
            if option not in re.sub("\x1b\\[[0-9;]*m|.\b", "", shown.stdout):
                wrong.append(f"{name} does not name {option}")
    return wrong


def main():
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        wrong = completions(program, folder) + pages(program, os.path.join(folder, "man"))
    print("\n".join(wrong) if wrong else "completions and manual pages are those of the commands")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
