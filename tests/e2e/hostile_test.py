#!/usr/bin/env python3
"""Runs the hostile files of ../shared/hostile over the program: every one gets the right verdict, one line and no file left behind."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

runner = peer.need_shared("hostile", "run_hostile.py")
# A sanitizer maps terabytes of shadow memory and keeps freed blocks: bounds on address space and resident memory are for plain builds.
sanitized = b"__asan_init" in open(sys.argv[1], "rb").read()
bounds = ["--address-space", "0", "--max-rss", "2048", "--max-seconds", "20"] if sanitized else []
sys.exit(subprocess.run([sys.executable, runner, sys.argv[1], "--strict", "--reject-code", "1",
                         "--pack", "{tool} convert {model} -o {out}", *bounds]).returncode)
