//! Scans whose body is a step that espalier writes (formats/nnef/write/steps.cpp): GRU, LSTM or RNN
//! with a packed recurrent weight.

use crate::document::is_same;
use crate::kernels::{Activation, Cell};
use crate::rewrite::Weights;
use tract_nnef::ast::parse::parse_fragments;
use tract_nnef::internal::*;

pub const SCAN: &str = "tract_core_scan";

/// A result of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emit {
    /// States h of all steps.
    Steps,
    /// h or c behind the last step.
    Last(usize),
}

/// A scan that `rewrite` turns into a recurrent layer. Inputs: x, r, b if there is a bias, then the
/// states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownScan {
    pub cell: Cell,
    pub hidden: usize,
    pub activations: [Activation; 3],
    pub has_bias: bool,
    pub backwards: bool,
    pub reset_every_turn: bool,
    pub emits: Vec<Emit>,
}

impl Op for KnownScan {
    fn name(&self) -> StaticName {
        "EspalierKnownScan".into()
    }
    op_as_typed_op!();
}

impl EvalOp for KnownScan {
    not_out_of_plan!();
}

impl TypedOp for KnownScan {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let first_state = 2 + usize::from(self.has_bias);
        Ok(self
            .emits
            .iter()
            .map(|emit| match emit {
                Emit::Steps => {
                    let (steps, batch) = (inputs[0].shape[0].clone(), inputs[0].shape[1].clone());
                    f32::fact([steps, batch, self.hidden.to_dim()])
                }
                Emit::Last(state) => f32::fact(inputs[first_state + state].shape.clone()),
            })
            .collect())
    }
    as_op!();
}

/// What a name of a fragment says that it computes.
struct Step {
    cell: Cell,
    hidden: usize,
    activations: Vec<&'static str>,
    has_bias: bool,
}

const ACTIVATIONS: [(&str, Activation); 3] =
    [("sigmoid", Activation::Sigmoid), ("tanh", Activation::Tanh), ("relu", Activation::Relu)];

fn step_named(name: &str, hidden: usize) -> Option<Step> {
    let (cell, rest) = [
        ("gru_step_reset_last", Cell::GruResetLast),
        ("gru_step", Cell::Gru),
        ("lstm_step", Cell::Lstm),
        ("rnn_step", Cell::Rnn),
    ]
    .iter()
    .find_map(|(prefix, cell)| Some((*cell, name.strip_prefix(prefix)?)))?;
    let mut words: Vec<&str> = rest.split('_').skip(1).collect();
    if cell != Cell::Rnn && words.pop()?.parse::<usize>().ok()? != hidden {
        return None;
    }
    let has_bias = words.first() == Some(&"bias");
    if has_bias {
        words.remove(0);
    }
    let known = |word: &&str| ACTIVATIONS.iter().find(|a| a.0 == *word).map(|a| a.0);
    let mut activations: Vec<&'static str> = words.iter().map(known).collect::<Option<_>>()?;
    if cell == Cell::Lstm && activations.is_empty() {
        activations = vec!["sigmoid", "tanh", "tanh"];
    }
    let expected = match cell {
        Cell::Gru | Cell::GruResetLast => 2,
        Cell::Lstm => 3,
        Cell::Rnn => 1,
    };
    (activations.len() == expected).then_some(Step { cell, hidden, activations, has_bias })
}

fn columns(from: &str, begin: usize, end: usize) -> String {
    format!("slice({from}, axes = [1], begin = [{begin}], end = [{end}])")
}

fn gru_lines(step: &Step) -> String {
    let h = step.hidden;
    let mut lines;
    let (gates, candidate);
    if step.cell == Cell::GruResetLast {
        let product = "matmul(hs, r, transposeB = true)";
        let sum = if step.has_bias { format!("add({product}, b)") } else { product.to_string() };
        lines = format!("rh = {sum};\n");
        gates = columns("rh", 0, 2 * h);
        candidate = format!("mul(reset, {})", columns("rh", 2 * h, 3 * h));
    } else {
        lines = format!(
            "r_zr = slice(r, axes = [0], begin = [0], end = [{}]);\n\
             r_g = slice(r, axes = [0], begin = [{}], end = [{}]);\n",
            2 * h,
            2 * h,
            3 * h
        );
        gates = "matmul(hs, r_zr, transposeB = true)".to_string();
        candidate = "matmul(mul(reset, hs), r_g, transposeB = true)".to_string();
    }
    let [f, g] = [step.activations[0], step.activations[1]];
    lines += &format!("zr = {f}(add({}, {gates}));\n", columns("xs", 0, 2 * h));
    lines += &format!("z = {};\n", columns("zr", 0, h));
    lines += &format!("reset = {};\n", columns("zr", h, 2 * h));
    lines += &format!("g = {g}(add({}, {candidate}));\n", columns("xs", 2 * h, 3 * h));
    lines + "h1 = add(mul(sub(1.0, z), g), mul(z, hs));\n"
}

fn lstm_lines(step: &Step, name: &str) -> String {
    let h = step.hidden;
    let mut lines = "gates = add(xs, matmul(hs, r, transposeB = true));\n".to_string();
    if name == format!("lstm_step_{h}") {
        return lines
            + &format!("( h1, c1 ) = tract_core_lstm_epilogue(gates, cs, hidden = {h});\n");
    }
    let [f, g, o] = [step.activations[0], step.activations[1], step.activations[2]];
    lines += &format!("iof = {f}({});\n", columns("gates", 0, 3 * h));
    lines += &format!("g = {g}({});\n", columns("gates", 3 * h, 4 * h));
    lines += &format!(
        "c1 = add(mul({}, cs), mul({}, g));\n",
        columns("iof", 2 * h, 3 * h),
        columns("iof", 0, h)
    );
    lines + &format!("h1 = mul({}, {o}(c1));\n", columns("iof", h, 2 * h))
}

/// The text of the step, as the writer has it but for blanks.
fn text_of(name: &str, step: &Step) -> String {
    let has_c = step.cell == Cell::Lstm;
    let [c_in, c_out, c_before, c_behind] = if has_c {
        [
            "c: tensor<scalar>, ",
            ", c_next: tensor<scalar>",
            "cs = squeeze(c, axes = [0]);\n",
            "c_next = unsqueeze(c1, axes = [0]);\n",
        ]
    } else {
        [""; 4]
    };
    let bias = if step.has_bias { ", b: tensor<scalar>" } else { "" };
    let lines = match step.cell {
        Cell::Gru | Cell::GruResetLast => gru_lines(step),
        Cell::Lstm => lstm_lines(step, name),
        Cell::Rnn => {
            format!("h1 = {}(add(xs, matmul(hs, r, transposeB = true)));\n", step.activations[0])
        }
    };
    format!(
        "fragment {name}( h: tensor<scalar>, {c_in}x: tensor<scalar>, r: tensor<scalar>{bias} ) -> \
         ( h_next: tensor<scalar>{c_out} )\n{{\nhs = squeeze(h, axes = [0]);\n{c_before}\
         xs = squeeze(x, axes = [0]);\n{lines}h_next = unsqueeze(h1, axes = [0]);\n{c_behind}}}\n"
    )
}

/// tract's scan, as tract builds it.
fn stock_scan(builder: &mut ModelBuilder, invocation: &ResolvedInvocation) -> TractResult<Value> {
    let core = builder.framework.registries.iter().find(|r| r.id.0 == "tract_core");
    let decl = core
        .and_then(|r| r.primitives.get(&Identifier::from(SCAN)))
        .context("tract has no scan")?;
    (decl.to_tract)(builder, invocation)
}

/// A known step over a packed weight waits for `rewrite`; all else is tract's.
pub fn scan(builder: &mut ModelBuilder, invocation: &ResolvedInvocation) -> TractResult<Value> {
    match known_scan(builder, invocation)? {
        Some((op, inputs)) => builder.wire(op, &inputs),
        None => stock_scan(builder, invocation),
    }
}

type Outputs = TVec<(String, String, usize, isize)>;

fn known_scan(
    builder: &mut ModelBuilder,
    invocation: &ResolvedInvocation,
) -> TractResult<Option<(KnownScan, TVec<OutletId>)>> {
    let body: String = invocation.named_arg_as(builder, "body")?;
    if !["gru_step", "lstm_step", "rnn_step"].iter().any(|prefix| body.starts_with(prefix)) {
        return Ok(None);
    }
    let scan: TVec<(String, OutletId, usize, isize)> = invocation.named_arg_as(builder, "scan")?;
    let full: TVec<(String, OutletId)> = invocation.named_arg_as(builder, "full")?;
    let state: TVec<(String, OutletId, String)> = invocation.named_arg_as(builder, "state")?;
    let Ok(outputs) = invocation.named_arg_as::<Outputs>(builder, "output") else {
        return Ok(None);
    };
    let skip: usize = invocation.named_arg_as(builder, "skip")?;
    let external_state: bool = invocation.named_arg_as(builder, "external_state")?;
    let reset_every_turn: bool = invocation.named_arg_as(builder, "reset_every_turn")?;
    let Some((_, r)) = full.iter().find(|f| f.0 == "r") else {
        return Ok(None);
    };
    let Some(view) = Weights::default().view(&builder.model, *r) else {
        return Ok(None);
    };
    let hidden = view.packed.cols;
    let Some(step) = step_named(&body, hidden) else {
        return Ok(None);
    };
    let expected = parse_fragments(&text_of(&body, &step))?;
    let is_known = builder
        .proto_model
        .doc
        .fragments
        .iter()
        .any(|f| f.decl.id.0 == body && is_same(f, &expected[0]));
    let states: &[&str] = if step.cell == Cell::Lstm { &["h", "c"] } else { &["h"] };
    let rows = step.cell.gates() * hidden;
    let facts_fit = view.only(crate::packed::Role::Output) == Some(Some(0))
        && view.shape()[..] == [rows, hidden]
        && scan.len() == 1
        && builder.model.outlet_fact(scan[0].1)?.datum_type == DatumType::F32
        && builder.model.outlet_fact(scan[0].1)?.rank() == 3
        && builder.model.outlet_fact(scan[0].1)?.shape[2] == rows.to_dim();
    let arguments_fit = is_known
        && skip == 0
        && !external_state
        && scan.iter().all(|s| s.0 == "x" && s.2 == 0 && (s.3 == 1 || s.3 == -1))
        && state.len() == states.len()
        && full.len() == 1 + usize::from(step.has_bias);
    if !facts_fit || !arguments_fit {
        return Ok(None);
    }
    let mut inputs = tvec!(scan[0].1, *r);
    if step.has_bias {
        let Some((_, b)) = full.iter().find(|f| f.0 == "b") else {
            return Ok(None);
        };
        inputs.push(*b);
    }
    for name in states {
        let Some((_, wire, _)) =
            state.iter().find(|s| s.0 == *name && s.2 == format!("{name}_next"))
        else {
            return Ok(None);
        };
        let fact = builder.model.outlet_fact(*wire)?;
        if fact.datum_type != DatumType::F32 || fact.rank() != 3 {
            return Ok(None);
        }
        inputs.push(*wire);
    }
    let mut emits = vec![];
    for (name, what, axis, chunk) in &outputs {
        let emit = match (name.as_str(), what.as_str()) {
            ("h_next", "full") if *axis == 0 && *chunk == scan[0].3 => Emit::Steps,
            ("h_next", "last") => Emit::Last(0),
            ("c_next", "last") if states.len() == 2 => Emit::Last(1),
            _ => return Ok(None),
        };
        emits.push(emit);
    }
    let kind =
        |name: &&str| ACTIVATIONS.iter().find(|a| a.0 == *name).map_or(Activation::None, |a| a.1);
    let mut activations = [Activation::None; 3];
    for (to, name) in activations.iter_mut().zip(&step.activations) {
        *to = kind(name);
    }
    let (cell, has_bias, backwards) = (step.cell, step.has_bias, scan[0].3 < 0);
    let op = KnownScan { cell, hidden, activations, has_bias, backwards, reset_every_turn, emits };
    Ok(Some((op, inputs)))
}
