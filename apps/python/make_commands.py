#!/usr/bin/env python3
"""Writes espalier/commands.py and espalier/reports.py.

The functions are those of the program's --help, the types of what they return those of docs/report.schema.json. With --check it writes
nothing and ends with 1 where a file is not what it would write.

    make_commands.py PROGRAM [--check]
"""

import json
import keyword
import pathlib
import re
import subprocess
import sys
import textwrap

HERE = pathlib.Path(__file__).resolve().parent
SCHEMA = HERE.parent.parent / "docs" / "report.schema.json"
# function -> (words of the line, definition in the schema)
COMMANDS = {
    "inspect": "inspect",
    "advise": "advise",
    "calibrate": "calibrate",
    "prune": "prune",
    "convert": "prune",
    "verify": "verify",
    "diff": "diff",
    "sweep": "sweep",
    "bench": "bench",
}
# What a function has in another way, or no use for.
LEFT_OUT = {"help", "json", "verbose", "quiet", "list-operators", "deterministic", "profile-ops", "against", "kernels", "shape", "n"}
POSITIONAL = {"IN": "input", "OUT": "output"}
TYPES = {"N": "int", "T": "int", "S": "float | str", "MS": "float", "BYTES": "int | str", "D or P%": "float | str", "D": "float"}
PATHS = {"FILE", "F", "MODEL", "DIR", "STATS", "TEXT"}
MAPPED = {"state", "fill", "input-shape"}
ARRAYS = {"labels": "Labels", "mask-in": "Masks"}


def options_of(program, command):
    """(name, type, repeatable, help) of each option, and the names of the positional arguments with whether they are required."""
    lines = subprocess.run([program, command, "--help"], check=True, capture_output=True, text=True).stdout.splitlines()
    options, positional, summary = [], [], lines[0]
    section = ""
    for i, line in enumerate(lines):
        if re.match(r"^[A-Z][\w ]*:$", line):
            section = line[:-1]
        if not line.startswith("  ") or line.startswith("   ") or section in ("Example", ""):
            continue
        long = i + 1 < len(lines) and lines[i + 1].startswith(" " * 30)
        head, text = (line.strip(), lines[i + 1].strip()) if long else (line[:30].strip(), line[30:].strip())
        if section == "Positionals":
            name, *rest = head.split()
            positional.append((name, "REQUIRED" in rest, text))
        elif head.startswith("-"):
            names, _, kind = head.partition(" ")
            name = next(n for n in names.split(",") if n.startswith("--"))[2:]
            kind = re.sub(r":(SIZE|INT|FLOAT|NONNEGATIVE).*$", "", kind)
            options.append((name, re.sub(r"( \.\.\.)+$", "", kind), kind.endswith("..."), text))
    return summary, positional, options


def type_of(name, kind, repeatable):
    """The annotation of an option, and its default."""
    if not kind:
        return "bool", "False"
    if name in MAPPED:
        return "Pairs | None", "None"
    if name in ARRAYS:
        return f"{ARRAYS[name]} | None", "None"
    if "DATA" in kind:
        return "Data | None", "None"
    if repeatable:
        return "Words | None", "None"
    if values := re.fullmatch(r".*:\{(.*)\}", kind):
        return "Literal[" + ", ".join(f'"{v}"' for v in values.group(1).split(",")) + "] | None", "None"
    if kind in PATHS:
        return "Path | None", "None"
    if name == "values" and kind in ("T", "T|auto"):
        types = ["f32", "f16", "bf16", "i8", *kind.split("|")[1:]]
        return "Literal[" + ", ".join(f'"{t}"' for t in types) + "] | None", "None"
    return f"{TYPES.get(kind, 'str')} | None", "None"


def wrapped(text, indent, width=138):
    """Lines of at most `width`, those after the first indented further."""
    lines, line = [], " " * indent
    for word in text.split():
        if len(line) + len(word) + 1 > width and line.strip():
            lines.append(line)
            line = " " * (indent + 4)
        line += word if not line.strip() else f" {word}"
    return "\n".join([*lines, line])


def sentence(text):
    """A line of help as it stands in a docstring."""
    return text.replace("\\", "\\\\").rstrip(".") + "."


def function_of(program, command, definition):
    """The source of one function."""
    summary, positional, options = options_of(program, command)
    parameters, docs = [], []
    for name, required, text in positional:
        parameter = POSITIONAL.get(name, name.lower())
        many = command == "bench"
        parameters.append(f"{parameter}: " + ("Words" if many else "Path" if required else "Path | None = None"))
        docs.append((parameter, text))
    parameters.append("*")
    for name, kind, repeatable, text in options:
        parameter = name.replace("-", "_")
        if name in LEFT_OUT or (name == "output" and any(p[0] == "OUT" for p in positional)):
            continue
        if keyword.iskeyword(parameter):
            parameter += "_"
        annotation, default = type_of(name, kind, repeatable)
        parameters.append(f"{parameter}: {annotation} = {default}")
        docs.append((parameter, text))
    parameters.append("progress: Progress | None = None")
    parameters.append("warning: Say | None = None")
    parameters.append("note: Say | None = None")
    docs.append(("progress", "called with what is done, how many steps of it are, and of how many; what it raises ends the work."))
    docs.append(("warning", "called with the text of each warning; None: warnings.warn."))
    docs.append(("note", "called with what the program prints with --verbose."))
    names = [POSITIONAL.get(name, name.lower()) for name, _, _ in positional]
    title = definition[0].upper() + definition[1:]
    body = "\n".join(wrapped(f"{name}: {sentence(text)}", 8) for name, text in docs)
    status = "the report, as ``--json`` writes it"
    if command == "verify":
        status = "the report, whose ``ok`` says whether the models agree"
    tolerance = "        ToleranceError: packed and decoded weights disagree, or the metric lost more than was allowed.\n"
    if command not in ("prune", "convert"):
        tolerance = ""
    return f'''def {command}(
    {("," + chr(10) + "    ").join(parameters)},
) -> reports.{title}:
    """{sentence(summary[0].upper() + summary[1:])}

    Sizes are in bytes, times in milliseconds, shares from 0 to 1. ``espalier {command} --help`` and docs/cli.md say more.

    Args:
{body}

    Returns:
        {status[0].upper() + status[1:]}.

    Raises:
        UsageError: the options are wrong.
        FormatError: a file is missing, broken or does not fit the others, or cannot be written.
        UnsupportedError: something that this version does not have.
{tolerance}    """
    return cast("reports.{title}", line.report("{command}", {json.dumps(names)}, locals()))
'''


HEAD = '''"""The commands of the program as functions; made by make_commands.py from --help."""

from typing import Literal, cast

from . import line, reports
from .line import Data, Labels, Masks, Pairs, Path, Progress, Say, Words

'''


def long_docstring(text):
    """A docstring of several lines: its first sentence, a blank line, the rest."""
    first, _, rest = text.strip().strip('"').partition(": ")
    lines = textwrap.wrap(sentence_case(rest), 130)
    return f'    """{first}.\n\n' + "".join(f"    {line}\n" for line in lines) + '    """'


def sentence_case(text):
    """With a capital at its begin."""
    return text[0].upper() + text[1:]


class Reports:
    """TypedDict classes of the schema's definitions."""

    def __init__(self, schema):
        self.schema, self.classes = schema, {}

    def annotation(self, node, name):
        """The type of a value; objects with properties become a class called `name`."""
        if "$ref" in node:
            key = node["$ref"].rsplit("/", 1)[1]
            return self.annotation(self.schema["$defs"][key], "".join(part.title() for part in key.split("_")))
        if "anyOf" in node:
            kinds = [self.annotation(option, name) for option in node["anyOf"]]
            return " | ".join(sorted(kinds, key=lambda kind: kind == "None"))
        if "enum" in node:
            return "Literal[" + ", ".join(json.dumps(value) for value in node["enum"]) + "]"
        kind = node.get("type", "any")
        if isinstance(kind, list):
            return " | ".join(self.annotation({**node, "type": k}, name) for k in kind)
        if kind == "array":
            return f"list[{self.annotation(node['items'], name.removesuffix('s'))}]"
        if kind == "object":
            if "properties" in node:
                return self.add(node, name)
            values = node.get("additionalProperties")
            return f"dict[str, {self.annotation(values, name + 'Value') if isinstance(values, dict) else 'Any'}]"
        return {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}.get(kind, "Any")

    def add(self, node, name):
        """The class of an object."""
        if name in self.classes:
            return name
        self.classes[name] = ""  # keeps its place after what it needs
        lines = [f'class {name}(TypedDict):\n    """{sentence(sentence_case(node.get("description") or "Part of a report"))}"""\n']
        required = set(node.get("required", ()))
        for key, value in node["properties"].items():
            kind = self.annotation(value, name + "".join(part.title() for part in key.split("_")))
            lines.append(f"    {key}: {kind if key in required else f'NotRequired[{kind}]'}")
        del self.classes[name]
        self.classes[name] = "\n".join(lines) + "\n"
        return name


def reports_source():
    """The source of reports.py."""
    made = Reports(json.loads(SCHEMA.read_text()))
    for definition in made.schema["$defs"]:
        made.annotation({"$ref": f"#/$defs/{definition}"}, definition)
    for name, text in made.classes.items():
        made.classes[name] = "\n".join(long_docstring(line) if len(line) > 140 else line for line in text.split("\n"))
    text = "\n\n".join(made.classes.values())
    used = [name for name in ("Any", "Literal", "NotRequired", "TypedDict") if re.search(rf"\b{name}\b", text)]
    return ('"""What the commands return; made by make_commands.py from docs/report.schema.json. More keys may be there."""\n\n'
            f"from typing import {', '.join(used)}\n\n\n{text}")


def main():
    """Writes or checks both files."""
    program, check = sys.argv[1], "--check" in sys.argv
    functions = [function_of(program, command, definition) for command, definition in COMMANDS.items()]
    sources = {"commands.py": HEAD + "\n" + "\n\n".join(functions), "reports.py": reports_source()}
    stale = 0
    for name, text in sources.items():
        path = HERE / "espalier" / name
        if check and (not path.exists() or path.read_text() != text):
            stale += 1
            print(f"{path.name} is not what make_commands.py writes")
        elif not check:
            path.write_text(text)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
