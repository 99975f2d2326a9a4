#!/usr/bin/env bash
# tract 0.23.9: a constant above 4 MiB is computed again in every run
#
# w = c * k of a column c and a row k, both variables, is constant. At 1000 x 1000 (3.8 MiB) tract computes it at load;
# at 1100 x 1100 (4.6 MiB) it does so in every run, as the result takes more than 4 MiB and more than what it is made
# of. Nothing is said; a run takes more than ten times as long for 1.2 times the work. Dequantised or decoded weights
# are of this kind.
#
# Installs the packages below in a temporary folder and ends with 0 while the behaviour is as described.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 tract==0.23.9 nnef==1.0.10
cd "$work"
"$work/venv/bin/python" - <<'PY'
import os, tempfile, time
import nnef, numpy as np, tract


def milliseconds(n):
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in (("c", (n, 1)), ("k", (1, n))):
            with open(os.path.join(folder, name + ".dat"), "wb") as file:
                nnef.write_tensor(file, rng.standard_normal(shape).astype(np.float32))
        with open(os.path.join(folder, "graph.nnef"), "w") as file:
            file.write(f"version 1.0;\ngraph g( x ) -> ( y )\n{{\n    x = external<scalar>(shape = [1, {n}]);\n"
                       f"    c = variable<scalar>(label = 'c', shape = [{n}, 1]);\n    k = variable<scalar>(label = 'k', shape = [1, {n}]);\n"
                       "    w = mul(c, k);\n    y = matmul(x, w);\n}\n")
        runnable = tract.nnef().load(folder).into_runnable()
    x = np.ones((1, n), np.float32)
    best = float("inf")
    for _ in range(50):
        start = time.perf_counter()
        runnable.run([x])
        best = min(best, time.perf_counter() - start)
    return best * 1e3


below, above = milliseconds(1000), milliseconds(1100)
assert above > 5 * below, (below, above)
print(f"as described: {below:.3f} ms below the limit, {above:.3f} ms above")
PY
