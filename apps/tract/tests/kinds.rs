//! Every kind of index, type of value and reader, against stock tract on the same file.

mod common;
use common::*;
use espalier_tract::tract_nnef::internal::*;

const MATMUL: &[&str] = &["EspalierMatMul"];

/// y = x W^T for one weight.
fn product(weight: Weight, seed: u64) -> (Document, Tensor) {
    let mut random = Random(seed);
    let mut doc = Document::default();
    doc.input("x", &format!("[3, {}]", weight.cols));
    let wire = weight.declare(&mut doc, "w", &mut random);
    doc.line(format!("y = matmul(x, {wire}, transposeB = true);"));
    doc.outputs.push("y".into());
    let x = random.tensor(&[3, weight.cols]);
    (doc, x)
}

fn check(weight: Weight, seed: u64) {
    let (doc, x) = product(weight.clone(), seed);
    let folder = doc.write();
    println!("{weight:?}");
    compare(&folder.0, &[x], MATMUL);
}

#[test]
fn every_kind_and_type() {
    let blocks = [[16, 1], [16, 4], [8, 4], [4, 8], [1, 1], [5, 3]];
    let mut seed = 1;
    for block in blocks {
        for kind in [Kind::Grid, Kind::Bitmap, Kind::First, Kind::Portable] {
            for dt in [DatumType::F32, DatumType::F16, DatumType::I8] {
                if dt == DatumType::I8 && [Kind::First, Kind::Portable].contains(&kind) {
                    continue;
                }
                seed += 1;
                // Whole blocks, then an edge in both directions, which an index of elements cannot have.
                let [br, bc] = block;
                check(Weight::new(4 * br, 6 * bc, block).kind(kind).dt(dt), seed);
                if kind != Kind::First && br * bc > 1 {
                    check(
                        Weight::new(4 * br - br / 2, 6 * bc - bc / 2, block).kind(kind).dt(dt),
                        seed,
                    );
                }
            }
        }
    }
}

#[test]
fn diagonals() {
    for (at, dt) in [DatumType::F32, DatumType::F16, DatumType::I8].into_iter().enumerate() {
        check(Weight::new(32, 32, [16, 1]).dt(dt).diagonal(), 70 + at as u64);
        check(Weight::new(20, 20, [8, 4]).dt(dt).diagonal(), 80 + at as u64);
    }
    check(Weight::stacked(3, 16, 16, [16, 1]).diagonal(), 90);
}

#[test]
fn a_weight_without_blocks() {
    let mut doc = Document::default();
    doc.input("x", "[3, 16]");
    doc.variable("v", Tensor::zero::<f32>(&[0, 16, 4]).unwrap());
    doc.variable("i", Tensor::zero::<u16>(&[0, 2]).unwrap());
    doc.variable("b", Random(3).tensor(&[1, 32]));
    doc.line("w = block_sparse_decode(v, i, grid = [2, 4, 16, 4], shape = [32, 16]);");
    doc.line("y = linear(x, w, b);");
    doc.outputs.push("y".into());
    compare(&doc.write().0, &[Random(4).tensor(&[3, 16])], MATMUL);
}

/// The readers of one weight [rows, cols], as expressions of x and w.
#[test]
fn readers_of_a_matrix() {
    // x, expression, native operators
    let cases: &[(&str, &str, &[&str])] = &[
        ("[4, 24]", "matmul(x, w, transposeB = true)", MATMUL),
        ("[24, 4]", "matmul(w, x)", MATMUL),
        ("[4, 24]", "matmul(w, x, transposeB = true)", MATMUL),
        ("[24, 4]", "matmul(x, w, transposeA = true, transposeB = true)", MATMUL),
        ("[2, 4, 24]", "matmul(x, unsqueeze(w, axes = [0]), transposeB = true)", MATMUL),
        ("[2, 24, 4]", "matmul(unsqueeze(w, axes = [0]), x)", MATMUL),
        ("[2, 3, 4, 24]", "matmul(x, unsqueeze(w, axes = [0, 1]), transposeB = true)", MATMUL),
        ("[4, 24]", "linear(x, w, b)", MATMUL),
        ("[4, 24]", "relu(linear(x, w, b))", MATMUL),
        ("[4, 24]", "sigmoid(linear(x, w, b))", MATMUL),
        ("[4, 24]", "tanh(matmul(x, w, transposeB = true))", MATMUL),
        ("[4, 24]", "mul(relu(matmul(x, w, transposeB = true)), 2.0)", MATMUL),
        ("[2, 4, 24]", "tract_core_einsum([x, w], expr = 'abk,nk->ban', acc = 'f32', output = '')", MATMUL),
        ("[1, 4, 24]", "tract_core_einsum([x, w], expr = 'amk,nk->mn', acc = 'f32', output = '')", MATMUL),
        ("[2, 24, 4]", "tract_core_einsum([x, w], expr = 'akb,nk->nba', acc = 'f32', output = '')", MATMUL),
        ("[24, 2, 4]", "tract_core_einsum([w, x], expr = 'nk,kab->anb', acc = 'f32', output = '')", MATMUL),
        // No product along the inputs: the weight is dense.
        ("[4, 32]", "matmul(x, w)", &[]),
        ("[4, 24]", "add(matmul(x, w, transposeB = true), slice(transpose(w, axes = [1, 0]), axes = [0], begin = [0], end = [4]))", MATMUL),
        ("[32, 24]", "mul(x, w)", &[]),
    ];
    for (shape, expression, expected) in cases {
        let mut random = Random(11);
        let mut doc = Document::default();
        doc.input("x", shape);
        let weight = Weight::new(32, 24, [16, 1]).declare(&mut doc, "u", &mut random);
        doc.line(format!("w = reshape({weight}, shape = [32, 24]);"));
        doc.variable("b", random.tensor(&[1, 32]));
        doc.line(format!("y = {expression};"));
        doc.outputs.push("y".into());
        let extents: Vec<usize> =
            shape.trim_matches(['[', ']']).split(", ").map(|e| e.parse().unwrap()).collect();
        println!("{expression}");
        compare(&doc.write().0, &[random.tensor(&extents)], expected);
    }
}

/// Small dense weights beside a packed one, in every order of axes; larger ones stay tract's, and all
/// of a model without packed weights.
#[test]
fn dense_weights() {
    // x, dense weight, expression of p = x W^T with the packed W [32, 24], native operators
    let cases: &[(&str, &[usize], &str, &[&str])] = &[
        ("[4, 24]", &[32, 19], "matmul(p, d)", &["EspalierMatMul"; 2]),
        ("[4, 24]", &[19, 32], "matmul(p, d, transposeB = true)", &["EspalierMatMul"; 2]),
        ("[4, 24]", &[5, 4], "matmul(d, p)", &["EspalierMatMul"; 2]),
        ("[4, 24]", &[32, 1], "matmul(p, d)", MATMUL),
        ("[2, 4, 24]", &[1, 32, 6], "tanh(matmul(p, d))", &["EspalierMatMul"; 2]),
        ("[2, 4, 24]", &[2, 32, 6], "matmul(p, d)", MATMUL),
        ("[4, 24]", &[32, 1030], "matmul(p, d)", MATMUL),
    ];
    for (shape, dense, expression, expected) in cases {
        let mut random = Random(21);
        let mut doc = Document::default();
        doc.input("x", shape);
        let w = Weight::new(32, 24, [16, 1]).declare(&mut doc, "w", &mut random);
        let ones = if dense.len() == 3 { format!("unsqueeze({w}, axes = [0])") } else { w };
        doc.line(format!("p = matmul(x, {ones}, transposeB = true);"));
        doc.variable("d", random.tensor(dense));
        doc.line(format!("y = {expression};"));
        doc.outputs.push("y".into());
        let extents: Vec<usize> =
            shape.trim_matches(['[', ']']).split(", ").map(|e| e.parse().unwrap()).collect();
        println!("{expression}");
        compare(&doc.write().0, &[random.tensor(&extents)], expected);
    }
    let mut doc = Document::default();
    doc.input("x", "[4, 24]");
    doc.variable("d", Random(22).tensor(&[24, 6]));
    doc.line("y = matmul(x, d);");
    doc.outputs.push("y".into());
    compare(&doc.write().0, &[Random(23).tensor(&[4, 24])], &[]);
}

/// A bias that is an output of the model, a weight with two readers, one output, one input.
#[test]
fn corners_of_products() {
    let mut random = Random(12);
    let mut doc = Document::default();
    doc.input("x", "[3, 16]");
    let w = Weight::new(32, 16, [8, 4]).declare(&mut doc, "w", &mut random);
    doc.variable("b", random.tensor(&[1, 32]));
    doc.line(format!("p = matmul(x, {w}, transposeB = true);"));
    doc.line("s = add(p, b);");
    doc.line(format!("q = matmul({w}, transpose(x, axes = [1, 0]));"));
    doc.outputs.extend(["p".into(), "s".into(), "q".into()]);
    compare(&doc.write().0, &[random.tensor(&[3, 16])], &["EspalierMatMul"; 2]);
    check(Weight::new(1, 24, [1, 4]), 13);
    check(Weight::new(24, 1, [8, 1]), 14);
    check(Weight::new(1, 1, [1, 1]), 15);
}

#[test]
fn half_precision_models() {
    for dt in [DatumType::F16, DatumType::F32] {
        let mut random = Random(20);
        let mut doc = Document::default();
        doc.input("x32", "[3, 24]");
        doc.line("x = tract_core_cast(x32, to = 'f16');");
        let wire = Weight::new(32, 24, [16, 1]).dt(dt).declare(&mut doc, "u", &mut random);
        doc.line(format!("w = tract_core_cast({wire}, to = 'f16');"));
        doc.line("y16 = matmul(x, w, transposeB = true);");
        doc.line("y = tract_core_cast(y16, to = 'f32');");
        doc.outputs.push("y".into());
        // tract sums in f16 or f32 as the machine allows; values of f32 are rounded: dense.
        let expected = if dt == DatumType::F16 { MATMUL } else { &[] };
        compare_within(&doc.write().0, &[random.tensor(&[3, 24])], expected, 5e-3);
    }
}

#[test]
fn convolutions() {
    // weight's outputs, inputs per group, window, groups, image, attributes
    type Case = ([usize; 2], &'static [usize], usize, &'static [usize], &'static str);
    let cases: &[Case] = &[
        (
            [32, 8],
            &[3, 3],
            1,
            &[2, 8, 10, 9],
            "padding = [(1, 1), (1, 1)], stride = [1, 1], dilation = [1, 1]",
        ),
        (
            [32, 8],
            &[3, 3],
            1,
            &[1, 8, 10, 9],
            "padding = [(0, 1), (2, 0)], stride = [2, 1], dilation = [1, 2]",
        ),
        (
            [32, 8],
            &[1, 1],
            1,
            &[1, 8, 5, 5],
            "padding = [(0, 0), (0, 0)], stride = [1, 1], dilation = [1, 1]",
        ),
        (
            [32, 4],
            &[3, 3],
            2,
            &[1, 8, 6, 6],
            "padding = [(1, 1), (1, 1)], stride = [1, 1], dilation = [1, 1]",
        ),
        ([24, 8], &[5], 1, &[2, 8, 20], "padding = [(2, 2)], stride = [1], dilation = [1]"),
        ([24, 8], &[5], 1, &[1, 8, 21], "padding = [(0, 0)], stride = [3], dilation = [2]"),
    ];
    for (at, (extents, window, groups, image, attributes)) in cases.iter().enumerate() {
        for dt in [DatumType::F32, DatumType::F16, DatumType::I8] {
            let mut random = Random(30 + at as u64);
            let mut doc = Document::default();
            doc.input("x", &format!("{image:?}"));
            let cols = extents[1] * window.iter().product::<usize>();
            let shape: Vec<usize> = extents.iter().chain(window.iter()).copied().collect();
            let weight =
                Weight::stacked(*groups, extents[0] / groups, cols, [8, 1]).dt(dt).shaped(&shape);
            let wire = weight.declare(&mut doc, "w", &mut random);
            doc.variable("b", random.tensor(&[1, extents[0]]));
            doc.line(format!(
                "y = conv(x, {wire}, b, border = 'constant', {attributes}, groups = {groups});"
            ));
            doc.outputs.push("y".into());
            println!("{attributes} {dt:?}");
            compare(&doc.write().0, &[random.tensor(image)], &["EspalierConv"]);
        }
    }
}

/// Padding that follows from the image stays with tract, and so does a transposed convolution.
#[test]
fn convolutions_of_stock_tract() {
    for call in [
        "conv(x, w, 0.0, border = 'constant', padding = [], stride = [2, 2], dilation = [1, 1], groups = 1)",
        "deconv(x, transpose(w, axes = [1, 0, 2, 3]), 0.0, border = 'constant', padding = [(0, 0), (0, 0)], \
         stride = [1, 1], dilation = [1, 1], output_shape = [], groups = 1)",
    ] {
        let mut random = Random(40);
        let mut doc = Document::default();
        doc.input("x", "[1, 8, 9, 9]");
        let weight = Weight::new(8, 72, [8, 1]).shaped(&[8, 8, 3, 3]);
        let wire = weight.declare(&mut doc, "u", &mut random);
        doc.line(format!("w = reshape({wire}, shape = [8, 8, 3, 3]);"));
        doc.line(format!("y = {call};"));
        doc.outputs.push("y".into());
        compare(&doc.write().0, &[random.tensor(&[1, 8, 9, 9])], &[]);
    }
}

/// Weights in strips: decodes joined by concat, some with an edge, and the diagonal in strips.
#[test]
fn strips() {
    let mut random = Random(50);
    let mut doc = Document::default();
    doc.input("x", "[3, 40]");
    let mut rows = vec![];
    for (r, height) in [16usize, 24].into_iter().enumerate() {
        let top = if r == 0 { 0 } else { 16 };
        let mut strip = |name: String, cols: usize, left: isize| {
            Weight::new(height, cols, [8, 4]).hole(top - left).declare(&mut doc, &name, &mut random)
        };
        let (left, right) = (strip(format!("a{r}"), 16, 0), strip(format!("b{r}"), 24, 16));
        doc.line(format!("row{r} = concat([{left}, {right}], axis = 1);"));
        rows.push(format!("row{r}"));
    }
    doc.line(format!("joined = concat([{}], axis = 0);", rows.join(", ")));
    let mut strips = vec![];
    for (first, count) in [(0usize, 25usize), (25, 15)] {
        let name = format!("d{first}");
        doc.variable(&name, random.tensor(&[count]));
        doc.line(format!(
            "s{first} = stacked_diagonal_strip({name}, column = [{count}, 1], padding = [(0, 0), (0, 40)], line = \
             [{}], shift = [({first}, 0)], keep = [{}], shape = [{count}, 40]);",
            count * 41,
            count * 40
        ));
        strips.push(format!("s{first}"));
    }
    doc.line(format!(
        "square = reshape(concat([{}], axis = 0), shape = [40, 40]);",
        strips.join(", ")
    ));
    doc.line("whole = add(joined, square);");
    doc.line("y = matmul(x, whole, transposeB = true);");
    doc.outputs.push("y".into());
    compare(&doc.write().0, &[random.tensor(&[3, 40])], MATMUL);
}

/// A part with an edge ends its strips.
#[test]
fn strips_of_parts() {
    let mut random = Random(51);
    let mut doc = Document::default();
    doc.input("x", "[2, 12]");
    let wires: Vec<String> = (0..3)
        .map(|p| Weight::new(10, 12, [8, 4]).declare(&mut doc, &format!("p{p}"), &mut random))
        .collect();
    doc.line(format!(
        "w = reshape(concat([{}], axis = 0), shape = [1, 30, 12]);",
        wires.join(", ")
    ));
    doc.line("y = matmul(x, squeeze(w, axes = [0]), transposeB = true);");
    doc.outputs.push("y".into());
    compare(&doc.write().0, &[random.tensor(&[2, 12])], MATMUL);
}

/// Blocks that lie on no grid, and a map in place of an index.
#[test]
fn blocks_anywhere() {
    let mut random = Random(52);
    let mut doc = Document::default();
    doc.input("x", "[2, 12]");
    doc.variable("v", random.tensor(&[2, 3, 2]));
    doc.variable("i", tensor1(&[13u16, 65]));
    let offsets: Vec<u16> = (0..3).flat_map(|r| [12 * r, 12 * r + 1]).collect();
    doc.variable("o", tensor1(&offsets).into_shape(&[3, 2]).unwrap());
    doc.line(
        "w = block_sparse_decode_first(v, i, o, count = [12], places = [12, 1], size = [120], shape = [10, 12]);",
    );
    doc.line("y = matmul(x, w, transposeB = true);");
    doc.outputs.push("y".into());
    compare(&doc.write().0, &[random.tensor(&[2, 12])], MATMUL);
}

/// A fragment of a known name that does something else is what runs.
#[test]
fn a_fragment_of_the_same_name() {
    let (mut doc, x) = product(Weight::new(32, 24, [16, 1]), 60);
    let text = doc.text().replace(
        "reshape(transpose(tiles, axes = [0, 2, 1, 3]), shape = shape)",
        "mul(reshape(transpose(tiles, axes = [0, 2, 1, 3]), shape = shape), 2.0)",
    );
    doc.fragments.clear();
    let folder = doc.write();
    std::fs::write(folder.0.join("graph.nnef"), text).unwrap();
    compare(&folder.0, &[x], &[]);
}

/// A free batch, in turn of different extents, and bound.
#[test]
fn symbols() {
    let mut random = Random(61);
    let mut doc =
        Document { extensions: "extension tract_symbol N;\n".into(), ..Document::default() };
    doc.input("x", "[N, 24]");
    let w = Weight::new(32, 24, [16, 1]).declare(&mut doc, "w", &mut random);
    doc.line(format!("y = relu(matmul(x, {w}, transposeB = true));"));
    doc.outputs.push("y".into());
    let folder = doc.write();
    for n in [1, 5, 2] {
        compare(&folder.0, &[random.tensor(&[n, 24])], MATMUL);
    }
    let model = espalier_tract::load(&folder.0).unwrap();
    let extents = HashMap::from([(model.symbols.sym("N"), 5.to_dim())]);
    let model = model.set_symbols(&extents).unwrap().into_optimized().unwrap();
    assert_eq!(model.output_fact(0).unwrap().shape.as_concrete().unwrap(), &[5, 32]);
    assert_eq!(natives(&model), MATMUL);
}

/// One plan, several threads.
#[test]
fn threads_share_a_plan() {
    let (doc, x) = product(Weight::new(64, 48, [16, 1]), 62);
    let plan = espalier_tract::load(&doc.write().0)
        .unwrap()
        .into_optimized()
        .unwrap()
        .into_runnable()
        .unwrap();
    let expected = plan.run(tvec!(x.clone().into_tvalue())).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(plan.run(tvec!(x.clone().into_tvalue())).unwrap(), expected);
                }
            });
        }
    });
}

/// Inputs rounded to 8 bits are near, and not the same.
#[test]
fn rounded_inputs() {
    let (doc, x) = product(Weight::new(64, 48, [8, 4]).dt(DatumType::I8), 63);
    let folder = doc.write();
    let run = |loader: espalier_tract::Loader| {
        let plan = loader.load(&folder.0).unwrap().into_runnable().unwrap();
        plan.run(tvec!(x.clone().into_tvalue())).unwrap()[0].clone().into_tensor()
    };
    let exact = run(espalier_tract::Loader::default());
    let apart = difference(&run(espalier_tract::Loader::default().rounded_inputs(true)), &exact);
    assert!(apart > 0.0 && apart < 0.05, "{apart}");
}
