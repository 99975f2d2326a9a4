//! Finds libespalier_kernels.
//!
//! ESPALIER_LIB_DIR  the folder of the library; else pkg-config is asked for espalier-kernels
//! ESPALIER_STATIC   1: the archive instead of the shared library

use std::process::Command;

const PACKAGE: &str = "espalier-kernels";

fn main() {
    for name in ["ESPALIER_LIB_DIR", "ESPALIER_STATIC", "PKG_CONFIG_PATH"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let is_static = std::env::var("ESPALIER_STATIC").is_ok_and(|v| v == "1");
    let dir = match std::env::var("ESPALIER_LIB_DIR") {
        Ok(dir) => dir,
        Err(_) => pkg_config("--variable=libdir"),
    };
    println!("cargo:rustc-link-search=native={dir}");
    if is_static {
        println!("cargo:rustc-link-lib=static=espalier_kernels");
        for name in ["hwy", "fmt", "stdc++"] {
            println!("cargo:rustc-link-lib=dylib={name}");
        }
    } else {
        println!("cargo:rustc-link-lib=dylib=espalier_kernels");
        // Tests and examples of this package find the library where it is.
        println!("cargo:rustc-link-arg=-Wl,-rpath,{dir}");
    }
}

fn pkg_config(option: &str) -> String {
    let program = std::env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".to_string());
    match Command::new(program).args([option, PACKAGE]).output() {
        Ok(found) if found.status.success() => {
            String::from_utf8_lossy(&found.stdout).trim().to_string()
        }
        _ => panic!(
            "libespalier_kernels was not found: expected pkg-config's {PACKAGE}, or its folder in \
             ESPALIER_LIB_DIR"
        ),
    }
}
