#!/usr/bin/env python3
"""`convert packed OUT --profile P` writes a packed model in another profile and changes no bit of it: the blocks of each weight, their values, positions, scales
and diagonals. Every profile of ONNX and NNEF, and from each to the next and to the other format, in one model with every kind of weight; profiles that hold elements in place of blocks
(sparse tensors, dense) keep the elements.    respell_test.py ESPALIER [WORD...]"""
import os
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

ONNX = ("inline", "function", "operator", "region")
NNEF = ("tract", "operator", "opaque", "portable")
ELEMENTS = ("sparse-value", "sparse-initializer", "dense")


def layer(op, weights, inputs, **attributes):
    return op, weights, inputs, attributes


LAYERS = {"product": layer("MatMul", {"W": (48, 64)}, {"x": [1, 48]}),
          "ragged": layer("MatMul", {"W": (45, 67)}, {"x": [1, 45]}),
          "square": layer("MatMul", {"W": (48, 48)}, {"x": [1, 48]}),
          "gemm": layer("Gemm", {"W": (64, 48), "b": (64,)}, {"x": [1, 48]}, transB=1),
          "conv": layer("Conv", {"W": (48, 7, 3, 3)}, {"x": [1, 7, 5, 5]}, kernel_shape=[3, 3]),
          "groups": layer("Conv", {"W": (64, 8, 3, 3)}, {"x": [1, 16, 5, 5]}, kernel_shape=[3, 3], group=2),
          "gru": layer("GRU", {"W": (1, 96, 24), "R": (1, 96, 32), "B": (1, 192)}, {"x": [3, 1, 24]}, hidden_size=32, linear_before_reset=1),
          "lstm": layer("LSTM", {"W": (1, 80, 24), "R": (1, 80, 20), "B": (1, 160)}, {"x": [3, 1, 24]}, hidden_size=20)}


def model(names, path, element=TensorProto.FLOAT):
    """One layer beside the other: each of an input and an output of its own."""
    random, nodes, weights, inputs, outputs = np.random.default_rng(3), [], [], [], []
    for name in names:
        op, shapes, feeds, attributes = LAYERS[name]
        for part, shape in shapes.items():
            values = random.standard_normal(shape).astype(np.float16 if element == TensorProto.FLOAT16 else np.float32)
            weights.append(numpy_helper.from_array(values, f"{name}.{part}"))
        inputs += [helper.make_tensor_value_info(f"{name}.{part}", element, shape) for part, shape in feeds.items()]
        nodes.append(helper.make_node(op, [f"{name}.{part}" for part in (*feeds, *shapes)], [f"{name}.y"], **attributes))
        outputs.append(helper.make_tensor_value_info(f"{name}.y", element, None))
    graph = helper.make_graph(nodes, "layers", inputs, outputs, weights)
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(whole), path)


def blocks(path):
    """What an inline file stores of its packed weights. Names of parts say whose they are, but for small ones that weights share."""
    graph = onnx.load(path).graph
    stored = {t.name: (t.data_type, tuple(t.dims), numpy_helper.to_array(t).tobytes()) for t in graph.initializer}
    return sorted((name, stored[name]) for name in stored if name.endswith(("/values", "/scale", "/diagonal"))), {stored[name] for name in stored if "/" in name}


def elements(path):
    return {name: array.tobytes() for name, (array, *_) in peer.weights(onnx.load(path)).items()}


# values, what there is to pack, profiles of NNEF that have it
CASES = {"f32": ("f32", TensorProto.FLOAT, list(LAYERS), "keep", NNEF[:3]),
         "f32, standard operators": ("f32", TensorProto.FLOAT, [n for n in LAYERS if n not in ("gru", "lstm")], "keep", NNEF),
         "f16": ("f16", TensorProto.FLOAT, list(LAYERS), "keep", NNEF[:3]),
         "i8": ("i8", TensorProto.FLOAT, list(LAYERS), "keep", NNEF[:3]),
         "bf16": ("bf16", TensorProto.FLOAT, list(LAYERS), "keep", ()),
         "weights of f16": ("", TensorProto.FLOAT16, ["product", "ragged", "gemm", "conv", "groups"], "keep", ()),
         "diagonals pruned": ("f32", TensorProto.FLOAT, ["gru", "lstm"], "prune", NNEF[:3])}


def check(program, case, block, index, folder):
    values, element, layers, diagonal, nnef = CASES[case]
    at = lambda name: os.path.join(folder, name)  # noqa: E731
    convert = lambda source, target, *more: peer.espalier(program, "convert", at(source), at(target), "-q", "--pack", "none", "--no-verify", *more)  # noqa: E731
    model(layers, at("model.onnx"), element)
    peer.espalier(program, "prune", at("model.onnx"), at("packed.onnx"), "-q", "--method", "random", "--scope", "layer", "--sparsity", "0.7", "--block", block,
                  "--min-weights", "1", "--diagonal", diagonal, *(["--values", values] if values else []), "--profile", "inline")
    stored = blocks(at("packed.onnx"))
    if sum(name.endswith("/values") for name, _ in stored[0]) < len(layers):
        yield "not all is packed"
    convert("packed.onnx", "wanted.onnx", "--profile", "dense")
    spelled = {profile: f"{profile}.onnx" for profile in ONNX} | {f"NNEF {profile}": f"{profile}.nnef.tar" for profile in nnef}
    for profile, file in spelled.items():
        convert("packed.onnx", file, "--profile", profile.split()[-1])
    for source, file in spelled.items():
        after = list(spelled)[(list(spelled).index(source) + 1) % len(spelled)]
        for target in sorted({source, after, "inline", *list(spelled)[len(ONNX):][:1]}):  # by way of the target
            to = "by_way." + ("nnef.tar" if target.startswith("NNEF") else "onnx")
            convert(file, to, "--profile", target.split()[-1])
            convert(to, "back.onnx", "--profile", "inline")
            if not same(stored, blocks(at("back.onnx")), "NNEF" in source + target):
                yield f"{source} -> {target}: other blocks"
        for profile in ELEMENTS:
            if source not in ("inline", "region"):
                continue
            convert(file, "elements.onnx", "--profile", profile)
            convert("elements.onnx", "dense.onnx", "--profile", "dense")
            if elements(at("dense.onnx")) != elements(at("wanted.onnx")):
                yield f"{source} -> {profile}: other elements"


def same(a, b, by_nnef):
    """NNEF has shapes and names of its own."""
    if by_nnef:
        return sorted(part for _, part in a[0]) == sorted(part for _, part in b[0])
    return a == b


def main(program, words):
    faults = count = 0
    for case in CASES:
        for block in ("16x1", "16x4", "1x1"):
            name = f"{case}, {block}"
            if not all(word in name for word in words):
                continue
            count += 1
            with tempfile.TemporaryDirectory() as folder:
                try:
                    found = list(check(program, case, block, "grid", folder))
                except RuntimeError as error:
                    found = [peer.one_line(error, 300)]
            faults += bool(found)
            print(f"{'FAIL' if found else 'ok  '} {name}{': ' * bool(found)}{'; '.join(found[:6])}", flush=True)
    return peer.verdict(count, faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
