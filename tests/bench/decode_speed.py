#!/usr/bin/env python3
"""Time per call of packed files in stock readers over that of the dense file: what is not computed at load is computed in every call. One layer of each
operator and size, 90 % zeros, batch 1, one step, one thread; both files in turns within one process, the least of all calls.

    decode_speed.py ESPALIER [--sizes 1,5] [--operators MatMul,GRU] [--blocks 16x1,ragged] [--values f32] [--profiles tract,portable] [--index grid]
                    [--reader tract|onnxruntime|openvino|khronos] [--version 0.22.4] [--python PYTHON] [--seconds S]

A row is an operator and a size of its weight in MiB, with its dense time; a column is a profile, a type of values and a block, where "ragged" are 16x4 blocks
on rows and columns that they do not divide and "diagonal" 16x1 blocks with the diagonals stored apart. The portable profile (up to 16 MiB) has no recurrent
operators and no values of 8 bits. Prints the table, the worst ratio, and the largest ratio of a file's bytes to those of the packed ONNX file.
"""
import argparse
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import decode_cases as cases  # noqa: E402
import peer  # noqa: E402

PORTABLE_MIB = 16
ONNX_PROFILES = {"onnxruntime": "inline", "openvino": "inline"}


def has(profile, operator, size, block, values):
    if block == "diagonal" and operator not in peer.GATES:
        return False
    return profile != "portable" or (operator not in peer.GATES and values != "i8" and size <= PORTABLE_MIB)


def ratio(args, source, feed, block, values, profile, folder):
    """Packed over dense milliseconds, dense milliseconds, bytes over those of packed ONNX, seconds to load."""
    packed = os.path.join(folder, "packed.onnx")
    cases.pack(args.program, source, packed, {"ragged": "16x4", "diagonal": "16x1"}.get(block, block), values, block == "diagonal")
    ending = ".onnx" if args.reader in ONNX_PROFILES or profile in ONNX_PROFILES.values() else "" if args.reader == "khronos" else ".nnef.tgz"
    files = [os.path.join(folder, name + ending) for name in ("dense_", "sparse_")]
    index = ["--index", args.index] if args.index != "grid" else []
    peer.espalier(args.program, "convert", packed, files[0], "-q", "--no-verify", "--profile", "dense")
    peer.espalier(args.program, "convert", packed, files[1], "-q", "--no-verify", "--profile", profile, *index, *(["--for", "openvino"] if args.reader == "openvino" else []))
    found = cases.times(args.reader, *files, feed, folder, args.seconds, args.version, args.python)
    if found["difference"] > 1e-4:
        raise RuntimeError(f"outputs differ by {found['difference']:.1e}")
    return found["second_ms"] / found["first_ms"], found["first_ms"], found["second_load_s"], found["version"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    words = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--sizes", type=lambda text: [int(i) for i in text.split(",")], default=cases.SIZES)
    parser.add_argument("--operators", type=words, default=cases.OPERATORS)
    parser.add_argument("--blocks", type=words, default=[*cases.BLOCKS, "ragged", "diagonal"])
    parser.add_argument("--values", type=words, default=cases.VALUES)
    parser.add_argument("--profiles", type=words)
    parser.add_argument("--index", default="grid")
    parser.add_argument("--reader", default="tract")
    parser.add_argument("--version", default="", help="of tract, below the cache")
    parser.add_argument("--python", default=sys.executable, help="one that has the reader")
    parser.add_argument("--seconds", type=float, default=0.5)
    args = parser.parse_args()
    profiles = args.profiles or ([ONNX_PROFILES[args.reader]] if args.reader in ONNX_PROFILES else ["portable"] if args.reader == "khronos" else ["tract", "operator", "portable"])
    columns = [(profile, values, block) for profile in profiles for values in args.values for block in args.blocks]
    columns = [c for c in columns if any(has(c[0], o, s, c[2], c[1]) for o in args.operators for s in args.sizes)]
    print("| operator, MiB | dense ms | " + " | ".join(" ".join(column) for column in columns) + " |\n|---|---|" + "---|" * len(columns))
    worst, version, faults = 0, "", 0
    for operator in args.operators:
        for size in args.sizes:
            cells, dense = [], float("inf")
            for profile, values, block in columns:
                if not has(profile, operator, size, block, values):
                    cells.append("")
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    source = os.path.join(folder, "source.onnx")
                    feed = cases.model(operator, size, block == "ragged", source)
                    try:
                        found, milliseconds, load, version = ratio(args, source, feed, block, values, profile, folder)
                        worst, dense = max(worst, found), min(dense, milliseconds)
                        cells.append(f"{found:.2f}")
                        print(f"{operator} {size} MiB {profile} {values} {block}: {found:.2f}, dense {milliseconds:.3g} ms, load {load:.1f} s", file=sys.stderr, flush=True)
                    except RuntimeError as error:
                        faults += 1
                        cells.append("fails")
                        print(f"{operator} {size} MiB {profile} {values} {block}: {peer.one_line(error, 300)}", file=sys.stderr, flush=True)
            print(f"| {operator}, {size} | {dense:.3g} | " + " | ".join(cells) + " |", flush=True)
    print(f"{args.reader} {version}: worst ratio {worst:.2f}, {faults} failed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
