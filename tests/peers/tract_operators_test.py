#!/usr/bin/env python3
"""Every operator that the NNEF writer spells, one small model each: stock tract computes from the NNEF file what onnxruntime computes from
the ONNX file, reading the NNEF file back gives a model that computes it too, and what has no spelling is refused with operator and node.

    tract_operators_test.py ESPALIER [NAME...]
"""
import json
import os
import re
import sys
import tarfile
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

F32, I64, BOOL, F16 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT16
rng = np.random.default_rng(11)


def floats(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


class Case:
    """One node (or a list of them) over inputs `x`, ...: shapes hold numbers and names of free dimensions, `sizes` lists what those are in runs.

    `kept`: what the NNEF reader does not translate back, but keeps and writes again."""

    def __init__(self, name, nodes, inputs, constants=None, outputs=("y",), sizes=({},), opset=17, refused=None, kept=False):
        self.name, self.inputs, self.sizes, self.refused, self.kept = name, inputs, sizes, refused, kept
        constants = constants or {}
        nodes = nodes if isinstance(nodes, list) else [nodes]
        value = lambda n, s, t=F32: helper.make_tensor_value_info(n, t, s)  # noqa: E731
        graph = helper.make_graph(
            nodes, "g", [value(n, s[0] if isinstance(s, tuple) else s, s[1] if isinstance(s, tuple) else F32) for n, s in inputs.items()],
            [helper.make_empty_tensor_value_info(o) for o in outputs], [numpy_helper.from_array(a, n) for n, a in constants.items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        # Types and shapes of the outputs, as any exporter would write them.
        inferred = {v.name: v for v in onnx.shape_inference.infer_shapes(model).graph.output}
        for output in model.graph.output:
            output.CopyFrom(inferred[output.name] if inferred[output.name].type.tensor_type.elem_type else value(output.name, None))
        self.model = model

    def runs(self):
        for size in self.sizes:
            feed = {}
            for name, spec in self.inputs.items():
                shape, dtype = spec if isinstance(spec, tuple) else (spec, F32)
                shape = [size.get(d, d) for d in shape]
                if dtype == BOOL:
                    feed[name] = rng.random(shape) < 0.5
                elif dtype == I64:
                    feed[name] = rng.integers(0, 3, shape)
                else:
                    feed[name] = rng.standard_normal(shape).astype(np.float16 if dtype == F16 else np.float32)
            yield feed


def node(op, inputs=("x",), outputs=("y",), **attributes):
    return helper.make_node(op, list(inputs), list(outputs), "the_node", **attributes)


def recurrent(op, h=6, i=5, directions=1, bias=True, states=True, **attributes):
    gates = peer.GATES[op]
    constants = {"W": floats(directions, gates * h, i) / 2, "R": floats(directions, gates * h, h) / 2}
    if bias:
        constants["B"] = floats(directions, 2 * gates * h) / 2
    batch_first = attributes.get("layout", 0)
    inputs = {"x": ["N", "T", i] if batch_first else ["T", "N", i]}
    names = ["x", "W", "R", "B" if bias else ""]
    outputs = ["y", "y_h"] + (["y_c"] if op == "LSTM" else [])
    if states:
        names += ["", "h0"] + (["c0"] if op == "LSTM" else [])
        shape = ["N", directions, h] if batch_first else [directions, "N", h]
        inputs |= {name: shape for name in names[5:]}
    return dict(nodes=node(op, names, outputs, hidden_size=h, **attributes), inputs=inputs, constants=constants, outputs=outputs,
                sizes=({"N": 2, "T": 7}, {"N": 1, "T": 1}, {"N": 3, "T": 4}))


def cases():
    free = ({"N": 1}, {"N": 3})
    for op in "Acosh Asinh Atan Cosh Sinh Tan Celu Selu Softsign ThresholdedRelu Mish Gelu Abs Ceil Cos Exp Floor Neg Relu Round Sigmoid Sign Sin Softplus Tanh Erf Reciprocal Elu Identity HardSigmoid LeakyRelu Dropout".split():
        nodes = [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("Exp", ["a"], ["e"]), node(op, ["e"])] if op == "Acosh" else node(op)
        yield Case(op, nodes, {"x": ["N", 5]}, sizes=free, opset=20)
    for op in ("Acos", "Asin", "Atanh"):
        yield Case(op, [helper.make_node("Sin", ["x"], ["s"]), helper.make_node("Mul", ["s", "c"], ["a"]), node(op, ["a"])], {"x": ["N", 5]},
                   {"c": np.float32(0.9)}, sizes=free)
    yield Case("Celu given", node("Celu", alpha=0.5), {"x": ["N", 5]}, sizes=free)
    yield Case("Selu given", node("Selu", alpha=0.5, gamma=2.0), {"x": ["N", 5]}, sizes=free)
    yield Case("ThresholdedRelu given", node("ThresholdedRelu", alpha=0.25), {"x": ["N", 5]}, sizes=free)
    yield Case("Gelu tanh", node("Gelu", approximate="tanh"), {"x": ["N", 5]}, sizes=free, opset=20)
    yield Case("Swish", node("Swish", alpha=0.5), {"x": ["N", 5]}, sizes=free, opset=24)
    for axis in (-1, 1):
        yield Case(f"LogSoftmax {axis}", node("LogSoftmax", axis=axis), {"x": ["N", 4, 5]}, sizes=free)
    yield Case("LogSoftmax opset 11", node("LogSoftmax"), {"x": ["N", 4, 5]}, sizes=free, opset=11)
    yield Case("HardSwish", node("HardSwish"), {"x": ["N", 5]}, sizes=free)
    for op in ("Sqrt", "Log"):
        yield Case(op, [helper.make_node("Abs", ["x"], ["a"]), node(op, ["a"])], {"x": ["N", 5]}, sizes=free)
    yield Case("Elu alpha", node("Elu", alpha=2.0), {"x": ["N", 5]}, sizes=free)
    yield Case("HardSigmoid given", node("HardSigmoid", alpha=0.3, beta=0.25), {"x": ["N", 5]}, sizes=free)
    for op in "Add Sub Mul Div Max Min".split():
        yield Case(op, node(op, ["x", "z"]), {"x": ["N", 4, 5], "z": [4, 1]}, sizes=free)
        yield Case(op + " scalar", node(op, ["x", "c"]), {"x": ["N", 4]}, {"c": np.float32(1.5)}, sizes=free)
        yield Case(op + " scalar left", node(op, ["c", "x"]), {"x": ["N", 4]}, {"c": np.array([1.5], np.float32)}, sizes=free)
    yield Case("Max of three", node("Max", ["x", "c", "d"]), {"x": ["N", 4]}, {"c": floats(4), "d": floats(1, 4)}, sizes=free)
    for op in ("Sum", "Mean"):
        yield Case(op, node(op, ["x", "c", "d"]), {"x": ["N", 4]}, {"c": floats(4), "d": floats(1, 4)}, sizes=free)
        yield Case(op + " of one", node(op, ["x"]), {"x": ["N", 4]}, sizes=free)
    yield Case("Xor", node("Xor", ["x", "z"]), {"x": (["N", 4], BOOL), "z": ([4], BOOL)}, sizes=free)
    yield Case("Pow", node("Pow", ["x", "c"]), {"x": ["N", 4]}, {"c": np.float32(2)}, sizes=free)
    yield Case("Add f16", node("Add", ["x", "c"]), {"x": (["N", 4], F16)}, {"c": floats(4).astype(np.float16)}, sizes=free)
    yield Case("Relu f16", node("Relu"), {"x": (["N", 4], F16)}, sizes=free)
    for op in "Equal Greater GreaterOrEqual Less LessOrEqual".split():
        yield Case(op, node(op, ["x", "c"]), {"x": ["N", 4]}, {"c": floats(4)}, sizes=free)
    yield Case("And", node("And", ["x", "z"]), {"x": (["N", 4], BOOL), "z": ([4], BOOL)}, sizes=free)
    yield Case("Or", node("Or", ["x", "z"]), {"x": (["N", 4], BOOL), "z": ([4], BOOL)}, sizes=free)
    yield Case("Not", node("Not"), {"x": (["N", 4], BOOL)}, sizes=free)
    yield Case("Where", node("Where", ["x", "a", "b"]), {"x": (["N", 4], BOOL), "a": ["N", 4], "b": [4]}, sizes=free)
    yield Case("Clip", node("Clip", ["x", "lo", "hi"]), {"x": ["N", 4]}, {"lo": np.float32(-0.5), "hi": np.float32(0.25)}, sizes=free)
    yield Case("Clip low", node("Clip", ["x", "lo"]), {"x": ["N", 4]}, {"lo": np.float32(-0.5)}, sizes=free)
    yield Case("Clip opset 6", node("Clip", min=-0.5, max=0.5), {"x": ["N", 4]}, sizes=free, opset=10)
    yield Case("PRelu", node("PRelu", ["x", "s"]), {"x": ["N", 4, 3]}, {"s": floats(4, 1)}, sizes=free)
    yield Case("Cast", [helper.make_node("Cast", ["x"], ["i"], to=I64), node("Cast", ["i"], to=F32)], {"x": ["N", 4]}, sizes=free)
    for axis in (-1, 0, 1):
        yield Case(f"Softmax {axis}", node("Softmax", axis=axis), {"x": ["N", 4, 5]}, sizes=free)
    yield Case("Softmax opset 11", node("Softmax"), {"x": ["N", 4, 5]}, sizes=free, opset=11)

    for alpha, beta in ((1.0, 1.0), (0.5, 2.0)):
        for trans_b in (0, 1):
            for bias in ("rank 1", "rank 2", "none"):
                constants = {"w": floats(3, 5) if trans_b else floats(5, 3)}
                if bias != "none":
                    constants["b"] = floats(3) if bias == "rank 1" else floats(1, 3)
                yield Case(f"Gemm {alpha} {beta} {trans_b} {bias}", node("Gemm", ["x", *constants], transB=trans_b, alpha=alpha, beta=beta),
                           {"x": ["N", 5]}, constants, sizes=free)
    yield Case("Gemm transA", node("Gemm", ["x", "w", "b"], transA=1), {"x": [5, "N"]}, {"w": floats(5, 3), "b": np.float32(0.5)}, sizes=free)
    yield Case("Einsum", node("Einsum", ["x", "z"], equation="bij, bjk -> bik"), {"x": ["N", 4, 5], "z": ["N", 5, 3]}, sizes=free)
    yield Case("Einsum weight", node("Einsum", ["x", "w"], equation="nchw,cd->ndhw"), {"x": ["N", 4, 5, 2]}, {"w": floats(4, 3)}, sizes=free)
    yield Case("Einsum implicit", node("Einsum", ["x", "w"], equation="ij,jk"), {"x": [4, 5]}, {"w": floats(5, 3)}, refused="equation")
    for a, b in (([5], [5, 3]), (["N", 5], [5]), (["N", 4, 5], [5, 3]), (["N", 1, 4, 5], [2, 5, 3]), ([4, 5], ["N", 5, 3]), ([5], [5])):
        yield Case(f"MatMul {a} {b}", node("MatMul", ["x", "z"]), {"x": a, "z": b}, sizes=free)
    yield Case("MatMul weight left", node("MatMul", ["w", "x"]), {"x": ["N", 5, 3]}, {"w": floats(4, 5)}, sizes=free)

    for d, shape in ((1, [9]), (2, [9, 8]), (3, [5, 6, 7])):
        for group in (1, 2):
            constants = {"w": floats(4, 4 // group, *[3] * d), "b": floats(4)}
            yield Case(f"Conv {d}d group {group}", node("Conv", ["x", "w", "b"], group=group, pads=[1, 0, 2][:d] + [0, 2, 1][:d], strides=[2, 1, 2][:d]),
                       {"x": ["N", 4, *shape]}, constants, sizes=free)
    yield Case("Conv dilation", node("Conv", ["x", "w"], dilations=[2, 1]), {"x": ["N", 4, 9, 8]}, {"w": floats(4, 4, 3, 3)}, sizes=free)
    yield Case("Conv over time", node("Conv", ["x", "w", "b"], pads=[1, 1], strides=[2]), {"x": ["N", 4, "T"]}, {"w": floats(1, 4, 3), "b": floats(1)},
               sizes=({"N": 1, "T": 9}, {"N": 2, "T": 6}))
    yield Case("Conv depthwise", node("Conv", ["x", "w"], group=4), {"x": ["N", 4, 9]}, {"w": floats(4, 1, 3)}, sizes=free)
    for d, shape in ((1, [9]), (2, [5, 4])):
        for group in (1, 2, 4):
            constants = {"w": floats(4, 6 // group if group < 4 else 1, *[3] * d), "b": floats(6 if group < 4 else 4)}
            yield Case(f"ConvTranspose {d}d group {group}", node("ConvTranspose", ["x", "w", "b"], group=group, pads=[1, 0][:d] + [0, 1][:d], strides=[2, 3][:d]),
                       {"x": ["N", 4, *shape]}, constants, sizes=free)
    yield Case("ConvTranspose square", node("ConvTranspose", ["x", "w"], strides=[2, 2]), {"x": ["N", 4, "H", "W"]}, {"w": floats(4, 4, 2, 2)},
               sizes=({"N": 1, "H": 3, "W": 5}, {"N": 2, "H": 4, "W": 1}))
    yield Case("ConvTranspose dilation", node("ConvTranspose", ["x", "w"], dilations=[2, 1]), {"x": ["N", 4, 5, 4]}, {"w": floats(4, 3, 3, 2)}, sizes=free)
    yield Case("ConvTranspose output padding", node("ConvTranspose", ["x", "w"], strides=[2, 2], output_padding=[1, 0]), {"x": [2, 4, 5, 4]}, {"w": floats(4, 3, 3, 3)})
    yield Case("ConvTranspose output padding over time", node("ConvTranspose", ["x", "w"], strides=[2], output_padding=[1]), {"x": [1, 4, "T"]},
               {"w": floats(4, 3, 3)}, refused="free dimension")
    yield Case("ConvTranspose output shape", node("ConvTranspose", ["x", "w"], strides=[2, 2], output_shape=[9, 7]), {"x": ["N", 4, 5, 4]}, {"w": floats(4, 3, 3, 3)}, sizes=free)
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        yield Case(f"ConvTranspose {mode}", node("ConvTranspose", ["x", "w"], strides=[2, 2], auto_pad=mode), {"x": ["N", 4, 5, 4]}, {"w": floats(4, 3, 3, 4)}, sizes=free)
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        for stride in (1, 2):
            yield Case(f"Conv {mode} {stride}", node("Conv", ["x", "w"], auto_pad=mode, strides=[stride, stride]), {"x": ["N", 4, 9, 8]},
                       {"w": floats(4, 4, 3, 2)}, sizes=free)
            yield Case(f"MaxPool {mode} {stride}", node("MaxPool", auto_pad=mode, strides=[stride, stride], kernel_shape=[3, 2]), {"x": ["N", 4, 9, 8]}, sizes=free)
    yield Case("Conv SAME over time", node("Conv", ["x", "w"], auto_pad="SAME_UPPER", strides=[2]), {"x": [1, 4, "T"]}, {"w": floats(4, 4, 3)},
               refused="free dimension")
    for ceil in (0, 1):
        for size, kernel, stride, pads in ((9, 3, 2, [0, 0]), (8, 3, 2, [0, 0]), (7, 2, 3, [0, 1]), (10, 3, 4, [1, 1]), (5, 2, 2, [1, 1])):
            attributes = dict(kernel_shape=[kernel], strides=[stride], pads=pads, ceil_mode=ceil)
            yield Case(f"MaxPool ceil {ceil} {size} {kernel} {stride} {pads}", node("MaxPool", **attributes), {"x": ["N", 2, size]}, sizes=free)
            yield Case(f"AveragePool ceil {ceil} {size} {kernel} {stride} {pads}", node("AveragePool", **attributes), {"x": ["N", 2, size]}, sizes=free, opset=19)
    yield Case("AveragePool counts padding", node("AveragePool", kernel_shape=[3], pads=[1, 1], count_include_pad=1), {"x": ["N", 2, 9]}, sizes=free)
    yield Case("MaxPool dilation", node("MaxPool", kernel_shape=[3], dilations=[2]), {"x": ["N", 2, 9]}, sizes=free)
    yield Case("MaxPool indices", node("MaxPool", ["x"], ["y", "i"], kernel_shape=[3]), {"x": [1, 2, 9]}, outputs=("y", "i"), refused="Indices")
    yield Case("GlobalAveragePool", node("GlobalAveragePool"), {"x": ["N", 3, 5, 4]}, sizes=free)
    yield Case("GlobalMaxPool", node("GlobalMaxPool"), {"x": ["N", 3, 5, 4]}, sizes=free)
    yield Case("BatchNormalization", node("BatchNormalization", ["x", "s", "b", "m", "v"]), {"x": ["N", 3, 5]},
               {"s": floats(3), "b": floats(3), "m": floats(3), "v": np.abs(floats(3)) + 0.5}, sizes=free)
    for op in "ReduceMean ReduceMax ReduceMin".split():
        yield Case(op, node(op, axes=[1, -1]), {"x": ["N", 4, 5]}, sizes=free)
        yield Case(op + " dropped", node(op, axes=[1], keepdims=0), {"x": ["N", 4, 5]}, sizes=free)
    for op in "ReduceL1 ReduceL2 ReduceLogSumExp ReduceProd ReduceSumSquare".split():
        yield Case(op, node(op, axes=[1, -1]), {"x": ["N", 4, 5]}, sizes=free)
        yield Case(op + " dropped", node(op, axes=[1], keepdims=0), {"x": ["N", 4, 5]}, sizes=free)
    yield Case("ReduceLogSum", [helper.make_node("Abs", ["x"], ["a"]), node("ReduceLogSum", ["a"], axes=[1])], {"x": ["N", 4, 5]}, sizes=free)
    for op in ("ArgMax", "ArgMin"):
        for last in (0, 1):
            yield Case(f"{op} {last}", node(op, axis=1, select_last_index=last), {"x": ["N", 4, 5]}, sizes=free)
        yield Case(f"{op} dropped", node(op, axis=-1, keepdims=0), {"x": ["N", 4, 5]}, sizes=free)
    yield Case("LayerNormalization", node("LayerNormalization", ["x", "s", "b"], epsilon=1e-12), {"x": ["N", "T", 5]}, {"s": floats(5), "b": floats(5)},
               sizes=({"N": 1, "T": 4}, {"N": 3, "T": 2}))
    yield Case("LayerNormalization axes", node("LayerNormalization", ["x", "s"], axis=1), {"x": ["N", 4, 5]}, {"s": floats(4, 5)}, sizes=free)
    yield Case("InstanceNormalization", node("InstanceNormalization", ["x", "s", "b"]), {"x": ["N", 3, 5, 4]}, {"s": floats(3), "b": floats(3)}, sizes=free)
    for size in (1, 3, 5):  # onnxruntime has no others
        yield Case(f"LRN {size}", node("LRN", size=size, alpha=0.5, beta=0.6, bias=1.5), {"x": ["N", 5, 3, 2]}, sizes=free)
    for p in (1, 2):
        yield Case(f"LpNormalization {p}", node("LpNormalization", p=p, axis=1), {"x": ["N", 4, 5]}, sizes=free)
    yield Case("MeanVarianceNormalization", node("MeanVarianceNormalization"), {"x": [3, 4, 5, 2]})
    yield Case("ReduceSum", node("ReduceSum", ["x", "a"], keepdims=0), {"x": ["N", 4, 5]}, {"a": ints(-1)}, sizes=free)
    yield Case("ReduceMean all", node("ReduceMean"), {"x": [3, 4, 5]})

    yield Case("Transpose", node("Transpose", perm=[2, 0, 1]), {"x": ["N", 4, 5]}, sizes=free)
    yield Case("Transpose twice", [helper.make_node("Transpose", ["x"], ["t"], perm=[2, 0, 1]), node("Transpose", ["t"], perm=[2, 1, 0])],
               {"x": ["N", 4, 5]}, sizes=free)
    yield Case("Transpose back", [helper.make_node("Transpose", ["x"], ["t"]), node("Transpose", ["t"])], {"x": ["N", 4, 5]}, sizes=free)
    yield Case("Squeeze", node("Squeeze", ["x", "a"]), {"x": ["N", 1, 5, 1]}, {"a": ints(-1, 1)}, sizes=free)
    yield Case("Squeeze all", node("Squeeze"), {"x": [2, 1, 5, 1]})
    yield Case("Squeeze attribute", node("Squeeze", axes=[1]), {"x": ["N", 1, 5]}, sizes=free, opset=11)
    yield Case("Unsqueeze", node("Unsqueeze", ["x", "a"]), {"x": ["N", 5]}, {"a": ints(0, -1)}, sizes=free)
    yield Case("Unsqueeze attribute", node("Unsqueeze", axes=[1]), {"x": ["N", 5]}, sizes=free, opset=11)
    yield Case("Squeeze of Unsqueeze", [helper.make_node("Unsqueeze", ["x", "a"], ["u"]), node("Squeeze", ["u", "a"])], {"x": ["N", 5]}, {"a": ints(1)}, sizes=free)
    for shape in ([0, 20], [-1, 10], [0, 5, 4], [0, 2, -1, 5]):
        yield Case(f"Reshape {shape}", node("Reshape", ["x", "s"]), {"x": ["N", 4, 5]}, {"s": ints(*shape)}, sizes=free)
    yield Case("Reshape flat", node("Reshape", ["x", "s"]), {"x": ["N", 4, 5]}, {"s": ints(-1)}, sizes=free)
    for axis in (0, 1, 2, 3, -1):
        yield Case(f"Flatten {axis}", node("Flatten", axis=axis), {"x": ["N", 4, 5]}, sizes=free)
    for starts, ends, axes, steps in (([1], [3], [1], [1]), ([0], [2**63 - 1], [0], [1]), ([1], [2**63 - 1], [2], [2]), ([-3, 1], [-1, 9], [1, 2], [1, 1])):
        yield Case(f"Slice {starts} {ends} {axes} {steps}", node("Slice", ["x", "s", "e", "a", "t"]), {"x": ["N", 4, 5]},
                   {"s": ints(*starts), "e": ints(*ends), "a": ints(*axes), "t": ints(*steps)}, sizes=free)
    yield Case("Slice to the end of time", node("Slice", ["x", "s", "e", "a"]), {"x": ["T", 4]}, {"s": ints(2), "e": ints(2**63 - 1), "a": ints(0)}, sizes=({"T": 5}, {"T": 9}), kept=True)
    yield Case("Slice counted from the end of time", node("Slice", ["x", "s", "e", "a", "t"]), {"x": ["T", 4]},
               {"s": ints(-4), "e": ints(-1), "a": ints(0), "t": ints(1)}, sizes=({"T": 5}, {"T": 9}), kept=True)
    yield Case("Slice of every second step", node("Slice", ["x", "s", "e", "a", "t"]), {"x": ["T", 4]},
               {"s": ints(1), "e": ints(2**63 - 1), "a": ints(0), "t": ints(2)}, refused="free dimension")
    yield Case("Slice attribute", node("Slice", starts=[1], ends=[3], axes=[1]), {"x": ["N", 4, 5]}, sizes=free, opset=9)
    yield Case("Slice backwards", node("Slice", ["x", "s", "e", "a", "t"]), {"x": [4]}, {"s": ints(3), "e": ints(0), "a": ints(0), "t": ints(-1)}, refused="step -1")
    yield Case("Split", node("Split", ["x"], ["y", "z"], axis=1), {"x": ["N", 4]}, outputs=("y", "z"), sizes=free)
    yield Case("Split sizes", node("Split", ["x", "s"], ["y", "z"], axis=-1), {"x": ["N", 5]}, {"s": ints(2, 3)}, outputs=("y", "z"), sizes=free)
    yield Case("Concat", node("Concat", ["x", "z", "c"], axis=-1), {"x": [2, 4], "z": [2, 2]}, {"c": floats(2, 3)})
    yield Case("Concat of free", node("Concat", ["x", "x"], axis=0), {"x": ["N", 4]}, sizes=free)
    for mode in ("constant", "reflect", "edge"):
        yield Case(f"Pad {mode}", node("Pad", ["x", "p"], mode=mode), {"x": ["N", 4, 5]}, {"p": ints(0, 1, 2, 0, 2, 1)}, sizes=free)
    yield Case("Pad value", node("Pad", ["x", "p", "v"]), {"x": ["N", 4]}, {"p": ints(0, 1, 0, 2), "v": np.float32(-1.5)}, sizes=free)
    yield Case("Pad axes", node("Pad", ["x", "p", "", "a"]), {"x": ["N", 4]}, {"p": ints(1, 2), "a": ints(-1)}, sizes=free, opset=18)
    yield Case("Pad opset 2", node("Pad", pads=[0, 1, 0, 2], value=0.5), {"x": ["N", 4]}, sizes=free, opset=10)
    yield Case("Tile", node("Tile", ["x", "r"]), {"x": ["N", 4, 1]}, {"r": ints(2, 1, 3)}, sizes=free)
    for mode in ("DCR", "CRD"):
        yield Case(f"DepthToSpace {mode}", node("DepthToSpace", blocksize=2, mode=mode), {"x": ["N", 12, "H", 3]}, sizes=({"N": 1, "H": 2}, {"N": 2, "H": 5}))
    yield Case("SpaceToDepth", node("SpaceToDepth", blocksize=2), {"x": ["N", 3, 4, 6]}, sizes=free)
    spatial = ({"N": 1, "H": 3}, {"N": 2, "H": 5})
    for nearest, mode in (("floor", "asymmetric"), ("round_prefer_floor", "half_pixel"), ("round_prefer_ceil", "half_pixel")):
        yield Case(f"Resize nearest {mode} {nearest}", node("Resize", ["x", "", "s"], mode="nearest", nearest_mode=nearest, coordinate_transformation_mode=mode),
                   {"x": ["N", 3, "H", 4]}, {"s": np.array([1, 1, 2, 3], np.float32)}, sizes=spatial)
    yield Case("Resize nearest to sizes", node("Resize", ["x", "", "", "s"], mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"),
               {"x": ["N", 3, 5, 4]}, {"s": ints(1, 3, 10, 8)}, sizes=({"N": 1},), refused="sizes depend on free dimensions")
    yield Case("Resize nearest to fixed sizes", node("Resize", ["x", "", "", "s"], mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"),
               {"x": [2, 3, 5, 4]}, {"s": ints(2, 3, 10, 8)})
    for mode in ("half_pixel", "asymmetric", "align_corners"):
        yield Case(f"Resize linear {mode}", node("Resize", ["x", "", "s"], mode="linear", coordinate_transformation_mode=mode), {"x": ["N", 3, 5, 4]},
                   {"s": np.array([1, 1, 2, 3], np.float32)}, sizes=free)
    for mode, more in (("linear", {}), ("cubic", {}), ("nearest", {"nearest_mode": "floor"})):
        yield Case(f"Resize {mode} by other scales", node("Resize", ["x", "", "s"], mode=mode, coordinate_transformation_mode="half_pixel", **more), {"x": [2, 3, 5, 4]},
                   {"s": np.array([1, 1, 1.6, 0.5], np.float32)}, kept=True)
    yield Case("Resize antialias", node("Resize", ["x", "", "s"], mode="linear", antialias=1), {"x": [2, 3, 5, 4]}, {"s": np.array([1, 1, 0.5, 0.5], np.float32)},
               opset=18, refused="antialias")
    yield Case("Upsample", node("Upsample", ["x", "s"], mode="nearest"), {"x": ["N", 3, 5, 4]}, {"s": np.array([1, 1, 2, 2], np.float32)}, sizes=free, opset=9)
    yield Case("GatherElements", node("GatherElements", ["x", "i"], axis=1), {"x": [2, 4], "i": ([2, 3], I64)})
    yield Case("GatherND", node("GatherND", ["x", "i"]), {"x": [3, 4, 5]}, {"i": np.array([[0, 1], [2, 3]], np.int64)})
    yield Case("ScatterND", node("ScatterND", ["x", "i", "u"]), {"x": [4, 5]}, {"i": np.array([[1], [3]], np.int64), "u": floats(2, 5)})
    yield Case("ScatterND add", node("ScatterND", ["x", "i", "u"], reduction="add"), {"x": [4, 5]}, {"i": np.array([[1], [3]], np.int64), "u": floats(2, 5)}, refused="reduction")
    yield Case("Gather one", node("Gather", ["x", "i"], axis=1), {"x": ["N", 4, 5]}, {"i": np.int64(-2)}, sizes=free)
    yield Case("Gather some", node("Gather", ["x", "i"], axis=1), {"x": ["N", 4, 5]}, {"i": ints(3, 0)}, sizes=free)
    yield Case("Gather rows", node("Gather", ["w", "x"]), {"x": (["N", 2], I64)}, {"w": floats(3, 4)}, sizes=free)
    yield Case("Expand", node("Expand", ["x", "s"]), {"x": [4, 1]}, {"s": ints(2, 1, 3)})

    # Shapes computed in the graph.
    yield Case("zeros of the batch", [
        helper.make_node("Shape", ["x"], ["shape"]), helper.make_node("Gather", ["shape", "zero"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n", "axis"], ["n1"]), helper.make_node("Concat", ["n1", "three"], ["target"], axis=0),
        helper.make_node("ConstantOfShape", ["target"], ["zeros"]), node("Concat", ["x", "zeros"], axis=1)],
        {"x": ["N", 4]}, {"zero": np.int64(0), "axis": ints(0), "three": ints(3)}, sizes=free)
    yield Case("reshape by computed shape", [
        helper.make_node("Shape", ["x"], ["shape"]), helper.make_node("Slice", ["shape", "zero", "two", "zero"], ["front"]),
        helper.make_node("Cast", ["front"], ["front64"], to=I64), helper.make_node("Concat", ["front64", "tail"], ["target"], axis=0), node("Reshape", ["x", "target"])],
        {"x": ["N", 4, 6]}, {"zero": ints(0), "two": ints(2), "tail": ints(2, -1)}, sizes=free)
    yield Case("arithmetic on shapes", [
        helper.make_node("Shape", ["x"], ["shape"]), helper.make_node("Split", ["shape"], ["n", "c"], axis=0), helper.make_node("Mul", ["n", "two"], ["n2"]),
        helper.make_node("Div", ["c", "two"], ["c2"]), helper.make_node("Concat", ["n2", "c2"], ["target"], axis=0), node("Reshape", ["x", "target"])],
        {"x": ["N", 4]}, {"two": ints(2)}, sizes=free, refused="Split")

    yield Case("positions of the sequence", [
        helper.make_node("Shape", ["x"], ["shape"]), helper.make_node("Gather", ["shape", "one"], ["t"], axis=0), helper.make_node("Unsqueeze", ["t", "zero"], ["t1"]),
        helper.make_node("Slice", ["table", "zero", "t1", "one1"], ["places"]), helper.make_node("Gather", ["w", "places"], ["embedded"]), node("Add", ["x", "embedded"])],
        {"x": ["N", "T", 4]}, {"one": np.int64(1), "zero": ints(0), "one1": ints(1), "table": np.arange(9)[None], "w": floats(9, 4)},
        sizes=({"N": 1, "T": 3}, {"N": 2, "T": 9}))
    yield Case("expand as exporters write it", [
        helper.make_node("Shape", ["x"], ["shape"]), helper.make_node("Shape", ["shape"], ["rank"]),
        helper.make_node("ConstantOfShape", ["rank"], ["ones"], value=numpy_helper.from_array(ints(1))), helper.make_node("Mul", ["ones", "minus"], ["all"]),
        helper.make_node("Equal", ["shape", "all"], ["same"]), helper.make_node("Where", ["same", "ones", "shape"], ["target"]),
        helper.make_node("Expand", ["c", "target"], ["wide"]), node("Add", ["x", "wide"])],
        {"x": ["N", 4]}, {"minus": np.int64(-1), "c": floats(1, 4)}, sizes=free)
    yield Case("If", [helper.make_node("If", ["c"], ["y"], "the_node", then_branch=helper.make_graph([helper.make_node("Relu", ["x"], ["a"])], "t", [], [helper.make_empty_tensor_value_info("a")]),
               else_branch=helper.make_graph([helper.make_node("Abs", ["x"], ["b"])], "e", [], [helper.make_empty_tensor_value_info("b")]))],
               {"x": [2, 3]}, {"c": np.array(True)}, refused="If of node 'the_node': NNEF has no control flow")
    yield Case("Concat of places that may differ", [helper.make_node("MaxPool", ["x"], ["p"], kernel_shape=[2], strides=[2]), node("Concat", ["x", "p"], axis=1)], {"x": [1, 2, "T"]},
               refused="bind free dimensions")

    # Recurrent operators: T and N stay free.
    for direction in ("forward", "reverse", "bidirectional"):
        d = 2 if direction == "bidirectional" else 1
        for reset in (0, 1):
            for bias in (True, False):
                for states in (True, False):
                    yield Case(f"GRU {direction} reset {reset} bias {bias} states {states}",
                               **recurrent("GRU", directions=d, bias=bias, states=states, direction=direction, linear_before_reset=reset), kept=not reset)
        for op in ("LSTM", "RNN"):
            for bias in (True, False):
                yield Case(f"{op} {direction} bias {bias}", **recurrent(op, directions=d, bias=bias, states=bias, direction=direction))
    yield Case("GRU activations", **recurrent("GRU", activations=["Tanh", "Relu"]), kept=True)
    yield Case("GRU activations, reset last", **recurrent("GRU", activations=["Sigmoid", "Relu"], linear_before_reset=1), kept=True)
    yield Case("LSTM activations", **recurrent("LSTM", activations=["Sigmoid", "Relu", "Tanh"]), kept=True)
    yield Case("RNN Relu", **recurrent("RNN", activations=["Relu"]))
    for op, attributes, what in (("GRU", {"clip": 1.0}, "clip"), ("LSTM", {"input_forget": 1}, "input_forget"), ("GRU", {"activations": ["Sigmoid", "Elu"]}, "Elu")):
        yield Case(f"{op} {what}", **(recurrent(op, **attributes) | {"refused": what}))
    peephole = recurrent("LSTM")
    peephole["constants"]["P"] = floats(1, 18)
    peephole["nodes"].input.extend(["P"])
    yield Case("LSTM peepholes", **peephole, refused="peepholes")

    # Names: keywords, what parsers take for literals, other operators' names, symbols that clash.
    yield Case("names", [helper.make_node("Add", ["inference", "true_one"], ["for"]), helper.make_node("Mul", ["for", "N"], ["a b/c:0"]),
                         helper.make_node("Relu", ["a b/c:0"], ["a_b_c_0"]), node("Sub", ["a_b_c_0", "../w"], ["conv"])],
               {"inference": ["N", 4], "true_one": [4]}, {"N": floats(4), "../w": floats(4)}, outputs=("conv",), sizes=free)
    yield Case("an input is an output", node("Identity"), {"x": ["N", 4]}, sizes=free)
    yield Case("a constant is an output", node("Relu"), {"x": ["N", 4]}, {"c": floats(3)}, outputs=("y", "c"), sizes=free)
    yield Case("unknown operator", node("Det"), {"x": [3, 3]}, refused="Det of node 'the_node'")


def reference(model):
    """Runs the model in onnxruntime, or in onnx's reference where onnxruntime lacks something (layout = 1, f16)."""
    from onnx.reference import ReferenceEvaluator
    try:
        session = peer.session(model.SerializeToString())
    except Exception:  # noqa: BLE001
        return lambda feed: ReferenceEvaluator(model).run(None, feed)

    def run(feed):
        try:
            return session.run(None, dict(zip([i.name for i in session.get_inputs()], feed.values())))
        except Exception:  # noqa: BLE001
            return ReferenceEvaluator(model).run(None, feed)
    return run


# Around any operator: what aligns shapes, and inputs, weights and outputs.
ANYWHERE = {"external", "tract_core_external", "variable", "copy", "unsqueeze", "squeeze", "transpose", "network"}


def unlisted(path, model, table):
    """Operators of an NNEF file that `convert --list-operators` does not name for those of the model."""
    with tarfile.open(path) as archive:
        text = archive.extractfile("graph.nnef").read().decode()
    text = re.sub(r"'[^']*'", "''", text)
    own = set(re.findall(r"^fragment (\w+)", text, re.M))
    used = set(re.findall(r"(\w+)(?:<\w+>)?\(", text)) - own
    named = set().union(*(table.get(node.op_type, set()) for node in model.graph.node))
    return used - named - ANYWHERE


def check(program, case, folder, table):
    import tract
    source, target, again = (os.path.join(folder, name) for name in ("in.onnx", "out.nnef.tar", "again.onnx"))
    onnx.save(case.model, source)
    if case.refused:
        text = peer.espalier(program, "convert", source, target, expect=1).stderr
        if case.refused not in text or text.count("\n") != 1:
            return f"refused with: {text.strip()}"
        return "refused, but a file is there" if os.path.exists(target) else ""
    peer.espalier(program, "convert", source, target)
    extra = unlisted(target, case.model, table)
    if extra:
        return f"written with {extra}, which --list-operators does not name"
    run, runnable = reference(case.model), tract.nnef().load(target).into_runnable()
    if case.kept:
        again = os.path.join(folder, "again.nnef.tgz")
        peer.espalier(program, "convert", target, again)
        second = tract.nnef().load(again).into_runnable()
        run_again = lambda feed: [o.to_numpy() for o in second.run(list(feed.values()))]  # noqa: E731
    else:
        peer.espalier(program, "convert", target, again)
        run_again = reference(onnx.load(again))
    for feed in case.runs():
        expected = run(feed)
        tolerance = 2e-3 if any(e.dtype == np.float16 for e in expected) else 1e-5
        for reader, found in (("tract", [o.to_numpy() for o in runnable.run(list(feed.values()))]), ("read back", run_again(feed))):
            difference = peer.relative_difference(found, expected)
            if difference > tolerance:
                return f"{reader} differs by {difference:.1e} for {[v.shape for v in feed.values()]}: {[f.shape for f in found]}, {[e.shape for e in expected]}"
    return ""


def main(program, wanted):
    faults = count = 0
    listing = json.loads(peer.espalier(program, "convert", "--list-operators", "--json", "-").stdout)
    table = {row["onnx"]: set(f"{row['standard'] or ''} {row['tract'] or ''}".split()) for row in listing["written"]}
    with tempfile.TemporaryDirectory() as folder:
        for case in cases():
            if wanted and not any(w in case.name for w in wanted):
                continue
            count += 1
            try:
                fault = check(program, case, folder, table)
            except Exception as error:  # noqa: BLE001
                fault = peer.one_line(error, 700)
            if os.path.exists(os.path.join(folder, "out.nnef.tar")):
                os.remove(os.path.join(folder, "out.nnef.tar"))
            if fault:
                faults += 1
                print(f"FAIL {case.name}: {fault}")
    return peer.verdict(count, faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
