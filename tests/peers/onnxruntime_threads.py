#!/usr/bin/env python3
"""Sessions and callers of onnxruntime_library_test.py with a library that was built another way, as tests/run --sanitizers does with thread sanitizer.

    LD_PRELOAD=libtsan.so onnxruntime_threads.py ESPALIER LIBRARY
"""
import os
import sys
import tempfile

import onnxruntime_library_test

if __name__ == "__main__":
    os.environ.pop("LD_PRELOAD", None)  # ESPALIER, which makes the files, is not under test
    with tempfile.TemporaryDirectory() as folder:
        found = onnxruntime_library_test.check_threads(*map(os.path.abspath, sys.argv[1:3]), folder)
    print("\n".join(found) or "sessions and callers: no faults")
    sys.exit(bool(found))
