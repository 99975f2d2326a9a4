//! Files that espalier writes, in every profile, with every kind of index and value, against stock
//! tract. ESPALIER_PROGRAM is the program; without it these tests say that they did nothing.

mod common;
use common::*;
use espalier_tract::tract_nnef::internal::*;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("ESPALIER_PROGRAM").map(PathBuf::from);
    if path.is_none() {
        println!("skipped: ESPALIER_PROGRAM does not name the program");
    }
    path
}

fn shared() -> Option<PathBuf> {
    let beside = Path::new(ROOT).join("../shared");
    let path = std::env::var_os("ESPALIER_SHARED").map_or(beside, PathBuf::from);
    path.join("models").is_dir().then_some(path)
}

fn write(program: &Path, source: &Path, target: &Path, options: &[&str]) {
    let out = Command::new(program)
        .arg("prune")
        .args([source, target])
        .arg("-q")
        .args(options)
        .output()
        .unwrap();
    assert!(out.status.success(), "{options:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Random inputs; a free extent is `free`.
fn inputs(path: &Path, free: usize) -> Vec<Tensor> {
    let model = tract_nnef::nnef().model_for_path(path).unwrap();
    let mut random = Random(5);
    let facts =
        (0..model.input_outlets().unwrap().len()).map(|at| model.input_fact(at).unwrap().clone());
    facts
        .map(|fact| {
            let shape: Vec<usize> =
                fact.shape.iter().map(|d| d.to_usize().unwrap_or(free)).collect();
            random.tensor(&shape).cast_to_dt(fact.datum_type).unwrap().into_owned()
        })
        .collect()
}
use espalier_tract::tract_nnef;

/// Prunes and compares; gives the native operators.
fn check(source: &Path, options: &[&str], free: usize) -> Vec<String> {
    let Some(program) = program() else {
        return vec![];
    };
    let folder = Folder::new();
    let target = folder.0.join("packed.nnef.tgz");
    write(&program, source, &target, options);
    let found = natives(&espalier_tract::load(&target).unwrap());
    println!("{} {options:?}: {found:?}", source.display());
    let names: Vec<&str> = found.iter().map(String::as_str).collect();
    compare(&target, &inputs(&target, free), &names);
    found
}

const BANDS: &str = "testdata/bandgru/denoise.onnx";

#[test]
fn profiles_and_kinds() {
    for block in ["16x1", "8x4", "5x3"] {
        for more in [
            &["--profile", "tract"][..],
            &["--profile", "operator"],
            &["--index", "first-element"],
            &["--values", "f16"],
            &["--values", "i8"],
            &["--values", "i8", "--profile", "operator"],
        ] {
            let mut options = vec!["--block", block, "--sparsity", "0.8", "--min-weights", "1"];
            options.extend(more);
            let found = check(&Path::new(ROOT).join(BANDS), &options, 3);
            let layers = found.iter().filter(|name| *name == "EspalierRecurrent").count();
            assert!(found.is_empty() || (layers, found.len()) == (2, 4), "{more:?}: {found:?}");
        }
    }
}

/// The portable profile has no recurrent operators and no free axes.
#[test]
fn portable_profile() {
    let Some(shared) = shared() else {
        println!("skipped: ../shared is absent");
        return;
    };
    let source = shared.join("models/mlp_digits/model.onnx");
    for block in ["16x1", "5x3"] {
        for values in ["f32", "f16"] {
            let mut options = vec!["--block", block, "--sparsity", "0.8", "--values", values];
            options.extend(["--profile", "portable", "--shape", "x:3,64"]);
            let found = check(&source, &options, 3);
            assert!(found.is_empty() || found == ["EspalierMatMul"; 3], "{found:?}");
        }
    }
}

/// Profiles without packed weights load, and are stock tract's.
#[test]
fn dense_profiles() {
    for more in [&["--profile", "dense"][..], &["--index", "mask"]] {
        let mut options = vec!["--block", "16x1", "--sparsity", "0.8"];
        options.extend(more);
        assert!(check(&Path::new(ROOT).join(BANDS), &options, 3).is_empty());
    }
}

/// Stock tract refuses the opaque profile: the crate runs it, equal to the profile tract.
#[test]
fn opaque() {
    let Some(program) = program() else {
        return;
    };
    let folder = Folder::new();
    let [opaque, plain] = ["opaque", "tract"].map(|profile| {
        let target = folder.0.join(format!("{profile}.nnef.tgz"));
        let options = ["--block", "16x1", "--sparsity", "0.8", "--profile", profile];
        write(&program, &Path::new(ROOT).join(BANDS), &target, &options);
        target
    });
    let given = inputs(&plain, 3);
    let run = |path: &Path| {
        let plan =
            espalier_tract::load(path).unwrap().into_optimized().unwrap().into_runnable().unwrap();
        plan.run(given.iter().map(|t| t.clone().into_tvalue()).collect()).unwrap()
    };
    assert!(tract_nnef::nnef().model_for_path(&opaque).is_err());
    assert_eq!(run(&opaque), run(&plain));
}

/// Models of ../shared/models: what becomes native in each.
#[test]
fn models() {
    let Some(shared) = shared() else {
        println!("skipped: ../shared is absent");
        return;
    };
    // Products, convolutions, recurrent layers; sizes of free axes.
    for (name, expected, free) in [
        ("mlp_digits", [3, 0, 0], 3),
        ("cnn_digits", [2, 2, 0], 2),
        ("gru_digits", [1, 0, 1], 2),
        ("dtln_1", [3, 0, 2], 1),
        ("dtln_2", [5, 2, 0], 1),
        ("bandgru384_trained_lpcnet", [2, 0, 1], 4),
        ("paraphrase_minilm_l3", [18, 0, 0], 8),
    ] {
        let source = shared.join("models").join(name).join("model.onnx");
        let found = check(&source, &["--block", "16x1", "--sparsity", "0.8"], free);
        let count = |operator: &str| found.iter().filter(|n| *n == operator).count();
        let counts = [count("EspalierMatMul"), count("EspalierConv"), count("EspalierRecurrent")];
        assert!(found.is_empty() || counts == expected, "{name}: {counts:?}");
    }
}
