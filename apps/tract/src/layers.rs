//! GRU, LSTM and RNN layers with packed weights.

use crate::handles::Handles;
use crate::kernels::{Activation, Cell, Matrix, Recurrent, RecurrentDesc};
use crate::ops::{Output, PackedRecurrent};
use crate::packed::Packed;
use crate::rewrite::{constant, floats, in_order, rewrite, Pass, Patched, Weights};
use crate::steps::{Emit, KnownScan};
use tract_nnef::internal::*;
use tract_nnef::tract_core::ops::gru_seq::GruSeq;
use tract_nnef::tract_core::ops::scan::{InputMapping, Scan};

/// A weight of a recurrent layer, packed or not.
#[derive(Clone)]
enum Weight {
    Packed(Arc<Packed>),
    Dense(Arc<Tensor>),
}

/// Blocks of dense weights, by the outputs of a gate: 16x4 is the quickest for one sample in
/// `espalier bench --kernels --sparsity 0`, 8x4 stores less where 16 do not fit.
fn dense_block(rows: usize) -> [usize; 2] {
    [if rows.is_multiple_of(16) { 16 } else { 8 }, 4]
}

impl Weight {
    fn matrix(&self, parts: usize, rows: usize, cols: usize) -> TractResult<Matrix> {
        match self {
            Weight::Packed(packed) => packed.matrix(parts),
            Weight::Dense(tensor) => {
                let values = tensor.cast_to::<f32>()?;
                Matrix::pack(
                    values.try_as_plain_ram()?.as_slice::<f32>()?,
                    parts,
                    rows,
                    cols,
                    dense_block(rows),
                )
            }
        }
    }
}

impl Pass<'_> {
    /// A weight [outputs, inputs] of a layer, packed or a constant.
    fn layer_weight(&self, outlet: OutletId, shape: [usize; 2]) -> Option<Weight> {
        if let Some(view) = self.weights.view(self.model, outlet) {
            let fits =
                view.shape()[..] == shape && view.packed.rows() == shape[0] && in_order(&view);
            return (fits && view.dt == DatumType::F32)
                .then(|| Weight::Packed(view.packed.clone()));
        }
        let tensor = constant(self.model, outlet)?;
        (tensor.shape() == shape && tensor.datum_type() == DatumType::F32)
            .then_some(Weight::Dense(tensor))
    }

    pub fn gru(&self, node: &TypedNode, op: &GruSeq) -> Patched {
        let h = op.hidden;
        let (rows, r_slot) = (3 * h, if op.projected { 1 } else { 2 });
        let packed = |slot: usize| self.weights.view(self.model, node.inputs[slot]).is_some();
        let x = self.fact(node.inputs[0])?;
        if !(packed(r_slot) || (!op.projected && packed(1)))
            || x.rank() != 3
            || op.packed_r.is_some()
        {
            return Ok(None);
        }
        let Ok(inputs) = x.shape[2].to_usize() else {
            return Ok(None);
        };
        let Some(r) = self.layer_weight(node.inputs[r_slot], [rows, h]) else {
            return Ok(None);
        };
        let w = match op.projected {
            true => None,
            false => match self.layer_weight(node.inputs[1], [rows, inputs]) {
                None => return Ok(None),
                some => some,
            },
        };
        let mut bias = None;
        if op.has_bias {
            let given = constant(self.model, node.inputs[r_slot + 1]).and_then(|b| floats(&b));
            let Some(mut given) = given.filter(|b| b.len() == 2 * rows) else {
                return Ok(None);
            };
            if op.projected {
                given[..rows].fill(0.0);
            }
            bias = Some(given);
        }
        let layer = LayerOf {
            cell: Cell::GruResetLast,
            activations: [Activation::Sigmoid, Activation::Tanh, Activation::None],
            w: w.map(|w| (w, inputs)),
            r,
            hidden: h,
            bias,
            exact: self.options.exact,
        };
        let op = PackedRecurrent {
            layer: layer.handles()?,
            name: "GRU",
            hidden: h,
            states: 1,
            batch_first: true,
            backwards: op.chunk < 0,
            reset_every_turn: op.reset_every_turn,
            is_scan: false,
            outputs: tvec!(Output::Steps { empty: !op.emit_y }, Output::State(0)),
            skip: 0,
        };
        let wires = [node.inputs[0], node.inputs[node.inputs.len() - 1]];
        if let Some(patch) = self.without_swaps(node, wires, &op)? {
            return Ok(Some(patch));
        }
        Ok(Some(TypedModelPatch::replace_single_op(self.model, node, &wires, op)?))
    }

    /// Where steps and batch change places before a layer and behind it again, it reads and writes
    /// them in the order that they had.
    fn without_swaps(
        &self,
        node: &TypedNode,
        [x, state]: [OutletId; 2],
        op: &PackedRecurrent,
    ) -> Patched {
        let swaps = |node: &TypedNode| {
            matches!(node.op_as::<AxisOp>(), Some(AxisOp::Move(0, 1) | AxisOp::Move(1, 0)))
        };
        let before = self.model.node(x.node);
        let all_swapped = (0..node.outputs.len()).all(|slot| {
            let is_output = self.model.outputs.contains(&OutletId::new(node.id, slot));
            let readers = &node.outputs[slot].successors;
            !is_output && readers.iter().all(|reader| swaps(self.model.node(reader.node)))
        });
        if !swaps(before) || !all_swapped {
            return Ok(None);
        }
        let mut patch = TypedModelPatch::default();
        let wires = patch.taps(self.model, &[before.inputs[0], state])?;
        let op = PackedRecurrent { batch_first: false, ..op.clone() };
        let results = patch.wire_node(&node.name, op, &wires)?;
        for (slot, result) in results.iter().enumerate() {
            for reader in &node.outputs[slot].successors {
                patch.shunt_outside(self.model, reader.node.into(), *result)?;
            }
        }
        Ok(Some(patch))
    }

    pub fn known_scan(&self, node: &TypedNode, op: &KnownScan) -> Patched {
        let (h, gates) = (op.hidden, op.cell.gates());
        let r = self
            .layer_weight(node.inputs[1], [gates * h, h])
            .context("its weight is not packed")?;
        let mut bias = None;
        if op.has_bias {
            let given = constant(self.model, node.inputs[2]).and_then(|b| floats(&b));
            let given =
                given.filter(|b| b.len() == gates * h).context("its bias is no constant")?;
            bias = Some([vec![0.0; gates * h], given].concat());
        }
        let layer = LayerOf {
            cell: op.cell,
            activations: op.activations,
            w: None,
            r,
            hidden: h,
            bias,
            exact: self.options.exact,
        };
        let first_state = 2 + usize::from(op.has_bias);
        let name = match op.cell {
            Cell::Lstm => "LSTM",
            Cell::Rnn => "RNN",
            Cell::Gru | Cell::GruResetLast => "GRU",
        };
        let outputs = op.emits.iter().map(|emit| match emit {
            Emit::Steps => Output::Steps { empty: false },
            Emit::Last(state) => Output::State(*state),
        });
        let native = PackedRecurrent {
            layer: layer.handles()?,
            name,
            hidden: h,
            states: node.inputs.len() - first_state,
            batch_first: false,
            backwards: op.backwards,
            reset_every_turn: op.reset_every_turn,
            is_scan: true,
            outputs: outputs.collect(),
            skip: 0,
        };
        let mut wires = tvec!(node.inputs[0]);
        wires.extend_from_slice(&node.inputs[first_state..]);
        Ok(Some(TypedModelPatch::replace_single_op(self.model, node, &wires, native)?))
    }

    /// A body that is no step we know: its products become native ones.
    pub fn scan(&self, node: &TypedNode, op: &Scan) -> Patched {
        let sources = op.body.input_outlets()?.to_vec();
        let mut weights = Weights::default();
        for (slot, mapping) in op.input_mapping.iter().enumerate() {
            if *mapping == InputMapping::Full {
                if let Some(view) = self.weights.view(self.model, node.inputs[slot]) {
                    weights.outside.insert(sources[slot], view);
                }
            }
        }
        if weights.outside.is_empty() {
            return Ok(None);
        }
        let slots: Vec<usize> =
            (0..sources.len()).filter(|s| weights.outside.contains_key(&sources[*s])).collect();
        let mut body = op.body.clone();
        rewrite(&mut body, &weights, self.options)?;
        // Weights that nobody in the body reads any more are no inputs of it.
        let sources = body.input_outlets()?.to_vec();
        let is_read = |outlet: &OutletId| {
            !body.node(outlet.node).outputs[0].successors.is_empty()
                || body.outputs.contains(outlet)
        };
        let kept: Vec<usize> =
            (0..sources.len()).filter(|s| !slots.contains(s) || is_read(&sources[*s])).collect();
        if kept.len() == sources.len() {
            return Ok(None);
        }
        let outlets: Vec<OutletId> = kept.iter().map(|s| sources[*s]).collect();
        body.set_input_outlets(&outlets)?;
        body.compact()?;
        let input_mapping = kept.iter().map(|s| op.input_mapping[*s].clone()).collect();
        let wires: TVec<OutletId> = kept.iter().map(|s| node.inputs[*s]).collect();
        let op = Scan { body, input_mapping, decluttered: false, ..op.clone() };
        Ok(Some(TypedModelPatch::replace_single_op(self.model, node, &wires, op)?))
    }
}

struct LayerOf {
    cell: Cell,
    activations: [Activation; 3],
    /// With the number of inputs.
    w: Option<(Weight, usize)>,
    r: Weight,
    hidden: usize,
    bias: Option<Vec<f32>>,
    exact: bool,
}

impl LayerOf {
    fn handles(self) -> TractResult<Arc<Handles<Recurrent>>> {
        let make = move || {
            let gates = self.cell.gates();
            let r = self.r.matrix(gates, self.hidden, self.hidden)?;
            let w = match &self.w {
                Some((w, inputs)) => Some(w.matrix(gates, self.hidden, *inputs)?),
                None => None,
            };
            Recurrent::new(&RecurrentDesc {
                cell: self.cell,
                input_weight: w.as_ref(),
                recurrent_weight: &r,
                bias: self.bias.as_deref(),
                activations: self.activations,
                exact: self.exact,
            })
        };
        Ok(Arc::new(Handles::new(make)?))
    }
}
