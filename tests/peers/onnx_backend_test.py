#!/usr/bin/env python3
"""onnx's own backend node tests against espalier's runtime.

onnx_backend_test.py ESPALIER [--only REGEX] [--list FILE] [--verbose]

The cases come from onnx's wheel (onnx.backend.test.case), which makes model, inputs and outputs. Each must pass within onnx's own tolerance or be
refused with a line that names the operator; everything else is a fault. docs/operators.md is the list, written by --list and compared here.
"""
import argparse
import collections
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

LIST = os.path.join(peer.ROOT, "docs/operators.md")
SHARE_WANTED = 0.9

# The operators that the runtime is to have in full, with all attributes and forms of opset 7 and later.
NAMED = set("""
Abs Acos Acosh Add Asin Asinh Atan Atanh Ceil Celu Cos Cosh Div Erf Exp Floor Log Max Mean Min Mod Mul Neg Pow Reciprocal Round Sign Sin Sinh
Sqrt Sub Sum Tan Tanh
Relu LeakyRelu PRelu Elu Selu Sigmoid HardSigmoid HardSwish Softplus Softsign Gelu Mish Clip Swish Shrink ThresholdedRelu
Softmax LogSoftmax Hardmax
MatMul Gemm Einsum Conv ConvTranspose GRU LSTM RNN
BatchNormalization LayerNormalization InstanceNormalization GroupNormalization RMSNormalization LpNormalization LRN
MaxPool AveragePool LpPool GlobalMaxPool GlobalAveragePool GlobalLpPool
ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
Reshape Flatten Transpose Squeeze Unsqueeze Concat Split Slice Gather GatherElements GatherND Scatter ScatterElements ScatterND Expand Tile Pad
Where Shape Size Range Constant ConstantOfShape TopK ArgMax ArgMin CumSum Trilu Resize Upsample DepthToSpace SpaceToDepth ReverseSequence
Cast CastLike Equal Greater GreaterOrEqual Less LessOrEqual And Or Xor Not IsNaN IsInf
If Loop Scan Identity Dropout QuantizeLinear DequantizeLinear
""".split())


def operators_of(graph):
    """All operators of a graph and its subgraphs, with their domain unless it is onnx's own."""
    found = set()
    for node in graph.node:
        found.add(f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type)
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                found |= operators_of(attribute.g)
    return found


def collect(only):
    """(name, operator it is about, case), sorted by operator and name; expanded functions belong to the function's operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases
        cases = {case.name: case for case in collect_testcases(None)}
    single = {name: next(iter(operators_of(case.model.graph)))
              for name, case in cases.items() if len(operators_of(case.model.graph)) == 1}
    result = []
    for name, case in cases.items():
        base = re.sub(r"_expanded(_ver\d+|_function.*)?$", "", name)
        nodes = case.model.graph.node
        first = f"{nodes[0].domain}.{nodes[0].op_type}" if nodes[0].domain not in ("", "ai.onnx") else nodes[0].op_type
        operator = single.get(base) or (first if base == name else "several")
        if only is None or re.search(only, name):
            result.append((name, operator, case))
    return sorted(result, key=lambda r: (r[1], r[0]))


def to_proto(value, declared):
    if declared.type.HasField("map_type"):
        return numpy_helper.from_dict(value, declared.name)
    if declared.type.HasField("sequence_type"):
        return numpy_helper.from_list(value, declared.name)
    if declared.type.HasField("optional_type"):
        return numpy_helper.from_optional(value, declared.name)
    return value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), declared.name)


def write_case(case, folder):
    """model.onnx and test_data_set_0 as onnx's generate-data lays them out; the expected outputs by name."""
    data = os.path.join(folder, "test_data_set_0")
    os.makedirs(data)
    with open(os.path.join(folder, "model.onnx"), "wb") as file:
        file.write(case.model.SerializeToString())
    inputs, outputs = case.data_sets[0]
    graph = case.model.graph
    expected = {}
    for kind, values, declared in [("input", inputs, graph.input), ("output", outputs, graph.output)]:
        for k, value in enumerate(values):
            proto = to_proto(value, declared[k])
            if kind == "output":
                expected[declared[k].name] = proto
            with open(os.path.join(data, f"{kind}_{k}.pb"), "wb") as file:
                file.write(proto.SerializeToString())
    return expected


def run(program, *arguments):
    return subprocess.run([program, "run", *arguments, "-q"], capture_output=True, text=True, errors="replace")


def difference(found, expected, case):
    """What differs, by onnx's own rule, or nothing."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return f"{found.dtype} {list(found.shape)}, expected {expected.dtype} {list(expected.shape)}"
    try:
        np.testing.assert_allclose(found, expected, rtol=case.rtol, atol=case.atol)
    except AssertionError as error:
        return " ".join(str(error).split())[:200]
    return None


# Types that a .npy file cannot hold are compared by the program: bfloat16 with the tolerance that onnx has for it, smaller ones exactly.
def checked_by_program(program, case, folder, expected):
    only_bfloat16 = all(getattr(proto, "data_type", None) == TensorProto.BFLOAT16 or wide(proto) for proto in expected.values())
    tolerance = ["--abs", str(case.atol), "--rel", str(max(case.rtol, 2.0 ** -6))] if only_bfloat16 else ["--abs", "0", "--rel", "0"]
    done = run(program, os.path.join(folder, "model.onnx"), "--inputs", os.path.join(folder, "test_data_set_0"), "--check", *tolerance)
    return done, None if done.returncode == 0 else "differs (--check)"


# No .npy file holds these.
NOT_IN_NPY = {number for name, number in TensorProto.DataType.items()
              if name == "BFLOAT16" or re.match("FLOAT[864]E", name) or re.match("U?INT[42]$", name)}


def wide(expected):
    """Whether a .npy file holds the type."""
    return isinstance(expected, TensorProto) and expected.data_type not in NOT_IN_NPY


def refusal_of(done, case, operator):
    """The reason of a refusal that names the operator (or says which kind of input there is no way to run), or nothing."""
    line = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
    names = operators_of(case.model.graph) | {operator}
    named = [name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", line)]
    return line if named or re.search(r"opset \d+ is not supported", line) else None


def judge(program, name, operator, case):
    with tempfile.TemporaryDirectory() as folder:
        expected = write_case(case, folder)
        if all(wide(proto) for proto in expected.values()):
            out = os.path.join(folder, "out")
            done = run(program, os.path.join(folder, "model.onnx"), "--inputs", os.path.join(folder, "test_data_set_0"), "-o", out)
            wrong = None
            for output, proto in expected.items() if done.returncode == 0 else []:
                array = np.load(os.path.join(out, "output_" + output.replace("/", "_") + ".npy"))
                wrong = wrong or difference(array, numpy_helper.to_array(proto), case)
        else:
            done, wrong = checked_by_program(program, case, folder, expected)
    if done.returncode == 0 or done.returncode == 3:
        return ("WRONG", wrong) if wrong else ("passed", "")
    if done.returncode != 1:
        return "CRASH", f"exit {done.returncode} {done.stderr.strip()[-200:]}"
    reason = refusal_of(done, case, operator)
    if reason is None:
        return "NAMELESS", done.stderr.strip()[-200:]
    return "refused", re.sub(r"^.*?model\.onnx: ", "", re.sub(re.escape(folder) + r"\S*", "", reason))


def onnx_types(case):
    """Names of the element types of a case's inputs and outputs."""
    graph = case.model.graph
    kinds = {value.type.tensor_type.elem_type for value in [*graph.input, *graph.output] if value.type.HasField("tensor_type")}
    return {TensorProto.DataType.Name(kind).lower() for kind in kinds if kind}


def versions(operator):
    """Versions of an operator that are in force in some opset from 7 on."""
    domain, _, name = operator.rpartition(".")
    found = sorted({schema.since_version for schema in onnx.defs.get_all_schemas_with_history()
                    if schema.name == name and schema.domain == domain})
    if domain:
        return found
    older = [version for version in found if version <= 7]
    return older[-1:] + [version for version in found if version > 7]


def reason_alone(line, operator):
    """A refusal without the names of values and nodes."""
    line = re.sub(r"^\s*error: ", "", line)
    line = re.sub(r"\b(input|output) \S+ of ", r"\1 of ", line)
    line = re.sub(r"\bnode \S+ \((\S+)\)", r"\1", line)
    return re.sub(rf"^{re.escape(operator)}: ", "", line)


def list_text(cases, verdicts, total):
    """docs/operators.md."""
    rows = collections.defaultdict(lambda: [collections.Counter(), set(), collections.Counter()])
    for name in NAMED:
        rows[name]
    for (_, operator, case), (verdict, text) in zip(cases, verdicts):
        counts, types, reasons = rows[operator]
        counts[verdict] += 1
        if verdict == "passed":
            types |= onnx_types(case)
        else:
            reasons[reason_alone(text, operator)] += 1
    lines = ["# Operators", "",
             f"What the runtime makes of the {len(cases)} backend node cases of onnx {onnx.__version__}: {total['passed']} pass within onnx's tolerance, "
             f"{total['refused']} are refused with the",
             "operator's name, no result is wrong. Written by tests/peers/onnx_backend_test.py --list, and compared by it with what it finds.", "",
             "An operator of opset 7 and later has one implementation for all its versions; opsets 1 to 6 are read where no operator of the model has",
             "changed until 7. An operator without an implementation runs as the function that ONNX defines it by, where it has one. **Bold**: to be had in",
             "full, with all attributes. Types are those of the inputs and outputs of cases that pass; stored cases of testdata/ops and fuzzing add others.",
             "Operators that onnxruntime's optimizer writes (com.microsoft): [exporters.md](exporters.md).", "",
             "| operator | versions | passed | refused | types |", "|---|---|---|---|---|"]
    for operator, (counts, types, _) in sorted(rows.items()):
        if not counts["passed"] and operator not in NAMED:
            continue
        name = f"**{operator}**" if operator in NAMED else operator
        lines.append(f"| {name} | {', '.join(map(str, versions(operator)))} | {counts['passed']} | {counts['refused']} | {', '.join(sorted(types))} |")
    lines += ["", "## Refused", "", "| operator | cases | reason |", "|---|---|---|"]
    for operator, (_, _, reasons) in sorted(rows.items()):
        lines += [f"| {operator} | {count} | {reason.replace('|', '/')} |" for reason, count in sorted(reasons.items())]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--only", help="cases whose name this expression finds")
    parser.add_argument("--list", help="write the list of operators (docs/operators.md)")
    parser.add_argument("--verbose", action="store_true", help="print refusals too")
    args = parser.parse_args()
    cases = collect(args.only)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        verdicts = list(pool.map(lambda c: judge(args.program, *c), cases))

    table, faults, named = collections.defaultdict(collections.Counter), [], collections.Counter()
    for (name, operator, case), (verdict, text) in zip(cases, verdicts):
        table[operator][verdict] += 1
        if verdict not in ("passed", "refused") or args.verbose and verdict == "refused":
            print(f"{verdict} {name} ({operator}): {text}")
        if verdict not in ("passed", "refused"):
            faults.append(name)
        if operators_of(case.model.graph) <= NAMED:
            named[verdict] += 1
    total = sum(table.values(), collections.Counter())
    for operator, counts in sorted(table.items()):
        print(f"{operator:32} " + ", ".join(f"{counts[v]} {v}" for v in sorted(counts)))
    print(f"{len(cases)} cases: " + ", ".join(f"{total[v]} {v}" for v in sorted(total)))
    if args.list:
        text = list_text(cases, verdicts, total)
        with open(args.list, "w") as file:
            file.write(text)
    elif not args.only:
        with open(LIST) as file:
            if file.read() != list_text(cases, verdicts, total):
                faults.append("docs/operators.md is out of date: write it by --list docs/operators.md")
    share = named["passed"] / max(sum(named.values()), 1)
    print(f"made only of the operators to have in full: {sum(named.values())} cases, {100 * share:.1f} % passed")
    if not args.only and share < SHARE_WANTED:
        faults.append(f"expected at least {100 * SHARE_WANTED:.0f} %")
    print("\n".join(faults), end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
