//! A packed model beside stock tract on the dense one, in turns: one thread, each plan optimised for
//! the same extents. Prints the medians of a run and their ratio, and how far outputs are apart.
//!
//!     cargo run --release --example bench -- PACKED DENSE [SYMBOL=EXTENT...] [seconds=6]

use espalier_tract::tract_nnef::internal::*;
use std::time::{Duration, Instant};

const TURN: Duration = Duration::from_millis(100);

type Plan = Arc<TypedSimplePlan>;

fn main() -> TractResult<()> {
    let mut files = vec![];
    let mut extents = vec![];
    let mut seconds = 6.0;
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("seconds", value)) => seconds = value.parse()?,
            Some((symbol, extent)) => extents.push((symbol.to_string(), extent.parse::<i64>()?)),
            None => files.push(argument),
        }
    }
    ensure!(files.len() == 2, "bench PACKED DENSE [SYMBOL=EXTENT...]");
    let packed = optimised(espalier_tract::load(&files[0])?, &extents)?;
    let dense = optimised(espalier_tract::tract_nnef::nnef().model_for_path(&files[1])?, &extents)?;
    let native = packed.nodes.iter().filter(|n| n.op.name().starts_with("Espalier")).count();
    let inputs = inputs_of(&packed)?;
    let (packed, dense) = (packed.into_runnable()?, dense.into_runnable()?);
    let apart = difference(&packed.run(inputs.clone())?, &dense.run(inputs.clone())?)?;

    let plans: [Plan; 2] = [packed, dense];
    let mut states = [plans[0].spawn()?, plans[1].spawn()?];
    let mut times = [vec![], vec![]];
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < end {
        for (state, times) in states.iter_mut().zip(&mut times) {
            state.run(inputs.clone())?; // finds its weights in the caches again
            let turn = Instant::now();
            while turn.elapsed() < TURN {
                let start = Instant::now();
                state.run(inputs.clone())?;
                times.push(start.elapsed().as_secs_f64());
            }
        }
    }
    let [packed, dense] = times.map(median);
    println!(
        "{}: {:.1} us, stock tract dense {:.1} us: {:.2}x ({native} native operators, outputs {apart:.1e} apart)",
        files[0],
        packed * 1e6,
        dense * 1e6,
        dense / packed
    );
    Ok(())
}

fn optimised(model: TypedModel, extents: &[(String, i64)]) -> TractResult<TypedModel> {
    let values = extents.iter().map(|(s, e)| (model.symbols.sym(s), e.to_dim())).collect();
    model.set_symbols(&values)?.into_optimized()
}

/// Noise for floats, numbers below 1000 for integers.
fn inputs_of(model: &TypedModel) -> TractResult<TVec<TValue>> {
    let mut seed = 1u64;
    let mut next = move || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 40) as f32 / (1u64 << 24) as f32
    };
    let mut inputs = tvec!();
    for at in 0..model.input_outlets()?.len() {
        let fact = model.input_fact(at)?;
        let shape = fact
            .shape
            .as_concrete()
            .with_context(|| format!("{:?} is free: SYMBOL=EXTENT", fact.shape))?;
        let count = shape.iter().product();
        let name = &model.node(model.input_outlets()?[at].node).name;
        let values: Vec<f32> = (0..count).map(|_| next()).collect();
        let values = if fact.datum_type.is_float() {
            tensor1(&values.iter().map(|v| 2.0 * v - 1.0).collect::<Vec<_>>())
        } else if name.contains("mask") {
            tensor1(&vec![1i64; count])
        } else if name.contains("type") {
            tensor1(&vec![0i64; count])
        } else {
            tensor1(&values.iter().map(|v| (v * 1000.0) as i64).collect::<Vec<_>>())
        };
        inputs.push(
            values.cast_to_dt(fact.datum_type)?.into_owned().into_shape(shape)?.into_tvalue(),
        );
    }
    Ok(inputs)
}

/// Largest difference, relative to 1 or the value.
fn difference(a: &[TValue], b: &[TValue]) -> TractResult<f32> {
    let mut worst = 0.0f32;
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a.cast_to::<f32>()?, b.cast_to::<f32>()?);
        let (a, b) = (a.try_as_plain_ram()?, b.try_as_plain_ram()?);
        for (a, b) in a.as_slice::<f32>()?.iter().zip(b.as_slice::<f32>()?) {
            let apart = (a - b).abs() / b.abs().max(1.0);
            worst = if apart.is_nan() { f32::INFINITY } else { worst.max(apart) };
        }
    }
    Ok(worst)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
