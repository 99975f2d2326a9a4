//! The decodes of docs/formats/sparse-nnef.md as operators that decode nothing: each reads its
//! variables, has the kernels check them, and stands for the weight until `rewrite` finds its reader.

use crate::packed::{Diagonal, Packed, View};
use tract_nnef::internal::*;
use tract_nnef::tract_core::ops::cast::Cast;

/// A packed weight that nobody has read yet. Its output is not a constant for tract, so that nothing
/// makes it dense.
#[derive(Clone, Debug)]
pub struct PackedWeight(pub View);

impl PartialEq for PackedWeight {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.packed, &other.0.packed) && self.0.axes == other.0.axes
    }
}
impl Eq for PackedWeight {}

impl Op for PackedWeight {
    fn name(&self) -> StaticName {
        "EspalierPackedWeight".into()
    }
    op_as_typed_op!();
}

impl EvalOp for PackedWeight {
    not_out_of_plan!();
    fn eval(&self, _ctx: &EvalContext, _inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(tvec!(self.0.dense()?.into_tvalue()))
    }
}

impl TypedOp for PackedWeight {
    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(self.0.dt.fact(self.0.shape())))
    }
    as_op!();
}

/// Name of a decode and what builds it.
pub const DECODES: [(&str, ToTract); 10] = [
    ("block_sparse_decode", grid),
    ("block_sparse_decode_ragged", ragged),
    ("block_sparse_decode_parts", parts),
    ("block_sparse_decode_first", first),
    ("block_sparse_decode_bitmap", bitmap),
    ("block_sparse_decode_portable", portable),
    ("block_sparse_decode_portable_ragged", portable_ragged),
    ("block_sparse_decode_gather", gather),
    ("stacked_diagonal", diagonal),
    ("stacked_diagonal_strip", diagonal_strip),
];

/// Arguments of a decode.
struct Call<'a, 'b, 'c> {
    builder: &'a mut ModelBuilder<'b>,
    invocation: &'a ResolvedInvocation<'c>,
}

impl Call<'_, '_, '_> {
    fn constant(&mut self, name: &str) -> TractResult<Arc<Tensor>> {
        let outlet: OutletId = self.invocation.named_arg_as(self.builder, name)?;
        stored(&self.builder.model, outlet)?
            .with_context(|| format!("{name} is computed: expected a variable"))
    }

    /// Extents and other counts; none may be negative.
    fn counts(&mut self, name: &str) -> TractResult<TVec<usize>> {
        let given: TVec<i64> = self.invocation.named_arg_as(self.builder, name)?;
        given
            .iter()
            .map(|n| usize::try_from(*n).with_context(|| format!("{name} is {given:?}")))
            .collect()
    }

    fn counts_of<const N: usize>(&mut self, name: &str) -> TractResult<[usize; N]> {
        let given = self.counts(name)?;
        <[usize; N]>::try_from(&given[..])
            .map_err(|_| format_err!("{name} is {given:?}: expected {N} numbers"))
    }

    fn expect<const N: usize>(
        &mut self,
        name: &str,
        expected: [Option<usize>; N],
    ) -> TractResult<()> {
        let given = self.counts_of::<N>(name)?;
        ensure!(given.map(Some) == expected, "{name} is {given:?}: expected {expected:?}");
        Ok(())
    }

    /// [N, block rows, block columns]; N is that of `index`.
    fn values(&mut self) -> TractResult<(Arc<Tensor>, [usize; 2])> {
        let values = self.constant("values")?;
        ensure!(
            values.rank() == 3 && values.shape()[1] > 0 && values.shape()[2] > 0,
            "values have shape {:?}: expected blocks, rows and columns of a block",
            values.shape()
        );
        let types = [DatumType::F32, DatumType::F16, DatumType::I8];
        ensure!(
            types.contains(&values.datum_type()),
            "values are of type {:?}: expected f32, f16 or i8",
            values.datum_type()
        );
        let block = [values.shape()[1], values.shape()[2]];
        Ok((values, block))
    }

    /// Pairs of block row and block column.
    fn index(&mut self, blocks: usize) -> TractResult<Vec<u32>> {
        let index = self.constant("index")?;
        ensure!(
            index.shape() == [blocks, 2],
            "index has shape {:?}: expected [{blocks}, 2]",
            index.shape()
        );
        naturals(&index, "index")
    }

    /// A wire that stands for the weight in `shape`.
    fn weight(&mut self, packed: Packed, shape: &[usize]) -> TractResult<Value> {
        packed.check()?;
        let count = shape.iter().try_fold(1usize, |n, e| n.checked_mul(*e));
        ensure!(
            count.is_some() && count == packed.rows().checked_mul(packed.cols),
            "shape {shape:?} of a weight with {} outputs and {} inputs",
            packed.rows(),
            packed.cols
        );
        let packed = Arc::new(packed);
        match View::new(packed.clone(), shape, DatumType::F32) {
            Some(view) => self.builder.wire(PackedWeight(view), &[]),
            // Outputs and inputs share an axis: no product reads that, whoever does gets it dense.
            None => {
                let dense = tensor1(&packed.dense()?).into_shape(shape)?;
                Ok(Value::Wire(self.builder.add_const(dense)?))
            }
        }
    }
}

/// The tensor behind an outlet, through casts to f32.
fn stored(model: &TypedModel, outlet: OutletId) -> TractResult<Option<Arc<Tensor>>> {
    if let Some(tensor) = &model.outlet_fact(outlet)?.konst {
        return Ok(Some(tensor.clone()));
    }
    let node = model.node(outlet.node);
    match node.op_as::<Cast>() {
        Some(cast) if cast.to == DatumType::F32 => stored(model, node.inputs[0]),
        _ => Ok(None),
    }
}

/// Whole numbers from 0 on, of integers or, in the portable profile, of scalars.
fn naturals(tensor: &Tensor, name: &str) -> TractResult<Vec<u32>> {
    let dt = tensor.datum_type();
    if dt == DatumType::F32 {
        let given = tensor.try_as_plain_ram()?.as_slice::<f32>()?;
        return given
            .iter()
            .map(|v| {
                let whole = *v >= 0.0 && *v < 4294967296.0 && v.fract() == 0.0;
                ensure!(whole, "{name} holds {v}: expected whole numbers from 0 on");
                Ok(*v as u32)
            })
            .collect();
    }
    ensure!(dt.is_integer(), "{name} is of type {dt:?}: expected integers");
    if dt == DatumType::U64 {
        let given = tensor.try_as_plain_ram()?.as_slice::<u64>()?;
        return given
            .iter()
            .map(|v| u32::try_from(*v).with_context(|| format!("{name} holds {v}")))
            .collect();
    }
    let wide = tensor.cast_to::<i64>()?;
    let given = wide.try_as_plain_ram()?.as_slice::<i64>()?;
    given.iter().map(|v| u32::try_from(*v).with_context(|| format!("{name} holds {v}"))).collect()
}

fn product(a: usize, b: usize) -> TractResult<usize> {
    a.checked_mul(b).with_context(|| format!("{a} times {b} is too large"))
}

/// Whether `kept` of `padded` elements end inside of the last block.
fn is_edge(kept: usize, padded: usize, block: usize) -> bool {
    kept <= padded && kept + block > padded && kept > 0
}

struct Grid {
    values: Arc<Tensor>,
    block: [usize; 2],
    rows: usize,
    cols: usize,
}

fn grid_of(call: &mut Call) -> TractResult<Grid> {
    let (values, block) = call.values()?;
    let grid = call.counts_of::<4>("grid")?;
    ensure!(grid[2..] == block, "grid is {grid:?}: expected blocks of {block:?}");
    Ok(Grid { values, block, rows: product(grid[0], block[0])?, cols: product(grid[1], block[1])? })
}

fn on_grid(call: &mut Call, grid: Grid, part_rows: Vec<usize>, cols: usize) -> TractResult<Packed> {
    let index = call.index(grid.values.shape()[0])?;
    let Grid { values, block, .. } = grid;
    Ok(Packed { values, index, part_rows, cols, block, scale: None, diagonal: None })
}

fn grid(builder: &mut ModelBuilder, invocation: &ResolvedInvocation) -> TractResult<Value> {
    let mut call = Call { builder, invocation };
    let grid = grid_of(&mut call)?;
    let (rows, cols) = (grid.rows, grid.cols);
    let packed = on_grid(&mut call, grid, vec![rows], cols)?;
    let shape = call.counts("shape")?;
    call.weight(packed, &shape)
}

fn ragged(builder: &mut ModelBuilder, invocation: &ResolvedInvocation) -> TractResult<Value> {
    let mut call = Call { builder, invocation };
    let grid = grid_of(&mut call)?;
    call.expect("padded", [Some(grid.rows), Some(grid.cols)])?;
    let shape = call.counts_of::<2>("shape")?;
    let fits =
        is_edge(shape[0], grid.rows, grid.block[0]) && is_edge(shape[1], grid.cols, grid.block[1]);
    ensure!(fits, "shape {shape:?} of {} x {} with blocks {:?}", grid.rows, grid.cols, grid.block);
    let packed = on_grid(&mut call, grid, vec![shape[0]], shape[1])?;
    call.weight(packed, &shape)
}

/// Outputs of each part and inputs, cut out of the grid.
fn kept_parts(call: &mut Call, grid: &Grid) -> TractResult<(Vec<usize>, usize)> {
    let padded = call.counts_of::<3>("padded")?;
    let keep = call.counts_of::<2>("keep")?;
    let fits = padded[0] > 0
        && padded[0].checked_mul(padded[1]) == Some(grid.rows)
        && padded[1] % grid.block[0] == 0
        && padded[2] == grid.cols
        && is_edge(keep[0], padded[1], grid.block[0])
        && is_edge(keep[1], grid.cols, grid.block[1]);
    ensure!(fits, "padded {padded:?} and keep {keep:?} do not fit grid");
    Ok((vec![keep[0]; padded[0]], keep[1]))
}

fn parts(builder: &mut ModelBuilder, invocation: &ResolvedInvocation) -> TractResult<Value> {
    let mut call = Call { builder, invocation };
    let grid = grid_of(&mut call)?;
    let (part_rows, cols) = kept_parts(&mut call, &grid)?;
    let packed = on_grid(&mut call, grid, part_rows, cols)?;
    let shape = call.counts("shape")?;
    call.weight(packed, &shape)
}

/// One item of a mask for each block of the grid, then zeros.
fn bitmap(builder: &mut ModelBuilder, invocation: &ResolvedInvocation) -> TractResult<Value> {
    let mut call = Call { builder, invocation };
    let grid = grid_of(&mut call)?;
    let (part_rows, cols) = kept_parts(&mut call, &grid)?;
    let grid_cols = grid.cols / grid.block[1];
    let cells = product(grid.rows / grid.block[0], grid_cols)?;
    let mask = call.constant("mask")?;
    let shape = mask.shape();
    ensure!(
        mask.datum_type() == DatumType::Bool
            && shape.len() == 3
            && shape[1] == shape[2]
            && shape[0] <= shape[1]
            && mask.len() >= cells,
        "mask is of type {:?} and shape {shape:?}: expected logicals [A, K, K], A at most K, for \
         {cells} blocks",
        mask.datum_type()
    );
    expect_count_up(&mut call, "ids", [shape[1], 1])?;
    call.expect("pages", [Some(shape[0]); 2])?;
    call.expect("flat", [Some(mask.len())])?;
    call.expect("cells", [Some(mask.len()), Some(1), Some(1)])?;
    call.expect("count", [Some(cells)])?;
    let items = mask.try_as_plain_ram()?.as_slice::<bool>()?;
    let set: Vec<usize> = (0..items.len()).filter(|at| items[*at]).collect();
    let blocks = grid.values.shape()[0];
    ensure!(
        set.last().map_or(true, |at| *at < cells),
        "mask has an item set behind the {cells} blocks of the grid"
    );
    ensure!(set.len() == blocks, "mask has {} items set for {blocks} blocks", set.len());
    let index = set.iter().flat_map(|at| [(at / grid_cols) as u32, (at % grid_cols) as u32]);
    let Grid { values, block, .. } = grid;
    let packed = Packed {
        values,
        index: index.collect(),
        part_rows,
        cols,
        block,
        scale: None,
        diagonal: None,
    };
    let shape = call.counts("shape")?;
    call.weight(packed, &shape)
}

/// Outputs and inputs of a weight whose decode names no grid: those that its offsets tell, or axes
/// behind the first that is not 1.
fn matrix_extents(shape: &[usize], offsets: &[u32], block: [usize; 2]) -> TractResult<[usize; 2]> {
    let count =
        shape.iter().try_fold(1usize, |n, e| n.checked_mul(*e)).context("shape is too large")?;
    let cols = if block[0] > 1 {
        offsets[block[1]].saturating_sub(offsets[0]) as usize
    } else {
        let outputs = shape.iter().position(|e| *e != 1).unwrap_or(0);
        shape.iter().skip(outputs + 1).product()
    };
    ensure!(cols > 0 && count > 0 && count % cols == 0, "offsets do not fit shape {shape:?}");
    Ok([count / cols, cols])
}

/// An index of first elements. Where blocks are not on a grid the weight is packed anew.
fn first(builder: &mut ModelBuilder, invocation: &ResolvedInvocation) -> TractResult<Value> {
    let mut call = Call { builder, invocation };
    let (values, block) = call.values()?;
    let index = call.constant("index")?;
    let offsets = call.constant("offsets")?;
    let blocks = values.shape()[0];
    let area = product(block[0], block[1])?;
    ensure!(index.shape() == [blocks], "index has shape {:?}: expected [{blocks}]", index.shape());
    ensure!(
        offsets.shape() == block,
        "offsets have shape {:?}: expected {block:?}",
        offsets.shape()
    );
    let index = naturals(&index, "index")?;
    let offsets = naturals(&offsets, "offsets")?;
    let shape = call.counts("shape")?;
    let [rows, cols] = matrix_extents(&shape, &offsets, block)?;
    let count = product(rows, cols)?;
    call.expect("size", [Some(count)])?;
    call.expect("count", [blocks.checked_mul(area)])?;
    call.expect("places", [blocks.checked_mul(area), Some(1)])?;
    for (at, offset) in offsets.iter().enumerate() {
        let expected = (at / block[1]) * cols + at % block[1];
        ensure!(*offset as usize == expected, "offsets hold {offset}: expected {expected}");
    }
    let mut pairs = Vec::with_capacity(2 * blocks);
    let mut is_on_grid = true;
    for place in &index {
        let (row, col) = (*place as usize / cols, *place as usize % cols);
        ensure!(
            row + block[0] <= rows && col + block[1] <= cols,
            "index holds {place}: a block of {block:?} there lies outside of {rows} x {cols}"
        );
        is_on_grid &= row % block[0] == 0 && col % block[1] == 0;
        pairs.extend_from_slice(&[(row / block[0]) as u32, (col / block[1]) as u32]);
    }
    let packed = if is_on_grid {
        Packed {
            values,
            index: pairs,
            part_rows: vec![rows],
            cols,
            block,
            scale: None,
            diagonal: None,
        }
    } else {
        elements(&values, &index, &offsets, rows, cols)?
    };
    call.weight(packed, &shape)
}

/// Blocks that lie anywhere as blocks of one element.
fn elements(
    values: &Tensor,
    index: &[u32],
    offsets: &[u32],
    rows: usize,
    cols: usize,
) -> TractResult<Packed> {
    let mut places: Vec<(usize, usize)> = Vec::with_capacity(values.len()); // element, value
    for (b, place) in index.iter().enumerate() {
        let first = b * offsets.len();
        places.extend(
            offsets.iter().enumerate().map(|(i, o)| (*place as usize + *o as usize, first + i)),
        );
    }
    places.sort_unstable();
    ensure!(places.windows(2).all(|two| two[0].0 != two[1].0), "blocks of index overlap");
    let width = values.datum_type().size_of();
    let mut bytes = Vec::with_capacity(values.as_bytes().len());
    for (_, value) in &places {
        bytes.extend_from_slice(&values.as_bytes()[value * width..][..width]);
    }
    // SAFETY: as many bytes as the shape has, of a type of plain numbers.
    let values =
        unsafe { Tensor::from_raw_dt(values.datum_type(), &[places.len(), 1, 1], &bytes) }?;
    let index = places
        .iter()
        .flat_map(|(e, _)| [(e / cols) as u32, (e % cols) as u32])
        .collect::<Vec<u32>>();
    let (values, part_rows) = (Arc::new(values), vec![rows]);
    Ok(Packed { values, index, part_rows, cols, block: [1, 1], scale: None, diagonal: None })
}

fn expect_count_up(call: &mut Call, name: &str, shape: [usize; 2]) -> TractResult<()> {
    let ids = call.constant(name)?;
    ensure!(ids.shape() == shape, "{name} has shape {:?}: expected {shape:?}", ids.shape());
    let counts = naturals(&ids, name)?.iter().enumerate().all(|(i, id)| i == *id as usize);
    ensure!(counts, "{name} does not count up from 0");
    Ok(())
}

fn portable_of(call: &mut Call, kept: Option<[usize; 2]>) -> TractResult<Packed> {
    let (values, block) = call.values()?;
    let cells = call.counts_of::<4>("cells")?; // block rows, rows of a block, its columns, block columns
    ensure!(cells[1..3] == block, "cells is {cells:?}: expected blocks of {block:?}");
    let (rows, cols) = (product(cells[0], block[0])?, product(cells[3], block[1])?);
    expect_count_up(call, "row_ids", [cells[0], 1])?;
    expect_count_up(call, "col_ids", [1, cells[3]])?;
    let index = call.index(values.shape()[0])?;
    let kept = kept.unwrap_or([rows, cols]);
    ensure!(
        is_edge(kept[0], rows, block[0]) && is_edge(kept[1], cols, block[1]),
        "shape {kept:?} of {rows} x {cols} with blocks {block:?}"
    );
    let part_rows = vec![kept[0]];
    let packed =
        Packed { values, index, part_rows, cols: kept[1], block, scale: None, diagonal: None };
    // A strip without blocks has one of zeros behind the grid: variables of no elements are not
    // everybody's.
    let nothing =
        packed.index == [cells[0] as u32, cells[3] as u32] && packed.values.is_all_zero()?;
    if nothing {
        return packed.select(&[]).context("a strip without blocks");
    }
    Ok(packed)
}

fn portable(builder: &mut ModelBuilder, invocation: &ResolvedInvocation) -> TractResult<Value> {
    let mut call = Call { builder, invocation };
    let packed = portable_of(&mut call, None)?;
    let shape = call.counts("shape")?;
    call.weight(packed, &shape)
}

fn portable_ragged(
    builder: &mut ModelBuilder,
    invocation: &ResolvedInvocation,
) -> TractResult<Value> {
    let mut call = Call { builder, invocation };
    let shape = call.counts_of::<2>("shape")?;
    let packed = portable_of(&mut call, Some(shape))?;
    call.weight(packed, &shape)
}

/// A map of the grid that says which block lies where.
fn gather(builder: &mut ModelBuilder, invocation: &ResolvedInvocation) -> TractResult<Value> {
    let mut call = Call { builder, invocation };
    let (values, block) = call.values()?;
    let map = call.constant("map")?;
    ensure!(map.rank() == 2, "map has shape {:?}: expected block rows and columns", map.shape());
    let (rows, cols) = (map.shape()[0], map.shape()[1]);
    let ids = naturals(&map, "map")?;
    let count = values.shape()[0];
    ensure!(ids.iter().all(|id| (*id as usize) < count), "map names a block behind the {count}");
    let (height, width) = (product(rows, block[0])?, product(cols, block[1])?);
    let whole = Packed {
        index: vec![0; 2 * count],
        values,
        part_rows: vec![height],
        cols: width,
        block,
        scale: None,
        diagonal: None,
    };
    let area = block[0] * block[1] * whole.values.datum_type().size_of();
    let bytes = whole.values.as_bytes();
    let is_zero: Vec<bool> =
        (0..count).map(|b| bytes[b * area..][..area].iter().all(|byte| *byte == 0)).collect();
    let kept: Vec<usize> = (0..ids.len()).filter(|at| !is_zero[ids[*at] as usize]).collect();
    let blocks: Vec<usize> = kept.iter().map(|at| ids[*at] as usize).collect();
    let mut packed = whole.select(&blocks).context("blocks of a map")?;
    packed.index = kept.iter().flat_map(|at| [(at / cols) as u32, (at % cols) as u32]).collect();
    let shape = call.counts("shape")?;
    call.weight(packed, &shape)
}

fn floats(tensor: &Tensor) -> TractResult<Vec<f32>> {
    let dt = tensor.datum_type();
    ensure!(dt == f32::datum_type() || dt == f16::datum_type(), "diag is of type {dt:?}");
    Ok(tensor.cast_to::<f32>()?.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
}

fn only_diagonal(
    values: Vec<f32>,
    cols: Vec<usize>,
    part_rows: Vec<usize>,
    n: usize,
) -> TractResult<Packed> {
    Ok(Packed {
        values: Arc::new(Tensor::zero::<f32>(&[0, 1, 1])?),
        index: vec![],
        part_rows,
        cols: n,
        block: [1, 1],
        scale: None,
        diagonal: Some(Diagonal { values, cols }),
    })
}

fn diagonal(builder: &mut ModelBuilder, invocation: &ResolvedInvocation) -> TractResult<Value> {
    let mut call = Call { builder, invocation };
    let diag = call.constant("diag")?;
    let [parts, n, one] = call.counts_of::<3>("column")?;
    ensure!(
        parts > 0 && n > 0 && one == 1 && diag.shape() == [product(parts, n)?],
        "column is {:?} for {:?} elements",
        [parts, n, one],
        diag.shape()
    );
    call.expect("flat", [Some(parts), n.checked_mul(n + 1)])?;
    call.expect("keep", [n.checked_mul(n)])?;
    let cols = (0..parts * n).map(|row| row % n).collect();
    let packed = only_diagonal(floats(&diag)?, cols, vec![n; parts], n)?;
    let shape = call.counts("shape")?;
    call.weight(packed, &shape)
}

/// Rows of one square part, from `shift` on.
fn diagonal_strip(
    builder: &mut ModelBuilder,
    invocation: &ResolvedInvocation,
) -> TractResult<Value> {
    let mut call = Call { builder, invocation };
    let diag = call.constant("diag")?;
    let [rows, n] = call.counts_of::<2>("shape")?;
    ensure!(
        diag.shape() == [rows] && rows > 0,
        "shape is {:?} for {:?} elements",
        [rows, n],
        diag.shape()
    );
    call.expect("column", [Some(rows), Some(1)])?;
    call.expect("line", [rows.checked_mul(n + 1)])?;
    call.expect("keep", [rows.checked_mul(n)])?;
    let shift: TVec<(i64, i64)> = call.invocation.named_arg_as(call.builder, "shift")?;
    let first = match shift[..] {
        [(first, 0)] if first >= 0 && rows <= n && first as usize <= n - rows => first as usize,
        _ => bail!("shift is {shift:?} for {rows} rows of {n}"),
    };
    let cols = (0..rows).map(|row| first + row).collect();
    // Its square part is whole only once strips are joined: there is no matrix to check yet.
    let packed = only_diagonal(floats(&diag)?, cols, vec![rows], n)?;
    let view = View::new(Arc::new(packed), &[rows, n], DatumType::F32).context("shape")?;
    call.builder.wire(PackedWeight(view), &[])
}
