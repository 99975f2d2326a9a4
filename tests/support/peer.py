"""What the python tests share: the models of ../shared/models, runs of the program, weights of an ONNX file by name."""
import glob
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
SHARED = os.environ.get("ESPALIER_SHARED") or os.path.join(ROOT, "../shared")
SKIPPED = 77
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


def need_shared(*parts):
    """The path below ../shared; ends the test as skipped where it is absent."""
    path = os.path.join(SHARED, *parts)
    if not os.path.exists(path):
        print(f"skipped: {os.path.join('../shared', *parts)} is absent")
        sys.exit(SKIPPED)
    return path


def espalier(program, *arguments, expect=0):
    """Runs the program; an exit status other than `expect` is an error that shows what it printed."""
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, errors="replace")
    if done.returncode != expect:
        raise RuntimeError(f"espalier {' '.join(map(str, arguments))}: exit {done.returncode}, expected {expect}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done


def one_line(error, most):
    """The end of an error's text, without the backtrace that tract adds."""
    return " ".join(str(error).split("Stack backtrace")[0].split())[-most:]


def verdict(count, faults):
    """Prints how many cases of a test passed; gives its exit status. A test of no cases fails."""
    print(f"{count - faults} passed, {faults} failed")
    return 1 if faults or not count else 0


def tract_environment(version):
    """Variables of a process whose Python finds a tract of scripts/setup --peers: "" is that of the venv, "0.22.4" and the like one in a folder of its own."""
    environment = dict(os.environ)
    if version:
        cache = os.environ.get("ESPALIER_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "espalier")
        environment["PYTHONPATH"] = os.path.join(cache, f"tract-{version}")
        if not os.path.isdir(environment["PYTHONPATH"]):
            print(f"skipped: tract {version} is absent: scripts/setup --peers")
            sys.exit(SKIPPED)
    return environment


def tract_outputs(version, model, feeds):
    """Outputs of an NNEF model in the tract of that version."""
    environment = tract_environment(version)
    with tempfile.TemporaryDirectory() as folder:
        given, found = os.path.join(folder, "in.npz"), os.path.join(folder, "out.npz")
        np.savez(given, **{f"{i}_{j}": value for i, feed in enumerate(feeds) for j, value in enumerate(feed.values())})
        done = subprocess.run([sys.executable, os.path.join(ROOT, "tests/support/run_tract.py"), model, given, found], capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            raise RuntimeError(f"tract {version}: {done.stderr[-700:]}")
        if version and done.stdout.strip() != version:
            raise RuntimeError(f"expected tract {version}, found {done.stdout.strip()}")
        with np.load(found) as outputs:
            return [[outputs[f"{i}_{j}"] for j in range(sum(name.startswith(f"{i}_") for name in outputs.files))] for i in range(len(feeds))]


def khronos_outputs(model, inputs, lowered=()):
    """Outputs of an NNEF model in the Session of the Khronos package; `lowered` are operators that are run by their bodies."""
    with tempfile.TemporaryDirectory() as folder:
        given, found = os.path.join(folder, "in.npz"), os.path.join(folder, "out.npz")
        np.savez(given, **{str(i): value for i, value in enumerate(inputs)})
        done = subprocess.run([sys.executable, os.path.join(ROOT, "tests/support/run_khronos.py"), model, given, found, *lowered], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"Khronos Session: exit {done.returncode} {done.stderr[-700:]}")
        with np.load(found) as outputs:
            return [outputs[str(i)] for i in range(len(outputs.files))]


def tensor(path):
    proto = onnx.TensorProto()
    with open(path, "rb") as file:
        proto.ParseFromString(file.read())
    return numpy_helper.to_array(proto)


def test_inputs(model, session, index=0):
    """Inputs of the model's stored test data, by name."""
    folder = os.path.join(os.path.dirname(model), f"test_data_set_{index}")
    paths = sorted(glob.glob(f"{folder}/input_*.pb"), key=lambda p: int(p.rsplit("_", 1)[1][:-3]))
    return {i.name: tensor(p) for i, p in zip(session.get_inputs(), paths)}


def session(model):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"])


def relative_difference(found, expected):
    """Largest difference of any output over the largest value of that output; infinite where shapes or NaNs differ."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if a.shape != b.shape or (np.isnan(a) != np.isnan(b)).any():
            return float("inf")
        if a.size:
            worst = max(worst, float(np.nanmax(np.abs(a - b)) / max(np.nanmax(np.abs(b)), 1e-12)))
    return worst


def weights(model):
    """name -> (array, reader's operator, reader's attributes, input index) of every initializer and Constant, subgraphs with their prefix."""
    result = {}

    def inner_readers(graph):
        for node in graph.node:
            for place, name in enumerate(node.input):
                yield name, (node, place)
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    yield from inner_readers(attribute.g)

    def walk(graph, prefix):
        here = {i.name: numpy_helper.to_array(i) for i in graph.initializer if i.data_location == onnx.TensorProto.DEFAULT}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                here[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        readers = {}
        for index, node in enumerate(graph.node):
            for place, name in enumerate(node.input):
                readers.setdefault(name, (node, place))
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    for name, reader in inner_readers(attribute.g):
                        readers.setdefault(name, reader)
                    walk(attribute.g, f"{prefix}{node.name or f'{node.op_type}_{index}'}/{attribute.name}/")
        for name, array in here.items():
            node, place = readers.get(name, (None, 0))
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute} if node is not None else {}
            result[prefix + name] = (array, node.op_type if node is not None else "", attributes, place)

    walk(model.graph, "")
    return result


def folded(array, op, attributes, place):
    """The weight as [parts, outputs, inputs]: one part per gate and direction, group or leading index."""
    if op in GATES:
        gates = GATES[op]
        return array.reshape(array.shape[0] * gates, array.shape[1] // gates, array.shape[2])
    if op == "Gemm":
        straight = attributes.get("transB", 0) if place == 1 else not attributes.get("transA", 0)
        return (array if straight else array.T)[None]
    if op == "MatMul":
        if place == 0:
            return array[None]
        return np.swapaxes(array.reshape(-1, *array.shape[-2:]), 1, 2)
    if op == "Conv":
        group = attributes.get("group", 1)
        return array.reshape(group, array.shape[0] // group, -1)
    if op == "ConvTranspose":
        group = attributes.get("group", 1)
        return np.swapaxes(array.reshape(group, array.shape[0] // group, -1), 1, 2)
    raise ValueError(f"{op} has no fold here")
