#!/usr/bin/env python3
"""Random NNEF documents, flat and compositional, valid and mutated: what the Khronos parser accepts espalier accepts and computes the same from,
what it refuses espalier refuses. Differences that are meant are listed here and, with the clause that decides, in docs/formats/nnef-differences.md.

    nnef_grammar_test.py ESPALIER [--count N] [--seed S] [--keep FOLDER]
"""
import argparse
import collections
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))

FRAGMENTS, OPERATORS = "extension KHR_enable_fragment_definitions;", "extension KHR_enable_operator_expressions;"
DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/formats/nnef-differences.md")


# ---- The judge: a process of its own, because the Khronos parser ends it on some documents that it accepts. ----

def stdlib():
    """Text of the operators that the nnef package declares."""
    import nnef
    with open(os.path.join(os.path.dirname(nnef.__file__), "cpp/include/nnef/comp/stdlib_source.h")) as file:
        return "".join(re.findall(r'R"STDLIB\((.*?)\)STDLIB"', file.read(), re.S))


def lowered_names(executors):
    """Standard operators with a body that the Khronos Session does not execute itself."""
    text = re.sub(r"#[^\n]*", "", stdlib())
    with_body = re.findall(r"fragment\s+(\w+)[^;{]*\{", text)
    return {name for name in with_body if name not in executors}


def judge():
    import nnef
    header = os.path.join(os.path.dirname(nnef.__file__), "cpp/include/nnef/runtime/execution.h")
    with open(header) as file:
        executors = set(re.findall(r'\{ "(\w+)", ', file.read()))
    standard = lowered_names(executors)
    for line in sys.stdin:
        task = json.loads(line)
        answer = {}
        lowered = list(standard | set(re.findall(r"fragment\s+(\w+)", task["text"])))
        try:
            graph = nnef.parse_string(task["text"], lowered=lowered)
            answer["accepts"] = True
        except Exception as error:  # noqa: BLE001
            answer |= {"accepts": False, "error": str(error)}
        if answer["accepts"]:
            # What follows may end the process: the verdict on the text is out by then.
            print(json.dumps(answer), flush=True)
            answer = {}
            try:
                with nnef.Session(task["folder"], lowered=lowered) as session:
                    outputs = session(*[np.load(path) for path in task["inputs"]])
                for name, value in zip(graph.outputs, outputs):
                    np.save(os.path.join(task["folder"], f"khronos_{name}.npy"), np.asarray(value))
                answer["outputs"] = list(graph.outputs)
            except Exception as error:  # noqa: BLE001
                answer["error"] = str(error)
        print(json.dumps(answer), flush=True)


class Judge:
    def __init__(self):
        self.process = None

    def ask(self, text, folder, inputs):
        """(verdict, detail): refused, accepted without outputs, accepted with the outputs' names, or crashed."""
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--judge"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=subprocess.DEVNULL, text=True)
        self.process.stdin.write(json.dumps({"text": text, "folder": folder, "inputs": inputs}) + "\n")
        self.process.stdin.flush()
        first = self.process.stdout.readline()
        if not first:
            self.process.wait()
            return "crashed", ""
        first = json.loads(first)
        if not first["accepts"]:
            return "refused", first["error"]
        second = self.process.stdout.readline()
        if not second:
            self.process.wait()
            return "accepted", "crashed"
        second = json.loads(second)
        return ("computed", second["outputs"]) if "outputs" in second else ("accepted", second["error"])


# ---- The grammar. Every expression is made for a value that is known, so that shapes come out right. ----

class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.count = 0
        self.variables = {}  # label -> array
        self.fragments = []  # (name, text, parameters, shape in, shape out)
        self.operators = self.random.random() < 0.8
        self.with_fragments = self.random.random() < 0.7

    def pick(self, *options):
        return self.random.choice(options)

    def fresh(self, stem="t"):
        self.count += 1
        return f"{stem}{self.count}"

    # Attributes: an expression with this value. `names` are attributes in sight, name -> value.
    def integer(self, value, names, depth=2):
        known = [n for n, v in names.items() if type(v) is int and v == value]
        if known and self.random.random() < 0.5:
            return self.pick(*known)
        literal = str(value) if value >= 0 else f"-{-value}"
        if not self.operators or depth == 0:
            return literal if value >= 0 or not self.operators else f"({literal})"
        a = self.random.randint(-3, 6)
        return self.pick(
            lambda: literal if value >= 0 else f"({literal})",
            lambda: f"({self.integer(value - a, names, depth - 1)} + {self.integer(a, names, depth - 1)})",
            lambda: f"({self.integer(value + a, names, depth - 1)} - {self.integer(a, names, depth - 1)})",
            lambda: f"({self.integer(2 * value, names, depth - 1)} / 2)" if value >= 0 else f"({literal})",
            lambda: f"({self.integer(value, names, depth - 1)} * {self.integer(1, names, 0)})",
            lambda: self.choice(lambda d: self.integer(value, names, d), lambda d: self.integer(a, names, d), names, depth),
            lambda: self.item(value, a, names, depth),
            lambda: f"length_of([{', '.join(self.integer(self.random.randint(0, 9), names, 0) for _ in range(value))}])" if 0 < value < 5 else f"({literal})",
            lambda: f"integer({self.scalar(float(value), names, depth - 1)})",
            lambda: f"integer({self.logical(bool(value), names, depth - 1)})" if value in (0, 1) else f"integer('{value}')",
            lambda: f"({value if value == 4 else 4} ^ 1)" if value == 4 else f"({literal})",
        )()

    def choice(self, right, wrong, names, depth):
        if self.random.random() < 0.5:
            return f"({right(depth - 1)} if {self.logical(True, names, depth - 1)} else {wrong(depth - 1)})"
        return f"({wrong(depth - 1)} if {self.logical(False, names, depth - 1)} else {right(depth - 1)})"

    def item(self, value, other, names, depth):
        items = [value, other, other + 1]
        self.random.shuffle(items)
        place = items.index(value) - (3 if self.random.random() < 0.3 else 0)
        texts = ", ".join(self.integer(i, names, 0) for i in items)
        if self.random.random() < 0.3:
            return f"({value if value >= 0 else f'(-{-value})'}, 'a', true)[0]"
        return f"[{texts}][{self.integer(place, names, depth - 1)}]"

    def scalar(self, value, names, depth=2):
        known = [n for n, v in names.items() if type(v) is float and v == value]
        if known and self.random.random() < 0.5:
            return self.pick(*known)
        literal = self.pick(repr(abs(value)), f"{abs(value):.6e}", f"{abs(value)}")
        literal = literal if value >= 0 else (f"(-{literal})" if self.operators else f"-{literal}")
        if not self.operators or depth == 0:
            return literal
        return self.pick(
            lambda: literal,
            lambda: f"({self.scalar(value - 0.5, names, depth - 1)} + {self.scalar(0.5, names, depth - 1)})",
            lambda: f"({self.scalar(value * 2, names, depth - 1)} / {self.scalar(2.0, names, depth - 1)})",
            lambda: self.choice(lambda d: self.scalar(value, names, d), lambda d: self.scalar(9.0, names, d), names, depth),
            lambda: f"scalar({self.integer(int(value), names, depth - 1)})" if value == int(value) else literal,
            lambda: f"scalar('{value}')",
        )()

    def logical(self, value, names, depth=2):
        known = [n for n, v in names.items() if type(v) is bool and v == value]
        if known and self.random.random() < 0.5:
            return self.pick(*known)
        literal = "true" if value else "false"
        if not self.operators or depth == 0:
            return literal
        a, b = self.random.randint(0, 5), self.random.randint(0, 5)
        operator = self.pick(*[o for o, r in (("<", a < b), (">", a > b), ("<=", a <= b), (">=", a >= b), ("==", a == b), ("!=", a != b)) if r == value])
        other = self.random.random() < 0.5
        combine = self.pick(*[o for o, r in (("&&", value and other), ("||", value or other)) if r == value] or ["&&"])
        return self.pick(
            lambda: literal,
            lambda: f"({self.integer(a, names, depth - 1)} {operator} {self.integer(b, names, depth - 1)})",
            lambda: f"(!{self.logical(not value, names, depth - 1)})",
            lambda: f"({self.logical(value, names, depth - 1)} {combine} {self.logical(other, names, depth - 1)})",
            lambda: f"({a} in [{', '.join(str(i) for i in ([a, 7] if value else [8, 9]))}])",
            lambda: f"logical({self.integer(3 if value else 0, names, depth - 1)})",
            lambda: f"({self.scalar(1.5, names, 0)} {'<' if value else '>'} {self.scalar(2.5, names, 0)})",
        )()

    def string(self, value, names, depth=2):
        literal = self.pick(f"'{value}'", f'"{value}"')
        if not self.operators or depth == 0 or len(value) < 2:
            return literal
        cut = self.random.randint(1, len(value) - 1)
        return self.pick(
            lambda: literal, lambda: literal,
            lambda: f"({self.string(value[:cut], names, depth - 1)} + {self.string(value[cut:], names, depth - 1)})",
            lambda: self.choice(lambda d: self.string(value, names, d), lambda d: "'other'", names, depth),
            lambda: f"'ab{value}c'[2:{2 + len(value)}]",
            lambda: f"'ab{value}'[2:]",
            lambda: f"['x', '{value}'][1]",
        )()

    def integers(self, values, names, depth=2):
        known = [n for n, v in names.items() if v == values and type(v) is list]
        if known and self.random.random() < 0.5:
            return self.pick(*known)
        literal = f"[{', '.join(self.integer(v, names, 1 if depth else 0) for v in values)}]"
        if not self.operators or depth == 0 or not values:
            return literal
        cut = self.random.randint(0, len(values))
        plain = f"[{', '.join(f'(-{-v})' if v < 0 else str(v) for v in values)}]"
        index = self.fresh("i")
        shifted = f"[{', '.join(f'(-{1 - v})' if v < 1 else str(v - 1) for v in values)}]"
        return self.pick(
            lambda: literal, lambda: literal,
            lambda: f"({self.integers(values[:cut], names, depth - 1)} + {self.integers(values[cut:], names, depth - 1)})" if 0 < cut < len(values) else literal,
            lambda: f"([{self.integer(values[0], names, 1)}] * {self.integer(len(values), names, 1)})" if len(set(values)) == 1 else literal,
            lambda: f"[for {index} in {plain} yield {index}]",
            lambda: f"[for {index} in {shifted} yield ({index} + {self.integer(1, names, 1)})]",
            lambda: f"[for {index} in {shifted}, {index}b in {self.integers([1] * len(values), names, 0)} yield {index} + {index}b]",
            lambda: f"[for {index} in range_of({plain}) yield {plain}[{index}]]",
            lambda: f"[for {index} in {self.integers(values + [77], names, 0)} if {index} != 77 yield {index}]",
            lambda: f"[for ({index}, {index}b) in [{', '.join(f'({v}, 1.0)' if v >= 0 else f'((-{-v}), 1.0)' for v in values)}] yield {index}]",
            lambda: f"{self.integers(values + [5, 6], names, 0)}[:{self.integer(len(values), names, 1)}]",
            lambda: f"{self.integers([4] + values, names, 0)}[{self.integer(1, names, 1)}:]",
            lambda: self.choice(lambda d: self.integers(values, names, d), lambda d: self.integers([0], names, 0), names, depth),
        )()

    def pairs(self, values, names):
        return f"[{', '.join(f'({self.integer(a, names, 1)}, {self.integer(b, names, 1)})' for a, b in values)}]"

    # Tensors: (text, shape) of scalars. `tensors` are those in sight, name -> shape.
    def tensor(self, tensors, names, depth, shape=None):
        fitting = [n for n, s in tensors.items() if shape is None or s == shape]
        if depth == 0 or not self.nests(depth):
            if fitting:
                name = self.pick(*fitting)
                return name, tensors[name]
            text, found = self.made(self.pick(*tensors), tensors, names, shape)
            return text, found
        if shape is not None:
            text, _ = self.tensor(tensors, names, depth - 1, shape)
            return self.pointwise(text, shape, tensors, names, depth), shape
        text, found = self.tensor(tensors, names, depth - 1)
        if self.random.random() < 0.5:
            return self.pointwise(text, found, tensors, names, depth), found
        return self.reshaping(text, found, tensors, names)

    def nests(self, depth):
        return self.random.random() < 0.8

    def made(self, name, tensors, names, shape):
        """A tensor of `shape` out of another one."""
        if not self.operators:
            return f"constant(shape = {shape}, value = [0.25])", shape
        first = f"reshape(slice(reshape({name}, shape = [-1]), axes = [0], begin = [0], end = [1]), shape = {[1] * len(shape)})"
        return f"({first} + constant(shape = {shape}, value = [0.25]))", shape

    def pointwise(self, text, shape, tensors, names, depth):
        # None with steps: rounding before a step would decide on which side of it a value lands.
        unary = ["relu", "sigmoid", "tanh", "abs", "neg", "exp", "sin", "cos", "sqr", "softplus", "copy", "elu", "gelu", "silu", "atan", "asinh"]
        other = lambda: self.tensor(tensors, names, max(0, depth - 2), shape)[0]  # noqa: E731
        axis = self.random.randrange(len(shape))
        options = [
            lambda: f"{self.pick(*unary)}({text})", lambda: f"{self.pick(*unary)}({text})", lambda: f"{self.pick(*unary)}(x = {text})",
            lambda: f"{self.pick('add', 'sub', 'mul', 'min', 'max')}({text}, {other()})",
            lambda: f"{self.pick('add', 'sub', 'mul', 'min', 'max')}({text}, {self.scalar(0.5, names, 1)})",
            lambda: f"mul(y = {text}, x = {self.scalar(1.5, names, 1)})",
            lambda: f"leaky_relu({text}, alpha = {self.scalar(0.1, names, 1)})",
            lambda: f"elu({text}, alpha = {self.scalar(1.0, names, 1)})",
            lambda: f"clamp({text}, {self.scalar(-0.5, names, 1)}, {self.scalar(0.75, names, 1)})",
            lambda: f"select({self.pick('lt', 'gt', 'le', 'ge')}({text}, {other()}), {text}, {other()})",
            lambda: f"select(and(lt({text}, 0.5), not(gt({text}, 2.0))), 1.0, {text})",
            lambda: f"softmax({text}, axes = {self.integers([axis], names, 1)})",
            lambda: f"sub({text}, mean_reduce({text}, axes = {self.integers([axis], names, 1)}))",
            lambda: f"pad({text}, padding = {self.pairs([(0, 0)] * len(shape), names)}, border = {self.string('constant', names, 1)}, value = {self.scalar(0.0, names, 1)})",
        ]
        if self.operators:
            options += [
                lambda: f"({text} {self.pick('+', '-', '*')} {other()})", lambda: f"({text} {self.pick('+', '-', '*', '/')} {self.scalar(2.0, names, 1)})",
                lambda: f"({self.scalar(2.0, names, 1)} {self.pick('+', '-', '*')} {text})", lambda: f"(-{text})",
                lambda: f"select({text} {self.pick('<', '>', '<=', '>=')} {self.scalar(0.25, names, 1)}, {text}, {other()})",
                lambda: f"select(!({text} < 0.0), {text}, 0.0)" if False else f"(abs({text}) ^ {self.scalar(2.0, names, 1)})",
                lambda: self.choice(lambda d: text, lambda d: other(), names, 1),
                lambda: f"[{other()}, {text}][{self.integer(1, names, 1)}]",
                lambda: f"({other()}, {text})[1]",
                lambda: f"add_n([{text}, {other()}])" if False else f"({text} * {text})",
            ]
        usable = [f for f in self.fragments if f["in"] == shape and f["out"] == shape]
        if usable:
            options += [lambda: self.call(self.pick(*usable), [text] + [other()], names)] * 4
        return self.pick(*options)()

    def reshaping(self, text, shape, tensors, names):
        axis = self.random.randrange(len(shape))
        whole = int(np.prod(shape))
        options = [
            lambda: (f"reshape({text}, shape = {self.integers([whole], names)})", [whole]),
            lambda: (f"reshape({text}, shape = {self.integers([-1, shape[-1]], names)})", [whole // shape[-1], shape[-1]]),
            lambda: (f"reshape({text}, shape = {self.integers([0, -1], names)})", [shape[0], whole // shape[0]]) if len(shape) > 1 else (text, shape),
            lambda: (f"unsqueeze({text}, axes = {self.integers([axis], names)})", shape[:axis] + [1] + shape[axis:]) if len(shape) < 4 else (text, shape),
            lambda: (f"{self.pick('sum_reduce', 'max_reduce', 'min_reduce', 'mean_reduce')}({text}, axes = {self.integers([axis], names)})", shape[:axis] + [1] + shape[axis + 1:]),
            lambda: (f"sum_reduce({text}, axes = {self.integers([axis], names)}, normalize = {self.logical(True, names)})", shape[:axis] + [1] + shape[axis + 1:]),
            lambda: (f"concat([{text}, {text}], axis = {self.integer(axis, names)})", shape[:axis] + [2 * shape[axis]] + shape[axis + 1:]) if whole < 200 else (text, shape),
            lambda: (f"tile({text}, repeats = {self.integers([2 if i == axis else 1 for i in range(len(shape))], names)})",
                     shape[:axis] + [2 * shape[axis]] + shape[axis + 1:]) if whole < 200 else (text, shape),
            lambda: (f"stack([{text}, {text}], axis = {self.integer(axis, names)})", shape[:axis] + [2] + shape[axis:]) if whole < 200 and len(shape) < 4 else (text, shape),
            lambda: (f"slice({text}, axes = {self.integers([axis], names)}, begin = {self.integers([0], names)}, end = {self.integers([1], names)})",
                     shape[:axis] + [1] + shape[axis + 1:]),
        ]
        if len(shape) > 1:
            order = list(range(len(shape)))
            self.random.shuffle(order)
            options.append(lambda: (f"transpose({text}, axes = {self.integers(order, names)})", [shape[i] for i in order]))
        if shape[axis] == 1 and len(shape) > 1:
            options.append(lambda: (f"squeeze({text}, axes = {self.integers([axis], names)})", shape[:axis] + shape[axis + 1:]))
        if len(shape) == 2:
            options.append(lambda: (f"matmul({text}, {text}, transposeB = {self.logical(True, names)})", [shape[0], shape[0]]))
        return self.pick(*options)()

    def call(self, fragment, tensors, names):
        arguments = [f"{'p = ' if False else ''}{text}" for text in tensors[:fragment["tensors"]]]
        attributes = []
        for name, value, has_default in fragment["attributes"]:
            if has_default and self.random.random() < 0.4:
                continue
            maker = {int: self.integer, float: self.scalar, bool: self.logical, str: self.string, list: self.integers}[type(value)]
            attributes.append(f"{name} = {maker(value, names, 1)}")
        self.random.shuffle(attributes)
        generic = self.pick("", "<scalar>") if fragment["generic"] else ""
        return f"{fragment['name']}{generic}({', '.join(arguments + attributes)})"

    def fragment(self):
        name, shape = self.fresh("user"), list(self.pick((2, 3, 4), (4, 6), (2, 3, 4)))
        tensors = self.random.randint(1, 2)
        generic = self.random.random() < 0.25
        attributes, texts, names = [], [], {}
        for value in self.random.sample([2, 0.5, True, "label", [1, 0], 3, False], self.random.randint(0, 4)):
            attribute = self.fresh("n")
            has_default = self.random.random() < 0.5
            literal = {int: str, float: repr, bool: lambda v: str(v).lower(), str: lambda v: f"'{v}'", list: str}[type(value)](value)
            kind = {int: "integer", float: "scalar", bool: "logical", str: "string", list: "integer[]"}[type(value)]
            texts.append(f"{attribute}: {kind}" + (f" = {literal}" if has_default else ""))
            attributes.append((attribute, value, has_default))
            names[attribute] = value
        item = "?" if generic else "scalar"
        parameters = ", ".join([f"p{i}: tensor<{item}>" for i in range(tensors)] + texts)
        inside = {f"p{i}": shape for i in range(tensors)}
        body = []
        if generic:
            result = self.pick("copy<?>(p0)", "copy(p0)", "reshape<?>(transpose(p0, axes = [0]), shape = [0])", "concat<?>([p0], axis = 0)")
        else:
            if self.operators and self.random.random() < 0.5:
                local = self.fresh("a")
                names[local] = self.random.randint(0, 3)
                body.append(f"    {local} = {self.integer(names[local], {k: v for k, v in names.items() if k != local})};")
            for _ in range(self.random.randint(0, 2)):
                local = self.fresh("v")
                text, found = self.tensor(inside, names, 2)
                if not re.match(r"\w+$", text):
                    body.append(f"    {local} = {text};")
                    inside[local] = found
            result = self.pointwise(self.pick(*[n for n, s in inside.items() if s == shape]), shape, inside, names, 1)
        body.append(f"    r = {result};")
        text = f"fragment {name}{'<?>' if generic else ''}( {parameters} ) -> ( r: tensor<{item}> )\n{{\n" + "\n".join(body) + "\n}\n"
        self.fragments.append({"name": name, "text": text, "attributes": attributes, "tensors": tensors, "in": shape, "out": shape, "generic": generic})

    def document(self):
        if self.with_fragments:
            for _ in range(self.random.randint(1, 3)):
                self.fragment()
        lines, tensors, names = [], {}, {}
        inputs = [self.fresh("x") for _ in range(self.random.randint(1, 2))]
        shapes = {}
        for name in inputs:
            shape = list(self.pick((2, 3, 4), (2, 3, 4), (4, 6)))
            shapes[name] = tensors[name] = shape
            lines.append(f"{name} = external{self.pick('', '<scalar>')}(shape = {self.integers(shape, names, 1)});")
        if self.random.random() < 0.7:
            label = self.pick("w", "fc/w.0", "a.b/c", "layer-1/weights")
            shape = list(self.pick((2, 3, 4), (4, 6)))
            name = self.fresh("w")
            self.variables[label] = np.random.default_rng(self.count).standard_normal(shape).astype(np.float32)
            lines.append(f"{name} = variable{self.pick('', '<scalar>')}(shape = {shape}, label = {self.string(label, names, 1)});")
            tensors[name] = shape
        for _ in range(self.random.randint(1, 6)):
            roll = self.random.random()
            if roll < 0.15 and self.operators:
                name = self.fresh("a")
                value = self.pick(2, 0.5, True, [0, 1])
                maker = {int: self.integer, float: self.scalar, bool: self.logical, list: self.integers}[type(value)]
                lines.append(f"{name} = {maker(value, names)};")
                names[name] = value
            elif roll < 0.25:
                source = self.pick(*tensors)
                shape = tensors[source]
                axis = self.random.randrange(len(shape))
                if shape[axis] % 2 == 0:
                    a, b = self.fresh(), self.fresh()
                    lines.append(f"[{a}, {b}] = split({source}, axis = {self.integer(axis, names)}, ratios = {self.integers([1, 1], names)});")
                    tensors[a] = tensors[b] = shape[:axis] + [shape[axis] // 2] + shape[axis + 1:]
            elif roll < 0.32:
                source = self.pick(*tensors)
                a, b = self.fresh(), self.fresh()
                axis = self.random.randrange(len(tensors[source]))
                lines.append(f"{self.pick(f'({a}, {b})', f'{a}, {b}')} = moments({source}, axes = {self.integers([axis], names)});")
                tensors[a] = tensors[b] = [1 if i == axis else e for i, e in enumerate(tensors[source])]
            elif roll < 0.38 and self.operators:
                a, b = self.fresh(), self.fresh()
                (left, left_shape), (right, right_shape) = self.tensor(tensors, names, 1), self.tensor(tensors, names, 2)
                lines.append(f"{self.pick(f'({a}, {b}) = ({left}, {right})', f'{a}, {b} = ({left}, {right})')};")
                tensors[a], tensors[b] = left_shape, right_shape
            else:
                text, shape = self.tensor(tensors, names, self.random.randint(1, 3))
                if not self.operators and not re.match(r"\w+[(<]", text):
                    continue
                name = self.fresh()
                lines.append(f"{name} = {text};")
                tensors[name] = shape
        made = [n for n in tensors if n.startswith("t")]
        if not made:
            lines.append(f"t0 = relu({inputs[0]});")
            made = ["t0"]
        outputs = self.random.sample(made, min(len(made), self.random.randint(1, 2)))
        extensions = ([FRAGMENTS] if self.fragments else []) + ([OPERATORS] if self.operators else [])
        if len(extensions) == 2 and self.random.random() < 0.3:
            extensions = ["extension KHR_enable_fragment_definitions, KHR_enable_operator_expressions;"]
        text = "\n".join(["version 1.0;", *extensions, ""]) + "".join(f["text"] for f in self.fragments)
        text += f"graph net( {', '.join(inputs)} ) -> ( {', '.join(outputs)} )\n{{\n" + "".join(f"    {line}\n" for line in lines) + "}\n"
        return text, shapes


TOKEN = re.compile(r"\w+(?:\.\d*(?:e[+-]?\d+)?)?|'[^']*'|\"[^\"]*\"|->|<=|>=|==|!=|&&|\|\||\s+|#[^\n]*|.")


def mutated(text, rng):
    """One or two things wrong: tokens and statements taken out, doubled, moved, exchanged."""
    for _ in range(rng.randint(1, 2)):
        if rng.random() < 0.35:
            lines = text.split("\n")
            places = [i for i, line in enumerate(lines) if line.strip()]
            a, b = rng.choice(places), rng.choice(places)
            how = rng.randrange(3)
            if how == 0:
                del lines[a]
            elif how == 1:
                lines.insert(b, lines[a])
            else:
                lines[a], lines[b] = lines[b], lines[a]
            text = "\n".join(lines)
            continue
        tokens = TOKEN.findall(text)
        solid = [i for i, token in enumerate(tokens) if not token.isspace()]
        at = rng.choice(solid)
        words = [tokens[i] for i in solid]
        same_kind = [w for w in words if w[0].isalpha() == tokens[at][0].isalpha()]
        how = rng.randrange(6)
        if how == 0:
            del tokens[at]
        elif how == 1:
            tokens.insert(at, rng.choice(words))
        elif how == 2:
            tokens[at] = rng.choice(same_kind)
        elif how == 3:
            tokens[at] = rng.choice(["1", "1.0", "true", "'text'", "[1]", "[]", "[1.0]", "(1, 2)", "undefined", "-1", "scalar", "integer", "logical", "99"])
        elif how == 4:
            tokens.insert(at, rng.choice([", wrong = 1", ", 1", "<integer>", "[0]", "!", "?", "()", "external", "in"]))
        else:
            other = rng.choice(solid)
            tokens[at], tokens[other] = tokens[other], tokens[at]
        text = "".join(tokens)
    return text


def signature_cases():
    """Each standard operator, as its declaration in the nnef package says, and with one thing wrong."""
    text = re.sub(r"#[^\n]*", "", stdlib())
    value = {"integer": "1", "scalar": "1.0", "logical": "true", "string": "'constant'", "integer[]": "[1]", "?[]": "[1.0]", "(integer,integer)[]": "[(0, 0)]",
             "tensor<scalar>": "a", "tensor<?>": "a", "tensor<>": "a", "tensor<integer>": "b", "tensor<logical>": "c", "tensor<scalar>[]": "[a]", "tensor<?>[]": "[a]"}
    wrong = {kind: "'wrong'" for kind in value} | {"string": "1", "tensor<>": "[1]"}
    # First results by type of target: an array must say how long it is.
    for name, generic, parameters, results in re.findall(r"fragment\s+(\w+)(<[^>]*>)?\s*\(([^{;]*?)\)\s*->\s*\(([^{;]*?)\)\s*[;{]", text):
        if name in ("external", "variable", "update"):
            continue
        listed = [re.match(r"\s*(\w+)\s*:\s*(.*?)\s*(=.*)?$", p, re.S) for p in re.split(r",(?![^(]*\))(?![^\[]*\])", parameters)]
        listed = [(m[1], re.sub(r"\s", "", m[2]), m[3] is not None) for m in listed]
        targets = ", ".join(f"[y{i}]" if r.strip().endswith("[]") else f"y{i}" for i, r in enumerate(results.split(",")))
        call = lambda items: f"{targets} = {name}{'<scalar>' if name == 'cast' else ''}({', '.join(f'{n} = {v}' for n, v in items)});"  # noqa: E731
        full = [(n, value[k]) for n, k, _ in listed]
        variants = {"": full, "needed": [(n, value[k]) for n, k, d in listed if not d]}
        for i, (parameter, kind, _) in enumerate(listed):
            variants[f"without {parameter}"] = full[:i] + full[i + 1:]
            variants[f"wrong {parameter}"] = full[:i] + [(parameter, wrong[kind])] + full[i + 1:]
            variants[f"renamed {parameter}"] = full[:i] + [(parameter + "_", value[kind])] + full[i + 1:]
        for variant, items in variants.items():
            yield f"signature {name} {variant}", ("version 1.0;\n" + "graph net( a, b, c ) -> ( y0 )\n{\n    a = external<scalar>(shape = [1, 1, 1]);\n    b = external<integer>"
                   "(shape = [1, 1, 1]);\n    c = external<logical>(shape = [1, 1, 1]);\n    " + call(items) + "\n}\n").replace("( y0 )", "( y0 )"), {}


# ---- Differences that are meant. ----

PLAIN = "version 1.0;\nextension KHR_enable_fragment_definitions, KHR_enable_operator_expressions;\n%sgraph g( x ) -> ( y )\n{\n    x = external(shape = [2, 3]);\n%s}\n"


def body(*lines, head=""):
    return PLAIN % (head, "".join(f"    {line};\n" for line in lines))


# Name in the docs -> (document, verdict of Khronos, verdict of espalier, how random documents show it: document, Khronos' error, espalier's error).
DIFFERENCES = {
    "unary operators bind tightest": (body("n = (-1 + 3)", "y = reshape(x, shape = [n, 3])"), "accepted", "computed", None),
    "logical operators of tensors": (body("y = select(!(x < 0.0) && (x < 1.0), x, 0.0)"), "refused", "computed",
                                     lambda d, t, o: re.search(r"invalid operand types? 'tensor<logical>'", t) if t else re.search(r"(!|&&|\|\|) of tensor<scalar>", o)),
    "expressions in flat documents": ("version 1.0;\ngraph g( x ) -> ( y )\n{\n    x = external(shape = [2, 3]);\n    y = relu(x + x);\n}\n", "computed", "refused",
                                      lambda d, t, o: not t and "requires extension KHR_enable_operator_expressions" in o),
    "names of graphs": (body("y = relu(x)").replace("graph g(", "graph conv("), "refused", "computed",
                        lambda d, t, o: not o and (m := re.search(r"operation '(\w+)' already defined", t)) and re.search(rf"graph {m[1]}\b", d)),
    "externals inside expressions": (body("y = x + external(shape = [2, 3])"), "computed", "refused", lambda d, t, o: not t and "externals, but the graph has" in o),
    "integers past 32 bits": (body("n = 4294967297", "y = x * scalar(n)"), "computed", "computed", lambda d, t, o: not t and "passes 64 bits" in o),
    "negative powers of integers": (body("n = 2 ^ (-1)", "y = reshape(x, shape = [2 + n, 3])"), "computed", "refused", lambda d, t, o: not t and "negative power" in o),
    "division by zero": (body("n = 1 / 0", "y = reshape(x, shape = [2, 3])"), "crashed", "refused", None),
    "unary plus": (body("y = reshape(+x, shape = [+6])"), "refused", "computed", lambda d, t, o: not o and "unexpected token '+'" in t),
    "repeated strings": (body("y = reshape(x, shape = [length_of('abc' * 2)])"), "refused", "computed", None),
    "ranges that end before they begin": (body("y = reshape(x, shape = [6 + length_of([1, 2, 3][2:1])])"), "refused", "computed", None),
    "equality of logicals and strings": (body("y = reshape(x, shape = [6 if (1 < 2) == true && 'a' != 'b' else 5])"), "refused", "computed",
                                         lambda d, t, o: not o and "Value: kind mismatch" in t and re.search(r"[=!]= ?\(?(true|false|')|(true|false|')\)? ?[=!]=", d)),
    "casts of strings that are no literals": (body("y = reshape(x, shape = [integer(' 6.5 ')])"), "computed", "refused", lambda d, t, o: not t and re.search(r"' is not of type (integer|scalar)", o)),
    "strings of scalars and logicals": (body("y = reshape(x, shape = [2, length_of(string(1.5))])"), "accepted", "computed", None),
    "escapes in strings": (body("y = reshape(x, shape = [2, length_of('a\\'b')])"), "refused", "computed", None),
    "targets that begin with a tuple": (body("(a, b), c = ((x, x), x)", "y = a + b + c"), "refused", "computed", None),
    "extensions on one line": (body("y = relu(x)").replace("definitions, KHR", "definitions KHR"), "refused", "computed", None),
    "subscripts of string literals": (body("w = variable(shape = [2, 3], label = 'label'[1:])", "y = relu(x)"), "refused", "refused",
                                      lambda d, t, o: not o and re.search(r"['\"]\)?\[", d) and re.search(r"expected token '.', found '\['|missing argument", t)),
    "generic invocations as positional arguments": (body("y = relu(copy<scalar>(x))"), "refused", "computed",
                                                    lambda d, t, o: not o and (m := re.search(r"undeclared identifier '(\w+)'", t)) and re.search(rf"\b{m[1]}<", d)),
    "versions before 1.0": (body("y = relu(x)").replace("version 1.0", "version 0.9"), "computed", "refused", lambda d, t, o: not t and "NNEF version" in o),
    "subscripts of tuples": (body("n = (2, 'a')[0]", "y = reshape(x, shape = [n, 3])"), "accepted", "computed",
                             lambda d, t, o: not o and "Value: kind mismatch" in t and ")[" in d),
    "tensors of strings": (body("y = concat(['a', 'b'], axis = 0)"), "accepted", "refused", lambda d, t, o: not t and "is a string, expected a tensor" in o),
}


# ---- Comparison. ----

TYPE_ERRORS = re.compile(r"has no parameter|argument of \w+ is missing|must be named|is not defined|is used before|expected [^,]+$|is given \w+ twice|takes \d+ arguments")


def run_here(program, text, folder, inputs, shapes):
    with open(os.path.join(folder, "graph.nnef"), "w") as file:
        file.write(text)
    found = subprocess.run([program, "inspect", folder, "-q"], capture_output=True, text=True, errors="replace")
    if found.returncode not in (0, 1):
        return "crashed", f"exit {found.returncode}: {found.stderr}"
    if found.returncode:
        return "refused", found.stderr.strip()
    data, out = os.path.join(folder, "inputs.npz"), os.path.join(folder, "out")
    np.savez(data, **{name: np.load(path) for name, path in zip(shapes, inputs)})
    found = subprocess.run([program, "run", folder, "--inputs", data, "-o", out, "-q", "--threads", "1"], capture_output=True, text=True, errors="replace")
    if found.returncode not in (0, 1):
        return "crashed", f"exit {found.returncode}: {found.stderr}"
    return ("computed", out) if found.returncode == 0 else ("accepted", found.stderr.strip())


def known(text, their_error, our_error):
    return any(shows and shows(text, their_error, our_error) for _, _, _, shows in DIFFERENCES.values())


def outputs_differ(folder, names, out):
    for name in names:
        theirs, ours = np.load(os.path.join(folder, f"khronos_{name}.npy")), np.load(os.path.join(out, f"output_{name}.npy"))
        if theirs.size != ours.size or (theirs.shape != ours.shape and theirs.ndim and ours.ndim):
            return f"{name} is {ours.shape} here and {theirs.shape} there"
        a, b = ours.astype(np.float64).ravel(), theirs.astype(np.float64).ravel()
        same = (a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= 1e-4 * np.maximum(1, np.abs(b)))
        if not same.all():
            return f"{name} differs: {a[~same][:3]} here, {b[~same][:3]} there"
    return ""


class Comparison:
    def __init__(self, program, keep):
        self.program, self.keep, self.judge = program, keep, Judge()
        self.counts, self.faults = collections.Counter(), 0

    def verdicts(self, text, shapes, variables, folder):
        for label, array in variables.items():
            path = os.path.join(folder, label + ".dat")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            import nnef
            with open(path, "wb") as file:
                nnef.write_tensor(file, array)
        rng = np.random.default_rng(len(text))
        inputs = []
        for name, shape in shapes.items():
            inputs.append(os.path.join(folder, f"input_{name}.npy"))
            np.save(inputs[-1], rng.standard_normal(shape).astype(np.float32))
        here = run_here(self.program, text, folder, inputs, shapes)
        return self.judge.ask(text, folder, inputs), here

    def check(self, name, text, shapes, variables):
        folder = tempfile.mkdtemp()
        try:
            (theirs, their_detail), (ours, our_detail) = self.verdicts(text, shapes, variables, folder)
            self.counts[f"{theirs} there, {ours} here"] += 1
            fault = ""
            if ours == "crashed":
                fault = our_detail
            elif ours == "refused" and (our_detail.count("\n") or not re.search(r"\d+:\d+: |graph\.nnef|\.dat", our_detail)):
                fault = f"the error has not one line with line and column: {our_detail}"
            elif theirs == "refused" and ours != "refused" and not known(text, their_detail, ""):
                fault = f"refused there alone: {their_detail}"
            elif theirs == "computed" and ours != "computed" and not known(text, "", our_detail):
                fault = f"computed there alone: {our_detail}"
            elif theirs == "accepted" and ours == "refused" and TYPE_ERRORS.search(our_detail) and not known(text, "", our_detail):
                fault = f"accepted there alone ({their_detail}): {our_detail}"
            elif theirs == ours == "computed":
                fault = outputs_differ(folder, their_detail, our_detail)
            if fault:
                self.faults += 1
                print(f"FAIL {name}: {fault[:500]}")
                if self.keep:
                    target = os.path.join(self.keep, re.sub(r"\W+", "_", name))
                    shutil.rmtree(target, ignore_errors=True)
                    shutil.copytree(folder, target)
        finally:
            shutil.rmtree(folder)

    def check_differences(self):
        """Each listed difference is one, and the docs name these and no others."""
        with open(DOCS) as file:
            rows = re.findall(r"^\| (.+?) \|", file.read(), re.M)
        docs = set(rows[rows.index("difference") + 1:])
        for name in docs - DIFFERENCES.keys():
            self.faults += 1
            print(f"FAIL difference '{name}' of the docs has no document here")
        for name, (text, theirs, ours, _) in DIFFERENCES.items():
            with tempfile.TemporaryDirectory() as folder:
                found = [v for v, _ in self.verdicts(text, {"x": [2, 3]}, {}, folder)]
            if found != [theirs, ours] or name not in docs:
                self.faults += 1
                print(f"FAIL difference '{name}': {found} in place of {[theirs, ours]}" + ("" if name in docs else ", and the docs lack it"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", nargs="?")
    parser.add_argument("--judge", action="store_true")
    parser.add_argument("--count", type=int, default=150, help="documents, each also mutated twice")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", help="folder for documents that fail")
    options = parser.parse_args()
    if options.judge:
        return judge()
    try:
        import nnef  # noqa: F401
    except ImportError:
        print("skipped: the nnef package is absent (scripts/setup --peers)")
        return 77
    comparison = Comparison(options.program, options.keep)
    comparison.check_differences()
    for name, text, variables in signature_cases():
        comparison.check(name, text, {"a": [1, 1, 1], "b": [1, 1, 1], "c": [1, 1, 1]}, variables)
    valid_refused = 0
    for seed in range(options.seed, options.seed + options.count):
        generator = Generator(seed)
        text, shapes = generator.document()
        before = comparison.counts.copy()
        comparison.check(f"document {seed}", text, shapes, generator.variables)
        valid_refused += (comparison.counts - before)["refused there, refused here"]
        for i in range(2):
            comparison.check(f"mutation {seed}.{i}", mutated(text, random.Random(f"{seed}.{i}")), shapes, generator.variables)
    for verdicts, count in sorted(comparison.counts.items()):
        print(f"{count:6} {verdicts}")
    # The generator itself: most of what it makes must be documents.
    if valid_refused * 10 > options.count:
        comparison.faults += 1
        print(f"FAIL the generator: {valid_refused} of {options.count} documents are refused by both")
    print(f"{comparison.faults} failed")
    return 1 if comparison.faults else 0


if __name__ == "__main__":
    sys.exit(main())
