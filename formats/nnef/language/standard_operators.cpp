// Declarations of NNEF 1.0.5, appendix A, and of the tract_core operators that espalier reads, in
// NNEF itself. Compound operators keep their body only where espalier has no node of its own.
#include "formats/nnef/language/standard_operators.h"

#include <algorithm>

namespace espalier::nnef {
namespace {

constexpr std::string_view kTensors = R"(
fragment external<? = scalar>( shape: integer[] ) -> ( output: tensor<?> );
fragment variable<? = scalar>( shape: integer[], label: string ) -> ( output: tensor<?> );
fragment constant<? = scalar>( shape: integer[], value: ?[] ) -> ( output: tensor<?> );
fragment update<?>( variable: tensor<?>, value: tensor<?> ) -> ( result: tensor<?> );
fragment reshape<?>( input: tensor<?>, shape: integer[], axis_start: integer = 0,
    axis_count: integer = -1 ) -> ( output: tensor<?> );
fragment transpose<?>( input: tensor<?>, axes: integer[] ) -> ( output: tensor<?> );
fragment concat<?>( values: tensor<?>[], axis: integer ) -> ( value: tensor<?> );
fragment split<?>( value: tensor<?>, axis: integer, ratios: integer[] ) -> ( values: tensor<?>[] );
fragment slice<?>( input: tensor<?>, axes: integer[], begin: integer[], end: integer[],
    stride: integer[] = [] ) -> ( output: tensor<?> );
fragment squeeze<?>( input: tensor<?>, axes: integer[] ) -> ( output: tensor<?> );
fragment unsqueeze<?>( input: tensor<?>, axes: integer[] ) -> ( output: tensor<?> );
fragment stack<?>( values: tensor<?>[], axis: integer ) -> ( value: tensor<?> );
fragment unstack<?>( value: tensor<?>, axis: integer ) -> ( values: tensor<?>[] );
fragment tile<?>( input: tensor<?>, repeats: integer[] ) -> ( output: tensor<?> );
fragment pad( input: tensor<scalar>, padding: (integer, integer)[], border: string = 'constant',
    value: scalar = 0.0 ) -> ( output: tensor<scalar> );
fragment gather<?>( input: tensor<?>, indices: tensor<integer>, axis: integer = 0 )
    -> ( output: tensor<?> );
fragment cast<?>( input: tensor<> ) -> ( output: tensor<?> );
fragment copy<?>( x: tensor<?> ) -> ( y: tensor<?> );
fragment copy_n<?>( x: tensor<?>, times: integer ) -> ( y: tensor<?>[] ) { y = [x] * times; }
fragment add_n( x: tensor<scalar>[] ) -> ( y: tensor<scalar> );
fragment select<?>( condition: tensor<logical>, true_value: tensor<?>, false_value: tensor<?> )
    -> ( output: tensor<?> );
)";

constexpr std::string_view kElementwise = R"(
fragment add( x: tensor<scalar>, y: tensor<scalar> ) -> ( z: tensor<scalar> );
fragment sub( x: tensor<scalar>, y: tensor<scalar> ) -> ( z: tensor<scalar> );
fragment mul( x: tensor<scalar>, y: tensor<scalar> ) -> ( z: tensor<scalar> );
fragment div( x: tensor<scalar>, y: tensor<scalar> ) -> ( z: tensor<scalar> );
fragment pow( x: tensor<scalar>, y: tensor<scalar> ) -> ( z: tensor<scalar> );
fragment min( x: tensor<scalar>, y: tensor<scalar> ) -> ( z: tensor<scalar> );
fragment max( x: tensor<scalar>, y: tensor<scalar> ) -> ( z: tensor<scalar> );
fragment lt( x: tensor<scalar>, y: tensor<scalar> ) -> ( z: tensor<logical> );
fragment gt( x: tensor<scalar>, y: tensor<scalar> ) -> ( z: tensor<logical> );
fragment le( x: tensor<scalar>, y: tensor<scalar> ) -> ( z: tensor<logical> );
fragment ge( x: tensor<scalar>, y: tensor<scalar> ) -> ( z: tensor<logical> );
fragment eq( x: tensor<scalar>, y: tensor<scalar> ) -> ( z: tensor<logical> );
fragment ne( x: tensor<scalar>, y: tensor<scalar> ) -> ( z: tensor<logical> );
fragment and( x: tensor<logical>, y: tensor<logical> ) -> ( z: tensor<logical> );
fragment or( x: tensor<logical>, y: tensor<logical> ) -> ( z: tensor<logical> );
fragment not( x: tensor<logical> ) -> ( y: tensor<logical> );
fragment exp( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment log( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment sin( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment cos( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment tan( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment sinh( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment cosh( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment tanh( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment asin( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment acos( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment atan( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment asinh( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment acosh( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment atanh( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment abs( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment sign( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment rcp( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment recip( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment neg( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment floor( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment ceil( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment round( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment sqr( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment square( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment sqrt( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment rsqr( x: tensor<scalar> ) -> ( y: tensor<scalar> ) { y = rcp(sqr(x)); }
fragment rsqrt( x: tensor<scalar> ) -> ( y: tensor<scalar> ) { y = rcp(sqrt(x)); }
fragment log2( x: tensor<scalar> ) -> ( y: tensor<scalar> ) { y = log(x) / 0.6931471805599453; }
fragment clamp( x: tensor<scalar>, a: tensor<scalar>, b: tensor<scalar> ) -> ( y: tensor<scalar> )
{
    y = max(min(x, b), a);
}
fragment relu( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment sigmoid( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment softplus( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment softabs( x: tensor<scalar>, epsilon: scalar ) -> ( y: tensor<scalar> )
{
    y = sqrt(sqr(x) + epsilon);
}
fragment elu( x: tensor<scalar>, alpha: scalar = 1.0 ) -> ( y: tensor<scalar> );
fragment selu( x: tensor<scalar>, alpha: scalar = 1.67326319, lambda: scalar = 1.05070102 )
    -> ( y: tensor<scalar> );
fragment gelu( x: tensor<scalar> ) -> ( y: tensor<scalar> )
{
    y = x * sigmoid(1.702 * x);
}
fragment silu( x: tensor<scalar> ) -> ( y: tensor<scalar> )
{
    y = x * sigmoid(x);
}
fragment prelu( x: tensor<scalar>, alpha: tensor<scalar> ) -> ( y: tensor<scalar> )
{
    y = select(x < 0.0, alpha * x, x);
}
fragment leaky_relu( x: tensor<scalar>, alpha: scalar ) -> ( y: tensor<scalar> );
fragment softmax( x: tensor<scalar>, axes: integer[] = [1] ) -> ( y: tensor<scalar> )
{
    m = max_reduce(x, axes = axes);
    e = exp(x - m);
    y = e / sum_reduce(e, axes = axes);
}
)";

constexpr std::string_view kReductions = R"(
fragment sum_reduce( input: tensor<scalar>, axes: integer[], normalize: logical = false )
    -> ( output: tensor<scalar> );
fragment mean_reduce( input: tensor<scalar>, axes: integer[] ) -> ( output: tensor<scalar> );
fragment max_reduce( input: tensor<scalar>, axes: integer[] ) -> ( output: tensor<scalar> );
fragment min_reduce( input: tensor<scalar>, axes: integer[] ) -> ( output: tensor<scalar> );
fragment argmax_reduce( input: tensor<scalar>, axes: integer[] ) -> ( output: tensor<integer> );
fragment argmin_reduce( input: tensor<scalar>, axes: integer[] ) -> ( output: tensor<integer> );
fragment any_reduce( input: tensor<logical>, axes: integer[] ) -> ( output: tensor<logical> );
fragment all_reduce( input: tensor<logical>, axes: integer[] ) -> ( output: tensor<logical> );
fragment moments( input: tensor<scalar>, axes: integer[] )
    -> ( mean: tensor<scalar>, variance: tensor<scalar> )
{
    mean = mean_reduce(input, axes = axes);
    variance = mean_reduce(sqr(input - mean), axes = axes);
}
)";

constexpr std::string_view kLayers = R"(
fragment matmul( A: tensor<scalar>, B: tensor<scalar>, transposeA: logical = false,
    transposeB: logical = false ) -> ( C: tensor<scalar> );
fragment linear( input: tensor<scalar>, filter: tensor<scalar>, bias: tensor<scalar> = 0.0 )
    -> ( output: tensor<scalar> )
{
    output = matmul(input, filter, transposeB = true) + bias;
}
fragment conv( input: tensor<scalar>, filter: tensor<scalar>, bias: tensor<scalar> = 0.0,
    border: string = 'constant', padding: (integer,integer)[] = [], stride: integer[] = [],
    dilation: integer[] = [], groups: integer = 1 ) -> ( output: tensor<scalar> );
fragment deconv( input: tensor<scalar>, filter: tensor<scalar>, bias: tensor<scalar> = 0.0,
    border: string = 'constant', padding: (integer,integer)[] = [], stride: integer[] = [],
    dilation: integer[] = [], output_shape: integer[] = [], groups: integer = 1 )
    -> ( output: tensor<scalar> );
fragment separable_conv( input: tensor<scalar>, plane_filter: tensor<scalar>,
    point_filter: tensor<scalar>, bias: tensor<scalar> = 0.0, border: string = 'constant',
    padding: (integer,integer)[] = [], stride: integer[] = [], dilation: integer[] = [],
    groups: integer = 1 ) -> ( output: tensor<scalar> )
{
    filtered = conv(input, plane_filter, border = border, padding = padding, stride = stride,
        dilation = dilation, groups = 0);
    output = conv(filtered, point_filter, bias, groups = groups);
}
fragment separable_deconv( input: tensor<scalar>, plane_filter: tensor<scalar>,
    point_filter: tensor<scalar>, bias: tensor<scalar> = 0.0, border: string = 'constant',
    padding: (integer,integer)[] = [], stride: integer[] = [], dilation: integer[] = [],
    output_shape: integer[] = [], groups: integer = 1 ) -> ( output: tensor<scalar> )
{
    filtered = deconv(input, point_filter, groups = groups);
    output = deconv(filtered, plane_filter, bias, border = border, padding = padding,
        stride = stride, dilation = dilation, output_shape = output_shape, groups = 0);
}
fragment batch_normalization( input: tensor<scalar>, mean: tensor<scalar>,
    variance: tensor<scalar>, offset: tensor<scalar>, scale: tensor<scalar>, epsilon: scalar )
    -> ( output: tensor<scalar> )
{
    output = offset + scale * (input - mean) / sqrt(variance + epsilon);
}
fragment local_response_normalization( input: tensor<scalar>, size: integer[],
    alpha: scalar = 1.0, beta: scalar = 0.5, bias: scalar = 1.0 ) -> ( output: tensor<scalar> )
{
    sigma = bias + alpha * box(sqr(input), size = size, normalize = true);
    output = input / (sigma ^ beta);
}
fragment local_mean_normalization( input: tensor<scalar>, size: integer[] )
    -> ( output: tensor<scalar> )
{
    mean = box(input, size = size, normalize = true);
    output = sub(input, mean);
}
fragment local_variance_normalization( input: tensor<scalar>, size: integer[],
    bias: scalar = 0.0, epsilon: scalar = 0.0 ) -> ( output: tensor<scalar> )
{
    sigma = sqrt(box(sqr(input), size = size, normalize = true));
    output = input / max(sigma + bias, epsilon);
}
fragment local_contrast_normalization( input: tensor<scalar>, size: integer[],
    bias: scalar = 0.0, epsilon: scalar = 0.0 ) -> ( output: tensor<scalar> )
{
    centered = local_mean_normalization(input, size = size);
    output = local_variance_normalization(centered, size = size, bias = bias, epsilon = epsilon);
}
fragment l1_normalization( input: tensor<scalar>, axes: integer[], bias: scalar = 0.0,
    epsilon: scalar = 0.0 ) -> ( output: tensor<scalar> )
{
    sigma = sum_reduce(abs(input), axes = axes);
    output = input / max(sigma + bias, epsilon);
}
fragment l2_normalization( input: tensor<scalar>, axes: integer[], bias: scalar = 0.0,
    epsilon: scalar = 0.0 ) -> ( output: tensor<scalar> )
{
    sigma = sqrt(sum_reduce(sqr(input), axes = axes));
    output = input / max(sigma + bias, epsilon);
}
)";

constexpr std::string_view kPooling = R"(
fragment box( input: tensor<scalar>, size: integer[], border: string = 'constant',
    padding: (integer,integer)[] = [], stride: integer[] = [], dilation: integer[] = [],
    normalize: logical = false ) -> ( output: tensor<scalar> );
fragment debox( input: tensor<scalar>, size: integer[], border: string = 'constant',
    padding: (integer,integer)[] = [], stride: integer[] = [], dilation: integer[] = [],
    output_shape: integer[] = [], normalize: logical = false ) -> ( output: tensor<scalar> );
fragment argmax_pool( input: tensor<scalar>, size: integer[], border: string = 'constant',
    padding: (integer,integer)[] = [], stride: integer[] = [], dilation: integer[] = [] )
    -> ( index: tensor<integer> );
fragment sample( input: tensor<scalar>, index: tensor<integer>, size: integer[],
    border: string = 'constant', padding: (integer,integer)[] = [], stride: integer[] = [],
    dilation: integer[] = [] ) -> ( output: tensor<scalar> );
fragment desample( input: tensor<scalar>, index: tensor<integer>, size: integer[],
    border: string = 'constant', padding: (integer,integer)[] = [], stride: integer[] = [],
    dilation: integer[] = [], output_shape: integer[] = [] ) -> ( output: tensor<scalar> );
fragment max_pool_with_index( input: tensor<scalar>, size: integer[], border: string = 'constant',
    padding: (integer,integer)[] = [], stride: integer[] = [], dilation: integer[] = [] )
    -> ( output: tensor<scalar>, index: tensor<integer> );
fragment max_pool( input: tensor<scalar>, size: integer[], border: string = 'constant',
    padding: (integer,integer)[] = [], stride: integer[] = [], dilation: integer[] = [] )
    -> ( output: tensor<scalar> );
fragment avg_pool( input: tensor<scalar>, size: integer[], border: string = 'constant',
    padding: (integer,integer)[] = [], stride: integer[] = [], dilation: integer[] = [] )
    -> ( output: tensor<scalar> )
{
    output = box(input, size = size, border = border, padding = padding, stride = stride,
        dilation = dilation, normalize = true);
}
fragment rms_pool( input: tensor<scalar>, size: integer[], border: string = 'constant',
    padding: (integer,integer)[] = [], stride: integer[] = [], dilation: integer[] = [] )
    -> ( output: tensor<scalar> )
{
    output = sqrt(avg_pool(sqr(input), size = size, border = border, padding = padding,
        stride = stride, dilation = dilation));
}
fragment nearest_downsample( input: tensor<scalar>, factor: integer[] )
    -> ( output: tensor<scalar> )
{
    dims = 2 + length_of(factor);
    output = box(input, size = [1] * dims, stride = [1,1] + factor, padding = [(0,0)] * dims);
}
fragment area_downsample( input: tensor<scalar>, factor: integer[] ) -> ( output: tensor<scalar> )
{
    dims = 2 + length_of(factor);
    output = box(input, size = [1,1] + factor, stride = [1,1] + factor,
        padding = [(0,0)] * dims, normalize = true);
}
fragment nearest_upsample( input: tensor<scalar>, factor: integer[] )
    -> ( output: tensor<scalar> );
fragment multilinear_upsample( input: tensor<scalar>, factor: integer[],
    method: string = 'symmetric', border: string = 'replicate' ) -> ( output: tensor<scalar> );
fragment avg_roi_pool( input: tensor<scalar>, rois: tensor<scalar>, batch_index: tensor<integer>,
    output_size: integer[] ) -> ( output: tensor<scalar> );
fragment max_roi_pool( input: tensor<scalar>, rois: tensor<scalar>, batch_index: tensor<integer>,
    output_size: integer[] ) -> ( output: tensor<scalar> );
fragment roi_resample( input: tensor<scalar>, rois: tensor<scalar>, batch_index: tensor<integer>,
    output_size: integer[], method: string = 'symmetric' ) -> ( output: tensor<scalar> );
fragment avg_roi_align( input: tensor<scalar>, rois: tensor<scalar>, batch_index: tensor<integer>,
    output_size: integer[], sampling_rate: integer[], resize_method: string = 'symmetric' )
    -> ( output: tensor<scalar> );
fragment max_roi_align( input: tensor<scalar>, rois: tensor<scalar>, batch_index: tensor<integer>,
    output_size: integer[], sampling_rate: integer[], resize_method: string = 'symmetric' )
    -> ( output: tensor<scalar> );
)";

constexpr std::string_view kQuantization = R"(
fragment min_max_linear_quantize( x: tensor<scalar>, min: tensor<scalar>, max: tensor<scalar>,
    bits: integer, signed: logical, symmetric: logical ) -> ( y: tensor<scalar> )
{
    r = scalar(2 ^ bits - 1 - integer(signed && symmetric));
    z = clamp(x, min, max);
    p = scalar(2 ^ (bits - 1) - integer(symmetric) if signed else 0);
    q = round((z - min) / (max - min) * r) - p;
    y = (q + p) / r * (max - min) + min;
}
fragment zero_point_linear_quantize( x: tensor<scalar>, zero_point: tensor<integer>,
    scale: tensor<scalar>, bits: integer, signed: logical, symmetric: logical )
    -> ( y: tensor<scalar> )
{
    z = cast<scalar>(zero_point);
    s = round(x / scale) + z;
    r = scalar(2 ^ (bits - 1) - 1 if signed else 2 ^ bits - 1);
    q = clamp(s, 0.0 if !signed else -r if symmetric else -r - 1.0, r);
    y = (q - z) * scale;
}
fragment linear_quantize( x: tensor<scalar>, min: tensor<scalar>, max: tensor<scalar>,
    bits: integer ) -> ( y: tensor<scalar> )
{
    y = min_max_linear_quantize(x, min = min, max = max, bits = bits, signed = false,
        symmetric = false);
}
fragment logarithmic_quantize( x: tensor<scalar>, max: tensor<scalar>, bits: integer )
    -> ( y: tensor<scalar> )
{
    m = ceil(log2(max));
    r = scalar(2 ^ bits - 1);
    q = round(clamp(log2(abs(x)), m - r, m));
    y = sign(x) * 2.0 ^ q;
}
)";

constexpr std::string_view kTract = R"(
fragment tract_core_external( datum_type: string, shape: integer[] ) -> ( output: tensor<?> );
fragment tract_core_cast( input: tensor<?>, to: string = '' ) -> ( output: tensor<?> );
fragment tract_core_broadcast( input: tensor<?>, shape: integer[] ) -> ( output: tensor<?> );
fragment tract_core_scatter_nd( input: tensor<?>, indices: tensor<integer>, updates: tensor<?>,
    reduction: string = 'none' ) -> ( output: tensor<?> );
fragment tract_core_gather( input: tensor<?>, indices: tensor<integer>, axis: integer )
    -> ( output: tensor<?> );
fragment tract_core_gather_elements( input: tensor<?>, indices: tensor<integer>, axis: integer )
    -> ( output: tensor<?> );
fragment tract_core_gather_nd( input: tensor<?>, indices: tensor<integer>, batch_dims: integer )
    -> ( output: tensor<?> );
fragment tract_core_einsum( inputs: tensor<?>[], expr: string, acc: string = 'f32',
    output: string = '' ) -> ( result: tensor<?> );
fragment tract_core_softmax( x: tensor<scalar>, axes: integer[], exp: string = 'libc' )
    -> ( output: tensor<scalar> );
fragment tract_core_product_reduce( input: tensor<scalar>, axes: integer[] )
    -> ( output: tensor<scalar> );
fragment tract_core_argmax_reduce_last( input: tensor<scalar>, axes: integer[] )
    -> ( output: tensor<integer> );
fragment tract_core_argmin_reduce_last( input: tensor<scalar>, axes: integer[] )
    -> ( output: tensor<integer> );
fragment tract_core_round_even( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment tract_core_erf( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment tract_core_hard_swish( x: tensor<scalar> ) -> ( y: tensor<scalar> );
fragment tract_core_silu( x: tensor<scalar> ) -> ( y: tensor<scalar> )
{
    y = x * sigmoid(x);
}
fragment tract_transformers_silu( x: tensor<scalar> ) -> ( y: tensor<scalar> )
{
    y = x * sigmoid(x);
}
fragment tract_core_gelu_approx( input: tensor<scalar>, fast_impl: logical = false )
    -> ( output: tensor<scalar> )
{
    bent = input + 0.044715 * input ^ (2.0 if logical(fast_impl) else 3.0);
    output = 0.5 * input * (1.0 + tanh(0.7978845608028654 * bent));
}
fragment tract_transformers_gelu_approx( input: tensor<scalar>, fast_impl: logical = false )
    -> ( output: tensor<scalar> )
{
    output = tract_core_gelu_approx(input, fast_impl = fast_impl);
}
fragment tract_core_pow_const( input: tensor<scalar>, exponent: scalar )
    -> ( output: tensor<scalar> )
{
    output = pow(input, exponent);
}
fragment tract_core_rms_norm( input: tensor<scalar>, axis: integer, eps: scalar = 1e-6 )
    -> ( output: tensor<scalar> )
{
    output = input / sqrt(mean_reduce(sqr(input), axes = [axis]) + eps);
}
fragment tract_transformers_rms_norm( input: tensor<scalar>, axis: integer, eps: scalar = 1e-6 )
    -> ( output: tensor<scalar> )
{
    output = tract_core_rms_norm(input, axis = axis, eps = eps);
}
fragment tract_core_log_softmax( x: tensor<scalar>, axes: integer[] ) -> ( y: tensor<scalar> )
{
    below = x - max_reduce(x, axes = axes);
    y = below - log(sum_reduce(exp(below), axes = axes));
}
fragment tract_core_downsample( input: tensor<?>, axis: integer, stride: integer,
    modulo: integer = 0 ) -> ( output: tensor<?> )
{
    output = slice(input, axes = [axis], begin = [modulo], end = [0], stride = [stride]);
}
fragment tract_core_dyn_slice( input: tensor<?>, start: integer, end: integer, len: integer,
    axis: integer ) -> ( output: tensor<?> )
{
    output = slice(input, axes = [axis], begin = [start], end = [end]);
}
fragment tract_transformers_apply_rope( input: tensor<scalar>, cos: tensor<scalar>,
    sin: tensor<scalar> ) -> ( output: tensor<scalar> )
{
    last = length_of(shape_of(input)) - 1;
    half = shape_of(input)[last] / 2;
    front = slice(input, axes = [last], begin = [0], end = [half]);
    back = slice(input, axes = [last], begin = [half], end = [0]);
    output = input * cos + concat([-back, front], axis = last) * sin;
}
fragment tract_core_range( start: integer, end: integer, step: integer = 1 )
    -> ( output: tensor<?> );
fragment tract_core_resize( input: tensor<scalar>, scales: tensor<scalar> = false,
    sizes: tensor<scalar> = false, coord_transformer: string = 'half_pixel',
    interpolator: string = 'nearest', nearest_mode: string = 'floor' )
    -> ( output: tensor<scalar> );
fragment tract_core_grid_sample( input: tensor<scalar>, grid: tensor<scalar>,
    mode: string = 'bilinear', padding_mode: string = 'zeros', align_corners: logical = false )
    -> ( output: tensor<scalar> );
fragment tract_core_gru_epilogue( xh: tensor<scalar>, rh: tensor<scalar>, h_prev: tensor<scalar>,
    hidden: integer ) -> ( output: tensor<scalar> );
fragment tract_core_bitand( x: tensor<?>, y: tensor<?> ) -> ( z: tensor<?> );
fragment tract_core_bitor( x: tensor<?>, y: tensor<?> ) -> ( z: tensor<?> );
fragment tract_core_bitxor( x: tensor<?>, y: tensor<?> ) -> ( z: tensor<?> );
fragment tract_core_bitnot( x: tensor<?> ) -> ( y: tensor<?> );
fragment tract_transformers_sdpa( q: tensor<scalar>, k: tensor<scalar>, v: tensor<scalar>,
    mask: tensor<?> = false, scale: scalar = 0.0, datum_type: string, acc_datum_type: string,
    is_causal: logical ) -> ( output: tensor<scalar> );
fragment tract_onnx_is_nan( x: tensor<scalar> ) -> ( y: tensor<logical> )
{
    y = tract_core_is_nan(x);
}
fragment tract_onnx_isinf( input: tensor<scalar>, detect_positive: logical = true,
    detect_negative: logical = true ) -> ( output: tensor<logical> )
{
    output = tract_core_is_inf(input, detect_positive = detect_positive,
        detect_negative = detect_negative);
}
fragment tract_onnx_lrn( input: tensor<scalar>, alpha: scalar = 0.0001, beta: scalar = 0.75,
    bias: scalar = 1.0, size: integer ) -> ( output: tensor<scalar> );
fragment tract_core_is_nan( x: tensor<scalar> ) -> ( y: tensor<logical> );
fragment tract_core_is_inf( input: tensor<scalar>, detect_positive: logical = true,
    detect_negative: logical = true ) -> ( output: tensor<logical> );
fragment tract_core_topk( input: tensor<scalar>, k: tensor<integer>, axis: integer,
    largest: logical ) -> ( values: tensor<scalar>, indices: tensor<integer> );
fragment tract_core_scatter_elements( input: tensor<?>, indices: tensor<integer>,
    updates: tensor<?>, axis: integer, reduction: string = 'none' ) -> ( output: tensor<?> );
fragment tract_core_trilu( input: tensor<?>, k: tensor<integer>, upper: logical )
    -> ( output: tensor<?> );
fragment tract_core_one_hot( input: tensor<integer>, axis: integer, dim: integer,
    value_off: scalar = 0.0, value_on: scalar = 1.0 ) -> ( output: tensor<scalar> );
fragment tract_transformers_scaled_masked_softmax( input: tensor<scalar>, mask: tensor<?>,
    scale: scalar, post_softmax_mask: logical = false ) -> ( output: tensor<scalar> );
fragment tract_core_xor( x: tensor<logical>, y: tensor<logical> ) -> ( z: tensor<logical> );
fragment tract_core_shape_of( input: tensor<?> ) -> ( output: tensor<integer> );
fragment tract_core_gru_seq( x: tensor<scalar>, w: tensor<scalar>, r: tensor<scalar>,
    b: tensor<scalar> = 0.0, initial_h: tensor<scalar>, hidden: integer, chunk: integer = 1,
    has_bias: logical = true, reset_every_turn: logical = false, emit_y: logical = true,
    projected: logical = false ) -> ( y: tensor<scalar>, y_h: tensor<scalar> );
fragment tract_core_scan( body: string, scan: (string, tensor<?>, integer, integer)[],
    full: (string, tensor<?>)[] = [], state: (string, tensor<?>, string)[],
    output: (string, string, integer, integer)[], skip: integer = 0,
    reset_every_turn: logical = false, external_state: logical = false )
    -> ( outputs: tensor<?>[] );
)";

}  // namespace

const std::vector<Fragment>& standard_operators() {
  static const std::vector<Fragment> all = [] {
    std::vector<Fragment> result;
    for (const std::string_view text :
         {kTensors, kElementwise, kReductions, kLayers, kPooling, kQuantization, kTract}) {
      for (Fragment& fragment : parse_fragments(text).fragments) {
        result.push_back(std::move(fragment));
      }
    }
    std::ranges::sort(result, {}, &Fragment::name);
    return result;
  }();
  return all;
}

const Fragment* find_standard_operator(std::string_view name) {
  const std::vector<Fragment>& all = standard_operators();
  const auto found = std::ranges::lower_bound(all, name, {}, &Fragment::name);
  return found == all.end() || found->name != name ? nullptr : &*found;
}

}  // namespace espalier::nnef
