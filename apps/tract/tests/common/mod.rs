//! Documents that tests make, and stock tract beside the crate on the same file.
#![allow(dead_code)]

use espalier_tract::tract_nnef;
use espalier_tract::tract_nnef::internal::*;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

pub const FRAGMENTS: &str = include_str!("../../src/fragments.nnef");
pub const TOLERANCE: f32 = 1e-5;

/// A folder that goes with the value.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "espalier-tract-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Numbers that look random and are the same every time.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }
    /// -1 to 1
    pub fn float(&mut self) -> f32 {
        (self.next() % 20001) as f32 / 10000.0 - 1.0
    }
    pub fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| self.float()).collect();
        tensor1(&values).into_shape(shape).unwrap()
    }
}

/// A graph and its variables.
#[derive(Clone, Default)]
pub struct Document {
    pub extensions: String,
    pub fragments: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub body: String,
    pub tensors: Vec<(String, Tensor)>,
}

impl Document {
    pub fn line(&mut self, text: impl AsRef<str>) {
        self.body += &format!("    {}\n", text.as_ref());
    }

    pub fn input(&mut self, name: &str, shape: &str) {
        self.inputs.push(name.to_string());
        self.line(format!("{name} = external<scalar>(shape = {shape});"));
    }

    pub fn variable(&mut self, name: &str, tensor: Tensor) {
        let kind = match tensor.datum_type() {
            DatumType::Bool => "logical",
            dt if dt.is_integer() => "integer",
            _ => "scalar",
        };
        self.line(format!(
            "{name} = variable<{kind}>(shape = {:?}, label = '{name}');",
            tensor.shape()
        ));
        self.tensors.push((name.to_string(), tensor));
    }

    pub fn text(&self) -> String {
        format!(
            "version 1.0;\n\nextension KHR_enable_fragment_definitions;\nextension \
             KHR_enable_operator_expressions;\nextension tract_registry tract_core;\n{}\n{FRAGMENTS}\n{}\n\
             graph network( {} ) -> ( {} )\n{{\n{}}}\n",
            self.extensions,
            self.fragments,
            self.inputs.join(", "),
            self.outputs.join(", "),
            self.body
        )
    }

    pub fn write(&self) -> Folder {
        let folder = Folder::new();
        std::fs::write(folder.0.join("graph.nnef"), self.text()).unwrap();
        for (label, tensor) in &self.tensors {
            let mut bytes = vec![];
            tract_nnef::tensors::write_tensor(&mut bytes, tensor).unwrap();
            std::fs::write(folder.0.join(format!("{label}.dat")), bytes).unwrap();
        }
        folder
    }
}

/// How blocks are named.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// grid, ragged or parts: as the extents require.
    Grid,
    Bitmap,
    First,
    Portable,
}

#[derive(Clone, Debug)]
pub struct Weight {
    pub kind: Kind,
    pub parts: usize,
    pub rows: usize,
    pub cols: usize,
    pub block: [usize; 2],
    pub dt: DatumType,
    pub diagonal: bool,
    /// Elements (r, r + hole) are zero: a diagonal of their own will be added.
    pub hole: Option<isize>,
    /// Of the decoded weight.
    pub shape: Vec<usize>,
}

impl Weight {
    pub fn new(rows: usize, cols: usize, block: [usize; 2]) -> Weight {
        let shape = vec![rows, cols];
        Weight {
            kind: Kind::Grid,
            parts: 1,
            rows,
            cols,
            block,
            dt: DatumType::F32,
            diagonal: false,
            hole: None,
            shape,
        }
    }
    pub fn stacked(parts: usize, rows: usize, cols: usize, block: [usize; 2]) -> Weight {
        Weight { parts, shape: vec![parts * rows, cols], ..Weight::new(rows, cols, block) }
    }
    pub fn kind(self, kind: Kind) -> Weight {
        Weight { kind, ..self }
    }
    pub fn dt(self, dt: DatumType) -> Weight {
        Weight { dt, ..self }
    }
    pub fn diagonal(self) -> Weight {
        Weight { diagonal: true, ..self }
    }
    pub fn hole(self, hole: isize) -> Weight {
        Weight { hole: Some(hole), ..self }
    }
    pub fn shaped(self, shape: &[usize]) -> Weight {
        Weight { shape: shape.to_vec(), ..self }
    }

    /// Writes variables and the decode; gives the wire of the weight.
    pub fn declare(&self, doc: &mut Document, name: &str, random: &mut Random) -> String {
        let [br, bc] = self.block;
        let (gr, gc) = (self.rows.div_ceil(br), self.cols.div_ceil(bc));
        let mut pairs = vec![];
        let mut values: Vec<f32> = vec![];
        for row in 0..self.parts * gr {
            for col in 0..gc {
                if random.next() % 10 >= 3 {
                    continue;
                }
                pairs.push([row as u32, col as u32]);
                for r in 0..br {
                    for c in 0..bc {
                        let (at, col) = ((row % gr) * br + r, col * bc + c);
                        let is_inside = at < self.rows
                            && col < self.cols
                            && !(self.diagonal && at == col)
                            && self.hole != Some(col as isize - at as isize);
                        values.push(if is_inside { random.float() } else { 0.0 });
                    }
                }
            }
        }
        let n = pairs.len();
        let values = match self.dt {
            DatumType::F16 => {
                tensor1(&values.iter().map(|v| f16::from_f32(*v)).collect::<Vec<_>>())
            }
            DatumType::I8 => tensor1(&values.iter().map(|v| (v * 127.0) as i8).collect::<Vec<_>>()),
            _ => tensor1(&values),
        };
        doc.variable(&format!("{name}_values"), values.into_shape(&[n, br, bc]).unwrap());
        let cast = if self.dt == DatumType::F32 || self.kind == Kind::Portable {
            format!("{name}_values")
        } else {
            format!("tract_core_cast({name}_values, to = 'f32')")
        };
        match self.kind {
            Kind::Grid => self.declare_grid(doc, name, &pairs, [gr, gc]),
            Kind::Bitmap => self.declare_bitmap(doc, name, &pairs, [gr, gc]),
            Kind::First => {
                let places: Vec<u32> = pairs
                    .iter()
                    .map(|[r, c]| r * br as u32 * self.cols as u32 + c * bc as u32)
                    .collect();
                let offsets: Vec<u32> = (0..br)
                    .flat_map(|r| (0..bc).map(move |c| (r * self.cols + c) as u32))
                    .collect();
                doc.variable(&format!("{name}_index"), tensor1(&places));
                doc.variable(
                    &format!("{name}_offsets"),
                    tensor1(&offsets).into_shape(&[br, bc]).unwrap(),
                );
                let count = n * br * bc;
                doc.line(format!(
                    "{name}_blocks = block_sparse_decode_first({cast}, {name}_index, {name}_offsets, count = \
                     [{count}], places = [{count}, 1], size = [{}], shape = {:?});",
                    self.parts * self.rows * self.cols,
                    self.shape
                ));
            }
            Kind::Portable => {
                let scalars: Vec<f32> = pairs.iter().flatten().map(|v| *v as f32).collect();
                let count = |n: usize| tensor1(&(0..n).map(|v| v as f32).collect::<Vec<_>>());
                let rows = self.parts * gr;
                doc.variable(
                    &format!("{name}_index"),
                    tensor1(&scalars).into_shape(&[n, 2]).unwrap(),
                );
                doc.variable(
                    &format!("{name}_row_ids"),
                    count(rows).into_shape(&[rows, 1]).unwrap(),
                );
                doc.variable(&format!("{name}_col_ids"), count(gc).into_shape(&[1, gc]).unwrap());
                let ragged = self.rows % br != 0 || self.cols % bc != 0;
                assert!(!ragged || self.parts == 1);
                let (kind, padded) = if ragged {
                    ("_ragged", format!(", padded = [{}, {}]", gr * br, gc * bc))
                } else {
                    ("", String::new())
                };
                doc.line(format!(
                    "{name}_blocks = block_sparse_decode_portable{kind}({cast}, {name}_index, {name}_row_ids, \
                     {name}_col_ids, flat = [{}, {n}], cells = [{rows}, {br}, {bc}, {gc}]{padded}, shape = {:?});",
                    rows * br * bc,
                    self.shape
                ));
            }
        }
        self.declare_rest(doc, name, random)
    }

    fn declare_grid(
        &self,
        doc: &mut Document,
        name: &str,
        pairs: &[[u32; 2]],
        [gr, gc]: [usize; 2],
    ) {
        let [br, bc] = self.block;
        let index: Vec<u16> = pairs.iter().flatten().map(|v| *v as u16).collect();
        doc.variable(
            &format!("{name}_index"),
            tensor1(&index).into_shape(&[pairs.len(), 2]).unwrap(),
        );
        let ragged = self.rows % br != 0 || self.cols % bc != 0;
        let (kind, more) = if !ragged {
            ("", String::new())
        } else if self.parts == 1 && self.shape.len() == 2 {
            ("_ragged", format!(", padded = [{}, {}]", gr * br, gc * bc))
        } else {
            let keep = format!("keep = [{}, {}]", self.rows, self.cols);
            ("_parts", format!(", padded = [{}, {}, {}], {keep}", self.parts, gr * br, gc * bc))
        };
        doc.line(format!(
            "{name}_blocks = block_sparse_decode{kind}({name}_values, {name}_index, grid = [{}, {gc}, {br}, \
             {bc}]{more}, shape = {:?});",
            self.parts * gr,
            self.shape
        ));
    }

    fn declare_bitmap(
        &self,
        doc: &mut Document,
        name: &str,
        pairs: &[[u32; 2]],
        [gr, gc]: [usize; 2],
    ) {
        let [br, bc] = self.block;
        let (rows, cells) = (self.parts * gr, self.parts * gr * gc);
        let side = (1..).find(|k| k * k * k >= cells).unwrap();
        let pages = cells.div_ceil(side * side);
        let padded = pages * side * side;
        let mut items = vec![false; padded];
        for [row, col] in pairs {
            items[*row as usize * gc + *col as usize] = true;
        }
        let mask = tensor1(&items).into_shape(&[pages, side, side]).unwrap();
        doc.variable(&format!("{name}_mask"), mask);
        let ids = tensor1(&(0..side).map(|v| v as f32).collect::<Vec<_>>());
        doc.variable(&format!("{name}_ids"), ids.into_shape(&[side, 1]).unwrap());
        doc.line(format!(
            "{name}_blocks = block_sparse_decode_bitmap({name}_values, {name}_mask, {name}_ids, pages = [{pages}, \
             {pages}], flat = [{padded}], cells = [{padded}, 1, 1], count = [{cells}], grid = [{rows}, {gc}, {br}, \
             {bc}], padded = [{}, {}, {}], keep = [{}, {}], shape = {:?});",
            self.parts,
            gr * br,
            gc * bc,
            self.rows,
            self.cols,
            self.shape
        ));
    }

    fn declare_rest(&self, doc: &mut Document, name: &str, random: &mut Random) -> String {
        let mut wire = format!("{name}_blocks");
        if self.dt == DatumType::I8 {
            let outputs = self.parts * self.rows;
            let mut shape = vec![1; self.shape.len()];
            shape[0] = outputs;
            let scale: Vec<f32> =
                (0..outputs).map(|_| 0.001 + random.float().abs() / 100.0).collect();
            doc.variable(&format!("{name}_scale"), tensor1(&scale).into_shape(&shape).unwrap());
            doc.line(format!("{name}_scaled = mul({wire}, {name}_scale);"));
            wire = format!("{name}_scaled");
        }
        if self.diagonal {
            let (parts, n) = (self.parts, self.rows);
            assert_eq!(n, self.cols);
            let mut diagonal = random.tensor(&[parts * n]);
            let mut cast = format!("{name}_diag");
            if self.dt == DatumType::F16 {
                diagonal = diagonal.cast_to::<f16>().unwrap().into_owned();
                cast = format!("tract_core_cast({cast}, to = 'f32')");
            }
            doc.variable(&format!("{name}_diag"), diagonal);
            doc.line(format!(
                "{name}_square = stacked_diagonal({cast}, column = [{parts}, {n}, 1], padding = [(0, 0), (0, 0), \
                 (0, {n})], flat = [{parts}, {}], keep = [{}], shape = {:?});",
                n * (n + 1),
                n * n,
                self.shape
            ));
            doc.line(format!("{name} = add({wire}, {name}_square);"));
            wire = name.to_string();
        }
        wire
    }
}

pub fn stock(path: &Path) -> TypedModel {
    tract_nnef::nnef().model_for_path(path).unwrap()
}

pub fn natives(model: &TypedModel) -> Vec<String> {
    let mut names = vec![];
    for node in &model.nodes {
        if node.op.name().starts_with("Espalier") {
            names.push(node.op.name().to_string());
        }
        if let Some(scan) = node.op_as::<tract_nnef::tract_core::ops::scan::Scan>() {
            names.extend(natives(&scan.body));
        }
    }
    names
}

/// Largest difference, relative to 1 or the value.
pub fn difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.shape(), b.shape());
    assert_eq!(a.datum_type(), b.datum_type());
    let (a, b) = (a.cast_to::<f32>().unwrap(), b.cast_to::<f32>().unwrap());
    let (a, b) = (a.to_plain_array_view::<f32>().unwrap(), b.to_plain_array_view::<f32>().unwrap());
    a.iter().zip(b.iter()).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, |worst, d| {
        assert!(d.is_finite());
        worst.max(d)
    })
}

/// Runs a file in stock tract and by the crate: outputs must be equal, twice over in one session.
/// `expected` are the native operators, in the order of the graph.
pub fn compare(path: &Path, inputs: &[Tensor], expected: &[&str]) {
    compare_within(path, inputs, expected, TOLERANCE)
}

pub fn compare_within(path: &Path, inputs: &[Tensor], expected: &[&str], tolerance: f32) {
    let stock = stock(path).into_optimized().unwrap().into_runnable().unwrap();
    let model = espalier_tract::load(path).unwrap();
    assert_eq!(natives(&model), expected, "{}", path.display());
    let optimised = model.clone().into_optimized().unwrap();
    // A scan of one step is unrolled where it is optimised: calls after the first may differ.
    for (model, calls) in [(model, 1), (optimised, 2)] {
        let plan = model.into_runnable().unwrap();
        let (mut ours, mut theirs) = (plan.spawn().unwrap(), stock.spawn().unwrap());
        for _ in 0..calls {
            let given = || inputs.iter().map(|t| t.clone().into_tvalue()).collect::<TVec<TValue>>();
            let (a, b) = (ours.run(given()).unwrap(), theirs.run(given()).unwrap());
            assert_eq!(a.len(), b.len());
            for (a, b) in a.iter().zip(&b) {
                let apart = difference(a, b);
                assert!(apart <= tolerance, "{}: {apart} apart", path.display());
            }
        }
    }
}
