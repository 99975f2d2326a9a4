#!/usr/bin/env python3
"""The profiles of sparse NNEF, each judged by those who it is for. Models of ../shared/models are pruned once as NNEF of the profile and once as
packed ONNX, and onnxruntime says what both must compute:

    portable            the Khronos package parses it, infers its shapes (no intermediate passes 4 MiB) and its Session runs it; stock tract runs it
    operator, tract     stock tract runs it, an old one too; the product is one operator where the profile says so
    opaque              the Khronos package parses it, tract refuses it
    dense               both run it

espalier runs each file, finds the weights packed, and writes it in the other profiles and as ONNX. What a profile cannot spell is refused by name.

    nnef_profiles_test.py ESPALIER [NAME...]
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnx

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402
import tract_models  # noqa: E402

TOLERANCE = 1e-4
MOST = 4 << 20  # bytes of an intermediate of the portable profile
PROFILES = ["tract", "portable", "operator", "opaque", "dense"]
FEEDFORWARD = ["mlp_digits", "cnn_digits", "bandgru in", "bandgru out", "made 1200x700"]  # the last in several strips
RECURRENT = ["gru_digits", "bandgru_trained_16x1_90", "dtln_1"]
# Options of prune; what is written besides the profile.
WAYS = {
    "16x1 70 %": ["--block", "16x1", "--sparsity", "0.7"],
    "5x3": ["--block", "5x3", "--sparsity", "0.7"],
    "1x1": ["--block", "1x1", "--sparsity", "0.7"],
    "16x1 99.9 %": ["--block", "16x1", "--sparsity", "0.999", "--scope", "layer"],
    "8x4 i8": ["--block", "8x4", "--sparsity", "0.5", "--values=i8"],
    "16x4 f16": ["--block", "16x4", "--sparsity", "0.5", "--values=f16"],
}
SESSION_WAYS = [way for way, options in WAYS.items() if "--values=f16" not in options]  # the Khronos Session reads no floats of 16 bits
INDEXES = {"tract": ["first-element", "mask", "bitmap"], "portable": ["mask"]}  # besides grid
OLD_TRACT = "0.21.19"


def made(model, folder):
    """One Gemm of that many outputs and inputs."""
    outputs, inputs = map(int, model.split()[1].split("x"))
    random = np.random.default_rng(3)
    weights = [onnx.numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name) for name, shape in (("w", (outputs, inputs)), ("b", (outputs,)))]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)], "made", [onnx.helper.make_tensor_value_info("x", 1, [2, inputs])],
                                   [onnx.helper.make_tensor_value_info("y", 1, [2, outputs])], weights)
    path = os.path.join(folder, "made.onnx")
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def source_of(model, folder):
    """The ONNX file. "bandgru in" and "bandgru out" are the products of bandgru around its GRUs, which the Khronos package does not know."""
    if " " not in model:
        return peer.need_shared("models", model, "model.onnx")
    if model.startswith("made "):
        return made(model, folder)
    path = peer.need_shared("models", "bandgru_denoise", "model.onnx")
    whole = onnx.load(path)
    graph = whole.graph
    first = next(i for i, node in enumerate(graph.node) if node.op_type == "GRU")
    last = max(i for i, node in enumerate(graph.node) if node.op_type == "GRU")
    weights = {i.name for i in graph.initializer}
    product = next(n for n in (graph.node[:first] if model.endswith("in") else graph.node[last:]) if n.op_type == "MatMul")
    begin = next(i for i in product.input if i not in weights)
    follower = next(n for n in graph.node if product.output[0] in n.input)
    width = {i.name: list(i.dims) for i in graph.initializer}[product.input[1]][0]
    part = onnx.helper.make_graph([product, follower], "dense layer", [onnx.helper.make_tensor_value_info(begin, 1, [3, width])],
                                  [onnx.helper.make_tensor_value_info(follower.output[0], 1, None)],
                                  [i for i in graph.initializer if i.name in set(product.input) | set(follower.input)])
    target = os.path.join(folder, model.replace(" ", "_") + ".onnx")
    onnx.save(onnx.shape_inference.infer_shapes(onnx.helper.make_model(part, opset_imports=whole.opset_import, ir_version=whole.ir_version)), target)
    return target


def feeds_of(model, source):
    session = peer.session(source)
    if " " in model:
        given = session.get_inputs()[0]
        return [{given.name: np.random.default_rng(7).standard_normal(given.shape).astype(np.float32)}]
    feeds = [peer.test_inputs(source, session, i) for i in range(2)]
    return [feed for feed in feeds if all(feed[name].shape == value.shape for name, value in feeds[0].items())]


def unpacked(path):
    """A folder: the Khronos package reads no archives."""
    if os.path.isdir(path):
        return path
    shutil.unpack_archive(path, path + ".d", "gztar")
    return path + ".d"


def text_of(path):
    with open(os.path.join(unpacked(path), "graph.nnef"), encoding="utf-8") as file:
        return file.read()


def fragments_of(path):
    return re.findall(r"^fragment (\w+)", text_of(path), re.M)


def shapes_of(feeds):
    """Options that bind every extent of the inputs."""
    return [f"--shape={name}:{','.join(map(str, value.shape))}" for name, value in feeds[0].items()]


def want(condition, what):
    if not condition:
        raise RuntimeError(what)


def near(found, expected, what, tolerance=TOLERANCE):
    difference = tract_models.worst(found, expected)
    want(difference <= tolerance, f"{what} differs by {difference:.1e}")


def parsed(path):
    """The graph as the Khronos package has it, operators of the file expanded, shapes inferred."""
    import nnef
    graph = nnef.load_graph(unpacked(path), lowered=fragments_of(path))
    nnef.infer_shapes(graph)
    return graph


def khronos_runs(path, feeds, expected):
    near([peer.khronos_outputs(unpacked(path), list(feed.values()), fragments_of(path)) for feed in feeds], expected, "Khronos Session")


def check_portable(path, feeds, expected, runs):
    graph = parsed(path)
    inputs = set(graph.inputs) | {name for op in graph.operations if op.name == "variable" for name in op.outputs.values()}
    for name, tensor in graph.tensors.items():
        size = 4 * int(np.prod(tensor.shape))
        want(name in inputs or size <= MOST, f"{name} {tensor.shape} is an intermediate of {size} bytes")
    if runs:
        khronos_runs(path, feeds, expected)
    near(peer.tract_outputs("", path, feeds), expected, "tract")
    want("extension tract" not in text_of(path), "the file names a registry of tract")


def check_opaque(path):
    import nnef
    want("extension tract" not in text_of(path), "the file names a registry of tract")
    want(re.search(r"^fragment block_sparse_decode[^{]*;$", text_of(path), re.M), "there is no decode without a body")
    nnef.parse_file(os.path.join(unpacked(path), "graph.nnef"))
    try:
        peer.tract_outputs("", path, [])
    except RuntimeError:
        return
    raise RuntimeError("tract takes it")


def packed_layers(program, path, folder):
    report = os.path.join(folder, "inspect.json")
    peer.espalier(program, "inspect", path, "--json", report, "-q")
    with open(report, encoding="utf-8") as file:
        return sum(layer["bytes"] < 3.5 * layer["weights"] for layer in json.load(file)["layers"])


def run_here(program, path, outputs_of, feeds, folder):
    names = [o.name for o in peer.session(outputs_of).get_outputs()]
    outputs = []
    for feed in feeds:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            np.savez(os.path.join(place, "in.npz"), **feed)
            peer.espalier(program, "run", path, "--inputs", os.path.join(place, "in.npz"), "-o", place, "-q")
            outputs.append([np.load(os.path.join(place, f"output_{name}.npy")) for name in names])
    return outputs


def check(program, model, way, profile, index, ending, folder):
    source = source_of(model, folder)
    feeds = feeds_of(model, source)
    path, onnx_path, again = (os.path.join(folder, name) for name in (f"model{ending}", "packed.onnx", "again.onnx"))
    prune = ["prune", source, "-q", "--no-verify", "--method", "l2", *WAYS[way], *shapes_of(feeds)]
    peer.espalier(program, *prune, onnx_path)
    options = ["--profile", profile, "--index", index, "--keep-io-names"]
    if profile == "dense":
        peer.espalier(program, "convert", onnx_path, path, "-q", "--no-verify", *options)
    else:
        peer.espalier(program, *prune, path, *options)
    expected = tract_models.run_onnx(onnx_path, feeds)
    packed = packed_layers(program, onnx_path, folder)
    want(packed > 0, "no weight is packed")
    if profile == "portable":
        check_portable(path, feeds, expected, way in SESSION_WAYS)
    elif profile == "opaque":
        check_opaque(path)
    else:
        for version in ["", OLD_TRACT] if model in FEEDFORWARD else [""]:
            near(peer.tract_outputs(version, path, feeds), expected, f"tract {version}")
    if profile == "operator":
        products = re.search(r"= block_sparse_(?:matmul|linear)\w*\(", text_of(path))
        want(model in RECURRENT or bool(products) == ("--values=i8" not in WAYS[way]), "products: " + str(products))
    if profile == "dense":
        khronos_runs(path, feeds, expected)
        packed = 0
    near(run_here(program, path, onnx_path, feeds, folder), expected, "espalier", 1e-2 if "--values=i8" in WAYS[way] else TOLERANCE)  # inputs of 8 bits
    found = packed_layers(program, path, folder)
    want(found == packed, f"{found} packed layers are read back, {packed} were written")
    peer.espalier(program, "convert", path, again, "-q", "--no-verify", *(["--profile", "dense"] if packed == 0 else []))
    near(tract_models.run_onnx(again, feeds), expected, "ONNX of it")
    for profile in PROFILES[:4] if packed and model in FEEDFORWARD[:2] and way in list(WAYS)[:2] and index == "grid" else []:
        other = os.path.join(folder, profile + ending)
        peer.espalier(program, "convert", path, other, "-q", "--no-verify", "--profile", profile)
        near(run_here(program, other, onnx_path, feeds, folder), expected, f"{profile} of it")
        want(packed_layers(program, other, folder) == packed, f"{profile} of it is packed no more")


def check_same_bytes(program, model, profile, ending, folder):
    source = source_of(model, folder)
    paths = [os.path.join(folder, f"{i}{ending}") for i in "ab"]
    for path in paths:
        peer.espalier(program, "prune", source, path, "-q", "--method", "l2", "--deterministic", "--profile", profile, *WAYS["16x1 70 %"], *shapes_of(feeds_of(model, source)))
    done = subprocess.run(["diff", "-r", *paths], capture_output=True, text=True)
    want(done.returncode == 0, done.stdout)


def check_refused(program, model, profile, options, text, folder):
    source = source_of(model, folder)
    target = os.path.join(folder, "model.nnef.tgz")
    printed = peer.espalier(program, "prune", source, target, "-q", "--method", "l2", "--profile", profile, *WAYS["16x1 70 %"],
                            *shapes_of(feeds_of(model, source)), *options, expect=1).stderr
    want(text in printed and printed.count("\n") == 1, f"refused with: {printed.strip()}")
    want(not os.path.exists(target), "refused, but a file is there")


# model, profile, options, what the error says
REFUSED = [
    ("gru_digits", "portable", [], "GRU"),
    ("dtln_1", "portable", [], "LSTM"),
    ("mlp_digits", "tract", ["--values", "bf16"], "bf16"),
    ("mlp_digits", "portable", ["--values", "i8"], "profile portable stores no packed values of type i8"),
]


def cases(program):
    """name, check of it in a folder."""
    endings = [".nnef.tgz", "", ".nnef.tar"]
    for model in FEEDFORWARD + RECURRENT:
        for i, way in enumerate(WAYS):
            if i >= (6 if model == "mlp_digits" else 2 if model in ("cnn_digits", "made 1200x700") else 1):
                continue
            for profile in PROFILES:
                if model in RECURRENT and profile not in ("tract", "operator") or profile == "portable" and "--values=i8" in WAYS[way]:
                    continue
                for index in ["grid", *INDEXES.get(profile, [])] if i < 2 else ["grid"]:
                    yield f"{model} {way} {profile} {index}", lambda f, a=(model, way, profile, index, endings[i % 3]): check(program, *a, f)
    for ending in endings:
        for profile in PROFILES[:3]:
            yield f"same bytes {profile} {ending}", lambda f, a=("mlp_digits", profile, ending): check_same_bytes(program, *a, f)
    for refused in REFUSED:
        yield f"refused {refused[0]} {refused[1]} {' '.join(refused[2])}", lambda f, a=refused: check_refused(program, *a, f)


def main(program, wanted):
    faults = count = 0
    for name, test in cases(program):
        if wanted and not all(w in name for w in wanted):
            continue
        count += 1
        with tempfile.TemporaryDirectory() as folder:
            try:
                test(folder)
            except Exception as error:  # noqa: BLE001
                faults += 1
                print(f"FAIL {name}: {peer.one_line(error, 500)}", flush=True)
    return peer.verdict(count, faults)


if __name__ == "__main__":
    peer.need_shared("models")
    sys.exit(main(sys.argv[1], sys.argv[2:]))
