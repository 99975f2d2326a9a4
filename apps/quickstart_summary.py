"""The last lines of apps/quickstart: what its JSON files say, next to the score of doing nothing.

    quickstart_summary.py FOLDER NOISY_DB
"""
import json
import sys


def load(folder, name):
    with open(f"{folder}/{name}.json", encoding="utf-8") as file:
        return json.load(file)


def row(name, size, metric, note=""):
    print(f"  {name:<42}{size:>14}{metric:>14}   {note}".rstrip())


def main(folder, noisy):
    noisy = float(noisy)
    magnitude, pruned = load(folder, "denoise_50_magnitude"), load(folder, "denoise_50")
    packed, bench = load(folder, "trained_16x1_90"), load(folder, "bench")
    print("\n== Result (SDR of the denoised bands, higher is better)\n")
    row("file", "bytes", "SDR in dB")
    row("the noisy input, unchanged", "-", f"{noisy:.2f}")
    row(pruned["input"]["file"].rsplit("/", 1)[1], pruned["input"]["bytes"], f"{pruned['metric']['a']:.6f}", "dense")
    for report, how in ((magnitude, "by magnitude"), (pruned, "with calibration")):
        after = report["metric"]["b"]
        row(report["output"]["file"].rsplit("/", 1)[1], report["output"]["bytes"], f"{after:.6f}",
            f"one shot {how}, 16x1 at 50 %: " + ("WORSE than the noisy input" if after < noisy else f"{after - noisy:+.2f} dB over the noisy input"))
    row(packed["input"]["file"].rsplit("/", 1)[1], packed["input"]["bytes"], f"{packed['metric']['a']:.6f}", "zeros stored")
    row(packed["output"]["file"].rsplit("/", 1)[1], packed["output"]["bytes"], f"{packed['metric']['b']:.6f}",
        f"{100 * packed['output']['bytes'] / packed['input']['bytes']:.1f} % of the file size, "
        f"{bench['models'][1]['speedup']:.2f} times as fast in espalier's runtime, one thread, {bench['machine']['simd']}")
    print("\nPruning by magnitude alone ruins a compact model; calibration preserves it; blocks chosen during training are packed without loss.")
    print(f"Reports as pages: {folder}/denoise_50_magnitude.html, {folder}/denoise_50.html, {folder}/trained_16x1_90.html")
    print(f"The packed model, which stock tract runs too: {packed['output']['file']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
