#!/usr/bin/env python3
"""Operators of tract's registries (core, transformers) as NNEF text: espalier computes what stock tract computes, writes
what tract computes the same from, and names those that it lacks.

    tract_registry_test.py ESPALIER [NAME...]
"""
import os
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

HEAD = "version 1.0;\nextension tract_registry tract_core;\nextension tract_registry tract_transformers;\n"
INT = "tract_core_cast({} * 3.0, to = 'i64')"

# Inputs x [2, 3, 4], z [2, 3, 4] from 0 to 1; results y, ...
CASES = {
    "tract_core_silu": "y = tract_core_silu(x)",
    "tract_transformers_silu": "y = tract_transformers_silu(x)",
    "tract_core_gelu_approx": "y = tract_core_gelu_approx(x, fast_impl = false)",
    "tract_core_gelu_approx fast": "y = tract_core_gelu_approx(x, fast_impl = true)",
    "tract_transformers_gelu_approx": "y = tract_transformers_gelu_approx(x, fast_impl = false)",
    "tract_core_pow_const": "y = tract_core_pow_const(x, exponent = 3.0)",
    "tract_core_rms_norm": "y = tract_core_rms_norm(x, axis = 2)",
    "tract_core_rms_norm eps": "y = tract_core_rms_norm(x, axis = 1, eps = 0.25)",
    "tract_transformers_rms_norm": "y = tract_transformers_rms_norm(x, axis = 2, eps = 0.01)",
    "tract_core_log_softmax": "y = tract_core_log_softmax(x, axes = [2])",
    "tract_core_log_softmax of two axes": "y = tract_core_log_softmax(x, axes = [1, 2])",
    "tract_core_softmax": "y = tract_core_softmax(x, axes = [1], exp = 'libc')",
    "tract_core_downsample": "y = tract_core_downsample(x, axis = 2, stride = 2)",
    "tract_core_downsample modulo": "y = tract_core_downsample(x, axis = 2, stride = 2, modulo = 1)",
    "tract_core_is_nan": "y = select(tract_core_is_nan(log(x)), 7.0, x)",
    "tract_core_is_inf": "y = select(tract_core_is_inf(x / (x - x * sign(x) * sign(x))), 7.0, x)",
    "tract_core_topk": "( y, i ) = tract_core_topk(x, 2, axis = 2, largest = true)",
    "tract_core_topk smallest": "( y, i ) = tract_core_topk(x, 1, axis = 1, largest = false)",
    "tract_core_scatter_elements": f"y = tract_core_scatter_elements(x, {INT.format('z')}, z, axis = 2)".replace("* 3.0", "* 0.0"),
    "tract_core_trilu": "y = tract_core_trilu(x, 0, upper = true)",
    "tract_core_trilu lower": "y = tract_core_trilu(x, -1, upper = false)",
    "tract_core_one_hot": f"y = tract_core_one_hot({INT.format('z')}, axis = 1, dim = 3)",
    "tract_core_one_hot values": f"y = tract_core_one_hot({INT.format('z')}, axis = 3, dim = 3, value_off = -1.0, value_on = 2.0)",
    "tract_core_round_even": "y = tract_core_round_even(x * 2.0)",
    "tract_core_erf": "y = tract_core_erf(x)",
    "tract_core_hard_swish": "y = tract_core_hard_swish(x)",
    "tract_core_product_reduce": "y = tract_core_product_reduce(x, axes = [1])",
    "tract_core_argmax_reduce_last": "y = tract_core_argmax_reduce_last(x, axes = [2])",
    "tract_core_gather": "y = tract_core_gather(x, [1, 0], axis = 2)",
    "tract_core_einsum": "y = tract_core_einsum([x, z], expr = 'abc,abd->acd', acc = 'f32', output = '')",
    "tract_core_broadcast": "y = tract_core_broadcast(slice(x, axes = [1], begin = [0], end = [1]), shape = [2, 5, 4])",
    "tract_transformers_apply_rope": "y = tract_transformers_apply_rope(x, cos(z), sin(z))",
    "tract_transformers_scaled_masked_softmax": "y = tract_transformers_scaled_masked_softmax(x, z, scale = 0.5, post_softmax_mask = false)",
}

SHAPE = "tract_core_shape_of({})"
EXTENT = "squeeze(slice(tract_core_shape_of({}), axes = [0], begin = [{}], end = [{}]), axes = [0])"
CASES |= {
    "tract_core_range": f"y = tract_core_cast(tract_core_range(0, {EXTENT.format('x', 2, 3)}, step = 1), to = 'f32');\n    y = x * reshape(y, shape = [1, 1, 4])",
    "tract_core_range of numbers": "y = tract_core_cast(tract_core_range(7, 1, step = -2), to = 'f32')",
    "tract_core_resize by scales": "y = tract_core_resize(x, [1.0, 1.0, 2.0], interpolator = 'linear', coord_transformer = 'half_pixel')",
    "tract_core_resize to sizes": "y = tract_core_resize(x, sizes = [2.0, 3.0, 6.0], interpolator = 'nearest', coord_transformer = 'asymmetric', nearest_mode = 'floor')",
    "tract_core_bitand of logicals": "y = select(tract_core_bitand(lt(x, z), lt(0.0, x)), x, z)",
    "tract_core_bitnot of logicals": "y = select(tract_core_bitnot(lt(x, z)), x, z)",
    "tract_transformers_sdpa": "y = tract_transformers_sdpa(x, z, z, datum_type = 'f32', acc_datum_type = 'f32', is_causal = false)",
    "tract_transformers_sdpa causal": "y = tract_transformers_sdpa(x, z, z, datum_type = 'f32', acc_datum_type = 'f32', is_causal = true)",
    "tract_transformers_sdpa scale": "y = tract_transformers_sdpa(x, z, z, scale = 0.25, datum_type = 'f32', acc_datum_type = 'f32', is_causal = false)",
    "tract_transformers_sdpa of heads that share": "q = unsqueeze(concat([x, z], axis = 1), axes = [2]);\n    k = unsqueeze(z, axes = [2]);\n"
        "    y = tract_transformers_sdpa(q, k, k, datum_type = 'f32', acc_datum_type = 'f32', is_causal = false)",
    "tract_core_gather_elements of floats": "y = tract_core_gather_elements(x, round(z), axis = 2)",
    "extents of tensors": f"n = {EXTENT.format('x', 2, 3)};\n    y = reshape(tile(x, repeats = [1, n / 2, 1]), shape = [2, {SHAPE.format('z')}])",
    "slice to an extent": f"n = {EXTENT.format('x', 1, 2)};\n    y = slice(x, axes = [2], begin = [0], end = [n])",
    "names assigned again": "y = sigmoid(x);\n    y = y * z",
}
HEAD += "fragment silu( x: tensor<scalar> ) -> ( y: tensor<scalar> )\n{\n    y = x * sigmoid(x) + 1.0;\n}\n"
CASES["operators redefined"] = "y = silu(x)"


# Recurrent layers with a product for each gate, over x as [T, N, I]: hidden extent 5.
def literal(rng, *shape):
    return repr((rng.random(shape) - 0.5).round(3).tolist())


def recurrent(kind):
    rng = np.random.default_rng(11)
    gates = {"gru": "rzn", "lstm": "ifgo", "rnn": "h"}[kind]
    given = [f"h_{g} = {literal(rng, 1, 5, 5)}" for g in gates] + [f"x_{g} = matmul(x, {literal(rng, 1, 5, 4)}, transposeB = true) + {literal(rng, 1, 1, 5)}" for g in gates]
    held = {g: f"matmul(h, r_{g}, transposeB = true)" for g in gates}
    both = {g: f"(s_{g} + {held[g]})" for g in gates}
    if kind == "gru":
        given.append(f"b_n = {literal(rng, 1, 1, 5)}")
        step = (f"r = sigmoid{both['r']};\n    z = sigmoid{both['z']};\n    n = tanh(s_n + r * ({held['n']} + p_n));\n"
                "    hn = (1.0 - z) * n + z * h;")
    elif kind == "lstm":
        step = (f"i = sigmoid{both['i']};\n    f = sigmoid{both['f']};\n    g = tanh{both['g']};\n    o = sigmoid{both['o']};\n"
                "    cn = f * c + i * g;\n    hn = o * tanh(cn);")
    else:
        step = f"hn = relu{both['h']};"
    states = ["c", "h"] if kind == "lstm" else ["h"]
    full = [f"r_{g}" for g in gates] + (["p_n"] if kind == "gru" else [])
    fragment = (f"fragment body_{kind}( " + ", ".join(f"{p}: tensor<scalar>" for p in states + [f"s_{g}" for g in gates] + full) + " ) -> ( "
                + ", ".join(f"{s}n: tensor<scalar>" for s in states) + " )\n{\n    " + step + "\n}\n")
    scan = ", ".join(f"('s_{g}', x_{g}, 0, 1)" for g in gates)
    full = ", ".join(f"('{f}', {f.replace('r_', 'h_').replace('p_', 'b_')})" for f in full)
    state = ", ".join(f"('{s}', {literal(rng, 1, 3, 5)}, '{s}n')" for s in states)
    last = "cn" if kind == "lstm" else "hn"
    outputs = f"('hn', 'full', 0, 1), ('{last}', 'last', 0, 1)"
    return fragment, ";\n    ".join(given) + (f";\n    ( y, last ) = tract_core_scan(body = 'body_{kind}', scan = [{scan}], full = [{full}], "
                                              f"state = [{state}], output = [{outputs}], skip = 0, reset_every_turn = false, external_state = false);\n"
                                              "    y = y * last")


for _kind in ("gru", "lstm", "rnn"):
    _fragment, _body = recurrent(_kind)
    HEAD += _fragment
    CASES[f"tract_core_scan, {_kind} of gates"] = _body

# What has no operator here is read and kept, and refused by its name where it would have to run.
REFUSED = {
    "tract_core_bitand": f"y = tract_core_cast(tract_core_bitand({INT.format('x')}, {INT.format('z')}), to = 'f32')",
    "tract_core_fft": "y = tract_core_fft(x, axis = 1, inverse = false)",
    "tract_core_scaled_rms_norm": "y = tract_core_scaled_rms_norm(x, z, axis = 2)",
}


def write(folder, body):
    with open(os.path.join(folder, "graph.nnef"), "w") as file:
        file.write(HEAD + "graph g( x, z ) -> ( y )\n{\n    x = external<scalar>(shape = [2, 3, 4]);\n    z = external<scalar>(shape = [2, 3, 4]);\n"
                   "    unused = z;\n    " + body + ";\n}\n")


def run_here(program, folder, inputs, expect=0):
    np.savez(os.path.join(folder, "in.npz"), **inputs)
    return peer.espalier(program, "run", folder, "--inputs", os.path.join(folder, "in.npz"), "-o", os.path.join(folder, "out"), "-q", expect=expect)


def check(program, name, body, inputs):
    import tract
    with tempfile.TemporaryDirectory() as folder:
        write(folder, body)
        if name in REFUSED:
            text = run_here(program, folder, inputs, expect=1).stderr
            return "" if name in text and text.count("\n") == 1 else f"refused with {text}"
        reader = tract.nnef().with_tract_transformers()
        expected = [o.to_numpy() for o in reader.load(folder).into_runnable().run(list(inputs.values()))]
        run_here(program, folder, inputs)
        difference = peer.relative_difference([np.load(os.path.join(folder, "out", "output_y.npy"))], expected)
        if difference > 1e-5:
            return f"differs by {difference:.1e}"
        written = os.path.join(folder, "written.nnef.tar")
        peer.espalier(program, "convert", folder, written, "-q")
        difference = peer.relative_difference([o.to_numpy() for o in reader.load(written).into_runnable().run(list(inputs.values()))], expected)
        return "" if difference <= 1e-5 else f"written back, it differs by {difference:.1e}"


def main(program, wanted):
    try:
        import tract  # noqa: F401
    except ImportError:
        print("skipped: the tract package is absent (scripts/setup --peers)")
        return peer.SKIPPED
    rng = np.random.default_rng(3)
    inputs = {"x": rng.standard_normal((2, 3, 4)).astype(np.float32), "z": rng.random((2, 3, 4)).astype(np.float32)}
    faults = count = 0
    for name, body in (CASES | REFUSED).items():
        if wanted and not any(w in name for w in wanted):
            continue
        count += 1
        try:
            fault = check(program, name, body, inputs)
        except Exception as error:  # noqa: BLE001
            fault = peer.one_line(error, 400)
        if fault:
            faults += 1
            print(f"FAIL {name}: {fault}")
    return peer.verdict(count, faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
