#!/usr/bin/env python3
"""Reports in headless Chromium: they load nothing, their scripts run without an error, axe-core finds no violation, light, dark and on a phone;
columns sort and masks open by keyboard.

    pages_test.py ESPALIER
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
BANDGRU = os.path.join(peer.ROOT, "testdata/bandgru")
MODEL = os.path.join(BANDGRU, "denoise.onnx")


def look(page):
    done = subprocess.run(["node", os.path.join(HERE, "look.mjs"), page], capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout)


def check(page, charts, masks):
    for found in look(page):
        where = (os.path.basename(page), found["look"])
        assert found["requests"] == [], (where, found["requests"])
        assert found["errors"] == [], (where, found["errors"])
        assert found["violations"] == [], (where, found["violations"])
        assert found["overflow"] <= 0, (where, found["overflow"])
        assert found["charts"] == charts and found["masks"] == masks, (where, found)
        assert found.get("sorted") == 1, (where, found)
        assert masks == 0 or (found["opened"] == 1 and found["closed"] == 1), (where, found)
    print(f"ok   {os.path.basename(page)}: light, dark and phone, {charts} charts, {masks} masks")


def main():
    program = os.path.abspath(sys.argv[1])
    cache = os.environ.get("ESPALIER_CACHE") or os.path.expanduser("~/.cache/espalier")
    modules = os.path.join(cache, "pages/node_modules")
    if not shutil.which("node") or not os.path.exists("/usr/bin/chromium") or not os.path.exists(os.path.join(modules, "axe-core")):
        print("skipped: node, chromium or axe-core is absent (scripts/setup --pages)")
        return peer.SKIPPED
    with tempfile.TemporaryDirectory() as work:
        def file(name):
            return os.path.join(work, name)
        peer.espalier(program, "run", MODEL, "--inputs", os.path.join(BANDGRU, "eval/input_bands.npy"), "-o", work, "-q")
        data = ["--calib", os.path.join(BANDGRU, "calib"), "--eval", os.path.join(BANDGRU, "eval"), "--labels", file("output_gains.npy"), "--metric", "cosine"]
        peer.espalier(program, "prune", MODEL, file("p.onnx"), *data, "--method", "sparsegpt", "--max-drop", "2%", "--html", file("prune.html"), "-q")
        check(file("prune.html"), 1, 6)
        peer.espalier(program, "inspect", MODEL, "--html", file("inspect.html"), "-q")
        check(file("inspect.html"), 0, 0)
        peer.espalier(program, "advise", MODEL, "--block", "16x1,1x4", "--html", file("advise.html"), "-q")
        check(file("advise.html"), 0, 0)
        peer.espalier(program, "sweep", MODEL, "-o", file("grid"), *data, "--method", "sparsegpt,l2", "--sparsity", "0.5,0.9", "--warmup", "0", "--seconds", "0.02", "-q")
        check(file("grid/index.html"), 2, 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
