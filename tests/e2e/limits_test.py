#!/usr/bin/env python3
"""Every limit that `espalier --limits` prints is tried on both sides: what is at it is read (or refused for another reason, where a whole
file would be too large to make), what is past it is refused by one line that names the limit. A limit without a case here fails."""
import gzip
import json
import os
import re
import struct
import subprocess
import sys
import tempfile

import numpy as np
from onnx import TensorProto, helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

OTHER = "refused for another reason"


def save(path, data):
    mode = "wb" if isinstance(data, bytes) else "w"
    with open(path, mode) as file:
        file.write(data)
    return path


def save_model(path, nodes, inputs, outputs, initializers=(), functions=(), sparse=()):
    graph = helper.make_graph(nodes, "net", inputs, outputs, list(initializers), sparse_initializer=list(sparse))
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10, functions=list(functions))
    return save(path, model.SerializeToString())


def floats(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def good_model(path):
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 4096], np.ones(16384, np.float32))
    return save_model(path, [helper.make_node("MatMul", ["x", "w"], ["y"])], [floats("x", [1, 4])], [floats("y", [1, 4096])], [weight])


class Cases:
    """A method for each limit: value -> (arguments of the program, what the refusal says). `past` tells which side it is."""

    def __init__(self, limits):
        self.limits = limits

    # ---- archives

    def archive_always(self, value, past):
        """Both limits of archives: what may be unpacked follows from the packed size, which follows from what is unpacked."""
        always, ratio = self.limits["archive_always"], self.limits["archive_ratio"]
        size = always
        for _ in range(4):
            size = always + ratio * len(gzip.compress(bytes(size), 9))
        spare = 512 * self.limits["archive_ratio"]
        save("m.tgz", gzip.compress(bytes(size + (spare if past else -spare)), 9))
        return ["inspect", "m.tgz"], "unpack to more than", OTHER

    archive_ratio = archive_always

    # ---- ONNX

    def sparse_model(self, stored, dense_bytes):
        values = helper.make_tensor("w", TensorProto.FLOAT, [stored], np.ones(stored, np.float32))
        places = helper.make_tensor("w_index", TensorProto.INT64, [stored], np.arange(stored))
        sparse = helper.make_sparse_tensor(values, places, [1, dense_bytes // 4])
        save_model("m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], [floats("x", [1, 1])], [floats("y", [1, dense_bytes // 4])],
                   sparse=[sparse])
        return ["inspect", "m.onnx"], "unpack to"

    def sparse_always(self, value, past):
        return self.sparse_model(1, value + (4 if past else 0))

    def sparse_ratio(self, value, past):
        stored = 20000
        return self.sparse_model(stored, 4 * stored * value + (value * 4 if past else 0))

    def onnx_function_nesting(self, value, past):
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
        count = value + past
        functions = [helper.make_function("local", f"f{i}", ["a"], ["b"], [helper.make_node(f"f{i + 1}", ["a"], ["b"], domain="local")], imports)
                     for i in range(count - 1)]
        functions.append(helper.make_function("local", f"f{count - 1}", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], imports))
        save_model("m.onnx", [helper.make_node("f0", ["x"], ["y"], domain="local")], [floats("x", [1])], [floats("y", [1])], functions=functions)
        return ["run", "m.onnx", "--inputs", save_input([1, 1]), "-o", "out"], "functions are nested more than"

    def onnx_function_nodes(self, value, past):
        """A model of the largest size that is accepted would take minutes to run: a small one is what is tried below the limit."""
        imports = [helper.make_opsetid("", 17)]
        inner = 1000
        body = [helper.make_node("Neg", ["a" if i == 0 else f"t{i}"], [f"t{i + 1}" if i < inner - 1 else "b"]) for i in range(inner)]
        calls = value // inner + 1 if past else 2
        nodes = [helper.make_node("f", ["x" if i == 0 else f"u{i}"], [f"u{i + 1}" if i < calls - 1 else "y"], domain="local") for i in range(calls)]
        save_model("m.onnx", nodes, [floats("x", [1])], [floats("y", [1])], functions=[helper.make_function("local", "f", ["a"], ["b"], body, imports)])
        return ["run", "m.onnx", "--inputs", save_input([1, 1]), "-o", "out"], "functions expand to more than"

    # ---- NNEF

    def nnef(self, body="y = relu(x);", before="", after=""):
        os.makedirs("net", exist_ok=True)
        text = f"version 1.0;\nextension KHR_enable_fragment_definitions;\nextension KHR_enable_operator_expressions;\n{before}" \
               f"graph g( x ) -> ( y )\n{{\n x = external<scalar>(shape = [1, 2]);\n {body}\n}}\n"
        save("net/graph.nnef", text + (after(len(text)) if after else ""))
        return ["inspect", "net"]

    def nnef_text_bytes(self, value, past):
        return self.nnef(after=lambda size: "#" * (value + past - size - 1) + "\n"), "the text has .* bytes, expected at most"

    def nnef_expressions(self, value, past):
        """Arrays of numbers that no operator reads. Below: a sixteenth, as each takes room in memory."""
        return self.nnef(f"z = [{'0,' * (value if past else value // 16)}0]; y = relu(x);"), "more than .* expressions", OTHER

    def nnef_nesting(self, value, past):
        depth = value // 2 + (1 if past else -1)  # a call and its argument are a level each
        return self.nnef(f"y = {'neg(' * depth}x{')' * depth};"), "nested deeper than", OTHER

    def nnef_fragment_nesting(self, value, past):
        count = value + past
        called = ["relu", *(f"f{i}" for i in range(1, count))]
        fragments = "".join(f"fragment f{i + 1}( a: tensor<scalar> ) -> ( b: tensor<scalar> ) {{ b = {called[i]}(a); }}\n" for i in range(count))
        return self.nnef(f"y = f{count}(x);", before=fragments), "expanded more than .* deep"

    def nnef_array_nesting(self, value, past):
        lists = "".join(f"b{i} = [b{i - 1}]; " for i in range(2, value + past + 1))
        return self.nnef(f"b1 = [1]; {lists} y = relu(x);"), "arrays are nested deeper", OTHER

    def nnef_steps(self, value, past):
        count = value // 8 + 1 if past else value // 32  # an item costs 8 steps to make, and is looked at more than once
        return self.nnef(f"y = reshape(x, shape = [1] * {count});"), "more steps than", OTHER

    def nnef_nodes(self, value, past):
        count = value + past
        lines = ["h0 = relu(x);"] + [f"h{i} = neg(h{i - 1});" for i in range(1, count - 1)] + [f"y = relu(h{count - 2});"]
        return self.nnef("\n".join(lines)), "the graph has more than"

    def nnef_rank(self, value, past):
        rank = value + past
        shape = [1] * (rank - 1) + [2]
        data = np.zeros(2, np.float32).tobytes()
        header = b"N\xef\x01\x00" + struct.pack("<II", len(data), rank) + struct.pack("<8I", *(shape + [0] * 8)[:8]) + struct.pack("<II", 32, 0)
        self.nnef(f"w = variable<scalar>(shape = {shape}, label = 'w'); y = relu(x);")
        save("net/w.dat", header.ljust(128, b"\0") + data)
        return ["inspect", "net"], "rank"

    # ---- data

    def npy_rank(self, value, past):
        text = str({"descr": "<f4", "fortran_order": False, "shape": (1,) * (value + past)})
        text = text.ljust(128 * 20 - 10) + "\n"
        save("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + b"\0\0\0\0")
        good_model("m.onnx")
        return ["verify", "m.onnx", "m.onnx", "--inputs", "x.npy"], "more than .* axes", OTHER

    def recipe(self, text):
        save("r.json", text)
        return ["prune", good_model("m.onnx"), "--recipe", "r.json", "--dry-run", "--no-verify"]

    def recipe_bytes(self, value, past):
        return self.recipe('{"sparsity": 0.5}'.ljust(value + past)), "the text has .* bytes, expected at most"

    def recipe_nesting(self, value, past):
        depth = value + past - 1  # the object is the first level
        return self.recipe('{"op": ' + "[" * depth + "1" + "]" * depth + "}"), "nested deeper than", OTHER

    def machine(self, extra, size=0):
        row = {"kernel": "16x1", "block": "16x1", "dtype": "f32", "m": 64, "k": 64, "n": 1, "sparsity": 0.5, "threads": 1, "gflops_nonzero": 1,
               "speedup_vs_dense": 2, "share_of_limit": 0.5, "limit": "fma"}
        text = json.dumps({"kernels": [row, {**row, "sparsity": 0.9}], "extra": 0})
        save("k.json", text.replace('"extra": 0', f'"extra": {extra}').ljust(size))
        return ["advise", good_model("m.onnx"), "--block", "16x1", "--machine", "k.json"]

    def machine_bytes(self, value, past):
        return self.machine("0", value + past), "the text has .* bytes, expected at most"

    def machine_nesting(self, value, past):
        depth = value + past - 1
        return self.machine("[" * depth + "1" + "]" * depth), "nested deeper than"

    def statistics(self, length, text):
        save("s.bin", struct.pack("<Q", length) + text.encode())
        return ["prune", good_model("m.onnx"), "--calib", "s.bin", "--dry-run", "--no-verify"]

    START = '{"__metadata__":{"format":"espalier-statistics",'

    def statistics_header_bytes(self, value, past):
        return self.statistics(value + (8 if past else 0), self.START), "the header is .* bytes long", OTHER

    def statistics_nesting(self, value, past):
        depth = value + past - 1
        text = self.START + '"version":"1","layers":"[]"},"x":' + "[" * depth + "1" + "]" * depth + "}"
        text = text.ljust((len(text) + 7) // 8 * 8)
        return self.statistics(len(text), text), "nested deeper than", OTHER

    def statistics_inputs(self, value, past):
        layers = json.dumps([{"weight": "w", "name": "77", "fingerprint": "0" * 16, "inputs": [{"first_part": 0, "parts": 1, "samples": 1}]}])
        text = self.START + f'"version":"1","layers":{json.dumps(layers)}}},"0.0.mean":{{"shape":[{value + past}]}}}}'
        text = text.ljust((len(text) + 7) // 8 * 8)
        return self.statistics(len(text), text), "elements, expected 1 to", OTHER

    # ---- options

    def prune(self, *options):
        return ["prune", good_model("m.onnx"), "--dry-run", "--no-verify", *options]

    def block_extent(self, value, past):
        return self.prune("--block", f"{value + past}x1"), "ROWSxCOLUMNS with both from 1 to"

    def group_extent(self, value, past):
        return self.prune("--nm", f"1:{value + past}"), "N <= M <="

    def schedule_steps(self, value, past):
        return self.prune("--schedule", f"cubic:start=0,steps={value + past}", "--at-step", str(value)), "steps=N with N from 1 to"

    def threads(self, value, past):
        return ["inspect", good_model("m.onnx"), "--threads", str(value + past)], "--threads .*: expected at most"

    # ---- running

    def run_rank(self, value, past):
        shape = [1] * (value + past)
        save_model("m.onnx", [helper.make_node("Relu", ["x"], ["y"])], [floats("x", shape)], [floats("y", shape)])
        return ["run", "m.onnx", "--inputs", save_input(shape), "-o", "out"], "axes, expected at most|at most .* axes"

    def random_input_bytes(self, value, past):
        """Below: a thousandth, which takes no time to run."""
        count = value // 4 + 1 if past else value // 4096
        save_model("m.onnx", [helper.make_node("ReduceMax", ["x"], ["y"])], [floats("x", [1, count])], [floats("y", [1, 1])])
        return ["bench", "m.onnx", "--warmup", "0", "--seconds", "0.01"], "takes more than 1 GiB"


def save_input(shape):
    np.save("x.npy", np.ones(shape, np.float32))
    return "x.npy"


def check(program, name, value, cases):
    """What is wrong with one limit."""
    faults = []
    for past in (0, 1):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            arguments, says, *allowed = getattr(cases, name)(value, past)
            done = subprocess.run([program, *arguments], capture_output=True, text=True, errors="replace", timeout=300)
            os.chdir("/")
        error = done.stderr.strip().splitlines()
        refused = re.search(says, done.stderr) is not None
        if past and not (done.returncode in (1, 2) and refused and len(error) == 1 and error[0].startswith("error: ")):
            faults.append(f"past it: exit {done.returncode}, {error[-1:]}")
        if not past and (refused or not (done.returncode == 0 or (done.returncode == 1 and allowed))):
            faults.append(f"at it: exit {done.returncode}, {error[-1:]}")
    return faults


def main(program, *only):
    program = os.path.abspath(program)
    lines = peer.espalier(program, "--limits").stdout.splitlines()
    limits = {line.split()[0]: int(line.split()[1]) for line in lines}
    # A sanitizer takes several times the memory and time of what is large on purpose.
    sanitized = b"__asan_init" in open(program, "rb").read()
    with open(os.path.join(peer.ROOT, "docs/security.md"), encoding="utf-8") as file:
        documented = file.read().splitlines()
    for line in lines:
        assert line in documented, f"docs/security.md lacks this line of --limits: {line}"
    cases = Cases(limits)
    failed = skipped = 0
    for name, value in limits.items():
        if only and name not in only:
            continue
        if sanitized and name in ("nnef_expressions", "nnef_steps", "nnef_nodes"):
            skipped += 1
            continue
        faults = check(program, name, value, cases) if hasattr(cases, name) else ["has no case in this test"]
        failed += bool(faults)
        print(f"{'FAIL' if faults else 'ok  '} {name} {value}{': ' if faults else ''}{'; '.join(faults)}", flush=True)
    if skipped:
        print(f"{skipped} skipped in a sanitizer build")
    return peer.verdict(len(limits), failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
