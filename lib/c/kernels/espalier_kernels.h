/* espalier's kernels in C: products, recurrent layers and convolutions with packed (block-sparse)
 * weights. No file, no model: whoever has the values and the index of a weight can multiply it.
 * C11; library libespalier_kernels (libespalier has all of it too, and models: espalier.h).
 *
 * Errors   A function that can fail gives an espalier_status; espalier_last_error() says what was
 *          found and what was expected. Then nothing was written but, at most, part of a result.
 *          Nothing is thrown and nothing ends the process because of a wrong argument, an index or
 *          a number. What cannot be checked is the length of memory behind a pointer, and overlap.
 * Handles  Made by ..._create, given back by ..._destroy (null is allowed). What a handle was made
 *          from may be destroyed or overwritten at once, unless a flag below says otherwise.
 * Threads  Different handles may be used by different threads at the same time. One handle serves
 *          one call at a time; an espalier_matrix may be read by any number of threads. The pool of
 *          a call counts as used by that call. Null in place of a pool: the calling thread alone.
 *          Results do not depend on the number of threads.
 * Memory   A call allocates nothing if its extents (samples, steps, images) are no larger than in
 *          calls before it, an error apart.
 * Structs  Set `size` to sizeof of the struct and all that is not used to zero, e.g.
 *          espalier_matrix_desc desc = {.size = sizeof desc}. Later versions add fields at the end.
 */
#ifndef ESPALIER_KERNELS_H
#define ESPALIER_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Errors ---------------------------------------------------------------------------------- */

typedef int32_t espalier_status;
enum {
  ESPALIER_OK = 0,
  ESPALIER_ERROR_USAGE = 1,       /* wrong arguments */
  ESPALIER_ERROR_FORMAT = 2,      /* a broken file, index or weight */
  ESPALIER_ERROR_UNSUPPORTED = 3, /* something this version does not have; the text names it */
  ESPALIER_ERROR_MEMORY = 4,      /* memory is exhausted */
  ESPALIER_ERROR_INTERNAL = 5     /* a fault in espalier */
};

/* Text of the last error on this thread, "" before the first; valid until the next one. */
const char* espalier_last_error(void);

const char* espalier_version(void); /* "0.1.0" */
/* The instruction set that the kernels use on this machine, e.g. "AVX2". */
const char* espalier_simd_target(void);

/* ---- Threads --------------------------------------------------------------------------------- */

typedef struct espalier_pool espalier_pool;

/* `threads` counts the calling thread; 0: all processors. */
espalier_status espalier_pool_create(size_t threads, espalier_pool** pool);

/* A pool on threads of somebody else: run(context, count, body, argument) calls body(argument, i)
 * for i = 0 .. count - 1, on up to `threads` threads, and returns when all have ended. */
typedef void (*espalier_body)(void* argument, size_t item);
typedef void (*espalier_run)(void* context, size_t count, espalier_body body, void* argument);
espalier_status espalier_pool_create_from(size_t threads, espalier_run run, void* context,
                                          espalier_pool** pool);
void espalier_pool_destroy(espalier_pool* pool);

/* ---- Packed matrices ------------------------------------------------------------------------- */

typedef int32_t espalier_type;
enum {
  ESPALIER_F32 = 0,
  ESPALIER_F64 = 1,
  ESPALIER_F16 = 2,
  ESPALIER_BF16 = 3,
  ESPALIER_I8 = 4,
  ESPALIER_I16 = 5,
  ESPALIER_I32 = 6,
  ESPALIER_I64 = 7,
  ESPALIER_U8 = 8,
  ESPALIER_U16 = 9,
  ESPALIER_U32 = 10,
  ESPALIER_U64 = 11,
  ESPALIER_BOOL = 12 /* one byte: 0 or 1 */
};

/* A weight as its kept blocks: `parts` matrices [rows, cols] = [outputs, inputs], stacked (the gates
 * of a recurrent layer, the groups of a convolution; else one part). The grid of a part has
 * ceil(rows / block_rows) block rows and ceil(cols / block_cols) block columns; what sticks out of a
 * matrix is zero. Block rows of all parts are counted on: part 1 begins where part 0 ends. */
typedef struct espalier_matrix_desc {
  size_t size; /* sizeof(espalier_matrix_desc) */
  size_t parts, rows, cols;
  uint32_t block_rows, block_cols; /* 1 to 4096 */
  size_t blocks;                   /* that are kept; 0 is allowed */
  espalier_type type;              /* of values: F32, F16, BF16 or I8 */
  espalier_type index_type;        /* U16, U32 or I64; U8 of a bitmap */
  const void* values;              /* [blocks, block_rows, block_cols], row-major */
  const void* index;    /* [blocks, 2]: block row, block column; ascending, without duplicates. With
                           ESPALIER_INDEX_BITMAP a bit for each block of the grids, block row after
                           block row, the highest bit of a byte first: 1 where it is kept.
                           [ceil(parts * block rows of a part * block columns / 8)] */
  const float* scale;   /* with I8 values: what a value is worth, of each output or of all */
  size_t scales;        /* parts * rows, or 1; 0 with other types */
  const void* diagonal; /* null, or [parts * rows]: added on the diagonals of square parts, where
                           blocks hold zeros; of the type of values, F32 beside I8 */
  uint32_t flags;
} espalier_matrix_desc;

/* Values are not copied: they stay as they are while the matrix and what is made of it exist. */
#define ESPALIER_BORROW_VALUES 1U
/* `index` is a bitmap: fewer bytes than pairs where blocks are small or many. */
#define ESPALIER_INDEX_BITMAP 2U

typedef struct espalier_matrix espalier_matrix;

/* Everything is checked: an index out of the grid, out of order or there twice, values outside of
 * the matrix, a scale that is not finite, ... are ESPALIER_ERROR_FORMAT.
 * At most 2^26 outputs and 2^26 inputs. */
espalier_status espalier_matrix_create(const espalier_matrix_desc* desc, espalier_matrix** matrix);

/* Packs a dense f32 weight [parts, rows, cols], row-major: blocks that hold anything but zeros are
 * kept. */
espalier_status espalier_matrix_pack(const float* weight, size_t parts, size_t rows, size_t cols,
                                     uint32_t block_rows, uint32_t block_cols,
                                     espalier_matrix** matrix);

/* Parts first .. first + count - 1 as a matrix of their own, e.g. one direction of a recurrent
 * weight. */
espalier_status espalier_matrix_parts(const espalier_matrix* matrix, size_t first, size_t count,
                                      espalier_matrix** part);

size_t espalier_matrix_outputs(const espalier_matrix* matrix); /* parts * rows */
size_t espalier_matrix_inputs(const espalier_matrix* matrix);  /* cols */
size_t espalier_matrix_blocks(const espalier_matrix* matrix);
/* The weight as f32 [parts, rows, cols], row-major; `weight` has room for that. */
espalier_status espalier_matrix_decode(const espalier_matrix* matrix, float* weight);
void espalier_matrix_destroy(espalier_matrix* matrix);

/* ---- Activations ----------------------------------------------------------------------------- */

/* A function of each result, with the alpha and beta of ONNX's operator of that name (which have no
 * defaults here). Products and convolutions take those up to AFFINE, recurrent layers those marked r
 * and those behind. */
typedef int32_t espalier_activation_kind;
enum {
  ESPALIER_NONE = 0,         /* in a recurrent layer: sigmoid for gates, tanh for states */
  ESPALIER_RELU = 1,         /* r */
  ESPALIER_SIGMOID = 2,      /* r */
  ESPALIER_TANH = 3,         /* r */
  ESPALIER_LEAKY_RELU = 4,   /* r  alpha */
  ESPALIER_HARD_SIGMOID = 5, /* r  alpha, beta */
  ESPALIER_HARD_SWISH = 6,
  ESPALIER_SWISH = 7, /* alpha: x * sigmoid(alpha x) */
  ESPALIER_GELU = 8,
  ESPALIER_GELU_TANH = 9,
  ESPALIER_CLIP = 10,   /* to alpha .. beta */
  ESPALIER_AFFINE = 11, /* r  alpha * x + beta */
  ESPALIER_THRESHOLDED_RELU = 12,
  ESPALIER_SCALED_TANH = 13,
  ESPALIER_ELU = 14,
  ESPALIER_SOFTSIGN = 15,
  ESPALIER_SOFTPLUS = 16
};
typedef struct espalier_activation {
  espalier_activation_kind kind;
  float alpha, beta;
} espalier_activation;

/* ---- Products -------------------------------------------------------------------------------- */

typedef int32_t espalier_layout;
enum {
  ESPALIER_SAMPLES_OUTER = 0, /* X [n, inputs], Y [n, outputs]: a batch of vectors */
  ESPALIER_SAMPLES_INNER = 1  /* X [inputs, n], Y [outputs, n]: samples are columns */
};

/* With I8 values, inputs are rounded to 8 bits of their largest magnitude and multiplied by integer
 * instructions. With this flag they are not: slower, and exact but for the sums' rounding. */
#define ESPALIER_EXACT_VALUES 1U

typedef struct espalier_product espalier_product;

/* Puts the matrix into the order its kernel reads. flags: 0 or ESPALIER_EXACT_VALUES. */
espalier_status espalier_product_create(const espalier_matrix* matrix, uint32_t flags,
                                        espalier_product** product);

/* Y = activation(W X + bias) for n samples. bias [outputs] or null, activation may be null. x and y
 * must not overlap. */
espalier_status espalier_product_run(espalier_product* product, const float* x,
                                     espalier_layout layout, size_t n, const float* bias,
                                     const espalier_activation* activation, float* y,
                                     espalier_pool* pool);

const char* espalier_product_kernel(const espalier_product* product); /* "16x1", ... */
size_t espalier_product_bytes(const espalier_product* product);       /* of weights and indices */
void espalier_product_destroy(espalier_product* product);

/* ---- Recurrent layers ------------------------------------------------------------------------ */

typedef int32_t espalier_cell;
enum {
  ESPALIER_GRU = 0,  /* gates z, r, h;    activations f, g */
  ESPALIER_LSTM = 1, /* gates i, o, f, c; activations f, g, h */
  ESPALIER_RNN = 2   /* one gate;         activation f */
};

/* One direction of ONNX's GRU, LSTM or RNN, with its order of gates: parts of W and R are gates. */
typedef struct espalier_recurrent_desc {
  size_t size; /* sizeof(espalier_recurrent_desc) */
  espalier_cell cell;
  int32_t linear_before_reset;             /* GRU: not 0 multiplies r by R h + bias, else r by h */
  const espalier_matrix* input_weight;     /* gates parts [hidden, inputs]; null: x of a run holds
                                             W x + bias already, gates * hidden numbers a step */
  const espalier_matrix* recurrent_weight; /* gates parts [hidden, hidden] */
  const float* bias;     /* null, or [2, gates, hidden]: of W, then of R; copied */
  const float* peephole; /* LSTM: null, or [3, hidden] of i, o, f; copied */
  float clip;            /* of what goes into an activation; 0: none */
  espalier_activation activations[3];
  uint32_t flags; /* 0 or ESPALIER_EXACT_VALUES */
} espalier_recurrent_desc;

typedef struct espalier_recurrent espalier_recurrent;

espalier_status espalier_recurrent_create(const espalier_recurrent_desc* desc,
                                          espalier_recurrent** layer);

/* One step of `batch` streams: x [batch, inputs], h [batch, hidden] in and out; c the same for LSTM,
 * null for others. */
espalier_status espalier_recurrent_step(espalier_recurrent* layer, const float* x, size_t batch,
                                        float* h, float* c, espalier_pool* pool);

typedef struct espalier_sequence_desc {
  size_t size; /* sizeof(espalier_sequence_desc) */
  size_t steps, batch;
  int32_t batch_first;    /* 0: x [steps, batch, inputs], y [steps, batch, hidden];
                             else x [batch, steps, inputs], y [batch, steps, hidden] */
  int32_t backwards;      /* not 0: from the last step to the first */
  const int32_t* lengths; /* null, or [batch]: steps of each sequence, 0 to `steps` */
} espalier_sequence_desc;

/* All steps. h and c hold the states before and afterwards those of each sequence's last step. y may
 * be null; behind the end of a sequence it becomes zero. */
espalier_status espalier_recurrent_run(espalier_recurrent* layer,
                                       const espalier_sequence_desc* desc, const float* x, float* y,
                                       float* h, float* c, espalier_pool* pool);

size_t espalier_recurrent_bytes(const espalier_recurrent* layer);
void espalier_recurrent_destroy(espalier_recurrent* layer);

/* ---- Convolutions ---------------------------------------------------------------------------- */

/* Over images [channels, height, width]; a 1-D convolution has height 1 and kernel[0] 1. Pairs are
 * {height, width}. The weight has a part for each group, [channels_out / groups, channels_in /
 * groups * kernel[0] * kernel[1]]. */
typedef struct espalier_conv_desc {
  size_t size; /* sizeof(espalier_conv_desc) */
  const espalier_matrix* weight;
  size_t kernel[2], stride[2], dilation[2]; /* at least 1 each */
  size_t pad_begin[2], pad_end[2];
  uint32_t flags; /* 0 or ESPALIER_EXACT_VALUES */
} espalier_conv_desc;

typedef struct espalier_conv espalier_conv;

espalier_status espalier_conv_create(const espalier_conv_desc* desc, espalier_conv** conv);

/* Extents of the output for images of that size; 0 where the window does not fit once. */
espalier_status espalier_conv_output(const espalier_conv* conv, size_t height, size_t width,
                                     size_t output[2]);

/* x [batch, channels_in, height, width], y [batch, channels_out, output[0], output[1]], bias
 * [channels_out] or null. Images of another size or number than the last are laid out anew, which
 * allocates. */
espalier_status espalier_conv_run(espalier_conv* conv, const float* x, size_t batch, size_t height,
                                  size_t width, const float* bias,
                                  const espalier_activation* activation, float* y,
                                  espalier_pool* pool);

size_t espalier_conv_bytes(const espalier_conv* conv);
void espalier_conv_destroy(espalier_conv* conv);

#ifdef __cplusplus
}
#endif

#endif /* ESPALIER_KERNELS_H */
