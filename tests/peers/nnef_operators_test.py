#!/usr/bin/env python3
"""Every operator of NNEF 1.0.5, one small document each: what the Khronos Session and stock tract compute from it, onnxruntime computes from the
ONNX file that espalier makes of it; and its nodes are those that `convert --list-operators` names. Where neither peer has an operator, or has it
wrong, the expected values are numpy's. What has no counterpart in ONNX is refused by name.

    nnef_operators_test.py ESPALIER [NAME...]
"""
import json
import math
import os
import re
import sys
import tempfile

import numpy as np
import onnx

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

# Operators that the Session runs by their bodies.
LOWERED = ("separable_conv separable_deconv avg_pool rms_pool local_response_normalization local_mean_normalization local_variance_normalization "
           "local_contrast_normalization l1_normalization l2_normalization batch_normalization area_downsample nearest_downsample nearest_upsample linear_quantize "
           "min_max_linear_quantize zero_point_linear_quantize logarithmic_quantize moments clamp prelu softabs").split()
rng = np.random.default_rng(5)
TOLERANCE = 2e-5


class Case:
    """`body` computes y from x (and v, w, ...: variables). `peers`: k Khronos, t tract. `expected`: a function of x, or None. `low`, `high`: range of x."""

    def __init__(self, name, body, shape=(2, 4, 6, 5), peers="kt", variables=None, expected=None, low=-2.0, high=2.0, refused=None, generic="scalar", head=""):
        self.name, self.body, self.shape, self.peers, self.refused, self.generic, self.head = name, body, shape, peers, refused, generic, head
        self.variables, self.expected = variables or {}, expected
        self.x = rng.uniform(low, high, shape).astype(np.float32)

    def text(self, tract):
        lines = [f"    x = external<{self.generic}>(shape = {list(self.shape)});"]
        lines += [f"    {n} = variable<scalar>(shape = {list(v.shape)}, label = '{n}');" for n, v in self.variables.items()]
        lines += [f"    {line.strip()}" for line in self.body.strip().split("\n")]
        head = "extension KHR_enable_operator_expressions;\n" + self.head + ("extension tract_registry tract_core;\n" if tract else "")
        return "version 1.0;\n" + head + "graph g( x ) -> ( y )\n{\n" + "\n".join(lines) + "\n}\n"

    def write(self, folder, tract=False):
        import nnef
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "graph.nnef"), "w") as file:
            file.write(self.text(tract))
        for name, value in self.variables.items():
            with open(os.path.join(folder, f"{name}.dat"), "wb") as file:
                nnef.write_tensor(file, value)
        return folder


def uniform(*shape):
    return rng.uniform(-1, 1, shape).astype(np.float32)


def box(x, size, normalize):
    """Zeros around, as many outputs as inputs."""
    before = [(s - 1) // 2 for s in size]
    padded = np.pad(x.astype(np.float64), [(b, s - 1 - b) for b, s in zip(before, size)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, size).sum(axis=tuple(range(-len(size), 0)))
    return windows / math.prod(size) if normalize else windows


def cases():
    unary = {"abs": 0, "neg": 0, "sign": 0, "exp": 0, "sin": 0, "cos": 0, "tan": 0, "sinh": 0, "cosh": 0, "tanh": 0, "atan": 0, "asinh": 0,
             "floor": 0, "ceil": 0, "sqr": 0, "relu": 0, "sigmoid": 0, "softplus": 0, "copy": 0}
    for op in unary:
        yield Case(op, f"y = {op}(x);", low=-1.4, high=1.4)
    for op in ("asin", "acos", "atanh"):
        yield Case(op, f"y = {op}(x);", low=-0.9, high=0.9)
    for op in ("log", "log2", "sqrt", "rsqrt", "rsqr", "rcp"):
        # tract calls rcp recip; the Session has no log2.
        peers = {"log2": "t", "rcp": "k", "rsqr": "k"}.get(op, "kt")
        yield Case(op, f"y = {op}(x);", low=0.1, high=3, peers=peers)
    yield Case("acosh", "y = acosh(x);", low=1.1, high=3)
    yield Case("round", "y = round(x);", peers="kt")
    yield Case("round of halves", "y = round(x * 0.0 + 2.5);")
    yield Case("not", "y = select(not(x > 0.0), x, 0.5);")
    for op in ("add", "sub", "mul", "div", "min", "max"):
        yield Case(op, f"y = {op}(x, w);", variables={"w": uniform(2, 4) + 3})
        yield Case(op + " literal", f"y = {op}(x, 1.5);")
    yield Case("pow", "y = pow(x, 3.0);", low=0.1)
    for op in ("lt", "gt", "le", "ge", "eq", "ne"):
        yield Case(op, f"y = select({op}(floor(x), 0.0), x, 0.25);")
    for op in ("and", "or"):
        yield Case(op, f"y = select({op}(x > 0.0, x < 1.0), x, 0.25);")
    yield Case("select", "y = select(x > 0.0, x, w);", variables={"w": uniform(2, 4)})
    yield Case("clamp", "y = clamp(x, -0.5, 0.75);")
    yield Case("clamp by tensors", "y = clamp(x, w, v);", variables={"w": uniform(2, 4) - 1, "v": uniform(2, 4) + 1})
    yield Case("elu", "y = elu(x);")
    yield Case("elu alpha", "y = elu(x, alpha = 0.5);", peers="k")
    yield Case("selu", "y = selu(x);", peers="k")
    yield Case("gelu", "y = gelu(x);", peers="k")
    yield Case("silu", "y = silu(x);", peers="k")
    yield Case("softabs", "y = softabs(x, epsilon = 0.25);", peers="t")
    yield Case("prelu", "y = prelu(x, w);", variables={"w": uniform(1, 4)}, peers="kt")
    yield Case("leaky_relu", "y = leaky_relu(x, alpha = 0.1);")
    yield Case("softmax", "y = softmax(x);")
    yield Case("softmax of two axes", "y = softmax(x, axes = [1, 2]);", peers="t")

    for op in ("sum", "mean", "max", "min"):
        yield Case(op + "_reduce", f"y = {op}_reduce(x, axes = [1, 3]);")
    yield Case("sum_reduce normalized", "y = sum_reduce(x, axes = [1, 3], normalize = true);", peers="", expected=lambda x: x.mean((1, 3), keepdims=True))
    for op in ("argmax", "argmin"):
        yield Case(op + "_reduce", f"y = {op}_reduce(x, axes = [1]);", peers="kt")
    # The Session ends its process here.
    yield Case("any_reduce", "y = select(any_reduce(x > 1.5, axes = [1]), 1.0, x);", peers="t")
    yield Case("all_reduce", "y = select(all_reduce(x > -1.5, axes = [1]), 1.0, x);", peers="t")
    yield Case("moments", "( m, v ) = moments(x, axes = [2, 3]);\ny = concat([m, v], axis = 1);")

    # The Session does not broadcast factors.
    yield Case("matmul", "y = matmul(x, w);", variables={"w": uniform(1, 1, 5, 3)}, peers="t")
    yield Case("matmul transposed", "y = matmul(w, x, transposeA = true, transposeB = true);", variables={"w": uniform(1, 1, 5, 3)}, peers="t")
    yield Case("matmul of matrices", "y = matmul(x, w, transposeA = true);", shape=(5, 3), variables={"w": uniform(5, 4)})
    yield Case("linear", "y = linear(x, w, b);", shape=(3, 5), variables={"w": uniform(4, 5), "b": uniform(1, 4)})
    conv = {"w": uniform(6, 4, 3, 3), "b": uniform(1, 6)}
    yield Case("conv", "y = conv(x, w, b, padding = [(1, 0), (0, 2)], stride = [2, 1], dilation = [1, 2]);", variables=conv)
    yield Case("conv same", "y = conv(x, w, b, stride = [2, 2]);", variables=conv)
    yield Case("conv groups", "y = conv(x, w, groups = 2);", variables={"w": uniform(6, 2, 3, 2)})
    yield Case("conv depthwise", "y = conv(x, w, groups = 0);", variables={"w": uniform(4, 1, 3, 2)})
    yield Case("separable_conv", "y = separable_conv(x, v, w, b);", variables={"v": uniform(4, 1, 3, 3), "w": uniform(6, 4, 1, 1), "b": uniform(1, 6)})
    # tract takes filters of deconv the other way around.
    deconv = {"w": uniform(4, 3, 3, 3), "b": uniform(1, 3)}
    yield Case("deconv", "y = deconv(x, w, b, padding = [(1, 0), (0, 2)], stride = [2, 1], dilation = [1, 2]);", variables=deconv, peers="k")
    yield Case("deconv same", "y = deconv(x, w, b, stride = [2, 2]);", variables=deconv, peers="k")
    yield Case("deconv output_shape", "y = deconv(x, w, padding = [(1, 1), (1, 1)], stride = [2, 2], output_shape = [2, 3, 12, 10]);", variables={"w": deconv["w"]}, peers="k")
    yield Case("deconv groups", "y = deconv(x, w, padding = [(0, 0), (0, 0)], groups = 2);", variables={"w": uniform(4, 3, 3, 2)}, peers="k")
    yield Case("deconv depthwise", "y = deconv(x, w, padding = [(0, 0), (0, 0)], stride = [2, 2], groups = 0);", variables={"w": uniform(4, 1, 3, 2)}, peers="k")
    tract = "extension tract_registry tract_core;\n"
    yield Case("deconv of tract", "y = deconv(x, w, b, padding = [(1, 0), (0, 2)], stride = [2, 1]);", variables={"w": uniform(3, 4, 3, 3), "b": uniform(1, 3)}, peers="t", head=tract)
    yield Case("deconv of tract, groups", "y = deconv(x, w, padding = [(0, 0), (0, 0)], stride = [2, 1], groups = 2);", variables={"w": uniform(6, 2, 3, 3)}, peers="t", head=tract)
    yield Case("separable_deconv", "y = separable_deconv(x, v, w, padding = [(0, 0), (0, 0)]);", variables={"v": uniform(3, 1, 3, 3), "w": uniform(4, 3, 1, 1)}, peers="k")
    yield Case("batch_normalization", "y = batch_normalization(x, m, v, o, s, epsilon = 0.01);",
               variables={"m": uniform(1, 4), "v": uniform(1, 4) + 1.5, "o": uniform(1, 4), "s": uniform(1, 4)})
    yield Case("local_response_normalization", "y = local_response_normalization(x, size = [1, 3, 1, 1], alpha = 0.5, beta = 0.75, bias = 1.5);", peers="",
               expected=lambda x: x / (1.5 + 0.5 * box(x**2, (1, 3, 1, 1), True)) ** 0.75)
    yield Case("local_response_normalization of places", "y = local_response_normalization(x, size = [1, 2, 3, 1], alpha = 0.5);", peers="",
               expected=lambda x: x / np.sqrt(1 + 0.5 * box(x**2, (1, 2, 3, 1), True)))
    yield Case("local_mean_normalization", "y = local_mean_normalization(x, size = [1, 1, 3, 3]);", expected=lambda x: x - box(x, (1, 1, 3, 3), True))
    yield Case("local_variance_normalization", "y = local_variance_normalization(x, size = [1, 1, 3, 3], bias = 0.5, epsilon = 0.01);",
               expected=lambda x: x / np.maximum(np.sqrt(box(x**2, (1, 1, 3, 3), True)) + 0.5, 0.01))
    yield Case("local_contrast_normalization", "y = local_contrast_normalization(x, size = [1, 1, 3, 3], bias = 0.5, epsilon = 0.01);")
    yield Case("l1_normalization", "y = l1_normalization(x, axes = [1], bias = 0.5, epsilon = 0.01);")
    yield Case("l2_normalization", "y = l2_normalization(x, axes = [1, 2], bias = 0.5, epsilon = 0.01);")

    window = "size = [1, 1, 3, 2], padding = [(0, 0), (0, 0), (1, 1), (0, 1)], stride = [1, 1, 2, 1]"
    for border in ("constant", "ignore"):
        yield Case(f"box {border}", f"y = box(x, {window}, border = '{border}');")
        yield Case(f"avg_pool {border}", f"y = avg_pool(x, {window}, border = '{border}');")
        yield Case(f"rms_pool {border}", f"y = rms_pool(x, {window}, border = '{border}');")
    yield Case("max_pool ignore", f"y = max_pool(x, {window}, border = 'ignore');")
    yield Case("max_pool constant", f"y = max_pool(x, {window}, border = 'constant');", peers="", low=-2, high=-1,
               expected=lambda x: np.lib.stride_tricks.sliding_window_view(np.pad(x, [(0, 0), (0, 0), (1, 1), (0, 1)]), (3, 2), (2, 3)).max((-1, -2))[:, :, ::2])
    yield Case("box same", "y = box(x, size = [1, 1, 3, 2], normalize = true);")
    for size in ((1, 3, 1, 1), (2, 3, 2, 1)):
        yield Case(f"box {size}", f"y = box(x, size = {list(size)}, normalize = false);", peers="", expected=lambda x, s=size: box(x, s, False))
    yield Case("box over two axes", "y = box(x, size = [1, 3], normalize = true);", shape=(3, 6), peers="", expected=lambda x: box(x, (1, 3), True))
    yield Case("debox", "y = debox(x, size = [1, 1, 3, 2], padding = [(0, 0), (0, 0), (1, 0), (0, 0)], stride = [1, 1, 2, 1]);", peers="k")
    yield Case("nearest_downsample", "y = nearest_downsample(x, factor = [3, 5]);", peers="k")
    yield Case("area_downsample", "y = area_downsample(x, factor = [3, 5]);", peers="k")
    yield Case("nearest_upsample", "y = nearest_upsample(x, factor = [2, 3]);", peers="kt")
    for method in ("symmetric", "asymmetric"):
        yield Case(f"multilinear_upsample {method}", f"y = multilinear_upsample(x, factor = [2, 2], method = '{method}', border = 'replicate');")
    yield Case("multilinear_upsample aligned", "y = multilinear_upsample(x, factor = [2, 3], method = 'aligned', border = 'replicate');", peers="t")
    yield Case("multilinear_upsample zeros around", "y = multilinear_upsample(x, factor = [2, 2], border = 'constant');", refused="multilinear_upsample")
    yield Case("max_pool_with_index", "( y, i ) = max_pool_with_index(x, size = [1, 1, 2, 2]);", refused="max_pool_with_index")
    for op in ("argmax_pool(x, size = [1, 1, 2, 2])", "sample(x, cast<integer>(x), size = [1, 1, 2, 2])", "desample(x, cast<integer>(x), size = [1, 1, 2, 2])"):
        yield Case(op.split("(")[0], f"y = {op};", refused=op.split("(")[0])
    for op in ("avg_roi_pool", "max_roi_pool", "roi_resample"):
        yield Case(op, f"y = {op}(x, w, cast<integer>(v), output_size = [2, 2]);", variables={"w": uniform(1, 4), "v": uniform(1)}, refused=op)
    for op in ("avg_roi_align", "max_roi_align"):
        yield Case(op, f"y = {op}(x, w, cast<integer>(v), output_size = [2, 2], sampling_rate = [2, 2]);", variables={"w": uniform(1, 4), "v": uniform(1)}, refused=op)

    yield Case("reshape", "y = reshape(x, shape = [0, -1, 5]);")
    yield Case("reshape of some axes", "y = reshape(x, shape = [-1], axis_start = 1, axis_count = 2);", peers="kt")
    yield Case("transpose", "y = transpose(x, axes = [0, 2, 3, 1]);")
    yield Case("split", "[a, y, b] = split(x, axis = 2, ratios = [1, 1, 4]);", peers="k")
    yield Case("concat", "y = concat([x, w, x], axis = 1);", variables={"w": uniform(2, 3, 6, 5)})
    yield Case("stack", "y = stack([x, w], axis = 1);", variables={"w": uniform(2, 4, 6, 5)})
    yield Case("unstack", "[y, a] = unstack(x, axis = 0);")
    yield Case("squeeze", "y = squeeze(x, axes = [1, 3]);", shape=(2, 1, 3, 1))
    yield Case("unsqueeze", "y = unsqueeze(x, axes = [0, 3]);", shape=(2, 4))
    yield Case("slice", "y = slice(x, axes = [1, 2], begin = [1, -3], end = [3, 0]);", peers="k", expected=lambda x: x[:, 1:3, -3:])
    yield Case("slice in steps", "y = slice(x, axes = [2], begin = [1], end = [6], stride = [2]);", peers="kt")
    for border in ("constant", "reflect", "replicate"):
        yield Case(f"pad {border}", f"y = pad(x, padding = [(0, 0), (1, 2), (0, 1), (2, 0)], border = '{border}');", peers="k" if border == "replicate" else "kt")
    yield Case("pad value", "y = pad(x, padding = [(0, 0), (1, 2), (0, 1), (2, 0)], border = 'constant', value = 1.5);", peers="kt")
    yield Case("tile", "y = tile(x, repeats = [1, 2, 1, 3]);")
    table = uniform(3, 4)  # the Session has no cast to integers to gather by
    yield Case("gather", "y = gather(w, cast<integer>(x), axis = 1);", shape=(2, 3), low=0, high=4, variables={"w": table}, peers="",
               expected=lambda x: np.take(table, x.astype(np.int64), 1))
    yield Case("cast", "y = cast<scalar>(cast<integer>(x));", peers="", expected=np.trunc)
    more = uniform(2, 4, 6, 5)
    yield Case("add_n", "y = add_n([x, x, w]);", variables={"w": more}, peers="", expected=lambda x: x + x + more)
    yield Case("copy_n", "[a, y] = copy_n(x, times = 2);", peers="", expected=lambda x: x)
    yield Case("update", "y = update(v, x);", variables={"v": uniform(2, 4, 6, 5)}, refused="update")

    quantities = "min = -1.5, max = 1.25, bits = 8"
    for signed in ("true", "false"):
        for symmetric in ("true", "false"):
            yield Case(f"min_max_linear_quantize {signed} {symmetric}",
                       f"y = min_max_linear_quantize(x, {quantities}, signed = {signed}, symmetric = {symmetric});", peers="k")
            # The Session takes -r - 1.0 for r - 1.0.
            asymmetric = (signed, symmetric) == ("true", "false")
            yield Case(f"zero_point_linear_quantize {signed} {symmetric}",
                       f"y = zero_point_linear_quantize(x, zero_point = 3, scale = 0.0117, bits = 8, signed = {signed}, symmetric = {symmetric});",
                       peers="" if asymmetric else "k",
                       expected=(lambda x: (np.clip(np.round(x / np.float32(0.0117)) + 3, -128, 127) - 3) * 0.0117) if asymmetric else None)
    yield Case("linear_quantize", f"y = linear_quantize(x, {quantities});", peers="k")
    yield Case("logarithmic_quantize", "y = logarithmic_quantize(x, max = 2.0, bits = 4);", peers="k")


INFIX = {"+": "add", "-": "sub", "*": "mul", "/": "div", "^": "pow", "<": "lt", ">": "gt", "<=": "le", ">=": "ge", "==": "eq", "!=": "ne", "&&": "and", "||": "or", "!": "not"}


def listed(program):
    """NNEF operator -> ONNX operators that it, or what it is expanded to, becomes."""
    rows = json.loads(peer.espalier(program, "convert", "--list-operators", "--json", "-").stdout)["read"]
    own = {row["nnef"] or row["tract"]: set((row["onnx"] or "").split()) for row in rows}
    bodies = {row["nnef"] or row["tract"]: {INFIX.get(name, name) for name in (row["body"] or "").split()} for row in rows}

    def closure(name):
        return own[name].union(*(closure(inner) for inner in bodies[name]))
    return {name: closure(name) for name in own}


def unlisted(text, path, table):
    """Operators of the ONNX file that the list does not name for those of the document."""
    body = text.split("{", 1)[1]
    used = set(re.findall(r"(\w+)(?:<\w+>)?\(", body)) | {INFIX[sign] for sign in INFIX if sign in body}
    named = set().union(*(table[name] for name in used), {"Unsqueeze", "Identity"})  # shapes and names, anywhere
    return {node.op_type for node in onnx.load(path).graph.node} - named


def check(program, case, folder, table):
    again = os.path.join(folder, "again.onnx")
    source = case.write(os.path.join(folder, "source"))
    if case.refused:
        text = peer.espalier(program, "convert", source, again, "-q", expect=1).stderr
        return "" if f"nnef.{case.refused} " in text and not os.path.exists(again) else f"refused with: {text.strip()}"
    peer.espalier(program, "convert", source, again, "-q")
    extra = unlisted(case.text(False), again, table)
    if extra:
        return f"made {extra}, which --list-operators does not name"
    session = peer.session(again)
    found = session.run(None, {session.get_inputs()[0].name: case.x})
    peers = {"k": lambda: peer.khronos_outputs(case.write(os.path.join(folder, "khronos")), [case.x], LOWERED)[0],
             "t": lambda: peer.tract_outputs("", case.write(os.path.join(folder, "tract"), tract=not case.head), [{"x": case.x}])[0][0]}
    expected = {p: peers[p]() for p in case.peers}
    if case.expected is not None:
        expected["numpy"] = case.expected(case.x)
    if not expected:
        return "nothing to compare with"
    for who, value in expected.items():
        difference = peer.relative_difference(found, [np.asarray(value)])
        if not difference <= TOLERANCE:
            return f"{who} differs by {difference:.1e}, shapes {found[0].shape} {np.shape(value)}"
    return ""


def main(program, wanted):
    faults = count = 0
    table = listed(program)
    for case in cases():
        if wanted and not any(w in case.name for w in wanted):
            continue
        count += 1
        with tempfile.TemporaryDirectory() as folder:
            try:
                fault = check(program, case, folder, table)
            except Exception as error:  # noqa: BLE001
                fault = f"{type(error).__name__} " + peer.one_line(error, 400)
        if fault:
            faults += 1
            print(f"FAIL {case.name}: {fault}", flush=True)
    return peer.verdict(count, faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
