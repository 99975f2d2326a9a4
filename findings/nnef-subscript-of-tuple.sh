#!/usr/bin/env bash
# nnef 1.0.10: a subscript of a tuple gives an array
#
# NNEF 1.0.5 (3.3.3, Tuples) has a = t[0] for the first item. The parser of the Khronos package evaluates (2, 3)[0] as
# the array of all items from there on, [2, 3], where [2, 3][0], the same of an array, is 2.
#
# Installs the packages below in a temporary folder and ends with 0 while the behaviour is as described.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 nnef==1.0.10
cd "$work"
"$work/venv/bin/python" - <<'PY'
import nnef


def value(expression):
    graph = nnef.parse_string("version 1.0;\nextension KHR_enable_fragment_definitions, KHR_enable_operator_expressions;\n"
                              "graph g( x ) -> ( y )\n{\n    x = external<scalar>(shape = [1, 4]);\n"
                              f"    y = pad(x, padding = [(0, 0), (0, {expression})], border = 'constant');\n}}\n")
    return graph.operations[-1].attribs["padding"][1][1]


assert value("[2, 3][0]") == 2
assert value("(2, 3)[0]") == [2, 3], value("(2, 3)[0]")
print("as described: (2, 3)[0] is", value("(2, 3)[0]"))
PY
