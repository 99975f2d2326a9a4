//! Runs a packed model once, on zeros, and says what became of its weights.
//!
//!     cargo run --release --example run -- packed.nnef.tgz [SYMBOL=EXTENT...]

use espalier_tract::tract_nnef::internal::*;

fn main() -> TractResult<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().context("run MODEL [SYMBOL=EXTENT...]")?;
    let mut model = espalier_tract::load(path)?;
    let mut extents = HashMap::new();
    for argument in arguments {
        let (symbol, extent) = argument.split_once('=').context("expected SYMBOL=EXTENT")?;
        extents.insert(model.symbols.sym(symbol), extent.parse::<i64>()?.to_dim());
    }
    model = model.set_symbols(&extents)?.into_optimized()?;
    println!("kernels for {}", espalier_tract::simd_target());
    for node in model.nodes.iter().filter(|n| n.op.name().starts_with("Espalier")) {
        println!("{}: {} {}", node.name, node.op.name(), node.op.info()?.join(", "));
    }
    let mut inputs = tvec!();
    for at in 0..model.input_outlets()?.len() {
        let fact = model.input_fact(at)?;
        let shape = fact.shape.as_concrete().context("an input has free extents: SYMBOL=EXTENT")?;
        inputs.push(Tensor::zero_dt(fact.datum_type, shape)?.into_tvalue());
    }
    for (at, output) in model.into_runnable()?.run(inputs)?.iter().enumerate() {
        println!("output {at}: {:?}", output);
    }
    Ok(())
}
