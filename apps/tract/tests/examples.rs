//! The sparse files of ../shared/nnef-examples: what they are said to compute, and what stock tract
//! makes of them. ESPALIER_SHARED is the folder, else ../shared beside the project.

mod common;
use common::*;
use espalier_tract::tract_nnef::internal::*;
use std::path::{Path, PathBuf};

fn shared() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    let path = std::env::var_os("ESPALIER_SHARED").map_or(PathBuf::from(beside), PathBuf::from);
    path.join("nnef-examples/sparse").is_dir().then_some(path)
}

/// A .npy of f32, version 1 and C order, as these files are.
fn npy(path: &Path) -> Tensor {
    let bytes = std::fs::read(path).unwrap();
    let begin = 10 + u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    let header = std::str::from_utf8(&bytes[10..begin]).unwrap();
    assert!(header.contains("'<f4'") && header.contains("'fortran_order': False"), "{header}");
    let shape = header.split("'shape': (").nth(1).unwrap().split(')').next().unwrap();
    let shape: Vec<usize> = shape.split(',').filter_map(|e| e.trim().parse().ok()).collect();
    let values: Vec<f32> = bytes[begin..]
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    tensor1(&values).into_shape(&shape).unwrap()
}

#[test]
fn all_sparse_examples() {
    let Some(shared) = shared() else {
        println!("skipped: ../shared is absent");
        return;
    };
    let mut count = 0;
    for entry in std::fs::read_dir(shared.join("nnef-examples/sparse")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().to_string();
        let model = folder.join("model");
        let (x, y) = (npy(&folder.join("x.npy")), npy(&folder.join("y.npy")));
        let expected: &[&str] = match &name[..3] {
            "p02" | "t03" => &["EspalierConv"],
            "t10" => &["EspalierRecurrent", "EspalierMatMul"],
            // The product in the body of its scan, and small dense ones.
            "t11" => &["EspalierMatMul"; 3],
            _ => &["EspalierMatMul"],
        };
        // Stock tract has no operator `gather`.
        if !name.starts_with("k01") {
            compare(&model, &[x.clone()], expected);
        }
        let plan = espalier_tract::load(&model)
            .unwrap()
            .into_optimized()
            .unwrap()
            .into_runnable()
            .unwrap();
        let found = plan.run(tvec!(x.into_tvalue())).unwrap();
        let apart = difference(&found[0], &y);
        assert!(apart <= TOLERANCE, "{name}: {apart}");
        count += 1;
    }
    assert!(count >= 13, "{count} examples");
}
