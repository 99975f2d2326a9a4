#!/usr/bin/env python3
"""Every model of ../shared/exports, as today's exporters write them: what inspect lists, what run, prune and convert make of it, in onnxruntime and in
stock tract. Prints the table of docs/exporters.md and compares it with that page; --list writes it.

  exporters_test.py ESPALIER [MODEL...] [--list]

Columns  inspect    layers listed, of them left out with a reason, constants of rank 2 and more besides (named with the reason)
         run        run --check on the stored inputs and outputs: the largest difference
         l2 70 %    prune --method l2 --sparsity 0.7 --block 16x1 --min-weights 1: difference between onnxruntime and espalier on the written file
         calib 50 % the same with --calib and --sparsity 0.5
         convert    bytes that convert writes over those of the file given; "= prune" where prune --sparsity 0 writes at most 3 % less
         tract      convert to NNEF: difference between stock tract on it and onnxruntime on the model
"""
import glob
import json
import os
import re
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

PAGE = os.path.join(peer.ROOT, "docs/exporters.md")
TOLERANCE = 1e-4
HALF = 2e-3  # f16: a rounding of each product
# What a file of ONNX holds besides its weights: names of parts, a decode for each packed weight.
METADATA = 256
COLUMNS = ["inspect", "run", "l2 70 %", "calib 50 %", "convert", "tract"]
# Models that are refused, and the reason, by column.
REFUSED = {
    "torch_linear_f64": {"l2 70 %": "f64 is not pruned", "calib 50 %": "f64 is not pruned"},
}


class Fault(Exception):
    pass


def report(program, folder, *arguments, expect=0):
    path = os.path.join(folder, "report.json")
    done = peer.espalier(program, *arguments, "-q", "--json", path, expect=expect)
    if expect:
        return done.stderr
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def constants(path):
    """Names of the constants of rank 2 and more, without empty ones, that an operator reads, and nobody else than Identity or Constant."""
    model = onnx.load(path)
    return {name.rsplit("/", 1)[-1] for name, (array, op, _, _) in peer.weights(model).items() if op and array.ndim >= 2 and array.size}


class Model:
    def __init__(self, program, name, folder, root):
        self.program, self.name, self.folder = program, name, folder
        self.source = os.path.join(root, name, "model.onnx")
        self.data = os.path.join(os.path.dirname(self.source), "test_data_set_0")
        session = peer.session(self.source)
        self.feed = peer.test_inputs(self.source, session)
        self.expected = session.run(None, self.feed)
        half = any(i.dtype == np.float16 for i in self.feed.values())
        self.tolerance = HALF if half else TOLERANCE

    def path(self, name):
        return os.path.join(self.folder, name)

    def size(self, path):
        """With the data files that it names."""
        model = onnx.load(path, load_external_data=False)
        outside = {e.value for i in model.graph.initializer for e in i.external_data if e.key == "location"}
        return os.path.getsize(path) + sum(os.path.getsize(os.path.join(os.path.dirname(path), name)) for name in outside)

    def within(self, difference):
        if not difference <= self.tolerance:
            raise Fault(f"differs by {difference:.1e}")
        return "equal"

    def inspect(self):
        found = report(self.program, self.folder, "inspect", self.source)
        layers = {layer["weight"].rsplit("/", 1)[-1]: layer for layer in found["layers"]}
        others = {one["weight"].rsplit("/", 1)[-1] for one in found.get("other_constants", [])}
        # A weight that several layers are parts of gives each of them a name that begins with its own.
        parts = {name.rsplit(".", 1)[0] for name in layers}
        missing = constants(self.source) - layers.keys() - others - parts
        if missing:
            raise Fault(f"not listed: {', '.join(sorted(missing))}")
        left_out = sum(bool(layer["left_out"]) for layer in layers.values())
        text = f"{len(layers)} layers" if len(layers) != 1 else "1 layer"
        text += f", {left_out} left out" if left_out else ""
        return text + (f", {len(others)} other" if others else "")

    def run(self):
        peer.espalier(self.program, "run", self.source, "--inputs", os.path.dirname(self.source), "--check", "-q")
        return "equal"

    def ours(self, path):
        out = self.path("run")
        peer.espalier(self.program, "run", path, "--inputs", self.data, "-o", out, "-q")
        names = [o.name for o in onnx.load(path, load_external_data=False).graph.output]
        return [np.load(os.path.join(out, f"output_{name}.npy")) for name in names]

    def prune(self, share, *options):
        out = self.path("pruned.onnx")
        found = report(self.program, self.folder, "prune", self.source, out, "--block", "16x1", "--sparsity", share, "--min-weights", "1", *options)
        pruned = [layer for layer in found["layers"] if not layer["left_out"]]
        if not pruned:
            raise Fault(f"nothing was pruned: {found['layers'][0]['left_out']}")
        onnx.checker.check_model(out)
        difference = peer.relative_difference(self.ours(out), peer.session(out).run(None, self.feed))
        zeros = sum(layer["zeros"] * layer["weights"] for layer in pruned) / sum(layer["weights"] for layer in pruned)
        if zeros < float(share) - 0.15:  # blocks that stick out of small weights
            raise Fault(f"{zeros:.0%} zeros")
        return self.within(difference)

    def convert(self):
        packed, pruned = self.path("converted.onnx"), self.path("kept.onnx")
        peer.espalier(self.program, "convert", self.source, packed, "-q")
        size, before = self.size(packed), self.size(self.source)
        if size > before + METADATA:
            raise Fault(f"grows from {before} to {size} bytes")
        layers = report(self.program, self.folder, "inspect", self.source)["layers"]
        if any(layer["zeros"] > 0.3 for layer in layers if not layer["left_out"]):  # made in training
            peer.espalier(self.program, "prune", self.source, pruned, "-q", "--sparsity", "0", "--min-weights", "1")
            least = self.size(pruned)
            if size > 1.03 * least:
                raise Fault(f"{size} bytes, prune --sparsity 0 {least} of {before}")
        self.within(peer.relative_difference(peer.session(packed).run(None, self.feed), self.expected))
        return f"{round(100 * size / before)} %"

    def tract(self):
        out = self.path("model.nnef.tgz")
        try:
            peer.espalier(self.program, "convert", self.source, out, "-q")
            found = peer.tract_outputs("", out, [self.feed])[0]
        except RuntimeError:
            shapes = [option for name, value in self.feed.items() for option in ("--shape", f"{name}:{','.join(map(str, value.shape))}")]
            peer.espalier(self.program, "convert", self.source, out, "-q", *shapes)
            found = peer.tract_outputs("", out, [self.feed])[0]
        return self.within(peer.relative_difference(found, self.expected))

    def cell(self, column):
        ways = {"inspect": self.inspect, "run": self.run, "l2 70 %": lambda: self.prune("0.7", "--method", "l2"),
                "calib 50 %": lambda: self.prune("0.5", "--calib", self.data), "convert": self.convert, "tract": self.tract}
        reason = REFUSED.get(self.name, {}).get(column)
        try:
            text = ways[column]()
        except Exception as error:  # noqa: BLE001
            told = peer.one_line(error, 400)
            return (True, f"refused: {reason}") if reason and reason in told else (False, told)
        return (True, text) if not reason else (False, f"{text}, expected: {reason}")


def row_of(program, name, root):
    """The row of the model root/name/model.onnx, and what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        model = Model(program, name, folder, root)
        results = [model.cell(column) for column in COLUMNS]
    faults = [f"{name}, {column}: {text}" for column, (good, text) in zip(COLUMNS, results) if not good]
    return f"| {name} | " + " | ".join(text if good else "FAIL" for good, text in results) + " |", faults


def write_page(table):
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    head = f"| model | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}\n"
    page = re.sub(r"\| model \|.*?\n(?=\n|\Z)", lambda _: head + "\n".join(table) + "\n", page, count=1, flags=re.DOTALL)
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(page)


def main(program, names, write):
    exports = peer.need_shared("exports")
    every = sorted(os.path.basename(os.path.dirname(path)) for path in glob.glob(os.path.join(exports, "*", "model.onnx")))
    table, faults = [], []
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    for name in names or every:
        row, found = row_of(program, name, exports)
        if not write and row not in page:
            found.append(f"{name}: docs/exporters.md has another row: exporters_test.py ESPALIER --list writes it")
        print("\n".join([row, *(f"FAIL {fault}" for fault in found)]), flush=True)
        table.append(row)
        faults += found
    if write and not names:
        write_page(table)
    return peer.verdict((len(names) or len(every)) * len(COLUMNS), len(faults))


if __name__ == "__main__":
    arguments = [a for a in sys.argv[1:] if a != "--list"]
    sys.exit(main(os.path.abspath(arguments[0]), arguments[1:], "--list" in sys.argv))
