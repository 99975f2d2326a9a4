//! Readers of packed weights become native operators; what reads them otherwise gets them dense.

use crate::decode::PackedWeight;
use crate::packed::{Role, View};
use crate::steps::KnownScan;
use tract_nnef::internal::*;
use tract_nnef::tract_core::ops::array::{DynSlice, Slice, TypedConcat};
use tract_nnef::tract_core::ops::binary::TypedBinOp;
use tract_nnef::tract_core::ops::cast::Cast;
use tract_nnef::tract_core::ops::cnn::Conv;
use tract_nnef::tract_core::ops::einsum::EinSum;
use tract_nnef::tract_core::ops::gru_seq::GruSeq;
use tract_nnef::tract_core::ops::konst::Const;
use tract_nnef::tract_core::ops::math::{Add, Mul};
use tract_nnef::tract_core::ops::scan::Scan;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Values of 8 bits are multiplied as floats.
    pub exact: bool,
}

/// Operators between a decode and its reader, at most: a file may not exhaust the stack.
const DEPTH: usize = 32;
/// Elements of a constant that is computed here (a bias, a scale), at most.
const MOST_ELEMENTS: usize = 1 << 22;

/// Finds packed weights behind what graphs do with weights: casts, scales, diagonals, axes, strips.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    /// Inputs of a loop's body that are packed weights outside of it.
    pub outside: HashMap<OutletId, View>,
}

impl Weights {
    pub fn view(&self, model: &TypedModel, outlet: OutletId) -> Option<View> {
        self.view_within(model, outlet, DEPTH)
    }

    fn view_within(&self, model: &TypedModel, outlet: OutletId, depth: usize) -> Option<View> {
        if let Some(view) = self.outside.get(&outlet) {
            return Some(view.clone());
        }
        let depth = depth.checked_sub(1)?;
        let node = model.node(outlet.node);
        let view = |input: &OutletId| self.view_within(model, *input, depth);
        if let Some(weight) = node.op_as::<PackedWeight>() {
            Some(weight.0.clone())
        } else if let Some(op) = node.op_as::<AxisOp>() {
            view(&node.inputs[0])?.change(op)
        } else if let Some(cast) = node.op_as::<Cast>() {
            view(&node.inputs[0])?.cast(cast.to)
        } else if let Some(slice) = node.op_as::<Slice>() {
            let (begin, end) = (slice.start.to_usize().ok()?, slice.end.to_usize().ok()?);
            view(&node.inputs[0])?.slice(slice.axis, begin, end)
        } else if let Some(slice) = node.op_as::<DynSlice>() {
            let at = |slot: usize| {
                usize::try_from(constant(model, node.inputs[slot])?.cast_to_scalar::<i64>().ok()?)
                    .ok()
            };
            view(&node.inputs[0])?.slice(slice.axis, at(1)?, at(2)?)
        } else if let Some(concat) = node.op_as::<TypedConcat>() {
            let views: Vec<View> = node.inputs.iter().map(view).collect::<Option<_>>()?;
            View::concat(&views, concat.axis)
        } else if let Some(op) = node.op_as::<TypedBinOp>() {
            let [a, b] = [node.inputs[0], node.inputs[1]];
            if op.0.is::<Add>() {
                return view(&a)?.plus(&view(&b)?);
            } else if op.0.is::<Mul>() {
                return match constant(model, b) {
                    Some(factor) => view(&a)?.times(&factor),
                    None => view(&b)?.times(&*constant(model, a)?),
                };
            }
            None
        } else {
            None
        }
    }
}

/// The value of an outlet that depends on constants alone.
pub fn constant(model: &TypedModel, outlet: OutletId) -> Option<Arc<Tensor>> {
    constant_within(model, outlet, DEPTH)
}

fn constant_within(model: &TypedModel, outlet: OutletId, depth: usize) -> Option<Arc<Tensor>> {
    let fact = model.outlet_fact(outlet).ok()?;
    if let Some(tensor) = &fact.konst {
        return Some(tensor.clone());
    }
    let depth = depth.checked_sub(1)?;
    let node = model.node(outlet.node);
    if node.inputs.is_empty() || fact.shape.volume().to_usize().ok()? > MOST_ELEMENTS {
        return None;
    }
    let inputs: Option<TVec<TValue>> = node
        .inputs
        .iter()
        .map(|input| Some(constant_within(model, *input, depth)?.into_tvalue()))
        .collect();
    let outputs = node.op.eval_out_of_plan(inputs?).ok()??;
    Some(outputs.get(outlet.slot)?.clone().into_arc_tensor())
}

pub fn floats(tensor: &Tensor) -> Option<Vec<f32>> {
    let wide = tensor.cast_to::<f32>().ok()?;
    Some(wide.try_as_plain_ram().ok()?.as_slice::<f32>().ok()?.to_vec())
}

/// A number for each of `count` outputs, of a constant whose other axes are 1.
pub fn per_output(tensor: &Tensor, axis: usize, count: usize) -> Option<Arc<[f32]>> {
    let values = floats(tensor)?;
    if values.len() == 1 {
        return Some(vec![values[0]; count].into());
    }
    let fits =
        tensor.shape().iter().enumerate().all(|(a, e)| *e == if a == axis { count } else { 1 });
    fits.then(|| values.into())
}

/// Rewrites a model. `weights` knows what a body's inputs are.
pub fn rewrite(model: &mut TypedModel, weights: &Weights, options: Options) -> TractResult<()> {
    drop_idle_casts(model)?;
    for id in 0..model.nodes.len() {
        let pass = Pass { model, weights, options };
        let node = &model.nodes[id];
        let patch = if let Some(op) = node.op_as::<EinSum>() {
            pass.product(node, op)
        } else if let Some(op) = node.op_as::<Conv>() {
            pass.conv(node, op)
        } else if let Some(op) = node.op_as::<GruSeq>() {
            pass.gru(node, op)
        } else if let Some(op) = node.op_as::<KnownScan>() {
            pass.known_scan(node, op)
        } else if let Some(op) = node.op_as::<Scan>() {
            pass.scan(node, op)
        } else {
            Ok(None)
        };
        if let Some(patch) = patch.with_context(|| format!("{}", model.nodes[id].name))? {
            patch.apply(model)?;
        }
    }
    model.compact()?;
    make_dense(model)
}

/// The reader of NNEF casts operands to the type that they have already.
fn drop_idle_casts(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes.len() {
        let node = &model.nodes[id];
        let Some(cast) = node.op_as::<Cast>() else {
            continue;
        };
        if model.outlet_fact(node.inputs[0])?.datum_type != cast.to
            || model.outputs.contains(&node.id.into())
        {
            continue;
        }
        if let Some(patch) = TypedModelPatch::shunt_one_op(model, node)? {
            patch.apply(model)?;
        }
    }
    Ok(())
}

/// Weights that are still there have readers that know no blocks.
fn make_dense(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes.len() {
        let Some(weight) = model.nodes[id].op_as::<PackedWeight>() else {
            continue;
        };
        let name = &model.nodes[id].name;
        let dense = weight.0.dense().with_context(|| format!("{name}"))?.into_arc_tensor();
        let constant = Const::new(dense)?;
        let fact = constant.output_facts(&[])?.remove(0);
        model.nodes[id].op = Box::new(constant);
        model.set_outlet_fact(id.into(), fact)?;
    }
    let waiting = model.nodes.iter().find(|n| n.op_is::<KnownScan>());
    ensure!(waiting.is_none(), "a scan was not translated");
    Ok(())
}

/// One visit of a node.
pub struct Pass<'a> {
    pub model: &'a TypedModel,
    pub weights: &'a Weights,
    pub options: Options,
}

pub type Patched = TractResult<Option<TypedModelPatch>>;

/// Whether axes of outputs stand before those of inputs.
pub fn in_order(view: &View) -> bool {
    let first_input = view.axes.iter().position(|a| a.1 == Role::Input).unwrap_or(view.axes.len());
    view.axes[first_input..].iter().all(|a| a.1 != Role::Output)
}
