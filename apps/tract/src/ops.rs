//! Native operators: products, recurrent layers and convolutions on packed weights.

use crate::convolution::{self, Window};
use crate::handles::Handles;
use crate::kernels::{self, Activation, Layout, Sequence};
use crate::packed::Packed;
use std::borrow::Cow;
use tract_nnef::internal::*;
use tract_nnef::tract_core::ops::cnn::PoolSpec;

fn same<T: ?Sized>(a: &Arc<T>, b: &Arc<T>) -> bool {
    Arc::ptr_eq(a, b)
}

/// Inputs as f32: kernels compute in it, whatever the graph's type is.
fn as_f32(value: &TValue) -> TractResult<Cow<'_, Tensor>> {
    value.cast_to::<f32>()
}

fn slice_of(tensor: &Tensor) -> TractResult<&[f32]> {
    tensor.try_as_plain_ram()?.as_slice::<f32>()
}

fn slice_mut(tensor: &mut Tensor) -> TractResult<&mut [f32]> {
    ensure!(tensor.datum_type() == DatumType::F32 && tensor.is_plain_ram(), "a tensor of f32");
    // SAFETY: it is of that type.
    Ok(unsafe { tensor.as_slice_mut_unchecked::<f32>() })
}

/// A tensor of f32 that `fill` writes to the last element, in the graph's type.
fn filled(
    shape: &[usize],
    dt: DatumType,
    fill: impl FnOnce(&mut [f32]) -> TractResult<()>,
) -> TractResult<TValue> {
    // SAFETY: f32 has no invalid values, and `fill` writes all elements or gives an error.
    let mut result = unsafe { Tensor::uninitialized::<f32>(shape)? };
    fill(slice_mut(&mut result)?)?;
    Ok(match dt {
        DatumType::F32 => result.into_tvalue(),
        _ => result.cast_to_dt(dt)?.into_owned().into_tvalue(),
    })
}

/// x [..., inputs] to [..., outputs]; by columns x [..., inputs, n] to [..., outputs, n].
#[derive(Clone, Debug)]
pub struct PackedMatMul {
    pub product: Arc<Handles<kernels::Product>>,
    pub inputs: usize,
    pub outputs: usize,
    pub layout: Layout,
    pub bias: Option<Arc<[f32]>>,
    pub activation: Activation,
}

impl PartialEq for PackedMatMul {
    fn eq(&self, other: &Self) -> bool {
        same(&self.product, &other.product)
            && self.layout == other.layout
            && self.bias == other.bias
            && self.activation == other.activation
    }
}
impl Eq for PackedMatMul {}

impl PackedMatMul {
    /// The axis of inputs in x, and of outputs in y.
    fn axis(&self, rank: usize) -> usize {
        match self.layout {
            Layout::Rows => rank - 1,
            Layout::Columns => rank - 2,
        }
    }
}

impl Op for PackedMatMul {
    fn name(&self) -> StaticName {
        "EspalierMatMul".into()
    }
    fn info(&self) -> TractResult<Vec<String>> {
        let product = self.product.take()?;
        Ok(vec![format!(
            "{} outputs, {} inputs, kernel {}, {} bytes{}, {:?}",
            self.outputs,
            self.inputs,
            product.kernel(),
            product.bytes(),
            if self.bias.is_some() { ", bias" } else { "" },
            self.activation
        )])
    }
    op_as_typed_op!();
}

impl EvalOp for PackedMatMul {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = as_f32(&inputs[0])?;
        let axis = self.axis(x.rank());
        ensure!(x.shape()[axis] == self.inputs, "x has shape {:?}", x.shape());
        let mut shape: TVec<usize> = x.shape().into();
        shape[axis] = self.outputs;
        let x = slice_of(&x)?;
        let y = filled(&shape, inputs[0].datum_type(), |y| {
            if y.is_empty() {
                return Ok(());
            }
            let mut product = self.product.take()?;
            let bias = self.bias.as_deref();
            let n = match self.layout {
                Layout::Rows => x.len() / self.inputs,
                Layout::Columns => shape[axis + 1],
            };
            for (x, y) in x.chunks_exact(n * self.inputs).zip(y.chunks_exact_mut(n * self.outputs))
            {
                product.run(x, self.layout, n, bias, self.activation, y)?;
            }
            Ok(())
        })?;
        Ok(tvec!(y))
    }
}

impl TypedOp for PackedMatMul {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut shape = inputs[0].shape.clone();
        shape.set(self.axis(inputs[0].rank()), self.outputs.to_dim());
        Ok(tvec!(inputs[0].datum_type.fact(shape)))
    }

    /// All axes go through but that of the product: so batch and time may be symbols, or pulse.
    fn axes_mapping(
        &self,
        inputs: &[&TypedFact],
        _outputs: &[&TypedFact],
    ) -> TractResult<AxesMapping> {
        let rank = inputs[0].rank();
        let own = self.axis(rank);
        let axes = (0..rank)
            .map(|at| Axis::new((b'a' + at as u8) as char, 1, 1).input(0, at).output(0, at));
        let axes: TVec<Axis> = axes
            .enumerate()
            .filter(|(at, _)| *at != own)
            .map(|(_, axis)| axis)
            .chain([Axis::new('I', 1, 1).input(0, own), Axis::new('O', 1, 1).output(0, own)])
            .collect();
        AxesMapping::new(1, 1, axes)
    }

    fn cost(&self, inputs: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        let samples: TDim =
            inputs[0].shape.iter().product::<TDim>().maybe_div(&self.inputs.to_dim())?.0;
        Ok(tvec!((Cost::FMA(f32::datum_type()), samples * self.inputs * self.outputs)))
    }

    as_op!();
}

/// A result of a recurrent layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// States of all steps, in the layout of x; without steps if nobody reads them.
    Steps { empty: bool },
    /// h (0) or c (1) behind the last step.
    State(usize),
}

/// A direction of GRU, LSTM or RNN. Inputs: x [steps, batch, n] (or batch first), then the initial
/// states. As tract's own Scan and GruSeq it goes on from call to call: initial states are those of
/// the first call, or of each with `reset_every_turn`.
#[derive(Clone, Debug)]
pub struct PackedRecurrent {
    pub layer: Arc<Handles<kernels::Recurrent>>,
    pub name: &'static str,
    pub hidden: usize,
    pub states: usize,
    pub batch_first: bool,
    pub backwards: bool,
    pub reset_every_turn: bool,
    /// A scan in the file: see `declutter`.
    pub is_scan: bool,
    pub outputs: TVec<Output>,
    /// Steps of a pulsed stream that are not there yet.
    pub skip: usize,
}

impl PartialEq for PackedRecurrent {
    fn eq(&self, other: &Self) -> bool {
        same(&self.layer, &other.layer)
            && self.reset_every_turn == other.reset_every_turn
            && self.outputs == other.outputs
            && self.skip == other.skip
    }
}
impl Eq for PackedRecurrent {}

impl Op for PackedRecurrent {
    fn name(&self) -> StaticName {
        "EspalierRecurrent".into()
    }
    fn info(&self) -> TractResult<Vec<String>> {
        let bytes = self.layer.take()?.bytes();
        Ok(vec![format!("{}, {} hidden, {bytes} bytes", self.name, self.hidden)])
    }
    op_as_typed_op!();
}

impl EvalOp for PackedRecurrent {
    not_out_of_plan!();

    fn state(&self, _ctx: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        Ok(Some(Box::<RecurrentState>::default()))
    }
}

/// Of one session.
#[derive(Clone, Debug, Default)]
struct RecurrentState {
    carried: TVec<Tensor>,
    steps: usize,
}

impl OpState for RecurrentState {
    fn eval(
        &mut self,
        _ctx: &EvalContext,
        op: &dyn Op,
        inputs: TVec<TValue>,
    ) -> TractResult<TVec<TValue>> {
        let op = op.downcast_ref::<PackedRecurrent>().context("wrong op")?;
        op.run(self, inputs)
    }

    fn reset_lanes(&mut self, _lanes: &[LaneId]) -> TractResult<()> {
        bail!("EspalierRecurrent is not lane-aware: it carries one state")
    }
}

impl PackedRecurrent {
    fn run(&self, state: &mut RecurrentState, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = &inputs[0];
        ensure!(x.rank() == 3 && inputs.len() == 1 + self.states, "a recurrent layer's inputs");
        let (time, lane) = if self.batch_first { (1, 0) } else { (0, 1) };
        let (steps, batch) = (x.shape()[time], x.shape()[lane]);
        if state.carried.is_empty() || self.reset_every_turn {
            state.carried = inputs[1..].iter().map(|s| s.clone().into_tensor()).collect();
        }
        let elements = batch * self.hidden;
        for carried in &state.carried {
            ensure!(
                carried.len() == elements,
                "a state holds {} elements, expected batch {batch} x hidden {}",
                carried.len(),
                self.hidden
            );
        }
        let skipped = self.skip.saturating_sub(state.steps).min(steps);
        state.steps = state.steps.saturating_add(steps).min(self.skip);
        let mut shape: TVec<usize> = x.shape().into();
        shape[2] = self.hidden;
        let mut y = None;
        if self.outputs.contains(&Output::Steps { empty: false }) {
            // SAFETY: f32 has no invalid values; all steps are written, or skipped ones zeroed, below.
            y = Some(unsafe { Tensor::uninitialized::<f32>(&shape)? });
        }
        if steps > 0 && batch > 0 {
            self.run_steps(state, x, [steps, batch], skipped, y.as_mut())?;
        }
        let mut results = tvec!();
        for output in &self.outputs {
            results.push(match output {
                Output::Steps { empty: true } => {
                    shape[time] = 0;
                    Tensor::zero::<f32>(&shape)?.into_tvalue()
                }
                Output::Steps { empty: false } => {
                    y.take().context("states are one output")?.into_tvalue()
                }
                Output::State(which) => {
                    let mut last = state.carried[*which].clone();
                    let extents = if self.batch_first {
                        [batch, 1, self.hidden]
                    } else {
                        [1, batch, self.hidden]
                    };
                    last.set_shape(&extents)?;
                    last.into_tvalue()
                }
            });
        }
        Ok(results)
    }

    /// Steps behind those that are skipped, into y and the carried states.
    fn run_steps(
        &self,
        state: &mut RecurrentState,
        x: &Tensor,
        [steps, batch]: [usize; 2],
        skipped: usize,
        y: Option<&mut Tensor>,
    ) -> TractResult<()> {
        let time = usize::from(self.batch_first);
        let mut layer = self.layer.take()?;
        let mut carried = state.carried.iter_mut();
        let h = carried.next().context("a layer has a state")?;
        let h = slice_mut(h)?;
        let c = carried.next().map(slice_mut).transpose()?;
        let (batch_first, backwards) = (self.batch_first, self.backwards);
        let sequence = Sequence { steps: steps - skipped, batch, batch_first, backwards };
        if skipped == 0 {
            return layer.run(sequence, slice_of(x)?, y.map(slice_mut).transpose()?, h, c);
        }
        let rest = x.slice(time, skipped, steps)?;
        let mut shape: TVec<usize> = rest.shape().into();
        shape[2] = self.hidden;
        let mut behind = Tensor::zero::<f32>(&shape)?;
        if skipped < steps {
            layer.run(sequence, slice_of(&rest)?, Some(slice_mut(&mut behind)?), h, c)?;
        }
        if let Some(y) = y {
            y.clear::<f32>()?;
            y.assign_slice(skipped..steps, &behind, 0..steps - skipped, time)?;
        }
        Ok(())
    }
}

/// Whether an output of the model depends on an outlet.
fn reaches_an_output(model: &TypedModel, outlet: OutletId) -> bool {
    let (mut waiting, mut seen) = (vec![outlet], std::collections::HashSet::new());
    while let Some(outlet) = waiting.pop() {
        if model.outputs.contains(&outlet) {
            return true;
        }
        for reader in &model.node(outlet.node).outputs[outlet.slot].successors {
            if seen.insert(reader.node) {
                let count = model.node(reader.node).outputs.len();
                waiting.extend((0..count).map(|slot| OutletId::new(reader.node, slot)));
            }
        }
    }
    false
}

impl TypedOp for PackedRecurrent {
    /// tract unrolls a scan of one step whose states the caller reads: they are then the caller's to
    /// carry on, and each call begins with those that it is given.
    fn declutter(
        &self,
        model: &TypedModel,
        node: &TypedNode,
    ) -> TractResult<Option<TypedModelPatch>> {
        if !self.is_scan || self.reset_every_turn || self.skip > 0 {
            return Ok(None);
        }
        let one_step = model.outlet_fact(node.inputs[0])?.shape[0].is_one();
        let is_read = |state: usize| {
            let slot = self.outputs.iter().position(|o| *o == Output::State(state));
            slot.is_some_and(|slot| reaches_an_output(model, OutletId::new(node.id, slot)))
        };
        if !one_step || !(0..self.states).all(is_read) {
            return Ok(None);
        }
        let op = PackedRecurrent { reset_every_turn: true, ..self.clone() };
        Ok(Some(TypedModelPatch::replace_single_op(model, node, &node.inputs, op)?))
    }

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let x = &inputs[0].shape;
        let (time, batch) = if self.batch_first { (1, x[0].clone()) } else { (0, x[1].clone()) };
        Ok(self
            .outputs
            .iter()
            .map(|output| {
                let mut shape: TVec<TDim> = tvec!(x[0].clone(), x[1].clone(), self.hidden.to_dim());
                match output {
                    Output::Steps { empty: true } => shape[time] = 0.to_dim(),
                    Output::Steps { empty: false } => (),
                    Output::State(_) => {
                        shape[time] = 1.to_dim();
                        shape[1 - time] = batch.clone();
                    }
                }
                f32::fact(shape)
            })
            .collect())
    }
    as_op!();
}

/// x [batch, channels, (height,) width], as the pool's layout without it has: NCHW.
#[derive(Clone, Debug)]
pub struct PackedConv {
    pub weight: Arc<Packed>,
    pub spec: PoolSpec,
    pub groups: usize,
    pub bias: Option<Arc<[f32]>>,
    pub exact: bool,
    conv: Arc<Handles<convolution::Conv>>,
}

impl PartialEq for PackedConv {
    fn eq(&self, other: &Self) -> bool {
        same(&self.weight, &other.weight) && self.spec == other.spec && self.bias == other.bias
    }
}
impl Eq for PackedConv {}

/// Height before width; a window of one axis has height 1.
fn pair(of: &[usize], fill: usize) -> [usize; 2] {
    match of {
        [height, width] => [*height, *width],
        [width] => [fill, *width],
        _ => [fill, fill],
    }
}

/// Padding that does not depend on the image.
fn window_of(spec: &PoolSpec) -> Option<Window> {
    use tract_nnef::tract_core::ops::cnn::PaddingSpec::*;
    let none = tvec!(0; spec.rank());
    let (begin, end) = match &spec.padding {
        Explicit(begin, end) => (begin, end),
        Valid => (&none, &none),
        _ => return None,
    };
    Some(Window {
        kernel: pair(&spec.kernel_shape, 1),
        stride: pair(&spec.strides(), 1),
        dilation: pair(&spec.dilations(), 1),
        pad_begin: pair(begin, 0),
        pad_end: pair(end, 0),
    })
}

impl PackedConv {
    /// None: tract's own convolution does what this one cannot.
    pub fn new(
        weight: Arc<Packed>,
        spec: PoolSpec,
        groups: usize,
        bias: Option<Arc<[f32]>>,
        exact: bool,
    ) -> TractResult<Option<PackedConv>> {
        use tract_nnef::tract_core::ops::nn::DataFormat;
        let Some(window) = window_of(&spec) else {
            return Ok(None);
        };
        let fits = spec.data_format == DataFormat::NCHW
            && (1..=2).contains(&spec.rank())
            && groups > 0
            && spec.output_channels % groups == 0
            && weight.rows() == spec.output_channels;
        if !fits {
            return Ok(None);
        }
        let kept = weight.clone();
        let make = move || convolution::Conv::new(&kept.matrix(groups)?, groups, &window, exact);
        let conv = Arc::new(Handles::new(make)?);
        Ok(Some(PackedConv { weight, spec, groups, bias, exact, conv }))
    }
}

impl Op for PackedConv {
    fn name(&self) -> StaticName {
        "EspalierConv".into()
    }
    fn info(&self) -> TractResult<Vec<String>> {
        let mut info = self.spec.info();
        info.push(format!("{} bytes", self.conv.take()?.bytes()));
        Ok(info)
    }
    op_as_typed_op!();
}

impl EvalOp for PackedConv {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = as_f32(&inputs[0])?;
        let shape = self.spec.output_shape(x.shape())?.shape;
        let image = pair(&x.shape()[2..], 1);
        let y = filled(&shape, inputs[0].datum_type(), |y| {
            self.conv.take()?.run(slice_of(&x)?, x.shape()[0], image, self.bias.as_deref(), y)
        })?;
        Ok(tvec!(y))
    }
}

impl TypedOp for PackedConv {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.spec.output_facts(inputs)
    }

    fn axes_mapping(
        &self,
        inputs: &[&TypedFact],
        _outputs: &[&TypedFact],
    ) -> TractResult<AxesMapping> {
        let rank = inputs[0].rank();
        let mut axes = tvec!(Axis::new('n', 1, 1).input(0, 0).output(0, 0));
        for at in 1..rank {
            let (i, o) = ((b'a' + at as u8) as char, (b'A' + at as u8) as char);
            axes.push(Axis::new(i, 1, 1).input(0, at));
            axes.push(Axis::new(o, 1, 1).output(0, at));
        }
        AxesMapping::new(1, 1, axes)
    }
    as_op!();
}
