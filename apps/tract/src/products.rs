//! matmul, linear, einsum and conv with a packed weight.

use crate::decode::PackedWeight;
use crate::handles::Handles;
use crate::kernels::{Activation, Layout, Product};
use crate::ops::{PackedConv, PackedMatMul};
use crate::packed::{Packed, Role, View};
use crate::rewrite::{constant, floats, in_order, per_output, Pass, Patched};
use tract_nnef::internal::*;
use tract_nnef::tract_core::ops::binary::TypedBinOp;
use tract_nnef::tract_core::ops::change_axes::perm_to_ops;
use tract_nnef::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_nnef::tract_core::ops::einsum::EinSum;
use tract_nnef::tract_core::ops::element_wise::ElementWiseOp;
use tract_nnef::tract_core::ops::math::{Add, Max, Tanh};
use tract_nnef::tract_core::ops::nn::Sigmoid;

/// Elements of a dense weight that becomes native, at most.
const SMALL: usize = 1 << 15;

/// What an axis of x is in a product.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Input of the product, and its output afterwards.
    Own,
    /// An axis of the output.
    Free(usize),
    /// Of extent 1, and nowhere in the output.
    Gone,
}

struct Plan {
    /// Of each axis of x.
    places: Vec<Place>,
    /// The outputs' axis of the result, if it has one.
    output: Option<usize>,
    rank: usize,
}

impl Pass<'_> {
    pub fn fact(&self, outlet: OutletId) -> TractResult<&TypedFact> {
        self.model.outlet_fact(outlet)
    }

    /// The only reader of a node's only result, if it has one.
    fn reader(&self, id: usize) -> Option<&TypedNode> {
        let node = self.model.node(id);
        if node.outputs.len() != 1 || self.model.outputs.iter().any(|o| o.node == id) {
            return None;
        }
        match &node.outputs[0].successors[..] {
            [only] => Some(self.model.node(only.node)),
            _ => None,
        }
    }

    /// The other operand of a binary operator.
    fn operand(&self, node: &TypedNode, than: usize) -> Option<Arc<Tensor>> {
        let other = node.inputs.iter().find(|input| input.node != than)?;
        constant(self.model, *other)
    }

    // matmul, linear and einsum with one packed operand.
    pub fn product(&self, node: &TypedNode, op: &EinSum) -> Patched {
        if op.q_params.is_some() || node.inputs.len() != 2 {
            return Ok(None);
        }
        let views = [0, 1].map(|slot| self.weights.view(self.model, node.inputs[slot]));
        let (slot, view) = match views {
            [Some(view), None] => (0, view),
            [None, Some(view)] => (1, view),
            [None, None] => match self.small_dense(node, op) {
                Some(found) => found,
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        let x = node.inputs[1 - slot];
        let x_fact = self.fact(x)?;
        let dt = x_fact.datum_type;
        let types_fit = (dt == DatumType::F32 || dt == DatumType::F16)
            && view.dt == dt
            && node.outputs[0].fact.datum_type == dt;
        let Some(plan) = (if types_fit { plan_of(op, slot, &view, x_fact) } else { None }) else {
            return Ok(None);
        };
        let exact = self.options.exact;
        let (inputs, outputs) = (view.packed.cols, view.packed.rows());
        let packed = view.packed.clone();
        let make = move || Product::new(&packed.matrix(1)?, exact);
        let product = Arc::new(Handles::new(make)?);
        let (bias, activation) = (None, Activation::None);
        let op = PackedMatMul { product, inputs, outputs, layout: Layout::Rows, bias, activation };
        self.wire_product(node, x, plan, op)
    }

    /// A small dense weight in a model with packed ones, all of its blocks kept: one native operator
    /// with bias and activation takes less time for a few samples than tract's several.
    fn small_dense(&self, node: &TypedNode, op: &EinSum) -> Option<(usize, View)> {
        let is_packed = |node: &TypedNode| {
            node.op_is::<PackedWeight>() || node.op.name().starts_with("Espalier")
        };
        if !self.model.nodes.iter().any(is_packed) {
            return None;
        }
        let small = |slot: usize| {
            let count = self.fact(node.inputs[slot]).ok()?.shape.volume().to_usize().ok()?;
            if (1..=SMALL).contains(&count) {
                constant(self.model, node.inputs[slot])
            } else {
                None
            }
        };
        let (slot, tensor) = match [small(0), small(1)] {
            [Some(tensor), None] => (0, tensor),
            [None, Some(tensor)] => (1, tensor),
            _ => return None,
        };
        if tensor.datum_type() != DatumType::F32 {
            return None;
        }
        let mut axes = vec![];
        for at in 0..tensor.rank() {
            let axis = op.axes.iter_all_axes().find(|a| a.inputs[slot].contains(&at))?;
            let role = match (axis.inputs[1 - slot].is_empty(), axis.outputs[0].is_empty()) {
                _ if tensor.shape()[at] == 1 => Role::One,
                (true, false) => Role::Output,
                (false, true) => Role::Input,
                _ => return None,
            };
            axes.push((tensor.shape()[at], role));
        }
        let (outputs, inputs) = (
            axes.iter().position(|a| a.1 == Role::Output)?,
            axes.iter().position(|a| a.1 == Role::Input)?,
        );
        if axes.iter().filter(|a| a.1 != Role::One).count() != 2 {
            return None;
        }
        let packed = all_kept(&tensor, outputs, inputs)?;
        Some((slot, View { packed: Arc::new(packed), axes, dt: DatumType::F32 }))
    }

    fn wire_product(
        &self,
        node: &TypedNode,
        x: OutletId,
        plan: Plan,
        mut op: PackedMatMul,
    ) -> Patched {
        let mut patch = TypedModelPatch::default();
        let mut wire = patch.tap_model(self.model, x)?;
        let mut steps = 0;
        let mut apply =
            |patch: &mut TypedModelPatch, wire: OutletId, op: AxisOp| -> TractResult<OutletId> {
                steps += 1;
                Ok(patch.wire_node(format!("{}.axis{steps}", node.name), op, &[wire])?[0])
            };
        let mut places = plan.places.clone();
        for at in (0..places.len()).rev().filter(|at| plan.places[*at] == Place::Gone) {
            wire = apply(&mut patch, wire, AxisOp::Rm(at))?;
            places.remove(at);
        }
        if !places.contains(&Place::Own) {
            wire = apply(&mut patch, wire, AxisOp::Add(places.len()))?;
            places.push(Place::Own);
        }
        let own = places.iter().position(|p| *p == Place::Own).context("a product has inputs")?;
        let last = places.len() - 1;
        if own + 1 == last {
            op.layout = Layout::Columns;
        } else if own != last {
            wire = apply(&mut patch, wire, AxisOp::Move(own, last))?;
            places.remove(own);
            places.push(Place::Own);
        }
        // Where each axis of the result goes.
        let mut to: Vec<usize> = places
            .iter()
            .map(|place| match place {
                Place::Free(at) => *at,
                _ => plan.output.unwrap_or(usize::MAX),
            })
            .collect();
        let is_direct = to.iter().enumerate().all(|(at, to)| at == *to) && to.len() == plan.rank;
        let mut replaced = node.id;
        if is_direct {
            replaced = self.fuse(node.id, plan.output.unwrap_or(0), &mut op);
        }
        let name = if replaced == node.id {
            node.name.clone()
        } else {
            self.model.node(replaced).name.clone()
        };
        wire = patch.wire_node(name, op, &[wire])?[0];
        if let Some(at) = to.iter().position(|to| *to == usize::MAX) {
            wire = apply(&mut patch, wire, AxisOp::Rm(at))?;
            to.remove(at);
        }
        let mut order: Vec<usize> = (0..to.len()).collect();
        order.sort_by_key(|at| to[*at]);
        for op in perm_to_ops(&order) {
            wire = apply(&mut patch, wire, op)?;
        }
        for at in (0..plan.rank).filter(|at| !to.contains(at)) {
            wire = apply(&mut patch, wire, AxisOp::Add(at))?;
        }
        patch.shunt_outside(self.model, replaced.into(), wire)?;
        Ok(Some(patch))
    }

    /// A bias and an activation behind a product become part of it. Gives the node whose result it is.
    fn fuse(&self, id: usize, axis: usize, op: &mut PackedMatMul) -> usize {
        let mut last = id;
        let bias = self.reader(last).and_then(|reader| {
            let is_sum = reader.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Add>());
            let shape = &self.model.node(id).outputs[0].fact.shape;
            let keeps = is_sum && reader.outputs[0].fact.shape == *shape;
            let bias = self.operand(reader, last).filter(|b| keeps && b.rank() == shape.rank());
            Some((reader.id, per_output(&*bias?, axis, op.outputs)?))
        });
        if let Some((reader, bias)) = bias {
            op.bias = Some(bias);
            last = reader;
        }
        let Some(reader) = self.reader(last) else {
            return last;
        };
        op.activation = if let Some(function) = reader.op_as::<ElementWiseOp>() {
            if function.0.is::<Sigmoid>() {
                Activation::Sigmoid
            } else if function.0.is::<Tanh>() {
                Activation::Tanh
            } else {
                Activation::None
            }
        } else if reader.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Max>()) {
            let zero = self.operand(reader, last).and_then(|t| floats(&t));
            match zero.as_deref() {
                Some([0.0]) => Activation::Relu,
                _ => Activation::None,
            }
        } else {
            Activation::None
        };
        if op.activation == Activation::None {
            last
        } else {
            reader.id
        }
    }

    pub fn conv(&self, node: &TypedNode, op: &Conv) -> Patched {
        let Some(view) = self.weights.view(self.model, node.inputs[1]) else {
            return Ok(None);
        };
        let shape = view.shape();
        let per_channel: usize = shape[1..].iter().product();
        let dt = self.fact(node.inputs[0])?.datum_type;
        let outputs_first = shape[0] == view.packed.rows()
            && per_channel == view.packed.cols
            && view.axes.iter().skip(1).all(|axis| axis.1 != Role::Output)
            && in_order(&view);
        let fits = op.kernel_fmt == KernelFormat::OIHW
            && op.q_params.is_none()
            && outputs_first
            && (dt == DatumType::F32 || dt == DatumType::F16)
            && view.dt == dt;
        let bias = constant(self.model, node.inputs[2]);
        let Some(bias) = bias
            .filter(|_| fits)
            .and_then(|b| per_output(&b, b.rank().saturating_sub(1), view.packed.rows()))
        else {
            return Ok(None);
        };
        let bias = bias.iter().any(|b| *b != 0.0).then_some(bias);
        let conv = PackedConv::new(
            view.packed.clone(),
            op.pool_spec.clone(),
            op.group,
            bias,
            self.options.exact,
        )?;
        let Some(conv) = conv else {
            return Ok(None);
        };
        Ok(Some(TypedModelPatch::replace_single_op(self.model, node, &node.inputs[..1], conv)?))
    }
}

/// A dense weight as blocks of 16x4.
fn all_kept(tensor: &Tensor, outputs: usize, inputs: usize) -> Option<Packed> {
    const BLOCK: [usize; 2] = [16, 4];
    let (rows, cols) = (tensor.shape()[outputs], tensor.shape()[inputs]);
    let (row_step, col_step) = (tensor.strides()[outputs], tensor.strides()[inputs]);
    let (down, across) = (rows.div_ceil(BLOCK[0]), cols.div_ceil(BLOCK[1]));
    let from = tensor.try_as_plain_ram().ok()?;
    let from = from.as_slice::<f32>().ok()?;
    let mut values = vec![0.0f32; down * across * BLOCK[0] * BLOCK[1]];
    for row in 0..rows {
        for col in 0..cols {
            let block = row / BLOCK[0] * across + col / BLOCK[1];
            let at = (block * BLOCK[0] + row % BLOCK[0]) * BLOCK[1] + col % BLOCK[1];
            values[at] = from[row * row_step as usize + col * col_step as usize];
        }
    }
    let values = tensor1(&values).into_shape(&[down * across, BLOCK[0], BLOCK[1]]).ok()?;
    let index = (0..down as u32).flat_map(|r| (0..across as u32).flat_map(move |c| [r, c]));
    Some(Packed {
        values: Arc::new(values),
        index: index.collect(),
        part_rows: vec![rows],
        cols,
        block: BLOCK,
        scale: None,
        diagonal: None,
    })
}

/// How the axes of an einsum with a packed weight meet; None if it is no product of rows or columns.
fn plan_of(op: &EinSum, slot: usize, view: &View, x: &TypedFact) -> Option<Plan> {
    let (outputs, inputs) = (view.only(Role::Output)?, view.only(Role::Input)?);
    let mut plan = Plan { places: vec![Place::Gone; x.rank()], output: None, rank: 0 };
    let mut has_inputs = inputs.is_none();
    for axis in op.axes.iter_all_axes() {
        let one = |at: &TVec<usize>| (at.len() < 2).then(|| at.first().copied());
        let w = one(&axis.inputs[slot])?;
        let from = one(&axis.inputs[1 - slot])?;
        let to = one(&axis.outputs[0])?;
        plan.rank = plan.rank.max(to.map_or(0, |to| to + 1));
        let is_one = w.is_none_or(|w| view.axes[w].1 == Role::One);
        match (w, from, to) {
            (_, Some(from), Some(to)) if is_one => plan.places[from] = Place::Free(to),
            (Some(_), None, _) if is_one => (),
            (_, Some(from), None) if is_one => {
                if !x.shape[from].is_one() {
                    return None;
                }
            }
            (w, Some(from), None) if w == inputs => {
                plan.places[from] = Place::Own;
                has_inputs = true;
            }
            (w, None, Some(to)) if w == outputs => plan.output = Some(to),
            _ => return None,
        }
    }
    let has_outputs = outputs.is_none() || plan.output.is_some();
    (has_inputs && has_outputs).then_some(plan)
}
