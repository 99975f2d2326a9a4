//! The C kernels behind types that Rust can trust: lengths are compared before a pointer is handed
//! over, handles are given back once, and a status is a `Result`.

use crate::ffi::*;
use std::ffi::CStr;
use std::ptr::{null, null_mut, NonNull};
use tract_nnef::internal::*;

pub(crate) fn text(chars: *const std::ffi::c_char) -> String {
    if chars.is_null() {
        return String::new();
    }
    // SAFETY: the library's strings end with a zero; the error's lives until this thread's next one.
    unsafe { CStr::from_ptr(chars) }.to_string_lossy().into_owned()
}

pub(crate) fn checked(status: espalier_status) -> TractResult<()> {
    if status == ESPALIER_OK {
        return Ok(());
    }
    // SAFETY: takes nothing.
    bail!("espalier: {}", text(unsafe { espalier_last_error() }))
}

pub(crate) fn made<T>(status: espalier_status, handle: *mut T) -> TractResult<NonNull<T>> {
    checked(status)?;
    NonNull::new(handle).context("espalier: a handle is null")
}

/// Version of the library, e.g. "0.1.0".
pub fn version() -> String {
    // SAFETY: takes nothing.
    text(unsafe { espalier_version() })
}

/// The instruction set that its kernels use on this machine, e.g. "AVX2".
pub fn simd_target() -> String {
    // SAFETY: takes nothing.
    text(unsafe { espalier_simd_target() })
}

/// What a packed matrix is made of; see espalier_matrix_desc.
pub struct Parts<'a> {
    pub parts: usize,
    pub rows: usize,
    pub cols: usize,
    pub block: [usize; 2],
    pub values: &'a Arc<Tensor>,
    pub index: &'a [u32],
    pub scale: Option<&'a [f32]>,
    pub diagonal: Option<&'a Tensor>,
}

pub struct Matrix {
    pub(crate) raw: NonNull<espalier_matrix>,
    /// Borrowed by `raw`.
    _values: Option<Arc<Tensor>>,
}

// SAFETY: "an espalier_matrix may be read by any number of threads", and nothing writes to it.
unsafe impl Send for Matrix {}
unsafe impl Sync for Matrix {}

fn type_of(tensor: &Tensor) -> TractResult<espalier_type> {
    Ok(match tensor.datum_type() {
        DatumType::F32 => ESPALIER_F32,
        DatumType::F16 => ESPALIER_F16,
        DatumType::I8 => ESPALIER_I8,
        other => bail!("packed values of type {other:?}: expected f32, f16 or i8"),
    })
}

fn block_extent(extent: usize) -> TractResult<u32> {
    u32::try_from(extent).with_context(|| format!("blocks of {extent} rows or columns"))
}

impl Matrix {
    /// Index and values are checked: what is out of the grid, out of order or there twice is an error.
    pub fn new(of: &Parts) -> TractResult<Matrix> {
        let blocks = of.index.len() / 2;
        let area = of.block[0].checked_mul(of.block[1]).context("blocks are too large")?;
        ensure!(of.index.len() == 2 * blocks, "an index is pairs");
        ensure!(
            Some(of.values.len()) == blocks.checked_mul(area),
            "{} values: expected {blocks} blocks of {area}",
            of.values.len()
        );
        let outputs = of.parts.checked_mul(of.rows).context("a weight is too large")?;
        let type_ = type_of(of.values)?;
        if let Some(scale) = of.scale {
            ensure!(
                scale.len() == outputs || scale.len() == 1,
                "a scale has a factor for each output"
            );
        }
        if let Some(diagonal) = of.diagonal {
            let expected =
                if type_ == ESPALIER_I8 { DatumType::F32 } else { of.values.datum_type() };
            ensure!(
                diagonal.len() == outputs && diagonal.datum_type() == expected,
                "a diagonal does not fit"
            );
        }
        let desc = espalier_matrix_desc {
            size: std::mem::size_of::<espalier_matrix_desc>(),
            parts: of.parts,
            rows: of.rows,
            cols: of.cols,
            block_rows: block_extent(of.block[0])?,
            block_cols: block_extent(of.block[1])?,
            blocks,
            type_,
            index_type: ESPALIER_U32,
            values: of.values.as_bytes().as_ptr().cast(),
            index: of.index.as_ptr().cast(),
            scale: of.scale.map_or(null(), <[f32]>::as_ptr),
            scales: of.scale.map_or(0, <[f32]>::len),
            diagonal: of.diagonal.map_or(null(), |d| d.as_bytes().as_ptr().cast()),
            flags: ESPALIER_BORROW_VALUES,
        };
        let mut raw = null_mut();
        // SAFETY: every length was compared above; the values live as long as the matrix.
        let status = unsafe { espalier_matrix_create(&desc, &mut raw) };
        Ok(Matrix { raw: made(status, raw)?, _values: Some(of.values.clone()) })
    }

    /// From a dense weight [parts, rows, cols].
    pub fn pack(
        weight: &[f32],
        parts: usize,
        rows: usize,
        cols: usize,
        block: [usize; 2],
    ) -> TractResult<Matrix> {
        let count = parts.checked_mul(rows).and_then(|n| n.checked_mul(cols));
        ensure!(count == Some(weight.len()), "a weight of {} elements", weight.len());
        let (block_rows, block_cols) = (block_extent(block[0])?, block_extent(block[1])?);
        let mut raw = null_mut();
        // SAFETY: the length of the weight was compared.
        let status = unsafe {
            espalier_matrix_pack(
                weight.as_ptr(),
                parts,
                rows,
                cols,
                block_rows,
                block_cols,
                &mut raw,
            )
        };
        Ok(Matrix { raw: made(status, raw)?, _values: None })
    }

    pub fn outputs(&self) -> usize {
        // SAFETY: the handle is alive.
        unsafe { espalier_matrix_outputs(self.raw.as_ptr()) }
    }

    pub fn inputs(&self) -> usize {
        // SAFETY: the handle is alive.
        unsafe { espalier_matrix_inputs(self.raw.as_ptr()) }
    }
}

impl Drop for Matrix {
    fn drop(&mut self) {
        // SAFETY: made by this type and destroyed here alone.
        unsafe { espalier_matrix_destroy(self.raw.as_ptr()) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    None,
    Relu,
    Sigmoid,
    Tanh,
}

impl Activation {
    fn raw(self) -> espalier_activation {
        let kind = match self {
            Activation::None => ESPALIER_NONE,
            Activation::Relu => ESPALIER_RELU,
            Activation::Sigmoid => ESPALIER_SIGMOID,
            Activation::Tanh => ESPALIER_TANH,
        };
        espalier_activation { kind, alpha: 0.0, beta: 0.0 }
    }
}

pub(crate) fn flags(exact: bool) -> u32 {
    if exact {
        ESPALIER_EXACT_VALUES
    } else {
        0
    }
}

/// Whether samples are rows of x and y, or columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Rows,
    Columns,
}

pub struct Product {
    raw: NonNull<espalier_product>,
    inputs: usize,
    outputs: usize,
}

// SAFETY: "different handles may be used by different threads"; one is used by one at a time (&mut).
unsafe impl Send for Product {}

impl Product {
    pub fn new(matrix: &Matrix, exact: bool) -> TractResult<Product> {
        let mut raw = null_mut();
        // SAFETY: the matrix is alive.
        let status =
            unsafe { espalier_product_create(matrix.raw.as_ptr(), flags(exact), &mut raw) };
        let (inputs, outputs) = (matrix.inputs(), matrix.outputs());
        Ok(Product { raw: made(status, raw)?, inputs, outputs })
    }

    pub fn run(
        &mut self,
        x: &[f32],
        layout: Layout,
        n: usize,
        bias: Option<&[f32]>,
        activation: Activation,
        y: &mut [f32],
    ) -> TractResult<()> {
        ensure!(Some(x.len()) == n.checked_mul(self.inputs), "{} inputs for {n} samples", x.len());
        ensure!(
            Some(y.len()) == n.checked_mul(self.outputs),
            "{} outputs for {n} samples",
            y.len()
        );
        ensure!(
            bias.is_none_or(|b| b.len() == self.outputs),
            "a bias has a number for each output"
        );
        let layout = match layout {
            Layout::Rows => ESPALIER_SAMPLES_OUTER,
            Layout::Columns => ESPALIER_SAMPLES_INNER,
        };
        // SAFETY: lengths were compared; x and y are different borrows.
        checked(unsafe {
            espalier_product_run(
                self.raw.as_ptr(),
                x.as_ptr(),
                layout,
                n,
                bias.map_or(null(), <[f32]>::as_ptr),
                &activation.raw(),
                y.as_mut_ptr(),
                null_mut(),
            )
        })
    }

    /// Name of the kernel, e.g. "16x1".
    pub fn kernel(&self) -> String {
        // SAFETY: the handle is alive.
        text(unsafe { espalier_product_kernel(self.raw.as_ptr()) })
    }

    /// Bytes of weights and indices.
    pub fn bytes(&self) -> usize {
        // SAFETY: the handle is alive.
        unsafe { espalier_product_bytes(self.raw.as_ptr()) }
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        // SAFETY: made by this type and destroyed here alone.
        unsafe { espalier_product_destroy(self.raw.as_ptr()) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    Gru,
    /// The reset gate is applied after the product with R (ONNX: linear_before_reset).
    GruResetLast,
    Lstm,
    Rnn,
}

impl Cell {
    pub fn gates(self) -> usize {
        match self {
            Cell::Gru | Cell::GruResetLast => 3,
            Cell::Lstm => 4,
            Cell::Rnn => 1,
        }
    }
}

pub struct RecurrentDesc<'a> {
    pub cell: Cell,
    /// None: x of a run is the input's projection.
    pub input_weight: Option<&'a Matrix>,
    pub recurrent_weight: &'a Matrix,
    /// [2, gates, hidden]
    pub bias: Option<&'a [f32]>,
    pub activations: [Activation; 3],
    pub exact: bool,
}

pub struct Recurrent {
    raw: NonNull<espalier_recurrent>,
    inputs: usize,
    hidden: usize,
    has_c: bool,
}

// SAFETY: as for Product.
unsafe impl Send for Recurrent {}

#[derive(Clone, Copy)]
pub struct Sequence {
    pub steps: usize,
    pub batch: usize,
    pub batch_first: bool,
    pub backwards: bool,
}

impl Recurrent {
    pub fn new(desc: &RecurrentDesc) -> TractResult<Recurrent> {
        let hidden = desc.recurrent_weight.inputs();
        let rows = desc.cell.gates() * hidden;
        ensure!(
            desc.recurrent_weight.outputs() == rows,
            "a recurrent weight does not fit its layer"
        );
        ensure!(
            desc.input_weight.is_none_or(|w| w.outputs() == rows),
            "an input weight does not fit its layer"
        );
        ensure!(desc.bias.is_none_or(|b| b.len() == 2 * rows), "a bias does not fit its layer");
        let raw_desc = espalier_recurrent_desc {
            size: std::mem::size_of::<espalier_recurrent_desc>(),
            cell: match desc.cell {
                Cell::Gru | Cell::GruResetLast => ESPALIER_GRU,
                Cell::Lstm => ESPALIER_LSTM,
                Cell::Rnn => ESPALIER_RNN,
            },
            linear_before_reset: i32::from(desc.cell == Cell::GruResetLast),
            input_weight: desc.input_weight.map_or(null(), |w| w.raw.as_ptr()),
            recurrent_weight: desc.recurrent_weight.raw.as_ptr(),
            bias: desc.bias.map_or(null(), <[f32]>::as_ptr),
            peephole: null(),
            clip: 0.0,
            activations: desc.activations.map(Activation::raw),
            flags: flags(desc.exact),
        };
        let mut raw = null_mut();
        // SAFETY: weights are alive, the bias has the length that the gates say.
        let status = unsafe { espalier_recurrent_create(&raw_desc, &mut raw) };
        let inputs = desc.input_weight.map_or(rows, Matrix::inputs);
        Ok(Recurrent { raw: made(status, raw)?, inputs, hidden, has_c: desc.cell == Cell::Lstm })
    }

    /// All steps; h and c are states before and after. y may be left out.
    pub fn run(
        &mut self,
        sequence: Sequence,
        x: &[f32],
        y: Option<&mut [f32]>,
        h: &mut [f32],
        c: Option<&mut [f32]>,
    ) -> TractResult<()> {
        let count = sequence.steps.checked_mul(sequence.batch).context("too many steps")?;
        ensure!(
            Some(x.len()) == count.checked_mul(self.inputs),
            "{} inputs for {count} steps",
            x.len()
        );
        if let Some(y) = &y {
            ensure!(
                Some(y.len()) == count.checked_mul(self.hidden),
                "{} outputs for {count} steps",
                y.len()
            );
        }
        let state = sequence.batch.checked_mul(self.hidden);
        ensure!(Some(h.len()) == state, "a state of {} numbers", h.len());
        ensure!(c.is_some() == self.has_c, "a cell state is for LSTM");
        ensure!(c.as_ref().is_none_or(|c| Some(c.len()) == state), "a cell state does not fit");
        let desc = espalier_sequence_desc {
            size: std::mem::size_of::<espalier_sequence_desc>(),
            steps: sequence.steps,
            batch: sequence.batch,
            batch_first: i32::from(sequence.batch_first),
            backwards: i32::from(sequence.backwards),
            lengths: null(),
        };
        // SAFETY: lengths were compared, and the slices are different borrows.
        checked(unsafe {
            espalier_recurrent_run(
                self.raw.as_ptr(),
                &desc,
                x.as_ptr(),
                y.map_or(null_mut(), <[f32]>::as_mut_ptr),
                h.as_mut_ptr(),
                c.map_or(null_mut(), <[f32]>::as_mut_ptr),
                null_mut(),
            )
        })
    }

    /// Bytes of weights and indices.
    pub fn bytes(&self) -> usize {
        // SAFETY: the handle is alive.
        unsafe { espalier_recurrent_bytes(self.raw.as_ptr()) }
    }
}

impl Drop for Recurrent {
    fn drop(&mut self) {
        // SAFETY: made by this type and destroyed here alone.
        unsafe { espalier_recurrent_destroy(self.raw.as_ptr()) }
    }
}
