//! A weight as its kept blocks, and what a graph may do with it before a product reads it.

use crate::kernels::{Matrix, Parts};
use tract_nnef::internal::*;

/// Kept blocks of matrices that are stacked: each begins on a block row of its own, what sticks out
/// of it is zero. An element is value * scale + diagonal.
#[derive(Clone, Debug)]
pub struct Packed {
    /// [N, block rows, block columns] of f32, f16 or i8.
    pub values: Arc<Tensor>,
    /// Block row, counted through all matrices, and block column of each.
    pub index: Vec<u32>,
    /// Rows of each of the stacked matrices.
    pub part_rows: Vec<usize>,
    pub cols: usize,
    pub block: [usize; 2],
    /// Of each row.
    pub scale: Option<Vec<f32>>,
    pub diagonal: Option<Diagonal>,
}

/// One element of each row.
#[derive(Clone, Debug)]
pub struct Diagonal {
    pub values: Vec<f32>,
    pub cols: Vec<usize>,
}

/// Outputs and inputs of a weight; the kernels have the same limit.
const MOST: usize = 1 << 26;

/// First row and number of rows of each block row.
fn spans(part_rows: &[usize], height: usize) -> Vec<(usize, usize)> {
    let mut result = Vec::new();
    let mut begin = 0;
    for rows in part_rows {
        result.extend((0..*rows).step_by(height).map(|r| (begin + r, height.min(rows - r))));
        begin += rows;
    }
    result
}

impl Packed {
    pub fn rows(&self) -> usize {
        self.part_rows.iter().sum()
    }

    pub fn blocks(&self) -> usize {
        self.index.len() / 2
    }

    fn part_blocks(&self, rows: usize) -> usize {
        rows.div_ceil(self.block[0])
    }

    /// What is wrong with extents, index or values is an error.
    pub fn check(&self) -> TractResult<()> {
        let rows = self.part_rows.iter().try_fold(0usize, |n, rows| n.checked_add(*rows));
        ensure!(
            rows.is_some_and(|n| n > 0 && n <= MOST) && self.cols > 0 && self.cols <= MOST,
            "a weight of {rows:?} outputs and {} inputs: expected 1 to {MOST} of each",
            self.cols
        );
        ensure!(self.part_rows.iter().all(|rows| *rows > 0), "a part of a weight without outputs");
        self.matrix_of(self.part_rows.len()).map(|_| ())
    }

    /// Whether it is `parts` matrices of the same extents with the same block rows.
    fn fits(&self, parts: usize) -> bool {
        let rows = self.rows();
        if parts == 0 || rows % parts != 0 {
            return false;
        }
        let (each, height) = (rows / parts, self.block[0]);
        if let Some(diagonal) = &self.diagonal {
            let is_square = each == self.cols;
            if !is_square || diagonal.cols.iter().enumerate().any(|(row, col)| *col != row % each) {
                return false;
            }
        }
        spans(&self.part_rows, height) == spans(&vec![each; parts], height)
    }

    fn matrix_of(&self, parts: usize) -> TractResult<Matrix> {
        let dt = self.values.datum_type();
        let diagonal = match &self.diagonal {
            None => None,
            Some(d) if dt == DatumType::F16 => {
                let narrow: Vec<f16> = d.values.iter().map(|v| f16::from_f32(*v)).collect();
                Some(tensor1(&narrow))
            }
            Some(d) => Some(tensor1(&d.values)),
        };
        let ones;
        let scale = match (&self.scale, dt) {
            (None, DatumType::I8) => {
                ones = [1.0];
                Some(&ones[..])
            }
            (scale, _) => scale.as_deref(),
        };
        Matrix::new(&Parts {
            parts,
            rows: self.rows() / parts,
            cols: self.cols,
            block: self.block,
            values: &self.values,
            index: &self.index,
            scale,
            diagonal: diagonal.as_ref(),
        })
    }

    /// As `parts` matrices for the kernels. Where blocks lie across their edges the weight is packed
    /// anew.
    pub fn matrix(&self, parts: usize) -> TractResult<Matrix> {
        if self.fits(parts) && self.is_of_its_type() {
            return self.matrix_of(parts);
        }
        ensure!(parts > 0 && self.rows() % parts == 0, "{} outputs in {parts} parts", self.rows());
        Matrix::pack(&self.dense()?, parts, self.rows() / parts, self.cols, self.block)
    }

    // A diagonal lies beside values of f16 as f16.
    fn is_of_its_type(&self) -> bool {
        match &self.diagonal {
            Some(d) if self.values.datum_type() == DatumType::F16 => {
                d.values.iter().all(|v| f16::from_f32(*v).to_f32() == *v)
            }
            _ => true,
        }
    }

    /// [rows, cols] as f32.
    pub fn dense(&self) -> TractResult<Vec<f32>> {
        let count = self.rows().checked_mul(self.cols).context("a weight is too large")?;
        let mut result = Vec::new();
        result.try_reserve_exact(count).context("memory for a dense weight")?;
        result.resize(count, 0.0f32);
        let [height, width] = self.block;
        let values = self.values.cast_to::<f32>()?;
        let values = values.try_as_plain_ram()?.as_slice::<f32>()?;
        let spans = spans(&self.part_rows, height);
        for (pair, block) in self.index.chunks_exact(2).zip(values.chunks_exact(height * width)) {
            let (first, rows) =
                *spans.get(pair[0] as usize).context("a block lies outside of its weight")?;
            let left = pair[1] as usize * width;
            ensure!(left < self.cols, "a block lies outside of its weight");
            let cols = width.min(self.cols - left);
            for row in 0..rows {
                let scale = self.scale.as_ref().map_or(1.0, |scale| scale[first + row]);
                let to = &mut result[(first + row) * self.cols + left..][..cols];
                for (to, from) in to.iter_mut().zip(&block[row * width..]) {
                    *to = from * scale;
                }
            }
        }
        if let Some(diagonal) = &self.diagonal {
            for (row, (value, col)) in diagonal.values.iter().zip(&diagonal.cols).enumerate() {
                result[row * self.cols + col] += value;
            }
        }
        Ok(result)
    }

    /// The same weight with a scale for each row, or one for all.
    fn scaled(&self, factors: &[f32]) -> Option<Packed> {
        let rows = self.rows();
        if self.values.datum_type() != DatumType::I8
            || self.scale.is_some()
            || self.diagonal.is_some()
            || (factors.len() != rows && factors.len() != 1)
        {
            return None;
        }
        let scale = if factors.len() == 1 { vec![factors[0]; rows] } else { factors.to_vec() };
        Some(Packed { scale: Some(scale), ..self.clone() })
    }

    /// Sum of a weight and one that is a diagonal alone.
    fn plus(&self, other: &Packed) -> Option<Packed> {
        if other.diagonal.is_none() || other.blocks() > 0 {
            return if self.blocks() == 0 && self.diagonal.is_some() && other.diagonal.is_none() {
                other.plus(self)
            } else {
                None
            };
        }
        let matches = self.rows() == other.rows() && self.cols == other.cols;
        (matches && self.diagonal.is_none())
            .then(|| Packed { diagonal: other.diagonal.clone(), ..self.clone() })
    }

    /// Rows begin to end, if no block is cut.
    fn slice_rows(&self, begin: usize, end: usize) -> Option<Packed> {
        let height = self.block[0];
        let (mut part_rows, mut from, mut to, mut at) = (vec![], None, 0, 0);
        let mut block_row = 0;
        for rows in &self.part_rows {
            let first = begin.max(at).min(at + rows) - at;
            let last = end.min(at + rows).max(at) - at;
            if first < last {
                if first % height != 0 || (last % height != 0 && last != *rows) {
                    return None;
                }
                from.get_or_insert(block_row + first / height);
                to = block_row + last.div_ceil(height);
                part_rows.push(last - first);
            }
            at += rows;
            block_row += self.part_blocks(*rows);
        }
        let from = from?;
        let kept: Vec<usize> = (0..self.blocks())
            .filter(|b| (from..to).contains(&(self.index[2 * b] as usize)))
            .collect();
        let mut result = self.select(&kept)?;
        for pair in result.index.chunks_exact_mut(2) {
            pair[0] -= from as u32;
        }
        result.part_rows = part_rows;
        result.scale = self.scale.as_ref().map(|scale| scale[begin..end].to_vec());
        result.diagonal = self.diagonal.as_ref().map(|d| Diagonal {
            values: d.values[begin..end].to_vec(),
            cols: d.cols[begin..end].to_vec(),
        });
        Some(result)
    }

    /// Some of the blocks, in the order given.
    pub fn select(&self, blocks: &[usize]) -> Option<Packed> {
        let area = self.block[0] * self.block[1];
        let width = area * self.values.datum_type().size_of();
        let mut bytes = Vec::with_capacity(blocks.len() * width);
        let mut index = Vec::with_capacity(2 * blocks.len());
        for b in blocks {
            bytes.extend_from_slice(&self.values.as_bytes()[b * width..][..width]);
            index.extend_from_slice(&self.index[2 * b..][..2]);
        }
        let shape = [blocks.len(), self.block[0], self.block[1]];
        // SAFETY: as many bytes as the shape has, of a type of plain numbers.
        let values =
            unsafe { Tensor::from_raw_dt(self.values.datum_type(), &shape, &bytes) }.ok()?;
        Some(Packed { values: Arc::new(values), index, ..self.clone() })
    }

    /// Weights beside each other: those of `rows` follow each other along the outputs, or along the
    /// inputs if not `stacked`.
    fn joined(pieces: &[&Packed], stacked: bool) -> Option<Packed> {
        let first = *pieces.first()?;
        let mut places = Vec::new(); // (block row, block column, piece, block)
        let (mut row, mut col) = (0, 0);
        let mut result = first.clone();
        result.part_rows.clear();
        let mut diagonal = Diagonal { values: vec![], cols: vec![] };
        for (at, piece) in pieces.iter().enumerate() {
            let alike = piece.values.datum_type() == first.values.datum_type()
                && piece.scale.is_none()
                && piece.diagonal.is_some() == first.diagonal.is_some()
                && (piece.block == first.block || piece.blocks() == 0);
            let fits = if stacked {
                piece.cols == first.cols
            } else {
                piece.part_rows == first.part_rows
                    && piece.diagonal.is_none()
                    && (at + 1 == pieces.len() || piece.cols % first.block[1] == 0)
            };
            if !alike || !fits {
                return None;
            }
            for b in 0..piece.blocks() {
                let (r, c) =
                    (piece.index[2 * b] as usize + row, piece.index[2 * b + 1] as usize + col);
                places.push((r, c, at, b));
            }
            if stacked {
                result.part_rows.extend_from_slice(&piece.part_rows);
                row += piece.part_rows.iter().map(|n| first.part_blocks(*n)).sum::<usize>();
                if let Some(d) = &piece.diagonal {
                    diagonal.values.extend_from_slice(&d.values);
                    diagonal.cols.extend_from_slice(&d.cols);
                }
            } else {
                col += piece.cols / first.block[1];
            }
        }
        if !stacked {
            result.part_rows = first.part_rows.clone();
            result.cols = pieces.iter().map(|piece| piece.cols).sum();
        }
        result.diagonal = first.diagonal.is_some().then_some(diagonal);
        places.sort_unstable();
        let width = first.block[0] * first.block[1] * first.values.datum_type().size_of();
        let mut bytes = Vec::with_capacity(places.len() * width);
        result.index = Vec::with_capacity(2 * places.len());
        for (r, c, piece, b) in &places {
            bytes.extend_from_slice(&pieces[*piece].values.as_bytes()[b * width..][..width]);
            result.index.extend_from_slice(&[*r as u32, *c as u32]);
        }
        let shape = [places.len(), first.block[0], first.block[1]];
        // SAFETY: as many bytes as the shape has, of a type of plain numbers.
        let values =
            unsafe { Tensor::from_raw_dt(first.values.datum_type(), &shape, &bytes) }.ok()?;
        result.values = Arc::new(values);
        Some(result)
    }
}

/// What an axis of a weight counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Output,
    Input,
    /// Nothing: its extent is 1.
    One,
}

/// A packed weight in the shape that a wire of the graph has.
#[derive(Clone, Debug)]
pub struct View {
    pub packed: Arc<Packed>,
    pub axes: Vec<(usize, Role)>,
    pub dt: DatumType,
}

impl View {
    /// [outputs, inputs] in `shape`: axes of outputs, then axes of inputs.
    pub fn new(packed: Arc<Packed>, shape: &[usize], dt: DatumType) -> Option<View> {
        let (outputs, inputs) = (packed.rows(), packed.cols);
        let (mut counted, mut behind) = (1usize, 1usize);
        let mut axes = Vec::with_capacity(shape.len());
        for extent in shape {
            let role = if *extent == 1 {
                Role::One
            } else if counted < outputs {
                counted = counted.checked_mul(*extent)?;
                Role::Output
            } else {
                behind = behind.checked_mul(*extent)?;
                Role::Input
            };
            axes.push((*extent, role));
        }
        (counted == outputs && behind == inputs).then_some(View { packed, axes, dt })
    }

    pub fn shape(&self) -> TVec<usize> {
        self.axes.iter().map(|(extent, _)| *extent).collect()
    }

    /// Whether elements are stored output by output.
    fn is_row_major(&self) -> bool {
        let mut roles = self.axes.iter().filter(|(_, role)| *role != Role::One);
        !roles
            .by_ref()
            .skip_while(|(_, role)| *role == Role::Output)
            .any(|(_, r)| *r == Role::Output)
    }

    /// The only axis of a role, or none if its extent is 1.
    pub fn only(&self, role: Role) -> Option<Option<usize>> {
        let mut axes = (0..self.axes.len()).filter(|a| self.axes[*a].1 == role);
        let first = axes.next();
        axes.next().is_none().then_some(first)
    }

    pub fn change(&self, op: &AxisOp) -> Option<View> {
        let mut result = self.clone();
        match op {
            AxisOp::Add(at) => result.axes.insert(*at, (1, Role::One)),
            AxisOp::Rm(at) if self.axes[*at].0 == 1 => {
                result.axes.remove(*at);
            }
            AxisOp::Move(from, to) => {
                let axis = result.axes.remove(*from);
                result.axes.insert(*to, axis);
            }
            AxisOp::Reshape(at, from, to) if self.is_row_major() => {
                let to: TVec<usize> =
                    to.iter().map(|d| d.to_usize()).collect::<Result<_, _>>().ok()?;
                let mut shape = self.shape();
                if at + from.len() > shape.len() {
                    return None;
                }
                shape.drain(*at..at + from.len());
                for (i, extent) in to.iter().enumerate() {
                    shape.insert(at + i, *extent);
                }
                return View::new(self.packed.clone(), &shape, self.dt);
            }
            _ => return None,
        }
        Some(result)
    }

    /// Narrower types are for f16 values alone: all else would be rounded.
    pub fn cast(&self, to: DatumType) -> Option<View> {
        let exact = to == DatumType::F32
            || to == self.dt
            || (to == DatumType::F16
                && self.packed.values.datum_type() == DatumType::F16
                && self.packed.is_of_its_type());
        exact.then(|| View { dt: to, ..self.clone() })
    }

    /// Times a constant that has axes of outputs or 1.
    pub fn times(&self, factor: &Tensor) -> Option<View> {
        if self.dt != DatumType::F32
            || factor.datum_type() != DatumType::F32
            || !self.is_row_major()
        {
            return None;
        }
        let factors = factor.try_as_plain_ram().ok()?.as_slice::<f32>().ok()?;
        let per_row = factor.rank() == self.axes.len()
            && factor.shape().iter().zip(&self.axes).all(|(extent, (own, role))| match role {
                Role::Input => *extent == 1,
                _ => extent == own,
            });
        if !per_row && factors.len() != 1 {
            return None;
        }
        let packed = Arc::new(self.packed.scaled(factors)?);
        Some(View { packed, ..self.clone() })
    }

    pub fn plus(&self, other: &View) -> Option<View> {
        let alike = self.axes == other.axes && self.dt == other.dt && self.is_row_major();
        let packed = Arc::new(alike.then(|| self.packed.plus(&other.packed))??);
        Some(View { packed, ..self.clone() })
    }

    pub fn slice(&self, axis: usize, begin: usize, end: usize) -> Option<View> {
        if (0, self.axes.get(axis)?.0) == (begin, end) {
            return Some(self.clone());
        }
        // Rows are cut along the first axis that counts them: gates, or directions of gates.
        let first = self.axes.iter().position(|a| a.1 == Role::Output)?;
        if axis != first || begin >= end || end > self.axes[axis].0 || !self.is_row_major() {
            return None;
        }
        let each = self.packed.rows() / self.axes[axis].0;
        let packed = Arc::new(self.packed.slice_rows(begin * each, end * each)?);
        let mut axes = self.axes.clone();
        axes[axis].0 = end - begin;
        if axes[axis].0 == 1 {
            axes[axis].1 = Role::One;
        }
        Some(View { packed, axes, dt: self.dt })
    }

    /// Matrices [outputs, inputs] beside each other.
    pub fn concat(views: &[View], axis: usize) -> Option<View> {
        let first = views.first()?;
        if views.iter().any(|v| v.axes.len() != 2 || v.dt != first.dt || !v.is_row_major())
            || axis > 1
        {
            return None;
        }
        let pieces: Vec<&Packed> = views.iter().map(|v| &*v.packed).collect();
        let packed = Packed::joined(&pieces, axis == 0)?;
        let shape = [packed.rows(), packed.cols];
        View::new(Arc::new(packed), &shape, first.dt)
    }

    /// The weight as tract would have made it.
    pub fn dense(&self) -> TractResult<Tensor> {
        let values = tensor1(&self.packed.dense()?).into_shape(&self.shape())?;
        Ok(values.cast_to_dt(self.dt)?.into_owned())
    }
}
