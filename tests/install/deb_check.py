#!/usr/bin/env python3
"""deb_check.py PROGRAM: makes the .deb packages of the build that PROGRAM belongs to, installs them in a clean Debian 12, runs the
program and the libraries there, and builds the programs of docs/deploy.md. Needs root, debootstrap and a Debian mirror; else skipped."""
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
mirror = [os.environ["ESPALIER_DEBIAN_MIRROR"]] if "ESPALIER_DEBIAN_MIRROR" in os.environ else []  # else debootstrap's own
cache = Path(os.environ.get("ESPALIER_CACHE", Path.home() / ".cache/espalier"))


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def run(*command, **options):
    result = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if result.returncode != 0:
        print(f"{' '.join(map(str, command))}: exit {result.returncode}\n{result.stdout[-4000:]}")
        sys.exit(1)
    return result.stdout


def clean_root(folder):
    """A new Debian 12 with nothing but what every one has; the first is kept as an archive below the cache."""
    archive = cache / "debian12-minbase.tar"
    if not archive.exists():
        base = folder / "base"
        result = subprocess.run(["debootstrap", "--variant=minbase", "bookworm", base, *mirror], capture_output=True, text=True)
        if result.returncode != 0:
            skip(f"debootstrap: {result.stdout[-300:]}")
        part = archive.with_suffix(".part")
        run("tar", "cf", part, "-C", base, ".")
        part.rename(archive)
    root = folder / "root"
    root.mkdir()
    run("tar", "xf", archive, "-C", root)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    for name in Path("/etc/apt/apt.conf.d").glob("*proxy*"):
        shutil.copy(name, root / "etc/apt/apt.conf.d")
    return root


def main():
    if os.geteuid() != 0:
        skip("needs root")
    if shutil.which("debootstrap") is None or shutil.which("dpkg-shlibdeps") is None:
        skip("needs debootstrap and dpkg-dev")
    if not (build / "CPackConfig.cmake").exists():
        skip(f"{build} is not a build folder")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(shutil.which("cpack"), "-G", "DEB", "-B", folder / "debs", "--config", build / "CPackConfig.cmake", cwd=folder)
        debs = {re.match(r"[^_]+", deb.name)[0]: deb for deb in (folder / "debs").glob("*.deb")}
        assert set(debs) == {"espalier", "libespalier0", "libespalier-dev"}, debs
        root = clean_root(folder)
        (root / "debs").mkdir()
        for deb in debs.values():
            shutil.copy(deb, root / "debs")
            print(deb.name, deb.stat().st_size, re.search(r"Depends: .*", run("dpkg-deb", "-I", deb))[0])
        # Nothing of this machine's settings (compilers, launchers, search paths) but the way out to the mirror.
        clean = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
        clean |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
        chroot = ["env", "-i", *(f"{name}={value}" for name, value in clean.items()), "chroot", root]
        install = [*chroot, "apt-get", "install", "-y", "-qq", "--no-install-recommends"]
        run(*chroot, "apt-get", "update", "-qq")

        before = run(*chroot, "dpkg-query", "-W", "-f", "${Package}\n").split()
        run(*install, f"/debs/{debs['espalier'].name}", f"/debs/{debs['libespalier0'].name}")
        after = run(*chroot, "dpkg-query", "-W", "-f", "${Package}\n").split()
        added = sorted(set(after) - set(before))
        print("installed with program and libraries:", *added)
        assert not [package for package in added if "opencl" in package.lower()], added
        shutil.copy(model, root / "model.onnx")
        print(run(*chroot, "espalier", "--version").strip())
        run(*chroot, "espalier", "convert", "/model.onnx", "-o", "/packed.onnx")

        run(*install, f"/debs/{debs['libespalier-dev'].name}", "gcc", "g++", "cmake", "make", "pkg-config")
        shutil.copytree(sources / "docs/deploy", root / "deploy")
        shutil.copy(sources / "tests/install/count_allocations.c", root / "deploy")
        run(*chroot, "cmake", "-S", "/deploy", "-B", "/build", "-DCMAKE_BUILD_TYPE=Release", "-DCOUNT_ALLOCATIONS=count_allocations.c")
        run(*chroot, "cmake", "--build", "/build")
        assert "y[0] = 210" in run(*chroot, "/build/kernels")
        text = run(*chroot, "/build/step", "/packed.onnx", "0.2")
        print(text.strip())
        assert re.search(r"^0 allocations$", text, re.M), text
        run(*chroot, "/build/prune", "/model.onnx", "/half.onnx")
        (root / "broken.onnx").write_bytes(model.read_bytes()[:5000])
        result = subprocess.run([*chroot, "/build/step", "/broken.onnx"], capture_output=True, text=True)
        assert result.returncode == 1 and result.stderr.startswith("error: /broken.onnx"), result
        print(result.stderr.strip())
        # C alone, by pkg-config.
        run(*chroot, "sh", "-c", "gcc -std=c11 -Wall -Wextra -pedantic -Werror /deploy/step.c -o /step $(pkg-config --cflags --libs espalier)")
        run(*chroot, "/step", "/packed.onnx", "0.05")


main()
