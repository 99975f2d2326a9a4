#!/usr/bin/env python3
"""install_test.py PROGRAM: installs the build that PROGRAM belongs to below a temporary folder and builds the programs of
docs/deploy.md against it: by find_package shared and static, Release and Debug; by pkg-config; and by add_subdirectory with the
system's cmake. Each is run."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

program = Path(sys.argv[1]).resolve()
build = program.parent.parent
sources = Path(__file__).resolve().parents[2]
model = sources / "testdata/bandgru/trained_16x1_90.onnx"
failures = []


def run(*command, **options):
    result = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if result.returncode != 0:
        failures.append(f"{' '.join(map(str, command))}: exit {result.returncode}\n{result.stdout[-3000:]}")
    return result.stdout


def expect(holds, what):
    if not holds:
        failures.append(what)


def check_programs(folder, environment, what):
    """The programs of docs/deploy in `folder`."""
    expect("y[0] = 210" in run(folder / "kernels", env=environment), f"{what}: kernels")
    text = run(folder / "step", model, "0.05", env=environment)
    expect(re.search(r"^0 allocations$", text, re.M), f"{what}: step allocates, or did not count: {text}")
    packed = folder / "packed.onnx"
    expect("gains: 32 values" in run(folder / "prune", model, packed, env=environment), f"{what}: prune")
    broken = folder / "broken.onnx"
    broken.write_bytes(model.read_bytes()[:100000])
    result = subprocess.run([folder / "step", broken], capture_output=True, text=True, env=environment)
    expect(result.returncode == 1 and result.stderr.startswith("error: ") and "broken.onnx" in result.stderr,
           f"{what}: a broken file gives exit {result.returncode} and {result.stderr}")


def find_package(prefix, cmake, folder):
    environment = dict(os.environ, LD_LIBRARY_PATH=str(prefix / "lib"))
    for kind in ["", "_static"]:
        for config in ["Release", "Debug"]:
            what = f"find_package, {kind or 'shared'}, {config}"
            binary = folder / f"find{kind}{config}"
            run(cmake, "-S", sources / "docs/deploy", "-B", binary, f"-DCMAKE_BUILD_TYPE={config}", f"-DKIND={kind}",
                f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCOUNT_ALLOCATIONS={sources}/tests/install/count_allocations.c")
            run(cmake, "--build", binary)
            check_programs(binary, environment if kind == "" else dict(os.environ), what)
    text = subprocess.run([cmake, "-S", sources / "docs/deploy", "-B", folder / "none", "-DKIND=_unknown",
                           f"-DCMAKE_PREFIX_PATH={prefix}"], capture_output=True, text=True)
    expect(text.returncode != 0 and "has no component" in text.stderr, "a component that is not there is not named")


def pkg_config(prefix, folder):
    environment = dict(os.environ, PKG_CONFIG_PATH=str(prefix / "lib/pkgconfig"))
    programs = {"espalier-kernels": ["kernels.c"], "espalier": ["step.c", model, "0.05"]}
    for static in [[], ["--static"]]:
        for package, (source, *arguments) in programs.items():
            library = package.replace("-", "_")
            flags = run("pkg-config", *static, "--cflags", "--libs", package, env=environment).split()
            if static:  # the archive, not the shared library beside it
                flags = [str(prefix / f"lib/lib{library}.a") if flag == f"-l{library}" else flag for flag in flags]
            run("gcc", "-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror", sources / "docs/deploy" / source, "-o", folder / "pc", *flags)
            run(folder / "pc", *arguments, env=dict(os.environ, LD_LIBRARY_PATH=str(prefix / "lib")))


def subdirectory(cmake, folder):
    """The kernels alone, which take a minute; models only as far as cmake reads them."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CMAKE_CXX_STANDARD")}
    start = [cmake, "-S", sources / "tests/install/subdirectory", f"-DESPALIER_SOURCES={sources}", "-DCMAKE_BUILD_TYPE=Release"]
    run(*start, "-B", folder / "sub", "-DESPALIER_KERNELS_ONLY=ON", "-DESPALIER_KERNELS_FOR=x86-64-v3", env=environment)
    run(cmake, "--build", folder / "sub", "-j2", env=environment)
    for kind in ["", "_static"]:
        if "avx2" in Path("/proc/cpuinfo").read_text():
            expect("y[0] = 210" in run(folder / "sub" / f"kernels{kind}"), f"add_subdirectory{kind}")
    run(*start, "-B", folder / "whole", env=environment)


def main():
    settings = build / "CMakeCache.txt"
    if not settings.exists() or "CMAKE_BUILD_TYPE:STRING=Release\n" not in settings.read_text():  # not with sanitizers, which users do not link
        print(f"skipped: {build} does not hold a release build")
        return 77
    cmake = shutil.which("cmake")
    system_cmake = "/usr/bin/cmake" if os.path.exists("/usr/bin/cmake") else cmake
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prefix = folder / "prefix"
        run(cmake, "--install", build, "--prefix", prefix)
        expect((prefix / "bin/espalier").exists(), "the program is not installed")
        for library in prefix.glob("lib/*.so"):
            expect(".symtab" not in run("readelf", "-S", "-W", library), f"{library.name} is not stripped")
        if not failures:
            find_package(prefix, system_cmake, folder)
            pkg_config(prefix, folder)
        subdirectory(system_cmake, folder)
    for failure in failures:
        print(failure)
    return 1 if failures else 0


sys.exit(main())
