#!/usr/bin/env python3
"""What used to be accepted and must not be, and what used to be refused and must not be, by whole runs of the program: files of strangers."""
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

RANDOM = np.random.default_rng(18)


def floats(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def model(functions=(), nodes=None, initializers=None, sparse=(), ir_version=10, element=TensorProto.FLOAT):
    weight = numpy_helper.from_array(RANDOM.normal(size=(32, 64)).astype(helper.tensor_dtype_to_np_dtype(element)), "w")
    nodes = nodes or [helper.make_node("MatMul", ["x", "w"], ["y"])]
    graph = helper.make_graph(nodes, "net", [helper.make_tensor_value_info("x", element, ["n", 32])],
                              [helper.make_tensor_value_info("y", element, ["n", 64])],
                              [weight] if initializers is None else initializers, sparse_initializer=list(sparse))
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version, functions=list(functions))


def save(proto, path="m.onnx"):
    with open(path, "wb") as file:
        file.write(proto.SerializeToString())
    return path


class Checks:
    def __init__(self, program):
        self.program = program

    def run(self, *arguments):
        return subprocess.run([self.program, *arguments], capture_output=True, text=True, errors="replace")

    def refused(self, path, says):
        """By inspect and by prune, with one line, and prune leaves nothing."""
        for arguments in (["inspect", path], ["prune", path, "out.onnx"]):
            done = self.run(*arguments)
            assert done.returncode == 1, (arguments, done.returncode, done.stderr)
            assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith(f"error: {path}: "), done.stderr
            assert says in done.stderr, done.stderr
        assert not os.path.exists("out.onnx")

    def taken(self, path, warning=""):
        for arguments in (["inspect", path], ["prune", path, "out.onnx", "--min-weights", "1"]):
            done = self.run(*arguments)
            assert done.returncode == 0, (arguments, done.stderr)
            lines = [line for line in done.stderr.splitlines() if "ir_version" in line]
            assert lines == ([f"warning: {path}: {warning}"] if warning else []), done.stderr
        os.remove("out.onnx")

    # ---- accepted before

    def check_ir_versions(self):
        newest = onnx.IR_VERSION
        self.refused(save(model(ir_version=0)), "ir_version is 0, expected 1 to ")
        proto = model()
        proto.ClearField("ir_version")
        self.refused(save(proto), "has no ir_version")
        known = self.run("inspect", save(model(ir_version=0))).stderr.split("expected ")[1].strip()
        assert int(known.split()[-1]) <= newest + 1, known
        above = int(known.split()[-1]) + 1
        self.taken(save(model(ir_version=above - 1)))
        self.taken(save(model(ir_version=above)), f"ir_version is {above}, expected {known}; all of its operators and fields are known, so it is "
                                                  f"read as version {above - 1}")
        nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Brandnew", ["h"], ["y"])]
        self.refused(save(model(nodes=nodes, ir_version=above)), "operator Brandnew is unknown")

    def check_external_entries(self):
        for twice in ("location", "offset", "length"):
            proto = model()
            weight = proto.graph.initializer[0]
            with open("w.bin", "wb") as file:
                file.write(weight.raw_data)
            weight.ClearField("raw_data")
            weight.data_location = TensorProto.EXTERNAL
            for key, value in (("location", "w.bin"), ("offset", "0"), ("length", str(32 * 64 * 4))):
                for _ in range(2 if key == twice else 1):
                    entry = weight.external_data.add()
                    entry.key, entry.value = key, value
            self.refused(save(proto), f"external data: duplicate {twice}")

    def check_circles(self):
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]

        def function(name, calls):
            return helper.make_function("local", name, ["a"], ["b"], [helper.make_node(calls, ["a"], ["b"], domain="local")], imports)

        nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("f", ["h"], ["y"], domain="local")]
        self.refused(save(model([function("f", "g"), function("g", "f")], nodes)), "functions call each other in a cycle: local.f -> local.g -> local.f")
        self.refused(save(model([function("unused", "unused")])), "functions call each other in a cycle")

    def check_recipes(self):
        save(model())
        for text in ('{"exclude": ["(*"]}', '{"force": ["[z"]}', '{"layers": [{"match": "a{2,1}", "skip": true}]}'):
            with open("r.json", "w", encoding="utf-8") as file:
                file.write(text)
            done = self.run("prune", "m.onnx", "out.onnx", "--recipe", "r.json")
            assert done.returncode == 1 and "RE2 syntax" in done.stderr and done.stderr.startswith("error: r.json: "), (text, done.stderr)
        assert self.run("prune", "m.onnx", "out.onnx", "--exclude", "(*").returncode == 2

    def check_weights_without_partner(self):
        save(model(), "a.onnx")
        proto = onnx.load("a.onnx")
        proto.graph.initializer[0].name = proto.graph.node[0].input[1] = "other"
        bias = numpy_helper.from_array(np.ones(64, np.float32), "bias")
        for side in (proto, onnx.load("a.onnx")):
            side.graph.initializer.append(bias)
            side.graph.node[0].output[0] = "h"
            side.graph.node.append(helper.make_node("Add", ["h", "bias"], ["y"]))
        save(proto, "renamed.onnx")
        save(side, "more.onnx")
        for a, b, says in (("more.onnx", "renamed.onnx", "1 of 3 weights compared"), ("a.onnx", "more.onnx", "1 of 2 weights compared"),
                           ("more.onnx", "a.onnx", "1 of 2 weights compared")):
            done = self.run("verify", a, b)
            assert done.returncode == 3 and says in done.stdout and "NOT ok" in done.stdout, (a, b, done.stdout, done.stderr)
        done = self.run("verify", "more.onnx", "more.onnx")
        assert done.returncode == 0 and "2 of 2 weights compared" in done.stdout, done.stdout

    # ---- refused before

    def check_doubles(self):
        save(model())
        x = RANDOM.normal(size=(5, 32))
        np.save("d.npy", x)
        np.save("f.npy", x.astype(np.float32))
        rounded, plain = (self.run("run", "m.onnx", "--inputs", file, "-o", file[0]) for file in ("d.npy", "f.npy"))
        assert rounded.returncode == 0 and rounded.stderr.count("rounded to the model's f32") == 1, rounded.stderr
        assert plain.returncode == 0 and not plain.stderr, plain.stderr
        assert np.load("d/output_y.npy").tobytes() == np.load("f/output_y.npy").tobytes()
        done = self.run("prune", "m.onnx", "out.onnx", "--calib", "d.npy", "--sparsity", "0.5")
        assert done.returncode == 0 and done.stderr.count("rounded to the model's f32") == 1, done.stderr
        x[3, 4] = 1e300
        np.save("d.npy", x)
        done = self.run("run", "m.onnx", "--inputs", "d.npy", "-o", "d")
        assert done.returncode == 1 and "element 100 of the array is 1e+300" in done.stderr, done.stderr

    def check_sparse_of_onnxruntime(self):
        """A sparse weight as onnxruntime saves it: indices of the narrowest type that holds them."""
        types = set()
        for columns in (3, 64, 2048):
            dense = np.zeros((32, columns), np.float32)
            places = np.sort(RANDOM.choice(dense.size, dense.size // 20 + 1, replace=False))
            dense.flat[places] = RANDOM.normal(size=len(places))
            values = numpy_helper.from_array(dense.flat[places], "w")
            index = numpy_helper.from_array(places.astype(np.int64), "w_index")
            graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "net", [floats("x", [1, 32])], [floats("y", [1, columns])],
                                      sparse_initializer=[helper.make_sparse_tensor(values, index, list(dense.shape))])
            save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "given.onnx")
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.optimized_model_filepath = "saved.onnx"
            onnxruntime.InferenceSession("given.onnx", options, providers=["CPUExecutionProvider"])
            for tensor in onnx.load("saved.onnx").graph.sparse_initializer:
                types.add(TensorProto.DataType.Name(tensor.indices.data_type))
            self.taken("saved.onnx")
            done = self.run("verify", "given.onnx", "saved.onnx")
            assert done.returncode == 0 and "1 of 1 weights compared" in done.stdout, done.stdout + done.stderr
        assert types & {"INT8", "INT16", "INT32"}, f"onnxruntime wrote {types}: this proves nothing"
        print(f"     onnxruntime {onnxruntime.__version__} wrote indices of {', '.join(sorted(types))}")

    def check_half_outputs(self):
        """Outputs of f16 one step apart are within; with --rel they are not."""
        save(model(element=TensorProto.FLOAT16))
        x = RANDOM.normal(size=(4, 32)).astype(np.float16)
        os.makedirs("data", exist_ok=True)
        np.save("data/input_x.npy", x)
        assert self.run("run", "m.onnx", "--inputs", "data", "-o", "data").returncode == 0
        y = np.load("data/output_y.npy")
        np.save("data/output_y.npy", np.nextafter(y, np.float16(np.inf)))
        done = self.run("run", "m.onnx", "--inputs", "data", "--check")
        assert done.returncode == 0 and "output y is f16: an element may differ by 0.0039 + 0.0039" in done.stdout, done.stdout + done.stderr
        assert self.run("run", "m.onnx", "--inputs", "data", "--check", "--abs", "0", "--rel", "1e-4").returncode == 3
        np.save("data/output_y.npy", (y.astype(np.float32) * 1.02).astype(np.float16))
        assert self.run("run", "m.onnx", "--inputs", "data", "--check").returncode == 3


def main(program):
    checks = Checks(os.path.abspath(program))
    names = [name for name in dir(checks) if name.startswith("check_")]
    failed = 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                getattr(checks, name)()
                print(f"ok   {name}")
            except Exception as error:  # noqa: BLE001: the other checks still run
                failed += 1
                print(f"FAIL {name}: {type(error).__name__} {error}")
            os.chdir("/")
    return peer.verdict(len(names), failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
