//! lib/c/kernels/espalier_kernels.h, as far as this crate uses it. Names and order of fields are the
//! header's; what each means is written there.
//!
//! No function throws, unwinds or ends the process because of what it is given. A pointer has the
//! length that the fields beside it say: that is the caller's promise, and src/kernels.rs keeps it.

#![allow(non_camel_case_types)]

use std::ffi::{c_char, c_void};

pub type espalier_status = i32;
pub const ESPALIER_OK: espalier_status = 0;

pub type espalier_type = i32;
pub const ESPALIER_F32: espalier_type = 0;
pub const ESPALIER_F16: espalier_type = 2;
pub const ESPALIER_I8: espalier_type = 4;
pub const ESPALIER_U32: espalier_type = 10;

pub const ESPALIER_BORROW_VALUES: u32 = 1;
pub const ESPALIER_EXACT_VALUES: u32 = 1;

pub const ESPALIER_SAMPLES_OUTER: i32 = 0;
pub const ESPALIER_SAMPLES_INNER: i32 = 1;

pub const ESPALIER_NONE: i32 = 0;
pub const ESPALIER_RELU: i32 = 1;
pub const ESPALIER_SIGMOID: i32 = 2;
pub const ESPALIER_TANH: i32 = 3;

pub const ESPALIER_GRU: i32 = 0;
pub const ESPALIER_LSTM: i32 = 1;
pub const ESPALIER_RNN: i32 = 2;

/// Handles: only ever seen through a pointer.
#[repr(C)]
pub struct espalier_pool {
    _private: [u8; 0],
}
#[repr(C)]
pub struct espalier_matrix {
    _private: [u8; 0],
}
#[repr(C)]
pub struct espalier_product {
    _private: [u8; 0],
}
#[repr(C)]
pub struct espalier_recurrent {
    _private: [u8; 0],
}
#[repr(C)]
pub struct espalier_conv {
    _private: [u8; 0],
}

#[repr(C)]
pub struct espalier_matrix_desc {
    pub size: usize,
    pub parts: usize,
    pub rows: usize,
    pub cols: usize,
    pub block_rows: u32,
    pub block_cols: u32,
    pub blocks: usize,
    pub type_: espalier_type,
    pub index_type: espalier_type,
    pub values: *const c_void,
    pub index: *const c_void,
    pub scale: *const f32,
    pub scales: usize,
    pub diagonal: *const c_void,
    pub flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct espalier_activation {
    pub kind: i32,
    pub alpha: f32,
    pub beta: f32,
}

#[repr(C)]
pub struct espalier_recurrent_desc {
    pub size: usize,
    pub cell: i32,
    pub linear_before_reset: i32,
    pub input_weight: *const espalier_matrix,
    pub recurrent_weight: *const espalier_matrix,
    pub bias: *const f32,
    pub peephole: *const f32,
    pub clip: f32,
    pub activations: [espalier_activation; 3],
    pub flags: u32,
}

#[repr(C)]
pub struct espalier_sequence_desc {
    pub size: usize,
    pub steps: usize,
    pub batch: usize,
    pub batch_first: i32,
    pub backwards: i32,
    pub lengths: *const i32,
}

#[repr(C)]
pub struct espalier_conv_desc {
    pub size: usize,
    pub weight: *const espalier_matrix,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    pub pad_begin: [usize; 2],
    pub pad_end: [usize; 2],
    pub flags: u32,
}

extern "C" {
    pub fn espalier_last_error() -> *const c_char;
    pub fn espalier_version() -> *const c_char;
    pub fn espalier_simd_target() -> *const c_char;

    pub fn espalier_matrix_create(
        desc: *const espalier_matrix_desc,
        matrix: *mut *mut espalier_matrix,
    ) -> espalier_status;
    pub fn espalier_matrix_pack(
        weight: *const f32,
        parts: usize,
        rows: usize,
        cols: usize,
        block_rows: u32,
        block_cols: u32,
        matrix: *mut *mut espalier_matrix,
    ) -> espalier_status;
    pub fn espalier_matrix_outputs(matrix: *const espalier_matrix) -> usize;
    pub fn espalier_matrix_inputs(matrix: *const espalier_matrix) -> usize;
    pub fn espalier_matrix_destroy(matrix: *mut espalier_matrix);

    pub fn espalier_product_create(
        matrix: *const espalier_matrix,
        flags: u32,
        product: *mut *mut espalier_product,
    ) -> espalier_status;
    pub fn espalier_product_run(
        product: *mut espalier_product,
        x: *const f32,
        layout: i32,
        n: usize,
        bias: *const f32,
        activation: *const espalier_activation,
        y: *mut f32,
        pool: *mut espalier_pool,
    ) -> espalier_status;
    pub fn espalier_product_kernel(product: *const espalier_product) -> *const c_char;
    pub fn espalier_product_bytes(product: *const espalier_product) -> usize;
    pub fn espalier_product_destroy(product: *mut espalier_product);

    pub fn espalier_recurrent_create(
        desc: *const espalier_recurrent_desc,
        layer: *mut *mut espalier_recurrent,
    ) -> espalier_status;
    pub fn espalier_recurrent_run(
        layer: *mut espalier_recurrent,
        desc: *const espalier_sequence_desc,
        x: *const f32,
        y: *mut f32,
        h: *mut f32,
        c: *mut f32,
        pool: *mut espalier_pool,
    ) -> espalier_status;
    pub fn espalier_recurrent_bytes(layer: *const espalier_recurrent) -> usize;
    pub fn espalier_recurrent_destroy(layer: *mut espalier_recurrent);

    pub fn espalier_conv_create(
        desc: *const espalier_conv_desc,
        conv: *mut *mut espalier_conv,
    ) -> espalier_status;
    pub fn espalier_conv_output(
        conv: *const espalier_conv,
        height: usize,
        width: usize,
        output: *mut usize,
    ) -> espalier_status;
    pub fn espalier_conv_run(
        conv: *mut espalier_conv,
        x: *const f32,
        batch: usize,
        height: usize,
        width: usize,
        bias: *const f32,
        activation: *const espalier_activation,
        y: *mut f32,
        pool: *mut espalier_pool,
    ) -> espalier_status;
    pub fn espalier_conv_bytes(conv: *const espalier_conv) -> usize;
    pub fn espalier_conv_destroy(conv: *mut espalier_conv);
}
