//! Recurrent layers with packed weights: tract's GRU and scans, states, symbols, and pulse.

mod common;
use common::*;
use espalier_tract::tract_nnef::internal::*;

const LAYER: &[&str] = &["EspalierRecurrent"];

/// tract_core_gru_seq over x [N, T, I].
struct Gru {
    hidden: usize,
    inputs: usize,
    batch: usize,
    steps: usize,
    packed: [bool; 2], // W, R
    dt: DatumType,
    arguments: String,
    bias: bool,
}

impl Gru {
    fn document(&self, random: &mut Random) -> Document {
        let (h, i) = (self.hidden, self.inputs);
        let mut doc = Document::default();
        doc.input("x", &format!("[{}, {}, {i}]", self.batch, self.steps));
        let mut weight = |doc: &mut Document, name: &str, cols: usize, packed: bool| {
            if packed {
                let weight =
                    Weight::stacked(3, h, cols, [16, 1]).dt(self.dt).shaped(&[3 * h, cols]);
                let weight = if name == "r" { weight.diagonal() } else { weight };
                return weight.declare(doc, name, random);
            }
            doc.variable(name, random.tensor(&[3 * h, cols]));
            name.to_string()
        };
        let w = weight(&mut doc, "w", i, self.packed[0]);
        let r = weight(&mut doc, "r", h, self.packed[1]);
        let mut b = String::new();
        if self.bias {
            doc.variable("b", random.tensor(&[1, 6 * h]));
            b = "b = b, has_bias = 1, ".into();
        }
        doc.variable("h0", random.tensor(&[1, self.batch, h]));
        doc.line(format!(
            "( y, last ) = tract_core_gru_seq(x = x, w = {w}, r = {r}, initial_h = h0, {b}hidden = {h}, {});",
            self.arguments
        ));
        doc.outputs.extend(["y".into(), "last".into()]);
        doc
    }

    fn check(&self, seed: u64) {
        let mut random = Random(seed);
        let folder = self.document(&mut random).write();
        println!("{} {:?} {:?}", self.arguments, self.packed, self.dt);
        let x = random.tensor(&[self.batch, self.steps, self.inputs]);
        compare(&folder.0, &[x], LAYER);
    }
}

#[test]
fn gru_seq() {
    let mut seed = 0;
    for (hidden, inputs, batch, steps) in
        [(32, 24, 1, 1), (32, 24, 1, 7), (20, 9, 3, 5), (80, 16, 2, 4)]
    {
        for chunk in [1, -1] {
            for reset in [0, 1] {
                for bias in [false, true] {
                    seed += 1;
                    let packed = [seed % 3 != 0, seed % 3 != 1];
                    let dt = [DatumType::F32, DatumType::F16, DatumType::I8][seed as usize % 3];
                    let arguments = format!("chunk = {chunk}, reset_every_turn = {reset}");
                    Gru { hidden, inputs, batch, steps, packed, dt, arguments, bias }.check(seed);
                }
            }
        }
    }
}

#[test]
fn gru_seq_without_states_of_all_steps() {
    let arguments = "chunk = 1, emit_y = 0".into();
    let gru = Gru {
        hidden: 32,
        inputs: 16,
        batch: 2,
        steps: 5,
        packed: [true, true],
        dt: DatumType::F32,
        arguments,
        bias: true,
    };
    gru.check(9);
}

/// The fragments are word for word those of formats/nnef/write/steps.cpp.
const LSTM: &str = "fragment lstm_step_32(
    h: tensor<scalar>, c: tensor<scalar>, x: tensor<scalar>, r: tensor<scalar> )
    -> ( h_next: tensor<scalar>, c_next: tensor<scalar> )
{
    hs = squeeze(h, axes = [0]);
    cs = squeeze(c, axes = [0]);
    xs = squeeze(x, axes = [0]);
    gates = add(xs, matmul(hs, r, transposeB = true));
    ( h1, c1 ) = tract_core_lstm_epilogue(gates, cs, hidden = 32);
    h_next = unsqueeze(h1, axes = [0]);
    c_next = unsqueeze(c1, axes = [0]);
}
";

/// x [T, N, 128]; `fragment` is called lstm_step_32.
fn lstm(fragment: &str, extents: &str, batch: usize, chunk: i32, extensions: &str) -> Document {
    let mut random = Random(21);
    let mut doc = Document {
        fragments: fragment.into(),
        extensions: extensions.into(),
        ..Document::default()
    };
    doc.input("x", extents);
    let r = Weight::stacked(4, 32, 32, [8, 4]).shaped(&[1, 128, 32]).diagonal().declare(
        &mut doc,
        "rr",
        &mut random,
    );
    doc.line(format!("r = squeeze({r}, axes = [0]);"));
    doc.variable("h0", random.tensor(&[1, batch, 32]));
    doc.variable("c0", random.tensor(&[1, batch, 32]));
    doc.line(format!(
        "( y, h, c ) = tract_core_scan(body = 'lstm_step_32', scan = [('x', x, 0, {chunk})], full = [('r', r)], \
         state = [('h', h0, 'h_next'), ('c', c0, 'c_next')], output = [('h_next', 'full', 0, {chunk}), ('h_next', \
         'last', 0, 1), ('c_next', 'last', 0, 1)], skip = 0, reset_every_turn = 0, external_state = 0);"
    ));
    doc.outputs.extend(["y".into(), "h".into(), "c".into()]);
    doc
}

#[test]
fn lstm_scan() {
    for (steps, batch, chunk) in [(1, 1, 1), (6, 2, 1), (6, 1, -1)] {
        let folder = lstm(LSTM, &format!("[{steps}, {batch}, 128]"), batch, chunk, "").write();
        compare(&folder.0, &[Random(5).tensor(&[steps, batch, 128])], LAYER);
    }
}

/// A body of somebody else's: its product is native, the rest is tract's scan.
#[test]
fn other_bodies() {
    let other = LSTM.replace("add(xs,", "sub(xs,");
    let folder = lstm(&other, "[6, 2, 128]", 2, 1, "").write();
    compare(&folder.0, &[Random(5).tensor(&[6, 2, 128])], &["EspalierMatMul"]);
}

/// Slices of the recurrent weight inside of a body: products of gates.
#[test]
fn gates_apart() {
    let other = LSTM.replace(
        "matmul(hs, r, transposeB = true)",
        "concat([matmul(hs, slice(r, axes = [0], begin = [0], end = [96]), transposeB = true), matmul(hs, slice(r, \
         axes = [0], begin = [96], end = [128]), transposeB = true)], axis = 1)",
    );
    let folder = lstm(&other, "[3, 1, 128]", 1, 1, "").write();
    compare(&folder.0, &[Random(6).tensor(&[3, 1, 128])], &["EspalierMatMul"; 2]);
}

#[test]
fn free_steps() {
    let folder = lstm(LSTM, "[T, 1, 128]", 1, 1, "extension tract_symbol T;\n").write();
    for steps in [1, 4, 9] {
        compare(&folder.0, &[Random(7).tensor(&[steps, 1, 128])], LAYER);
    }
}

/// A sequence in one call, and step by step in one session.
#[test]
fn a_session_carries_its_states() {
    let folder = lstm(LSTM, "[T, 1, 128]", 1, 1, "extension tract_symbol T;\n").write();
    let plan =
        espalier_tract::load(&folder.0).unwrap().into_optimized().unwrap().into_runnable().unwrap();
    let x = Random(8).tensor(&[5, 1, 128]);
    let whole = plan.run(tvec!(x.clone().into_tvalue())).unwrap();
    let mut session = plan.spawn().unwrap();
    for step in 0..5 {
        let frame = x.slice(0, step, step + 1).unwrap().into_tvalue();
        let y = session.run(tvec!(frame)).unwrap();
        assert!(difference(&y[0], &whole[0].slice(0, step, step + 1).unwrap()) < 1e-6);
    }
    // Another session begins anew.
    let again = plan.run(tvec!(x.into_tvalue())).unwrap();
    assert_eq!(again[0], whole[0]);
}

#[test]
fn a_batch_that_changes_is_an_error() {
    let mut random = Random(30);
    let mut doc =
        Document { extensions: "extension tract_symbol N;\n".into(), ..Document::default() };
    doc.input("x", "[N, 2, 16]");
    let w = Weight::stacked(3, 32, 16, [16, 1]).declare(&mut doc, "w", &mut random);
    let r = Weight::stacked(3, 32, 32, [16, 1]).declare(&mut doc, "r", &mut random);
    doc.line("h0 = tract_core_broadcast(0.0, shape = [1, N, 32]);");
    doc.line(format!("( y, h ) = tract_core_gru_seq(x = x, w = {w}, r = {r}, initial_h = h0, hidden = 32, chunk = 1);"));
    doc.outputs.push("y".into());
    let plan = espalier_tract::load(&doc.write().0)
        .unwrap()
        .into_optimized()
        .unwrap()
        .into_runnable()
        .unwrap();
    let mut session = plan.spawn().unwrap();
    session.run(tvec!(random.tensor(&[2, 2, 16]).into_tvalue())).unwrap();
    let error = session.run(tvec!(random.tensor(&[3, 2, 16]).into_tvalue())).unwrap_err();
    assert!(format!("{error:#}").contains("expected batch 3"), "{error:#}");
}

#[cfg(feature = "pulse")]
mod pulse {
    use super::*;
    use espalier_tract::tract_pulse::internal::{PulsedModel, PulsedModelExt};

    /// Pulses of `pulse` frames against the whole at once; `axis` is the stream's.
    fn check(doc: Document, x: Tensor, axis: usize, pulse: usize, natives_expected: &[&str]) {
        let folder = doc.write();
        let model = espalier_tract::load(&folder.0).unwrap();
        assert_eq!(natives(&model), natives_expected);
        let whole =
            model.clone().into_runnable().unwrap().run(tvec!(x.clone().into_tvalue())).unwrap();
        let symbol = model.symbols.sym("T");
        let pulsed =
            PulsedModel::new(&model.into_decluttered().unwrap(), symbol, &pulse.to_dim()).unwrap();
        let typed = pulsed.into_typed().unwrap();
        assert_eq!(natives(&typed), natives_expected);
        let delay = typed.properties["pulse.delay"].cast_to::<i64>().unwrap();
        let delay = delay.try_as_plain_ram().unwrap().as_slice::<i64>().unwrap()[0] as usize;
        let plan = typed.into_optimized().unwrap().into_runnable().unwrap();
        let mut session = plan.spawn().unwrap();
        let (steps, length) = (x.shape()[axis], whole[0].shape()[axis]);
        let mut seen = 0;
        for begin in (0..steps).step_by(pulse) {
            let y = session
                .run(tvec!(x.slice(axis, begin, begin + pulse).unwrap().into_tvalue()))
                .unwrap();
            for at in 0..y[0].shape()[axis] {
                let Some(place) = (begin + at).checked_sub(delay) else {
                    continue;
                };
                if place < length {
                    let expected = whole[0].slice(axis, place, place + 1).unwrap();
                    assert!(
                        difference(&y[0].slice(axis, at, at + 1).unwrap(), &expected) < 1e-5,
                        "{place}"
                    );
                    seen += 1;
                }
            }
        }
        assert!(seen + delay >= length && seen > 0, "{seen} of {length}");
    }

    #[test]
    fn product() {
        let mut random = Random(40);
        let mut doc =
            Document { extensions: "extension tract_symbol T;\n".into(), ..Document::default() };
        doc.input("x", "[1, T, 24]");
        let w = Weight::new(32, 24, [16, 1]).declare(&mut doc, "w", &mut random);
        doc.line(format!("y = matmul(x, unsqueeze({w}, axes = [0]), transposeB = true);"));
        doc.outputs.push("y".into());
        check(doc, random.tensor(&[1, 12, 24]), 1, 4, &["EspalierMatMul"]);
    }

    #[test]
    fn convolution() {
        let mut random = Random(41);
        let mut doc =
            Document { extensions: "extension tract_symbol T;\n".into(), ..Document::default() };
        doc.input("x", "[1, 8, T]");
        let w = Weight::new(24, 40, [8, 1]).shaped(&[24, 8, 5]).declare(&mut doc, "w", &mut random);
        doc.line(format!(
            "y = conv(x, {w}, 0.0, border = 'constant', padding = [(0, 0)], stride = [1], dilation = [1], groups = 1);"
        ));
        doc.outputs.push("y".into());
        check(doc, random.tensor(&[1, 8, 24]), 2, 4, &["EspalierConv"]);
    }

    #[test]
    fn layer() {
        let mut doc = lstm(LSTM, "[T, 1, 128]", 1, 1, "extension tract_symbol T;\n");
        doc.outputs.truncate(1);
        check(doc, Random(42).tensor(&[12, 1, 128]), 0, 3, LAYER);
    }

    /// A layer behind a convolution: its first steps are not there yet.
    #[test]
    fn layer_behind_a_delay() {
        let mut random = Random(43);
        let mut doc =
            Document { extensions: "extension tract_symbol T;\n".into(), ..Document::default() };
        doc.fragments = LSTM.into();
        doc.input("x", "[1, 8, T]");
        let w =
            Weight::new(128, 24, [8, 1]).shaped(&[128, 8, 3]).declare(&mut doc, "w", &mut random);
        doc.line(format!(
            "f = conv(x, {w}, 0.0, border = 'constant', padding = [(0, 0)], stride = [1], dilation = [1], groups = 1);"
        ));
        doc.line("frames = transpose(f, axes = [2, 0, 1]);");
        let r = Weight::stacked(4, 32, 32, [8, 4]).declare(&mut doc, "r", &mut random);
        doc.line("zero = tract_core_broadcast(0.0, shape = [1, 1, 32]);");
        doc.line(format!(
            "y = tract_core_scan(body = 'lstm_step_32', scan = [('x', frames, 0, 1)], full = [('r', {r})], state = \
             [('h', zero, 'h_next'), ('c', zero, 'c_next')], output = [('h_next', 'full', 0, 1)], skip = 0, \
             reset_every_turn = 0, external_state = 0);"
        ));
        doc.line("z = transpose(y, axes = [1, 2, 0]);");
        doc.outputs.push("z".into());
        check(doc, random.tensor(&[1, 8, 24]), 2, 4, &["EspalierConv", "EspalierRecurrent"]);
    }
}
