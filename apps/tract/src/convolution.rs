//! Convolutions of the kernels; as src/kernels.rs.

use crate::ffi::*;
use crate::kernels::{checked, flags, made, Matrix};
use std::ptr::{null, null_mut, NonNull};
use tract_nnef::internal::*;

/// Extents are {height, width}.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    pub pad_begin: [usize; 2],
    pub pad_end: [usize; 2],
}

pub struct Conv {
    raw: NonNull<espalier_conv>,
    channels_in: usize,
    channels_out: usize,
}

// SAFETY: as for Product.
unsafe impl Send for Conv {}

impl Conv {
    /// `weight` has a part for each of `groups`.
    pub fn new(weight: &Matrix, groups: usize, window: &Window, exact: bool) -> TractResult<Conv> {
        let area = window.kernel[0].checked_mul(window.kernel[1]).unwrap_or(0);
        ensure!(
            area > 0 && weight.inputs() % area == 0,
            "a convolution's weight does not fit its window"
        );
        let desc = espalier_conv_desc {
            size: std::mem::size_of::<espalier_conv_desc>(),
            weight: weight.raw.as_ptr(),
            kernel: window.kernel,
            stride: window.stride,
            dilation: window.dilation,
            pad_begin: window.pad_begin,
            pad_end: window.pad_end,
            flags: flags(exact),
        };
        let mut raw = null_mut();
        // SAFETY: the weight is alive.
        let status = unsafe { espalier_conv_create(&desc, &mut raw) };
        let channels_in =
            groups.checked_mul(weight.inputs() / area).context("too many channels")?;
        Ok(Conv { raw: made(status, raw)?, channels_in, channels_out: weight.outputs() })
    }

    /// Extents of the output.
    pub fn output(&self, height: usize, width: usize) -> TractResult<[usize; 2]> {
        let mut output = [0; 2];
        // SAFETY: the output has room for two extents.
        checked(unsafe {
            espalier_conv_output(self.raw.as_ptr(), height, width, output.as_mut_ptr())
        })?;
        Ok(output)
    }

    /// x [batch, channels_in, height, width], y [batch, channels_out, output].
    pub fn run(
        &mut self,
        x: &[f32],
        batch: usize,
        image: [usize; 2],
        bias: Option<&[f32]>,
        y: &mut [f32],
    ) -> TractResult<()> {
        let count = |channels: usize, image: [usize; 2]| {
            [channels, image[0], image[1]].iter().try_fold(batch, |n, e| n.checked_mul(*e))
        };
        let output = self.output(image[0], image[1])?;
        ensure!(Some(x.len()) == count(self.channels_in, image), "{} elements of images", x.len());
        ensure!(
            Some(y.len()) == count(self.channels_out, output),
            "{} elements of results",
            y.len()
        );
        ensure!(
            bias.is_none_or(|b| b.len() == self.channels_out),
            "a bias has a number for each channel"
        );
        if y.is_empty() {
            return Ok(());
        }
        // SAFETY: lengths were compared; x and y are different borrows.
        checked(unsafe {
            espalier_conv_run(
                self.raw.as_ptr(),
                x.as_ptr(),
                batch,
                image[0],
                image[1],
                bias.map_or(null(), <[f32]>::as_ptr),
                null(),
                y.as_mut_ptr(),
                null_mut(),
            )
        })
    }

    /// Bytes of weights and indices.
    pub fn bytes(&self) -> usize {
        // SAFETY: the handle is alive.
        unsafe { espalier_conv_bytes(self.raw.as_ptr()) }
    }
}

impl Drop for Conv {
    fn drop(&mut self) {
        // SAFETY: made by this type and destroyed here alone.
        unsafe { espalier_conv_destroy(self.raw.as_ptr()) }
    }
}
