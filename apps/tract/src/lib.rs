//! Block-sparse NNEF models of espalier in [tract](https://docs.rs/tract-nnef): packed weights stay
//! packed, and products, convolutions, GRU, LSTM and RNN layers run at the speed of their sparsity.
//!
//! ```no_run
//! use espalier_tract::tract_nnef::prelude::*;
//!
//! # fn main() -> TractResult<()> {
//! let model = espalier_tract::load("packed.nnef.tgz")?.into_optimized()?.into_runnable()?;
//! let mut stream = model.spawn()?; // holds the states of recurrent layers
//! let gains = stream.run(tvec!(Tensor::zero::<f32>(&[1, 1, 32])?.into_tvalue()))?;
//! # Ok(())
//! # }
//! ```
//!
//! What [`load`] gives is a `TypedModel` as tract's own reader gives: symbols are free (batch, time),
//! `into_optimized`, `concretize_dims` and sessions do what they do. It differs in what became of
//! weights:
//!
//! - Fragments whose text is espalier's (`block_sparse_decode`, ...) are taken out of the document;
//!   their calls become packed weights, whose index the kernels check. A wrong or hostile index is
//!   an `Err`.
//! - A packed weight and its reader (matmul, linear, einsum, conv, tract_core_gru_seq, a scan over a
//!   step of GRU, LSTM or RNN) become one native operator. Scales, diagonals, casts, strips and
//!   transposes of axes between them are part of it, and so are a bias and relu, sigmoid or tanh
//!   behind a product.
//! - A packed weight that anything else reads becomes the dense constant that tract would have made.
//!
//! A model without packed weights loads as tract loads it.
//!
//! Values are f32, f16 or i8. With i8 inputs are multiplied as floats, exactly, unless
//! [`Loader::rounded_inputs`] lets them be rounded to 8 bits for integer instructions.
//!
//! With the feature `pulse`, tract-pulse knows the native operators.
//!
//! The crate links libespalier_kernels (README.md says how it is found).

mod convolution;
mod decode;
mod document;
#[allow(dead_code)]
mod ffi;
mod handles;
mod kernels;
mod layers;
mod ops;
mod packed;
mod products;
#[cfg(feature = "pulse")]
mod pulse;
mod rewrite;
mod steps;

pub use kernels::{simd_target, version};
pub use ops::{PackedConv, PackedMatMul, PackedRecurrent};
pub use tract_nnef;
#[cfg(feature = "pulse")]
pub use tract_pulse;

use rewrite::{Options, Weights};
use std::path::Path;
use tract_nnef::ast::ProtoModel;
use tract_nnef::framework::Nnef;
use tract_nnef::internal::*;

/// A model from a folder, .nnef.tar or .nnef.tgz.
pub fn load(path: impl AsRef<Path>) -> TractResult<TypedModel> {
    Loader::default().load(path)
}

/// A model from the bytes of a .nnef.tar or .nnef.tgz.
pub fn load_from_read(reader: impl std::io::Read) -> TractResult<TypedModel> {
    Loader::default().load_from_read(reader)
}

/// How to load.
#[derive(Clone, Debug)]
pub struct Loader {
    rounded_inputs: bool,
}

impl Default for Loader {
    fn default() -> Loader {
        Loader { rounded_inputs: false }
    }
}

impl Loader {
    /// Lets values of 8 bits be multiplied by integer instructions: inputs are then rounded to 8 bits
    /// of their largest magnitude. Quicker, and no longer equal to stock tract within 1e-5.
    pub fn rounded_inputs(mut self, yes: bool) -> Loader {
        self.rounded_inputs = yes;
        self
    }

    /// See [`load`].
    pub fn load(&self, path: impl AsRef<Path>) -> TractResult<TypedModel> {
        let path = path.as_ref();
        let load = || self.load_proto(tract_nnef::nnef().proto_model_for_path(path)?);
        load().with_context(|| format!("{}", path.display()))
    }

    /// See [`load_from_read`].
    pub fn load_from_read(&self, mut reader: impl std::io::Read) -> TractResult<TypedModel> {
        self.load_proto(tract_nnef::nnef().proto_model_for_read(&mut reader)?)
    }

    /// A document and its tensors that tract has parsed.
    pub fn load_proto(&self, mut proto: ProtoModel) -> TractResult<TypedModel> {
        #[cfg(feature = "pulse")]
        pulse::register()?;
        document::drop_known_fragments(&mut proto)?;
        let mut model = framework()?.model_for_proto_model(&proto)?;
        drop(proto);
        rewrite::rewrite(&mut model, &Weights::default(), Options { exact: !self.rounded_inputs })?;
        Ok(model)
    }
}

/// tract's NNEF with the registry that answers to espalier's decodes.
fn framework() -> TractResult<Nnef> {
    let nnef = tract_nnef::nnef();
    let core =
        nnef.registries.iter().find(|r| r.id.0 == "tract_core").context("tract has no registry")?;
    let registry = document::registry(core)?;
    Ok(nnef.with_registry(registry))
}
