#!/usr/bin/env python3
"""advise: what it measures and what it predicts from a file of another machine; --target-latency by such a file; broken files.

    advise_test.py ESPALIER
"""
import json
import os
import sys
import tempfile

import numpy as np
import onnx

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402


def row(block="16x1", n=1, sparsity=0.5, gflops=20.0, speedup=1.0, **more):
    return {"kernel": block, "block": block, "m": 256, "k": 256, "n": n, "sparsity": sparsity, "dtype": "f32", "threads": 1,
            "gflops_nonzero": gflops, "speedup_vs_dense": speedup} | more


def machine(folder, rows, name="machine.json"):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"machine": {"processor": "target", "simd": "NEON", "threads": 1}, "kernels": rows}, file)
    return path


def advice(program, *arguments):
    return json.loads(peer.espalier(program, "advise", *arguments, "-q", "--json", "-").stdout)


def close(a, b):
    return abs(a - b) < 1e-6 * abs(b)


def predictions_follow_the_file(program, model, folder):
    # Packed times 0.9 d and 1.1 d at half and a fifth of the weights would be: t(d) = 0.4 + 1.2 d of the dense time.
    dense = 10.0  # GFLOP/s on all weights
    rows = [row(sparsity=s, gflops=dense * (1 - s) / (0.4 + 1.2 * (1 - s)), speedup=1 / (0.4 + 1.2 * (1 - s))) for s in (0.5, 0.8)]
    rows += [row("8x1", sparsity=s, gflops=dense * (1 - s) / 2, speedup=0.5) for s in (0.5, 0.9)]  # never faster
    rows.append(row(sparsity=0.9, gflops=1000.0, speedup=50.0, dtype="i8"))  # of other values: not looked at
    found = advice(program, model, "--block", "16x1,8x1", "--machine", machine(folder, rows))
    assert found["machine"]["processor"] == "target", found["machine"]
    assert found["model"]["block"] == "16x1" and close(found["model"]["break_even"], 0.5), found["model"]
    assert found["model"]["worth"] is True  # 1 / 0.64 at 80 %
    weights = 256 * 64 + 256 * 256 + 10 * 256
    by_block = {r["block"]: r for r in found["blocks"]}
    for layer in found["layers"]:
        size = layer["matrix"][0] * layer["matrix"][1] * layer["n"]
        assert close(layer["ms_dense"], 2e-6 * size / dense), layer
        assert close(layer["ms_packed_80"], 0.64 * layer["ms_dense"]), layer
    n = found["layers"][0]["n"]
    assert close(by_block["16x1"]["ms_dense"], 2e-6 * weights * n / dense), by_block
    assert by_block["8x1"]["break_even"] is None and by_block["8x1"]["worth"] is False, by_block
    print("ok   predictions are those of the file's rows")
    return machine(folder, rows)


def what_is_measured_is_complete(program, model, folder):
    found = advice(program, model, "--block", "16x1,1x4", "--threads", "1")
    assert {r["block"] for r in found["blocks"]} == {"16x1", "1x4"}, found["blocks"]
    assert len(found["layers"]) == 3
    for layer in found["layers"]:
        assert layer["ms_dense"] > 0 and layer["ms_packed_90"] > 0 and layer["block"] in ("16x1", "1x4"), layer
        assert layer["break_even"] is None or 0 <= layer["break_even"] <= 1, layer
    text = peer.espalier(program, "advise", model, "--block", "16x1", "--threads", "1").stdout
    assert "worth pruning" in text and "random inputs" in text, text
    print("ok   every layer and block has times of this machine")


def one_product(folder):
    """A model whose time is that of its only layer, on any machine and beside any load: what --target-latency measures beside the layers is next to nothing."""
    m, k, n = 1024, 1024, 128
    weight = np.random.default_rng(1).standard_normal((k, m)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "weight"], ["y"])], "one_product",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [n, k])], [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [n, m])],
        [onnx.numpy_helper.from_array(weight, "weight")])
    path = os.path.join(folder, "one_product.onnx")
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def latency_by_the_file(program, file, folder):
    model = one_product(folder)
    out, report = os.path.join(folder, "out.onnx"), os.path.join(folder, "report.json")
    dense = advice(program, model, "--block", "16x1", "--machine", file)["model"]["ms_dense"]
    share = 0.8  # of the layer's time: more has to go than half of the weights, by the file
    for target, expect in ((share * dense, 0), (0.2 * dense, 1)):
        done = peer.espalier(program, "prune", model, out, "--target-latency", f"{target:.9f}", "--machine", file, "--method", "l2",
                             "--scope", "layer", "--json", report, "-q", expect=expect)
    assert done.stderr.startswith("error: ") and "cannot go lower" in done.stderr, done.stderr
    with open(report, encoding="utf-8") as saved:
        found = json.load(saved)
    assert 0.5 < found["options"]["sparsity"] < 0.95, found["options"]
    assert all(point["ms"] > 0 for point in found["curve"]), found["curve"]
    for arguments in (("--sparsity", "0.5"), ("--target-size", "100000")):
        error = peer.espalier(program, "prune", model, out, *arguments, "--machine", file, expect=2).stderr
        assert "--machine requires --target-latency" in error, error
    print("ok   --target-latency follows the file, and says what it cannot reach")


def what_runs_follows_the_file(program, folder):
    # One weight, packed: rows that call 16x1 slower than dense at any sparsity, then rows that call it faster.
    model, packed = one_product(folder), os.path.join(folder, "packed.onnx")
    peer.espalier(program, "prune", model, packed, "--sparsity", "0.8", "-q")
    for speedup, dense in ((0.1, True), (9.0, False)):
        file = machine(folder, [row(n=64, sparsity=s, speedup=speedup) for s in (0.5, 0.8)], "choice.json")
        text = peer.espalier(program, "bench", packed, "--machine", file, "--seconds", "0.05", "--warmup", "0", "--threads", "1").stdout
        assert ("run dense, as that is quicker: weight" in text) == dense, text
        found = os.path.join(folder, "out")
        x = os.path.join(folder, "x.npy")
        np.save(x, np.ones((128, 1024), np.float32))
        peer.espalier(program, "run", packed, "--inputs", x, "--machine", file, "-o", found)
    error = peer.espalier(program, "bench", "--kernels", "--machine", file, expect=2).stderr
    assert "--kernels takes no MODEL, no --against and no --machine" in error, error
    print("ok   bench and run choose packed or dense by the file")


def broken_files_are_refused(program, model, folder):
    broken = {
        "[]": '"kernels" is missing or not a list',
        '{"kernels": []}': '"kernels" is missing or not a list',
        '{"kernels": [1]}': "kernels[0]: expected an object",
        "{": '"kernels" is missing or not a list',
        json.dumps({"kernels": [row(m=-1)]}): "kernels[0].m: expected a number from 1",
        json.dumps({"kernels": [row(), row(gflops=0)]}): "kernels[1].gflops_nonzero: expected a number from",
        json.dumps({"kernels": [row(block="x")]}): "x",
        json.dumps({"kernels": [row(block="8x1")]}): "block 16x1 is not measured: `espalier bench --kernels",
        json.dumps({"machine": {"threads": "two"}, "kernels": [row()]}): '"machine": expected processor',
    }
    for text, wanted in broken.items():
        path = os.path.join(folder, "broken.json")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        for command in (("advise", model, "--block", "16x1"), ("bench", model), ("prune", model, "--dry-run", "--target-latency", "0.000001")):
            if command[0] == "bench" and "not measured" in wanted:
                continue  # it takes the built-in table where the file knows nothing
            error = peer.espalier(program, *command, "--machine", path, expect=1).stderr
            assert error.startswith("error: ") and error.count("\n") == 1, error
            assert wanted in error and "broken.json" in error, (text, error)
    print(f"ok   {len(broken)} broken files, each refused by name and place")


def main(program):
    model = peer.need_shared("models", "mlp_digits", "model.onnx")
    with tempfile.TemporaryDirectory() as folder:
        file = predictions_follow_the_file(program, model, folder)
        what_is_measured_is_complete(program, model, folder)
        latency_by_the_file(program, file, folder)
        what_runs_follows_the_file(program, folder)
        broken_files_are_refused(program, model, folder)


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
