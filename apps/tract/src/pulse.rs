//! Pulsification. Products need none of their own: their axes go through.

use crate::ops::{Output, PackedConv, PackedRecurrent};
use std::sync::OnceLock;
use tract_nnef::internal::*;
use tract_nnef::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_pulse::fact::StreamInfo;
use tract_pulse::internal::{OpPulsifier, PulsedFact, PulsedModel, PulsedOp};

type Mapping = HashMap<OutletId, OutletId>;
type Pulsified = TractResult<Option<TVec<OutletId>>>;
type PulsifierFn =
    fn(&TypedModel, &TypedNode, &mut PulsedModel, &Mapping, &Symbol, &TDim) -> Pulsified;

/// What tract-pulse does with its own convolutions. It is looked up before pulsifiers run: they run
/// with the inventory locked.
static STOCK_CONV: OnceLock<PulsifierFn> = OnceLock::new();

/// Tells tract-pulse about the native operators; again is allowed.
pub fn register() -> TractResult<()> {
    if STOCK_CONV.get().is_some() {
        return Ok(());
    }
    OpPulsifier::register::<PackedConv>(conv)?;
    OpPulsifier::register::<PackedRecurrent>(recurrent)?;
    let inventory = OpPulsifier::inventory();
    let inventory = inventory.read().map_err(|e| format_err!("tract-pulse's inventory: {e}"))?;
    let stock = inventory.get(&TypeId::of::<Conv>()).context("tract-pulse knows no convolution")?;
    STOCK_CONV.get_or_init(|| stock.func);
    Ok(())
}

/// tract's convolution with the same window: what tract-pulse asks of one.
fn stand_in(op: &PackedConv) -> Conv {
    let (pool_spec, group) = (op.spec.clone(), op.groups);
    Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group, q_params: None }
}

// tract's own pulsifier makes the delay, which holds what the window sees of earlier pulses, and a
// convolution behind it, whose place is then taken.
fn conv(
    source: &TypedModel,
    node: &TypedNode,
    target: &mut PulsedModel,
    mapping: &Mapping,
    symbol: &Symbol,
    pulse: &TDim,
) -> Pulsified {
    let op = node.op_as::<PackedConv>().context("wrong op")?;
    let mut stock = node.clone();
    stock.op = Box::new(stand_in(op));
    let pulsify = STOCK_CONV.get().context("pulsifiers are not registered")?;
    let Some(wires) = pulsify(source, &stock, target, mapping, symbol, pulse)? else {
        return Ok(None);
    };
    let place = target.node_mut(wires[0].node);
    let spec = place.op_as::<Conv>().context("a pulsed convolution")?.pool_spec.clone();
    let op = PackedConv::new(op.weight.clone(), spec, op.groups, op.bias.clone(), op.exact)?
        .context("a pulse of a convolution that the kernels do not have")?;
    place.op = Box::new(op);
    Ok(Some(wires))
}

impl PulsedOp for PackedConv {
    fn pulsed_output_facts(&self, inputs: &[&PulsedFact]) -> TractResult<TVec<PulsedFact>> {
        stand_in(self).pulsed_output_facts(inputs)
    }
    fn to_typed(&self) -> Box<dyn TypedOp> {
        Box::new(self.clone())
    }
    as_op!();
}

// As tract's own scan: states go on from pulse to pulse, steps that are not there yet are skipped.
fn recurrent(
    _source: &TypedModel,
    node: &TypedNode,
    target: &mut PulsedModel,
    mapping: &Mapping,
    _symbol: &Symbol,
    _pulse: &TDim,
) -> Pulsified {
    let op = node.op_as::<PackedRecurrent>().context("wrong op")?;
    let inputs: TVec<OutletId> = node.inputs.iter().map(|i| mapping[i]).collect();
    let fact = target.outlet_fact(inputs[0])?;
    let Some(stream) = &fact.stream else {
        return Ok(None);
    };
    ensure!(!op.backwards, "a layer that runs backwards cannot be pulsed");
    ensure!(
        stream.axis == usize::from(op.batch_first),
        "a recurrent layer is pulsed along its steps"
    );
    let op = PackedRecurrent { skip: stream.delay, reset_every_turn: false, ..op.clone() };
    Ok(Some(target.wire_node(&*node.name, op, &inputs)?))
}

impl PulsedOp for PackedRecurrent {
    fn pulsed_output_facts(&self, inputs: &[&PulsedFact]) -> TractResult<TVec<PulsedFact>> {
        let typed = inputs.iter().map(|f| f.to_typed_fact()).collect::<TractResult<TVec<_>>>()?;
        let typed: TVec<&TypedFact> = typed.iter().map(|f| f.as_ref()).collect();
        let stream = inputs[0].stream.as_ref().context("a recurrent layer without a stream")?;
        let axis = usize::from(self.batch_first);
        let facts = self.output_facts(&typed)?;
        Ok(facts
            .into_iter()
            .zip(&self.outputs)
            .map(|(fact, output)| PulsedFact {
                datum_type: fact.datum_type,
                shape: fact.shape,
                stream: match output {
                    Output::Steps { .. } => {
                        Some(StreamInfo { axis, dim: stream.dim.clone(), delay: stream.delay })
                    }
                    Output::State(_) => None,
                },
            })
            .collect())
    }
    fn to_typed(&self) -> Box<dyn TypedOp> {
        Box::new(self.clone())
    }
    as_op!();
}
