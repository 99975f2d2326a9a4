#!/usr/bin/env python3
"""Every way of spelling packed weights in ONNX, judged by stock peers: the full checker takes the file, onnxruntime computes from it what it
computes from the dense file, tract runs the inline profile, and converting back gives the dense file's weights bit for bit. Values of f16,
bf16 and i8 likewise, pruned here or in training: equal to the model whose weights are what they decode to, i8 with numpy's own product.

onnx_roundtrip_test.py ESPALIER [MODEL...]
"""
import os
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

MODELS = ("mlp_digits", "cnn_digits", "gru_digits", "bandgru_denoise", "silero_vad_16k_op15")
BLOCKS = ("16x1", "5x3", "1x1")
VALUES = ("f16", "bf16", "i8")
VALUE_MODELS = ("mlp_digits", "cnn_digits", "bandgru_trained_16x1_90")  # the last one keeps the zeros that it was trained with
# profile, index, whether onnx's full checker knows it
SPELLINGS = (("function", "grid", True), ("function", "first-element", True), ("inline", "grid", True), ("inline", "first-element", True),
             ("function", "bitmap", True), ("inline", "bitmap", True), ("region", "bitmap", True),
             ("sparse-value", "grid", True), ("sparse-initializer", "grid", False),
             ("operator", "grid", True), ("region", "grid", True))


def outputs(path, model):
    session = peer.session(path)
    return session.run(None, peer.test_inputs(model, session))


def tract_output(path, x):
    import tract
    model = tract.onnx().load(path)
    model.set_input_fact(0, f"{','.join(map(str, x.shape))},f32")
    return model.into_model().into_runnable().run([x])[0].to_numpy()


def differing_weights(a, b):
    a, b = peer.weights(onnx.load(a)), peer.weights(onnx.load(b))
    return [name for name, (array, *_) in a.items() if name not in b or b[name][0].tobytes() != array.tobytes()]


def check(program, name, block, folder):
    """Faults, one line each."""
    model = os.path.join(peer.SHARED, "models", name, "model.onnx")
    path = lambda what: os.path.join(folder, what)  # noqa: E731
    common = ["prune", model, "--block", block, "--sparsity", 0.8, "--method", "l2", "--no-verify"]
    peer.espalier(program, *common, "-o", path("dense.onnx"), "--profile", "dense")
    expected = outputs(path("dense.onnx"), model)
    faults = []
    for profile, index, checked in SPELLINGS:
        spelled = path(f"{profile}-{index}.onnx")
        say = lambda fault: faults.append(f"{name} {block} {profile} {index}: {fault}")  # noqa: E731,B023
        peer.espalier(program, *common, "-o", spelled, "--profile", profile, "--index", index)
        if checked:
            onnx.checker.check_model(spelled, full_check=True)
        difference = peer.relative_difference(outputs(spelled, model), expected)
        if difference != 0:
            say(f"onnxruntime's outputs differ by {difference:.2g} from those of the dense file")
        peer.espalier(program, "convert", spelled, path("back.onnx"), "--profile", "dense")
        if differing := differing_weights(path("dense.onnx"), path("back.onnx")):
            say(f"decoded weights differ: {', '.join(differing[:3])}")
        peer.espalier(program, "convert", spelled, path("again.onnx"), "--profile", profile, "--index", index, "--pack", "none")
        if onnx.load(spelled) != onnx.load(path("again.onnx")):
            say("read and written again, the file is another")
    return faults


def product_faults(packed, dense):
    """Weights of i8 values in blocks on the grid of one part, whole blocks: what their parts stand for, against the decoded ones."""
    found = {t.name: numpy_helper.to_array(t) for t in onnx.load(packed).graph.initializer}
    decoded = {t.name: numpy_helper.to_array(t) for t in onnx.load(dense).graph.initializer}
    faults, compared = [], 0
    for name, scale in ((n[:-len("/scale")], s) for n, s in found.items() if n.endswith("/scale")):
        parts, rows, _ = scale.shape
        if parts != 1 or f"{name}/diagonal" in found or name not in decoded:
            continue
        values, weight = found[f"{name}/values"], decoded[name]
        (_, block_rows, block_cols), cols = values.shape, weight.size // rows
        if rows % block_rows or cols % block_cols:
            continue
        tiles = np.zeros((rows // block_rows, cols // block_cols, block_rows, block_cols), np.float32)
        tiles[tuple(found[f"{name}/index"].astype(np.int64).T)] = values
        matrix = tiles.transpose(0, 2, 1, 3).reshape(rows, -1) * scale[0]
        as_stored = matrix.T if weight.ndim == 2 and weight.shape != matrix.shape else matrix
        compared += 1
        if as_stored.size != weight.size or (as_stored.reshape(weight.shape) != weight).any():
            faults.append(f"{name}: values times scale are not the decoded weight")
    return faults, compared


def check_values(program, name, values, folder):
    model = os.path.join(peer.SHARED, "models", name, "model.onnx")
    path = lambda what: os.path.join(folder, what)  # noqa: E731
    trained = "trained" in name
    common = ["convert", model, "--no-verify"] if trained else ["prune", model, "--block", "16x1", "--sparsity", 0.8, "--method", "l2", "--no-verify"]
    faults = []
    for profile, index, checked in SPELLINGS[:6]:
        spelled = path(f"{profile}-{index}.onnx")
        say = lambda fault: faults.append(f"{name} {values} {profile} {index}: {fault}")  # noqa: E731,B023
        peer.espalier(program, *common, "-o", spelled, "--profile", profile, "--index", index, "--values", values)
        onnx.checker.check_model(spelled, full_check=True)
        stored = {t.data_type for t in onnx.load(spelled).graph.initializer if t.name.endswith("/values")}
        if stored != {{"f16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16, "i8": TensorProto.INT8}[values]}:
            say(f"values are stored as types {stored}")
        peer.espalier(program, "convert", spelled, path("decoded.onnx"), "--profile", "dense")
        expected = outputs(path("decoded.onnx"), model)
        difference = peer.relative_difference(outputs(spelled, model), expected)
        if difference != 0:
            say(f"onnxruntime's outputs differ by {difference:.2g} from those of the decoded file")
        peer.espalier(program, "convert", spelled, path("again.onnx"), "--profile", profile, "--index", index, "--pack", "none")
        if onnx.load(spelled) != onnx.load(path("again.onnx")):
            say("read and written again, the file is another")
        if values == "i8" and index == "grid":
            wrong, compared = product_faults(spelled, path("decoded.onnx"))
            for fault in wrong if compared else ["no weight of one part was compared"]:
                say(fault)
    return faults


def check_tract(program, folder):
    """The inline profile needs no functions, so that tract runs it, exactly: it only moves numbers."""
    model = os.path.join(peer.SHARED, "models/mlp_digits/model.onnx")
    inline = os.path.join(folder, "inline.onnx")
    faults = []
    for block, values in [(block, "f32") for block in BLOCKS] + [("16x1", "f16"), ("16x1", "i8")]:
        common = ["prune", model, "--block", block, "--sparsity", 0.8, "--method", "l2", "--no-verify", "--values", values]
        peer.espalier(program, *common, "-o", inline, "--profile", "inline")
        session = peer.session(inline)
        feed = peer.test_inputs(model, session)
        (x,), expected = feed.values(), session.run(None, feed)
        if (difference := peer.relative_difference([tract_output(inline, x)], expected)) > 1e-4:
            faults.append(f"tract's output of the inline profile with {block} of {values} differs by {difference:.2g}")
    return faults


def old_model(path, opset):
    """x -> Unsqueeze -> MatMul -> Pad, spelled as old opsets had it."""
    rng = np.random.default_rng(3)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Unsqueeze", ["h"], ["u"], axes=[0]),
         helper.make_node("Softmax", ["u"], ["s"], axis=2), helper.make_node("Squeeze", ["s"], ["y"], axes=[0])], "old",
        [value("x", TensorProto.FLOAT, [2, 64])], [value("y", TensorProto.FLOAT, [2, 64])],
        [numpy_helper.from_array(rng.standard_normal((64, 64)).astype(np.float32), "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=4), path)


def check_old_opset(program, folder):
    """ScatterND came with opset 11: an older model is brought up to it."""
    model, packed = os.path.join(folder, "old.onnx"), os.path.join(folder, "packed.onnx")
    old_model(model, 9)
    common = ["prune", model, "--block", "16x1", "--sparsity", 0.8, "--method", "l2", "--no-verify"]
    peer.espalier(program, *common, "-o", packed)
    found = onnx.load(packed)
    onnx.checker.check_model(found, full_check=True)
    if found.opset_import[0].version != 11 or "ScatterND" not in [node.op_type for node in found.graph.node]:
        return [f"opset 9 was written as opset {found.opset_import[0].version}, or not packed"]
    peer.espalier(program, *common, "-o", model + ".dense.onnx", "--profile", "dense")
    x = {"x": np.random.default_rng(4).standard_normal((2, 64)).astype(np.float32)}
    difference = peer.relative_difference(peer.session(packed).run(None, x), peer.session(model + ".dense.onnx").run(None, x))
    return [f"raised from opset 9, outputs differ by {difference:.2g}"] if difference > 1e-6 else []


def check_converter(program, folder):
    """What onnx's converter changes without a word: linear Upsample and Resize before opset 11, Hardmax before 13."""
    rng, faults = np.random.default_rng(5), []
    weight = rng.standard_normal((32, 48)).astype(np.float32)
    for op, opset, more, values in (("Upsample", 9, {"mode": "linear"}, "f32"), ("Resize", 10, {"mode": "linear"}, "f32"), ("Hardmax", 11, {"axis": 1}, "bf16")):
        shape = {"Hardmax": [2, 3, 32]}.get(op, [1, 1, 2, 32])
        node = helper.make_node(op, ["p"] if op == "Hardmax" else ["p", "s"], ["y"], **more)
        weights = {"w": weight} | ({} if op == "Hardmax" else {"s": np.array([1, 1, 1, 2], np.float32)})
        graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["p"]), node], "old", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                                  [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [numpy_helper.from_array(a, n) for n, a in weights.items()])
        old, dense, packed = (os.path.join(folder, f"{op}-{what}.onnx") for what in ("old", "dense", "packed"))
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=5), old)
        common = ["prune", old, "--block", "4x4", "--sparsity", 0.7, "--method", "l2", "--min-weights", 1, "--values", values, "--no-verify"]
        for out, profile in ((dense, ["--profile", "dense"]), (packed, [])):
            peer.espalier(program, *common, "-o", out, *profile)
        x = rng.standard_normal(shape).astype(np.float32)
        expected, found = (peer.session(path).run(None, {"x": x})[0] for path in (dense, packed))
        if expected.shape != found.shape or np.abs(expected - found).max() > 1e-5:
            faults.append(f"{op} of opset {opset}: the packed file computes something else than the dense one")
    return faults


def main():
    program, names = sys.argv[1], sys.argv[2:]
    peer.need_shared("models")
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        faults += check_old_opset(program, folder)
        faults += check_converter(program, folder)
        faults += check_tract(program, folder)
        for name in names or MODELS:
            for block in BLOCKS:
                faults += check(program, name, block, folder)
        for name in names or VALUE_MODELS:
            for values in VALUES:
                faults += check_values(program, name, values, folder)
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
