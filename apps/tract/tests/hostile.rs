//! Files that lie: an `Err` that says what is wrong, never a crash.

mod common;
use common::*;
use espalier_tract::tract_nnef::internal::*;

struct Case {
    what: &'static str,
    values: Tensor,
    index: Tensor,
    call: &'static str,
    /// Part of the message.
    expected: &'static str,
}

const CALL: &str = "block_sparse_decode(v, i, grid = [2, 4, 16, 4], shape = [32, 16])";

fn case(what: &'static str, index: Tensor, expected: &'static str) -> Case {
    Case { what, values: Random(1).tensor(&[2, 16, 4]), index, call: CALL, expected }
}

fn document(case: &Case) -> Document {
    let mut doc = Document::default();
    doc.input("x", "[3, 16]");
    doc.variable("v", case.values.clone());
    doc.variable("i", case.index.clone());
    doc.line(format!("w = {};", case.call));
    doc.line("y = matmul(x, w, transposeB = true);");
    doc.outputs.push("y".into());
    doc
}

fn refused(what: &str, path: &std::path::Path, expected: &str) {
    let error = match espalier_tract::load(path) {
        Ok(_) => panic!("{what}: loaded"),
        Err(error) => format!("{error:#}"),
    };
    assert!(error.contains(expected), "{what}: {error}");
}

#[test]
fn bitmaps() {
    let text = "block_sparse_decode_bitmap(v, i, c, pages = [1, 1], flat = [9], cells = [9, 1, 1], count = [8], grid = [2, 4, \
                16, 4], padded = [1, 32, 16], keep = [32, 16], shape = [32, 16])";
    let good = [false, true, false, false, true, false, false, false, false];
    let check = |what: &str, items: &[bool], shape: &[usize], call: &str, expected: &str| {
        let mut doc = Document::default();
        doc.input("x", "[3, 16]");
        doc.variable("v", Random(1).tensor(&[2, 16, 4]));
        doc.variable("i", tensor1(items).into_shape(shape).unwrap());
        doc.variable("c", tensor1(&[0f32, 1.0, 2.0]).into_shape(&[3, 1]).unwrap());
        doc.line(format!("w = {call};"));
        doc.line("y = matmul(x, w, transposeB = true);");
        doc.outputs.push("y".into());
        let folder = doc.write();
        if expected.is_empty() {
            espalier_tract::load(&folder.0).unwrap();
        } else {
            refused(what, &folder.0, expected);
        }
    };
    check("none", &good, &[1, 3, 3], text, "");
    let mut more = good;
    more[0] = true;
    check("more bits than values", &more, &[1, 3, 3], text, "mask has 3 items set for 2 blocks");
    let mut fewer = good;
    fewer[1] = false;
    check("fewer bits", &fewer, &[1, 3, 3], text, "mask has 1 items set for 2 blocks");
    let mut behind = fewer;
    behind[8] = true;
    check("behind the grid", &behind, &[1, 3, 3], text, "behind the 8 blocks of the grid");
    check("too short", &good[..4], &[1, 2, 2], text, "expected logicals [A, K, K]");
    check("too long", &[good, good].concat(), &[2, 3, 3], text, "pages is [1, 1]");
    let pages = text.replace("count = [8]", "count = [7]");
    check("another count", &good, &[1, 3, 3], &pages, "count is [7]");
}

#[test]
fn indices() {
    let pairs = |pairs: [[i64; 2]; 2]| tensor2(&pairs);
    let mut cases = vec![
        case("a block row out of the grid", pairs([[0, 0], [2, 0]]), "espalier"),
        case("a block column out of the grid", pairs([[0, 0], [1, 4]]), "espalier"),
        case("far out", pairs([[0, 0], [4294967295, 4294967295]]), "espalier"),
        case("farther", pairs([[0, 0], [i64::MAX, 1]]), "index holds 9223372036854775807"),
        case("negative", pairs([[0, 0], [-1, 1]]), "index holds -1"),
        case("twice", pairs([[1, 1], [1, 1]]), "espalier"),
        case("out of order", pairs([[1, 1], [0, 1]]), "espalier"),
        case("a pair too few", tensor2(&[[0i64, 1]]), "index has shape [1, 2]: expected [2, 2]"),
        case("triples", tensor2(&[[0i64, 1, 0], [1, 0, 0]]), "index has shape [2, 3]"),
        case(
            "scalars that are not whole",
            tensor2(&[[0.0f32, 0.5], [1.0, 1.0]]),
            "index holds 0.5",
        ),
        case("no numbers", tensor2(&[[f32::NAN, 0.0], [1.0, 1.0]]), "index holds NaN"),
        case("infinite", tensor2(&[[0.0f32, 0.0], [f32::INFINITY, 1.0]]), "index holds inf"),
    ];
    let good = || pairs([[0, 1], [1, 2]]);
    let with = |what, call, expected| Case { call, ..case(what, good(), expected) };
    cases.extend([
        with("another grid", "block_sparse_decode(v, i, grid = [2, 4, 8, 4], shape = [32, 16])", "grid is"),
        with("a short grid", "block_sparse_decode(v, i, grid = [2, 4, 16], shape = [32, 16])", "expected 4"),
        with("a negative grid", "block_sparse_decode(v, i, grid = [-2, 4, 16, 4], shape = [32, 16])", "grid is"),
        with("no grid", "block_sparse_decode(v, i, grid = [0, 4, 16, 4], shape = [0, 16])", "expected 1 to"),
        with(
            "a huge grid",
            "block_sparse_decode(v, i, grid = [4611686018427387904, 4611686018427387904, 16, 4], shape = [32, 16])",
            "too large",
        ),
        with(
            "a large grid",
            "block_sparse_decode(v, i, grid = [2, 400000000, 16, 4], shape = [32, 1600000000])",
            "expected 1 to",
        ),
        with("another shape", "block_sparse_decode(v, i, grid = [2, 4, 16, 4], shape = [32, 17])", "shape [32, 17]"),
        with("a huge shape", "block_sparse_decode(v, i, grid = [2, 4, 16, 4], shape = [4611686018427387904, 8])", "shape"),
        with(
            "an edge that is none",
            "block_sparse_decode_ragged(v, i, grid = [2, 4, 16, 4], padded = [32, 16], shape = [16, 16])",
            "shape [16, 16]",
        ),
        with(
            "other padding",
            "block_sparse_decode_ragged(v, i, grid = [2, 4, 16, 4], padded = [32, 20], shape = [31, 16])",
            "padded is",
        ),
        with(
            "parts that do not fit",
            "block_sparse_decode_parts(v, i, grid = [2, 4, 16, 4], padded = [3, 16, 16], keep = [15, 16], shape = [45, 16])",
            "do not fit",
        ),
    ]);
    cases.push(Case {
        values: Random(1).tensor(&[2, 64]),
        ..case("flat values", good(), "values have shape")
    });
    cases.push(Case {
        values: Tensor::zero::<i32>(&[2, 16, 4]).unwrap(),
        ..case("values of 32 bits", good(), "values are of type I32")
    });
    cases.push(Case {
        values: Random(1).tensor(&[2, 16, 4]),
        call: "block_sparse_decode_ragged(v, i, grid = [2, 4, 16, 4], padded = [32, 16], shape = [31, 16])",
        ..case("values behind the edge", good(), "espalier")
    });
    for case in &cases {
        refused(case.what, &document(case).write().0, case.expected);
    }
    // The same file with an honest index loads.
    espalier_tract::load(&document(&case("", good(), "")).write().0).unwrap();
}

#[test]
fn an_index_that_is_computed() {
    let mut doc = Document::default();
    doc.input("x", "[3, 16]");
    doc.variable("v", Random(1).tensor(&[2, 16, 4]));
    doc.input("i", "[2, 2]");
    doc.line(format!("w = {CALL};"));
    doc.line("y = matmul(x, w, transposeB = true);");
    doc.outputs.push("y".into());
    refused("an input as index", &doc.write().0, "index is computed: expected a variable");
}

#[test]
fn first_elements() {
    let document = |places: &[u32], offsets: &[u32]| {
        let mut doc = Document::default();
        doc.input("x", "[3, 16]");
        doc.variable("v", Random(1).tensor(&[2, 2, 2]));
        doc.variable("i", tensor1(places));
        doc.variable("o", tensor1(offsets).into_shape(&[2, 2]).unwrap());
        doc.line(
            "w = block_sparse_decode_first(v, i, o, count = [8], places = [8, 1], size = [128], shape = [8, 16]);",
        );
        doc.line("y = matmul(x, w, transposeB = true);");
        doc.outputs.push("y".into());
        doc.write()
    };
    let honest = [0, 1, 16, 17];
    espalier_tract::load(&document(&[2, 64], &honest).0).unwrap();
    espalier_tract::load(&document(&[3, 64], &honest).0).unwrap(); // on no grid
    refused("behind the weight", &document(&[2, 127], &honest).0, "lies outside");
    refused("far behind", &document(&[2, u32::MAX], &honest).0, "lies outside");
    refused("over the edge", &document(&[2, 15], &honest).0, "lies outside");
    refused("over each other", &document(&[3, 4], &honest).0, "overlap");
    refused("other offsets", &document(&[2, 64], &[0, 1, 17, 18]).0, "offsets");
    refused("offsets of nothing", &document(&[2, 64], &[0, 0, 0, 0]).0, "offsets");
}

#[test]
fn diagonals_and_maps() {
    let document = |tensors: Vec<(&str, Tensor)>, call: &str| {
        let mut doc = Document::default();
        doc.input("x", "[3, 8]");
        for (name, tensor) in tensors {
            doc.variable(name, tensor);
        }
        doc.line(format!("w = {call};"));
        doc.line("y = matmul(x, w, transposeB = true);");
        doc.outputs.push("y".into());
        doc.write()
    };
    let diagonal = "stacked_diagonal(d, column = [1, 8, 1], padding = [(0, 0), (0, 0), (0, 8)], flat = [1, 72], keep = \
                    [64], shape = [8, 8])";
    refused(
        "a short diagonal",
        &document(vec![("d", Random(1).tensor(&[7]))], diagonal).0,
        "column is",
    );
    let strip = "stacked_diagonal_strip(d, column = [4, 1], padding = [(0, 0), (0, 8)], line = [36], shift = [(5, 0)], \
                 keep = [32], shape = [4, 8])";
    refused(
        "a strip behind its part",
        &document(vec![("d", Random(1).tensor(&[4]))], strip).0,
        "shift is",
    );
    let map = "block_sparse_decode_gather(v, m, shape = [8, 8])";
    let values = || Random(1).tensor(&[2, 4, 4]);
    let wrong = tensor2(&[[0u16, 1], [2, 0]]);
    refused(
        "a map behind the blocks",
        &document(vec![("v", values()), ("m", wrong)], map).0,
        "map names a block",
    );
}

/// A broken document, a broken archive, nothing at all.
#[test]
fn files() {
    let folder = Folder::new();
    assert!(espalier_tract::load(folder.0.join("absent.nnef.tgz")).is_err());
    assert!(espalier_tract::load(&folder.0).is_err());
    std::fs::write(folder.0.join("graph.nnef"), "version 1.0;\ngraph g( x ) -> ( y ) { y = ")
        .unwrap();
    assert!(espalier_tract::load(&folder.0).is_err());
    assert!(espalier_tract::load_from_read(&b""[..]).is_err());
    assert!(espalier_tract::load_from_read(&[0x1f, 0x8b, 0, 0, 0][..]).is_err());
}
