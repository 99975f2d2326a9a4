#!/usr/bin/env python3
"""Nothing that a command reads is replaced, however it is spelled; OUT = IN wants --in-place; descriptors that the caller closed, and too little
memory.    files_test.py ESPALIER"""
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import helper, numpy_helper

PROGRAM = os.path.abspath(sys.argv[1])
TESTDATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../testdata")
faults, passed = [], 0


def expect(condition, what):
    global passed
    if condition:
        passed += 1
    else:
        faults.append(what)


def run(*arguments, **options):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, **options)


def make_model(path, location=None, rows=512):
    random = np.random.default_rng(1)
    weights = [numpy_helper.from_array((random.standard_normal(s) * 0.05).astype(np.float32), n) for n, s in (("W", (rows, 1024)), ("V", (64, rows)))]
    nodes = [helper.make_node("Gemm", ["x", "W"], ["a"], transB=1), helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Gemm", ["b", "V"], ["y"], transB=1)]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, [1, 1024])], [helper.make_tensor_value_info("y", 1, [1, 64])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if location and os.path.exists(location):
        os.remove(location)  # onnx does not replace it
    where = {"save_as_external_data": True, "all_tensors_to_one_file": True, "location": location, "size_threshold": 0} if location else {}
    onnx.save(model, path, **where)


def contents(folder):
    """Every file below a folder with a hash of its bytes; of links where they lead."""
    result = {}
    for at, folders, names in os.walk(folder):
        for name in names + [f for f in folders if os.path.islink(os.path.join(at, f))]:
            path = os.path.join(at, name)
            if os.path.islink(path):
                result[path] = "-> " + os.readlink(path)
            else:
                with open(path, "rb") as file:
                    result[path] = hashlib.sha256(file.read()).hexdigest()
    return result


def locations(path):
    return {e.value for t in onnx.load(path, load_external_data=False).graph.initializer for e in t.external_data if e.key == "location"}


def refuses(what, *arguments):
    """The command names its mistake in one line, exit 2, and no file changes, appears or goes."""
    before = contents(".")
    done = run(*arguments)
    one_line = len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")
    expect(done.returncode == 2 and one_line and contents(".") == before, f"{what}: exit {done.returncode}, {done.stderr!r}")


def keeps_data_of_others():
    """The case external-data-overwrite: the dense model was renamed, and still refers to model.onnx.data."""
    make_model("model_dense.onnx", "model.onnx.data")
    before = contents(".")
    done = run("prune", "model_dense.onnx", "model.onnx", "-q", "--sparsity", "0.1")
    after = contents(".")
    expect(done.returncode == 0 and all(after[f] == before[f] for f in before), f"the dense model's data: {done.stderr}")
    expect(locations("model.onnx") == {"model.onnx.1.data"}, f"OUT has data of its own: {locations('model.onnx')}")
    expect(run("inspect", "model_dense.onnx").returncode == 0, "the dense model can still be read")
    # Again: the data of the old OUT go, those of the dense model stay.
    run("prune", "model_dense.onnx", "model.onnx", "-q", "--sparsity", "0.2")
    expect(sorted(os.listdir(".")) == ["model.onnx", "model.onnx.2.data", "model.onnx.data", "model_dense.onnx"], f"second time: {os.listdir('.')}")
    # Without data of its own nothing of the old OUT is left, either.
    run("prune", "model_dense.onnx", "model.onnx", "-q", "--sparsity", "0.95")
    expect(sorted(os.listdir(".")) == ["model.onnx", "model.onnx.data", "model_dense.onnx"], f"third time: {os.listdir('.')}")
    run("convert", "model.onnx", "other.nnef.tgz", "-q")
    expect(all(contents(".")[f] == before[f] for f in before), "the dense model's data, at the end")


def stays_external():
    make_model("big.onnx", "weights.bin")
    expect(run("convert", "big.onnx", "copy.onnx", "-q").returncode == 0 and locations("copy.onnx") == {"copy.onnx.data"}, "a copy stays external")
    expect(run("prune", "big.onnx", "pruned.onnx", "-q", "--sparsity", "0.1").returncode == 0 and locations("pruned.onnx") == {"pruned.onnx.data"},
           "pruned above 1 MiB it stays external")
    expect(os.path.getsize("pruned.onnx") < 100000, "and the model itself is small")
    run("prune", "pruned.onnx", "again.onnx", "-q", "--sparsity", "0.2")
    expect(locations("again.onnx") == {"again.onnx.data"}, "so does what was packed already")


def spellings():
    make_model("m.onnx")
    os.mkdir("sub")
    os.symlink("m.onnx", "link.onnx")
    os.link("m.onnx", "hard.onnx")
    os.symlink("sub", "linked")
    shutil.copy("m.onnx", "sub/deep.onnx")
    run("convert", "m.onnx", "net", "-q")
    run("convert", "m.onnx", "net.nnef.tar", "-q")
    make_model("ext.onnx", "ext.bin.onnx")
    here = os.path.basename(os.getcwd())
    for given, out in (("m.onnx", "m.onnx"), ("m.onnx", "./m.onnx"), ("m.onnx", f"../{here}/m.onnx"), ("m.onnx", "link.onnx"), ("link.onnx", "m.onnx"),
                       ("m.onnx", "hard.onnx"), ("sub/deep.onnx", "linked/deep.onnx"), ("net", "net"), ("net", "net/"), ("net", "./net/../net"),
                       ("net", os.path.abspath("net")), ("net.nnef.tar", "net.nnef.tar"), ("net.nnef.tar", "./net.nnef.tar")):
        for command in ("prune", "convert"):
            refuses(f"{command} {given} {out}", command, given, out, "-q")
            done = run(command, given, out, "-q")
            expect("--in-place" in done.stderr, f"{command} {given} {out}: it says what to do: {done.stderr}")
    dat = next(n for n in os.listdir("net") if n.endswith(".dat"))
    shutil.copytree("net", "around")
    os.mkdir("around/below")
    shutil.copy("m.onnx", "around/below/in.onnx")
    for given, out in (("net", "net/" + dat), ("net", "net/graph.nnef"), ("ext.onnx", "ext.bin.onnx"), ("around/below/in.onnx", "around")):
        refuses(f"prune {given} {out}", "prune", given, out, "-q")
        refuses(f"prune {given} {out} --in-place", "prune", given, out, "-q", "--in-place")


def in_place():
    make_model("m.onnx")
    make_model("ext.onnx", "weights.bin")
    run("convert", "m.onnx", "net", "-q")
    run("convert", "m.onnx", "net.nnef.tgz", "-q")
    for model in ("m.onnx", "net", "net.nnef.tgz"):
        before = contents(".")
        done = run("prune", model, model, "--in-place", "-q", "--sparsity", "0.9")
        expect(done.returncode == 0 and contents(".") != before, f"{model} in place: {done.stderr}")
        expect(run("prune", model, "--in-place", "-q", "--sparsity", "0.95").returncode == 0, f"{model}: OUT need not be given")
        expect(run("inspect", model, "-q").returncode == 0, f"{model} in place can be read")
    run("mask", "export", "net", "-o", "masks.npz", "-q")
    expect(run("mask", "apply", "m.onnx", "masks.npz", "--in-place", "-q").returncode == 0, "mask apply in place")
    shutil.copy("ext.onnx", "friend.onnx")
    done = run("prune", "ext.onnx", "--in-place", "-q", "--sparsity", "0.1")
    expect(done.returncode == 0 and os.path.exists("weights.bin"), f"data that another model refers to stay: {done.stderr}")
    expect(locations("ext.onnx") == {"ext.onnx.data"}, "data in place are new ones")
    os.remove("friend.onnx")
    make_model("ext.onnx", "weights.bin")
    os.remove("ext.onnx.data")
    run("convert", "ext.onnx", "--in-place", "-q")
    expect(sorted(n for n in os.listdir(".") if "ext" in n or "weights" in n) == ["ext.onnx", "ext.onnx.data"], f"data of it alone go: {os.listdir('.')}")


def side_outputs():
    make_model("m.onnx")
    make_model("ext.onnx", "ext.onnx.data")
    run("convert", "m.onnx", "net", "-q")
    os.makedirs("data")
    np.save("data/input_x.npy", np.ones((4, 1024), np.float32))
    np.save("data/output_y.npy", np.ones((4, 64), np.float32))
    np.save("labels.npy", np.zeros(4, np.int64))
    run("mask", "export", "m.onnx", "-o", "masks.npz", "-q")
    run("calibrate", "m.onnx", "--inputs", "data", "-o", "stats", "-q")
    os.symlink("m.onnx", "link.onnx")
    shutil.copy("stats", "more")
    dat = "net/" + next(n for n in os.listdir("net") if n.endswith(".dat"))
    for option in ("--json", "--html", "--md", "--csv", "--mask-out", "--save-recipe"):
        for given, file in (("m.onnx", "m.onnx"), ("m.onnx", "link.onnx"), ("ext.onnx", "ext.onnx.data"), ("net", dat), ("m.onnx", "data/input_x.npy")):
            refuses(f"prune {option} {file}", "prune", given, "o.onnx", "--calib", "data", option, file, "-q")
    for arguments in (("--mask-in", "masks.npz", "--mask-out", "masks.npz"), ("--calib", "stats", "--json", "stats"), ("--json", "x", "--md", "x"),
                      ("--json", "o.onnx"), ("--eval", "data", "--labels", "labels.npy", "--json", "labels.npy")):
        refuses(f"prune {arguments}", "prune", "m.onnx", "o.onnx", *arguments, "-q")
    for arguments in (("calibrate", "m.onnx", "--inputs", "data", "-o", "m.onnx"), ("calibrate", "m.onnx", "--inputs", "data", "-o", "data/input_x.npy"),
                      ("mask", "export", "m.onnx", "-o", "m.onnx"), ("mask", "union", "masks.npz", "masks.npz", "-o", "masks.npz"),
                      ("mask", "apply", "m.onnx", "masks.npz", "-o", "masks.npz"), ("run", "m.onnx", "--inputs", "data", "-o", "data"),
                      ("inspect", "m.onnx", "--json", "m.onnx"), ("diff", "m.onnx", "ext.onnx", "--md", "ext.onnx.data"),
                      ("verify", "m.onnx", "ext.onnx", "--json", "ext.onnx.data"), ("advise", "m.onnx", "--json", "m.onnx"),
                      ("bench", "m.onnx", "--seconds", "0", "--warmup", "0", "--json", "m.onnx"), ("convert", "ext.onnx", "o.onnx", "--csv", "ext.onnx.data")):
        refuses(" ".join(arguments), *arguments, "-q")
    expect(run("calibrate", "--merge", "stats", "more", "-o", "stats", "-q").returncode == 0, "statistics are joined to a file that is there")


def closed_descriptors():
    make_model("m.onnx")
    for closed in ((1,), (2,), (0,), (0, 1, 2)):
        done = subprocess.run([PROGRAM, "prune", "m.onnx", f"o{len(closed)}{closed[0]}.onnx"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, preexec_fn=lambda: [os.close(d) for d in closed])
        name = f"o{len(closed)}{closed[0]}.onnx"
        expect(done.returncode == 0 and run("inspect", name, "-q").returncode == 0, f"descriptors {closed} closed: exit {done.returncode}")
        done = subprocess.run([PROGRAM, "prune", "none.onnx", "bad.onnx"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              preexec_fn=lambda: [os.close(d) for d in closed])
        expect(done.returncode == 1 and not os.path.exists("bad.onnx"), f"descriptors {closed} closed, a bad IN: exit {done.returncode}")


def too_little_memory():
    """Under any limit of address space it either works, or says in one line that memory is short."""
    model = os.path.join(TESTDATA, "bandgru/denoise.onnx")
    data = os.path.join(TESTDATA, "bandgru/test_data_set_0")
    ends = {0: 0, 1: 0}
    for mib in (*range(40, 400, 8), 1000):
        limit = mib << 20
        done = run("prune", model, "o.onnx", "--calib", data, "-q", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        if "error while loading shared libraries" in done.stderr or "cannot apply additional memory protection" in done.stderr:
            continue  # the program has not begun
        said = done.returncode == 0 or (len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ") and "memory" in done.stderr)
        expect(done.returncode in (0, 1) and said, f"{mib} MiB: exit {done.returncode}, {done.stderr!r}")
        ends[done.returncode] = ends.get(done.returncode, 0) + 1
    expect(ends[0] > 0 and ends[1] > 0, f"some limits are too low and some are not: {ends}")


def main():
    for test in (keeps_data_of_others, stays_external, spellings, in_place, side_outputs, closed_descriptors, too_little_memory):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            test()
            os.chdir("/")
    for fault in faults:
        print("FAIL", fault)
    print(f"{passed} passed, {len(faults)} failed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
