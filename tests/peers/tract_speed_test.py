#!/usr/bin/env python3
"""Stock tract decodes packed weights at load, not in each call: time per call of the packed file over that of the dense file, both in turns in one
process. A decode that is not folded costs 5 to 800 times the dense call, so the bound leaves room for a busy machine. tests/bench/decode_speed.py
measures the same of all sizes.

    tract_speed_test.py ESPALIER [WORD...]
"""
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import decode_cases as cases  # noqa: E402
import peer  # noqa: E402

MOST = 2.5
# operator, MiB, block ("ragged": of 16x4; "diagonal": of 16x1), values, options of the writer, version of tract. 1x1 has a bitmap, but for --index grid.
CASES = [
    ("GRU", 5, "diagonal", "f32", ["--profile", "tract"], ""),
    ("GRU", 5, "ragged", "i8", ["--profile", "tract"], ""),
    ("LSTM", 5, "diagonal", "f16", ["--profile", "operator"], ""),
    ("LSTM", 16, "diagonal", "i8", ["--profile", "tract"], ""),
    ("MatMul", 16, "1x1", "f32", ["--profile", "tract"], ""),
    ("MatMul", 16, "1x1", "f16", ["--profile", "operator"], ""),
    ("MatMul", 64, "16x1", "f16", ["--profile", "tract"], ""),
    ("MatMul", 64, "16x1", "i8", ["--profile", "tract"], ""),
    ("Gemm", 16, "ragged", "i8", ["--profile", "tract"], ""),
    ("Gemm", 16, "16x1", "f32", ["--profile", "tract", "--index", "first-element"], ""),
    ("Gemm", 5, "ragged", "f32", ["--profile", "portable"], ""),
    ("MatMul", 5, "1x1", "f16", ["--profile", "portable"], ""),
    ("Conv", 16, "1x1", "f32", ["--profile", "tract"], ""),
    ("MatMul", 16, "1x1", "f32", ["--profile", "tract", "--index", "grid"], ""),
    ("Gemm", 16, "ragged", "f32", ["--profile", "tract", "--index", "bitmap"], ""),
    ("LSTM", 16, "1x1", "i8", ["--profile", "tract"], ""),
    ("GRU", 5, "diagonal", "f16", ["--profile", "tract", "--index", "bitmap"], ""),
    ("Conv", 5, "ragged", "f16", ["--profile", "tract"], ""),
    # Older versions fold zeros that several decodes share only below 1024 elements: docs/limits.md.
    *[(operator, size, block, values, ["--profile", profile], version) for version in ("0.22.4", "0.21.19") for operator, size, block, values, profile in
      [("Gemm", 1, "ragged", "f32", "tract"), ("Conv", 5, "16x1", "f16", "tract"), ("Gemm", 5, "16x4", "f32", "portable"), ("Gemm", 16, "16x1", "f16", "portable")]],
]


def check(program, operator, size, block, values, options, version):
    with tempfile.TemporaryDirectory() as folder:
        source, packed, dense, sparse = (os.path.join(folder, name) for name in ("source.onnx", "packed.onnx", "dense.nnef.tar", "sparse.nnef.tar"))
        feed = cases.model(operator, size, block == "ragged", source)
        cases.pack(program, source, packed, {"ragged": "16x4", "diagonal": "16x1"}.get(block, block), values, block == "diagonal")
        peer.espalier(program, "convert", packed, dense, "-q", "--no-verify", "--profile", "dense")
        peer.espalier(program, "convert", packed, sparse, "-q", "--no-verify", *options)
        if os.path.getsize(sparse) > 0.6 * os.path.getsize(dense):
            raise RuntimeError(f"{os.path.getsize(sparse)} bytes, dense {os.path.getsize(dense)}")
        ratio = 0
        for seconds in (0.3, 2):  # again, and longer, where something else was running
            found = cases.times("tract", dense, sparse, feed, folder, seconds, version)
            ratio = found["second_ms"] / found["first_ms"]
            if ratio <= MOST:
                break
        if found["difference"] > 1e-4:
            raise RuntimeError(f"outputs differ by {found['difference']:.1e}")
        if ratio > MOST:
            raise RuntimeError(f"{ratio:.1f} times the dense file's {found['first_ms']:.3g} ms per call")
        return ratio


def main(program, words):
    faults = count = 0
    for case in CASES:
        operator, size, block, values, options, version = case
        name = f"{operator} {size} MiB {block} {values} {' '.join(options[1::2])} {version}".strip()
        if not all(word in name for word in words):
            continue
        count += 1
        try:
            print(f"{check(program, *case):5.2f} {name}", flush=True)
        except RuntimeError as error:
            faults += 1
            print(f"FAIL {name}: {peer.one_line(error, 300)}", flush=True)
    return peer.verdict(count, faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
