#!/usr/bin/env bash
# nnef 1.0.10: -1 + 3 is -4
#
# The parser of the Khronos package takes all that follows for the operand of a unary minus: the attribute [1, -1 + 3]
# becomes [1, -4], and -1 * 2 + 5 becomes -7. NNEF 1.0.5 (3.1) reads a minus before a literal as unary, "the end result
# in either case is the same" as with a negative literal, which gives 2 and 3.
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


assert value("3 + -1") == 2 and value("(-1) + 3") == 2
assert value("-1 + 3") == -4, value("-1 + 3")
assert value("-1 * 2 + 5") == -7, value("-1 * 2 + 5")
print("as described: -1 + 3 is", value("-1 + 3"))
PY
