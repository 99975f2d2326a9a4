#!/usr/bin/env bash
# tract 0.23.9: a scan over one step forgets its state where the state is an output
#
# A tract_core_scan with reset_every_turn = false carries its state from run to run of one session state: ones added up
# give 1, 2, 3. Over a sequence of one step that stays so while the scan has only its sequence as output. With the last
# state as a second output, every run starts at the initial state again: 1, 1, 1. Over two steps and more both forms
# carry on. The model is the same, so a streaming model that is run step by step depends on which outputs it has.
#
# Installs the packages below in a temporary folder and ends with 0 while the behaviour is as described.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 tract==0.23.9
cd "$work"
"$work/venv/bin/python" - <<'PY'
import os, tempfile
import numpy as np, tract


def runs(steps, last):
    outputs = "('next', 'full', 0, 1)" + (", ('next', 'last', 0, 1)" if last else "")
    names = "y, end" if last else "y"
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "graph.nnef"), "w") as file:
            file.write("version 1.0;\nextension tract_registry tract_core;\n"
                       "fragment body( h: tensor<scalar>, s: tensor<scalar> ) -> ( next: tensor<scalar> )\n{\n    next = h + s;\n}\n"
                       f"graph g( x ) -> ( {names} )\n{{\n    x = external<scalar>(shape = [{steps}, 1, 1]);\n"
                       f"    ( {names} ) = tract_core_scan(body = 'body', scan = [('s', x, 0, 1)], full = [], state = [('h', [[[0.0]]], 'next')], "
                       f"output = [{outputs}], skip = 0, reset_every_turn = false, external_state = false);\n}}\n")
        state = tract.nnef().load(folder).into_runnable().spawn_state()
    x = np.ones((steps, 1, 1), np.float32)
    return [float(state.run([x])[0].to_numpy().ravel()[-1]) for _ in range(3)]


assert runs(1, False) == [1, 2, 3], runs(1, False)
assert runs(2, False) == [2, 4, 6] and runs(2, True) == [2, 4, 6]
assert runs(1, True) == [1, 1, 1], runs(1, True)
print("as described: one step with the last state as output gives", runs(1, True))
PY
