// The kernels' C interface next to plain loops, and what it says to wrong arguments.
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <thread>

#include "lib/c/kernels/espalier_kernels.h"
#include "tests/lib/kernels/sparse_case.h"

namespace espalier {
namespace {

// Frees what it holds.
template <typename Handle, void (*destroy)(Handle*)>
struct Held {
  Handle* handle = nullptr;
  Held() = default;
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ~Held() { destroy(handle); }
  operator Handle*() const { return handle; }
  Handle** operator&() { return &handle; }
};
using Matrix = Held<espalier_matrix, espalier_matrix_destroy>;
using CProduct = Held<espalier_product, espalier_product_destroy>;
using Layer = Held<espalier_recurrent, espalier_recurrent_destroy>;
using Conv = Held<espalier_conv, espalier_conv_destroy>;
using Pool = Held<espalier_pool, espalier_pool_destroy>;

struct Case {
  size_t parts, rows, cols;
  uint32_t block_rows, block_cols;
};
constexpr std::array kCases{Case{1, 33, 70, 16, 1}, Case{3, 24, 20, 8, 4}, Case{1, 40, 65, 4, 8},
                            Case{2, 10, 9, 5, 3}, Case{1, 1, 1, 1, 1}};

// Random blocks, about a third of them zeros.
std::vector<float> random_weight(const Case& c, uint32_t seed) {
  std::vector<float> weight = random_values(c.parts * c.rows * c.cols, seed);
  for (size_t i = 0; i < weight.size(); ++i) {
    const size_t row = i / c.cols % c.rows / c.block_rows, col = i % c.cols / c.block_cols;
    if ((row * 7 + col * 3) % 3 == 0) weight[i] = 0;
  }
  return weight;
}

float dot(const float* a, const float* b, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += double{a[i]} * b[i];
  return static_cast<float>(sum);
}

TEST_CASE("a packed matrix multiplies samples of either layout, with bias and activation") {
  for (const Case& c : kCases) {
    CAPTURE(c.block_rows);
    CAPTURE(c.block_cols);
    const size_t outputs = c.parts * c.rows;
    const std::vector<float> weight = random_weight(c, 1), bias = random_values(outputs, 2);
    Matrix matrix;
    REQUIRE(espalier_matrix_pack(weight.data(), c.parts, c.rows, c.cols, c.block_rows, c.block_cols,
                                 &matrix) == ESPALIER_OK);
    CHECK(espalier_matrix_outputs(matrix) == outputs);
    CHECK(espalier_matrix_inputs(matrix) == c.cols);
    std::vector<float> decoded(weight.size());
    REQUIRE(espalier_matrix_decode(matrix, decoded.data()) == ESPALIER_OK);
    CHECK(decoded == weight);
    CProduct product;
    REQUIRE(espalier_product_create(matrix, 0, &product) == ESPALIER_OK);
    Pool pool;
    REQUIRE(espalier_pool_create(2, &pool) == ESPALIER_OK);
    for (const size_t n : {size_t{1}, size_t{3}, size_t{20}}) {
      const std::vector<float> x = random_values(n * c.cols, 3);
      std::vector<float> turned(x.size()), y(n * outputs), y_turned(n * outputs);
      for (size_t s = 0; s < n; ++s)
        for (size_t i = 0; i < c.cols; ++i) turned[i * n + s] = x[s * c.cols + i];
      const espalier_activation relu{ESPALIER_RELU, 0, 0};
      REQUIRE(espalier_product_run(product, x.data(), ESPALIER_SAMPLES_OUTER, n, bias.data(), &relu,
                                   y.data(), pool) == ESPALIER_OK);
      REQUIRE(espalier_product_run(product, turned.data(), ESPALIER_SAMPLES_INNER, n, nullptr,
                                   nullptr, y_turned.data(), nullptr) == ESPALIER_OK);
      for (size_t s = 0; s < n; ++s) {
        for (size_t o = 0; o < outputs; ++o) {
          const float sum = dot(&weight[o * c.cols], &x[s * c.cols], c.cols);
          CHECK(y[s * outputs + o] ==
                doctest::Approx(std::max(sum + bias[o], 0.0F)).epsilon(1e-4).scale(1));
          CHECK(y_turned[o * n + s] == doctest::Approx(sum).epsilon(1e-4).scale(1));
        }
      }
    }
  }
}

// Two blocks of 2x2 in a matrix of [4, 5]: at rows 0 and 2, columns 2 and 4.
struct Given {
  std::array<float, 8> values{1, 2, 3, 4, 5, 0, 6, 0};
  std::array<uint16_t, 4> index{0, 1, 1, 2};
  std::array<float, 4> scale{1, 1, 1, 1};
  espalier_matrix_desc desc{};

  Given() {
    desc.size = sizeof desc;
    desc.parts = 1, desc.rows = 4, desc.cols = 5;
    desc.block_rows = desc.block_cols = 2;
    desc.blocks = 2;
    desc.type = ESPALIER_F32;
    desc.index_type = ESPALIER_U16;
    desc.values = values.data();
    desc.index = index.data();
  }
  espalier_status create() const {
    Matrix matrix;
    const espalier_status status = espalier_matrix_create(&desc, &matrix);
    CHECK((matrix.handle != nullptr) == (status == ESPALIER_OK));
    return status;
  }
};

TEST_CASE("a matrix from values and index is what they say, in every type") {
  Given given;
  const std::vector<float> expected{0, 0, 1, 2, 0, 0, 0, 3, 4, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 6};
  const auto decoded = [&] {
    Matrix matrix;
    REQUIRE(espalier_matrix_create(&given.desc, &matrix) == ESPALIER_OK);
    std::vector<float> weight(20);
    REQUIRE(espalier_matrix_decode(matrix, weight.data()) == ESPALIER_OK);
    return weight;
  };
  CHECK(decoded() == expected);
  given.desc.flags = ESPALIER_BORROW_VALUES;
  CHECK(decoded() == expected);
  given.desc.flags = 0;
  const std::array<uint32_t, 4> wide{0, 1, 1, 2};
  given.desc.index = wide.data(), given.desc.index_type = ESPALIER_U32;
  CHECK(decoded() == expected);
  const std::array<int64_t, 4> wider{0, 1, 1, 2};
  given.desc.index = wider.data(), given.desc.index_type = ESPALIER_I64;
  CHECK(decoded() == expected);
  const uint8_t bitmap = 0x44;  // blocks 1 and 5 of 2 x 3
  given.desc.index = &bitmap, given.desc.index_type = ESPALIER_U8;
  given.desc.flags = ESPALIER_INDEX_BITMAP;
  CHECK(decoded() == expected);
  const std::array<uint16_t, 8> halves{0x3C00, 0x4000, 0x4200, 0x4400, 0x4500, 0, 0x4600, 0};
  given.desc.values = halves.data(), given.desc.type = ESPALIER_F16;
  CHECK(decoded() == expected);
  const std::array<int8_t, 8> steps{2, 4, 6, 8, 10, 0, 12, 0};
  const float half = 0.5F;
  given.desc.values = steps.data(), given.desc.type = ESPALIER_I8;
  given.desc.scale = &half, given.desc.scales = 1;
  CHECK(decoded() == expected);
}

TEST_CASE("a diagonal is added, and refused where blocks hold one too") {
  Given given;
  std::array<float, 4> values{0, 2, 3, 0};
  const std::array<uint16_t, 2> index{0, 0};
  const std::array<float, 4> diagonal{7, 8, 9, 10};
  given.desc.cols = 4, given.desc.blocks = 1;
  given.desc.values = values.data(), given.desc.index = index.data();
  given.desc.diagonal = diagonal.data();
  Matrix matrix;
  REQUIRE(espalier_matrix_create(&given.desc, &matrix) == ESPALIER_OK);
  CProduct product;
  REQUIRE(espalier_product_create(matrix, 0, &product) == ESPALIER_OK);
  const std::array<float, 4> x{1, 1, 1, 1};
  std::array<float, 4> y{};
  REQUIRE(espalier_product_run(product, x.data(), ESPALIER_SAMPLES_OUTER, 1, nullptr, nullptr,
                               y.data(), nullptr) == ESPALIER_OK);
  CHECK(y == std::array<float, 4>{9, 11, 9, 10});
  values[0] = 1;
  CHECK(given.create() == ESPALIER_ERROR_FORMAT);
}

TEST_CASE("a hostile index or weight is an error that says what is wrong") {
  const auto fails = [](const auto& change, espalier_status status, const char* text) {
    Given given;
    change(given);
    CHECK(given.create() == status);
    CAPTURE(espalier_last_error());
    CHECK(std::string(espalier_last_error()).find(text) != std::string::npos);
  };
  constexpr espalier_status kFormat = ESPALIER_ERROR_FORMAT, kUsage = ESPALIER_ERROR_USAGE;
  constexpr espalier_status kUnsupported = ESPALIER_ERROR_UNSUPPORTED;
  fails([](Given& g) { g.index[2] = 2; }, kFormat, "block 1 is in block row 2");
  fails([](Given& g) { g.index[3] = 3; }, kFormat, "block 1 is in block column 3");
  fails([](Given& g) { g.index[3] = 65535; }, kFormat, "block column 65535");
  fails([](Given& g) { g.index = {1, 0, 0, 0}; }, kFormat, "after block row 1");
  fails([](Given& g) { g.index = {1, 1, 1, 1}; }, kFormat, "block column 1 of block row 1");
  fails([](Given& g) { g.values[5] = 1; }, kFormat, "outside of the weight");
  fails([](Given& g) { g.desc.blocks = 7; }, kFormat, "7 blocks, the grid has 6");
  fails([](Given& g) { g.desc.blocks = SIZE_MAX; }, kFormat, "the grid has 6");
  fails([](Given& g) { g.desc.rows = SIZE_MAX; }, kUnsupported, "at most");
  fails([](Given& g) { g.desc.parts = SIZE_MAX / 2, g.desc.rows = 8; }, kUnsupported, "at most");
  fails([](Given& g) { g.desc.cols = 0; }, kUsage, "at least 1");
  fails([](Given& g) { g.desc.block_rows = 0; }, kUsage, "blocks are 0x2");
  fails([](Given& g) { g.desc.block_cols = UINT32_MAX; }, kUsage, "blocks are 2x4294967295");
  fails([](Given& g) { g.desc.type = 99; }, kUsage, "not an espalier_type");
  fails([](Given& g) { g.desc.type = -1; }, kUsage, "not an espalier_type");
  fails([](Given& g) { g.desc.type = ESPALIER_I64; }, kUsage, "type is i64");
  fails([](Given& g) { g.desc.index_type = ESPALIER_F32; }, kUsage, "index_type is f32");
  fails([](Given& g) { g.desc.values = nullptr; }, kUsage, "values is null");
  fails([](Given& g) { g.desc.index = nullptr; }, kUsage, "index is null");
  fails([](Given& g) { g.desc.scale = g.scale.data(), g.desc.scales = 4; }, kFormat, "scale");
  fails([](Given& g) { g.desc.flags = 6; }, kUsage, "flags");
  fails([](Given& g) { g.desc.size -= 8; }, kUsage, "size");
  fails([](Given& g) { g.desc.size += 8; }, kUsage, "a newer one is needed");
  fails([](Given& g) { g.desc.diagonal = g.values.data(); }, kFormat, "diagonal");
  const std::array<int64_t, 4> wild{0, 1, std::numeric_limits<int64_t>::max(), -1};
  fails([&](Given& g) { g.desc.index = wild.data(), g.desc.index_type = ESPALIER_I64; }, kFormat,
        "block row 9223372036854775807");
  const auto bitmap_fails = [&](const uint8_t& bits, espalier_type type, espalier_status status,
                                const char* text) {
    fails(
        [&](Given& g) {
          g.desc.index = &bits, g.desc.index_type = type;
          g.desc.flags = ESPALIER_INDEX_BITMAP;
        },
        status, text);
  };
  bitmap_fails(0x40, ESPALIER_U8, kFormat, "bitmap has 1 bits set, there are 2 blocks");
  bitmap_fails(0xFC, ESPALIER_U8, kFormat, "bitmap has 6 bits set, there are 2 blocks");
  bitmap_fails(0x45, ESPALIER_U8, kFormat, "bitmap has bit 7 set, the grid has 6 blocks");
  bitmap_fails(0x44, ESPALIER_U16, kUsage, "index_type is u16, expected u8 for a bitmap");
  const std::array<int8_t, 8> bytes{};
  const float nan = std::nanf("");
  fails(
      [&](Given& g) {
        g.desc.values = bytes.data(), g.desc.type = ESPALIER_I8;
        g.desc.scale = &nan, g.desc.scales = 1;
      },
      kFormat, "scale holds nan");
}

TEST_CASE("wrong arguments are errors, and null handles may be destroyed") {
  espalier_matrix_destroy(nullptr);
  espalier_product_destroy(nullptr);
  CHECK(espalier_matrix_create(nullptr, nullptr) == ESPALIER_ERROR_USAGE);
  CHECK(espalier_product_create(nullptr, 0, nullptr) == ESPALIER_ERROR_USAGE);
  Matrix matrix;
  const Given given;
  REQUIRE(espalier_matrix_create(&given.desc, &matrix) == ESPALIER_OK);
  CProduct product;
  CHECK(espalier_product_create(matrix, 8, &product) == ESPALIER_ERROR_USAGE);
  REQUIRE(espalier_product_create(matrix, 0, &product) == ESPALIER_OK);
  std::array<float, 5> x{};
  std::array<float, 4> y{};
  const auto run = [&](int layout, size_t n, const espalier_activation* activation) {
    return espalier_product_run(product, x.data(), layout, n, nullptr, activation, y.data(),
                                nullptr);
  };
  CHECK(run(2, 1, nullptr) == ESPALIER_ERROR_USAGE);
  CHECK(run(0, SIZE_MAX, nullptr) == ESPALIER_ERROR_USAGE);
  CHECK(run(0, 0, nullptr) == ESPALIER_OK);
  const espalier_activation softsign{ESPALIER_SOFTSIGN, 0, 0}, wild{77, 0, 0};
  CHECK(run(0, 1, &softsign) == ESPALIER_ERROR_UNSUPPORTED);
  CHECK(run(0, 1, &wild) == ESPALIER_ERROR_USAGE);
  Matrix part;
  CHECK(espalier_matrix_parts(matrix, 1, 1, &part) == ESPALIER_ERROR_USAGE);
  CHECK(espalier_matrix_parts(matrix, 0, SIZE_MAX, &part) == ESPALIER_ERROR_USAGE);
  Pool pool;
  CHECK(espalier_pool_create(1 << 20, &pool) == ESPALIER_ERROR_USAGE);
  // The text is that of this thread.
  const std::string text = espalier_last_error();
  std::thread([] { CHECK(std::string(espalier_last_error()).empty()); }).join();
  CHECK(espalier_last_error() == text);
  CHECK_FALSE(text.empty());
}

float logistic(float x) { return 1 / (1 + std::exp(-x)); }

// One step of one stream in plain loops, in double where it sums.
void plain_step(espalier_cell cell, bool reset_after, size_t inputs, size_t hidden,
                const std::vector<float>& w, const std::vector<float>& r,
                const std::vector<float>& b, const float* x, float* h, float* c) {
  const size_t gates = cell == ESPALIER_GRU ? 3 : cell == ESPALIER_LSTM ? 4 : 1;
  const std::vector<float> state(h, h + hidden);
  const auto wx = [&](size_t gate, size_t i) {
    return dot(&w[(gate * hidden + i) * inputs], x, inputs) + b[gate * hidden + i];
  };
  const auto rh = [&](size_t gate, size_t i, const std::vector<float>& of) {
    return dot(&r[(gate * hidden + i) * hidden], of.data(), hidden) +
           b[(gates + gate) * hidden + i];
  };
  std::vector<float> reset(hidden);
  for (size_t i = 0; i < hidden && cell == ESPALIER_GRU; ++i)
    reset[i] = logistic(wx(1, i) + rh(1, i, state)) * state[i];
  for (size_t i = 0; i < hidden; ++i) {
    if (cell == ESPALIER_RNN) {
      h[i] = std::tanh(wx(0, i) + rh(0, i, state));
    } else if (cell == ESPALIER_GRU) {
      const float z = logistic(wx(0, i) + rh(0, i, state));
      const float gate = logistic(wx(1, i) + rh(1, i, state));
      const float n =
          std::tanh(wx(2, i) + (reset_after ? gate * rh(2, i, state) : rh(2, i, reset)));
      h[i] = (1 - z) * n + z * state[i];
    } else {
      const auto sum = [&](size_t gate) { return wx(gate, i) + rh(gate, i, state); };
      c[i] = logistic(sum(2)) * c[i] + logistic(sum(0)) * std::tanh(sum(3));
      h[i] = logistic(sum(1)) * std::tanh(c[i]);
    }
  }
}

struct RecurrentCase {
  espalier_cell cell;
  bool reset_after;
};

TEST_CASE("steps and sequences of GRU, LSTM and RNN are those of their formulas") {
  constexpr size_t kInputs = 11, kHidden = 24, kSteps = 5, kBatch = 3;
  for (const RecurrentCase& c :
       {RecurrentCase{ESPALIER_GRU, true}, RecurrentCase{ESPALIER_GRU, false},
        RecurrentCase{ESPALIER_LSTM, false}, RecurrentCase{ESPALIER_RNN, false}}) {
    CAPTURE(c.cell);
    CAPTURE(c.reset_after);
    const size_t gates = c.cell == ESPALIER_GRU ? 3 : c.cell == ESPALIER_LSTM ? 4 : 1;
    const std::vector<float> w = random_weight({gates, kHidden, kInputs, 8, 1}, 1);
    const std::vector<float> r = random_weight({gates, kHidden, kHidden, 8, 1}, 2);
    const std::vector<float> b = random_values(2 * gates * kHidden, 3);
    Matrix input, recurrent;
    REQUIRE(espalier_matrix_pack(w.data(), gates, kHidden, kInputs, 8, 1, &input) == 0);
    REQUIRE(espalier_matrix_pack(r.data(), gates, kHidden, kHidden, 8, 1, &recurrent) == 0);
    espalier_recurrent_desc desc{};
    desc.size = sizeof desc;
    desc.cell = c.cell;
    desc.linear_before_reset = c.reset_after ? 1 : 0;
    desc.input_weight = input, desc.recurrent_weight = recurrent;
    desc.bias = b.data();
    Layer layer;
    REQUIRE(espalier_recurrent_create(&desc, &layer) == ESPALIER_OK);
    const std::array<int32_t, kBatch> lengths{5, 2, 0};
    for (const bool batch_first : {false, true}) {
      const std::vector<float> x = random_values(kSteps * kBatch * kInputs, 4);
      std::vector<float> y(kSteps * kBatch * kHidden, 9), h = random_values(kBatch * kHidden, 5);
      std::vector<float> cell = random_values(kBatch * kHidden, 6), h_plain = h, c_plain = cell;
      espalier_sequence_desc sequence{};
      sequence.size = sizeof sequence;
      sequence.steps = kSteps, sequence.batch = kBatch;
      sequence.batch_first = batch_first ? 1 : 0;
      sequence.lengths = lengths.data();
      REQUIRE(espalier_recurrent_run(layer, &sequence, x.data(), y.data(), h.data(), cell.data(),
                                     nullptr) == ESPALIER_OK);
      for (size_t n = 0; n < kBatch; ++n) {
        for (size_t t = 0; t < kSteps; ++t) {
          const size_t row = batch_first ? n * kSteps + t : t * kBatch + n;
          if (t >= static_cast<size_t>(lengths[n])) {
            CHECK(y[row * kHidden] == 0);
            continue;
          }
          plain_step(c.cell, c.reset_after, kInputs, kHidden, w, r, b, &x[row * kInputs],
                     &h_plain[n * kHidden], &c_plain[n * kHidden]);
          CHECK(y[row * kHidden + 7] == doctest::Approx(h_plain[n * kHidden + 7]).epsilon(1e-4));
        }
      }
      CHECK(max_difference(h, h_plain) < 1e-4F);
      if (c.cell == ESPALIER_LSTM) CHECK(max_difference(cell, c_plain) < 1e-4F);
    }
    // Step by step: the same bits as all at once.
    const std::vector<float> x = random_values(kSteps * kBatch * kInputs, 7);
    std::vector<float> h(kBatch * kHidden), cell(h.size()), h_all(h.size()), c_all(h.size());
    espalier_sequence_desc all{};
    all.size = sizeof all;
    all.steps = kSteps, all.batch = kBatch;
    REQUIRE(espalier_recurrent_run(layer, &all, x.data(), nullptr, h_all.data(), c_all.data(),
                                   nullptr) == ESPALIER_OK);
    for (size_t t = 0; t < kSteps; ++t)
      REQUIRE(espalier_recurrent_step(layer, &x[t * kBatch * kInputs], kBatch, h.data(),
                                      cell.data(), nullptr) == ESPALIER_OK);
    CHECK(max_difference(h, h_all) < 1e-6F);
  }
}

TEST_CASE("what a recurrent layer cannot be made of is refused") {
  constexpr size_t kHidden = 8;
  const std::vector<float> ones(3 * kHidden * kHidden, 1);
  Matrix three, one;
  REQUIRE(espalier_matrix_pack(ones.data(), 3, kHidden, kHidden, 8, 1, &three) == ESPALIER_OK);
  REQUIRE(espalier_matrix_pack(ones.data(), 1, 3 * kHidden, kHidden, 8, 1, &one) == ESPALIER_OK);
  espalier_recurrent_desc good{};
  good.size = sizeof good;
  good.recurrent_weight = three;
  const auto create = [](const espalier_recurrent_desc& desc) {
    Layer layer;
    return espalier_recurrent_create(&desc, &layer);
  };
  CHECK(create(good) == ESPALIER_OK);
  const auto changed = [&](const auto& change) {
    espalier_recurrent_desc desc = good;
    change(desc);
    return create(desc);
  };
  CHECK(changed([](auto& d) { d.cell = 3; }) == ESPALIER_ERROR_USAGE);
  CHECK(changed([](auto& d) { d.cell = ESPALIER_LSTM; }) == ESPALIER_ERROR_USAGE);
  CHECK(changed([&](auto& d) { d.recurrent_weight = one; }) == ESPALIER_ERROR_USAGE);
  CHECK(changed([&](auto& d) { d.input_weight = one; }) == ESPALIER_ERROR_USAGE);
  CHECK(changed([](auto& d) { d.recurrent_weight = nullptr; }) == ESPALIER_ERROR_USAGE);
  CHECK(changed([](auto& d) { d.clip = std::nanf(""); }) == ESPALIER_ERROR_USAGE);
  CHECK(changed([](auto& d) { d.activations[1].kind = ESPALIER_GELU; }) ==
        ESPALIER_ERROR_UNSUPPORTED);
  Layer layer;
  REQUIRE(espalier_recurrent_create(&good, &layer) == ESPALIER_OK);
  std::vector<float> x(3 * kHidden), h(kHidden);
  CHECK(espalier_recurrent_step(layer, x.data(), 1, h.data(), nullptr, nullptr) == ESPALIER_OK);
  CHECK(espalier_recurrent_step(layer, x.data(), 1, nullptr, nullptr, nullptr) ==
        ESPALIER_ERROR_USAGE);
  const int32_t length = 2;
  espalier_sequence_desc sequence{};
  sequence.size = sizeof sequence;
  sequence.steps = 1, sequence.batch = 1, sequence.lengths = &length;
  CHECK(espalier_recurrent_run(layer, &sequence, x.data(), nullptr, h.data(), nullptr, nullptr) ==
        ESPALIER_ERROR_USAGE);
}

TEST_CASE("convolutions of groups, strides and pads are those of plain loops") {
  struct Shape2 {
    size_t groups, in, out, kernel[2], stride[2], dilation[2], pad;
  };
  for (const Shape2& c :
       {Shape2{1, 3, 16, {3, 3}, {1, 1}, {1, 1}, 1}, Shape2{2, 4, 32, {3, 2}, {2, 1}, {1, 2}, 0},
        Shape2{1, 8, 16, {1, 1}, {1, 1}, {1, 1}, 0}}) {
    const size_t window = c.kernel[0] * c.kernel[1], inputs = c.in / c.groups * window;
    const std::vector<float> weight = random_weight({c.groups, c.out / c.groups, inputs, 16, 1}, 1);
    const std::vector<float> bias = random_values(c.out, 2);
    Matrix matrix;
    REQUIRE(espalier_matrix_pack(weight.data(), c.groups, c.out / c.groups, inputs, 16, 1,
                                 &matrix) == ESPALIER_OK);
    espalier_conv_desc desc{};
    desc.size = sizeof desc;
    desc.weight = matrix;
    for (size_t i = 0; i < 2; ++i) {
      desc.kernel[i] = c.kernel[i], desc.stride[i] = c.stride[i], desc.dilation[i] = c.dilation[i];
      desc.pad_begin[i] = desc.pad_end[i] = c.pad;
    }
    Conv conv;
    REQUIRE(espalier_conv_create(&desc, &conv) == ESPALIER_OK);
    constexpr size_t kBatch = 2, kHeight = 9, kWidth = 7;
    std::array<size_t, 2> out{};
    REQUIRE(espalier_conv_output(conv, kHeight, kWidth, out.data()) == ESPALIER_OK);
    const std::vector<float> x = random_values(kBatch * c.in * kHeight * kWidth, 3);
    std::vector<float> y(kBatch * c.out * out[0] * out[1]);
    REQUIRE(espalier_conv_run(conv, x.data(), kBatch, kHeight, kWidth, bias.data(), nullptr,
                              y.data(), nullptr) == ESPALIER_OK);
    size_t at = 0;
    for (size_t n = 0; n < kBatch; ++n)
      for (size_t o = 0; o < c.out; ++o)
        for (size_t row = 0; row < out[0]; ++row)
          for (size_t col = 0; col < out[1]; ++col, ++at) {
            double sum = bias[o];
            const size_t group = o / (c.out / c.groups);
            for (size_t i = 0; i < inputs; ++i) {
              const size_t channel = group * (c.in / c.groups) + i / window;
              const size_t p = row * c.stride[0] + i % window / c.kernel[1] * c.dilation[0];
              const size_t q = col * c.stride[1] + i % c.kernel[1] * c.dilation[1];
              if (p < c.pad || q < c.pad || p - c.pad >= kHeight || q - c.pad >= kWidth) continue;
              sum += double{weight[o * inputs + i]} *
                     x[((n * c.in + channel) * kHeight + p - c.pad) * kWidth + q - c.pad];
            }
            CHECK(y[at] == doctest::Approx(sum).epsilon(1e-4).scale(1));
          }
    CHECK(espalier_conv_run(conv, x.data(), SIZE_MAX, kHeight, kWidth, nullptr, nullptr, y.data(),
                            nullptr) == ESPALIER_ERROR_USAGE);
    if (c.pad == 0 && window > 1)
      CHECK(espalier_conv_run(conv, x.data(), 1, 1, 1, nullptr, nullptr, y.data(), nullptr) ==
            ESPALIER_ERROR_USAGE);
  }
}

TEST_CASE("a pool on threads of somebody else gives the same bits") {
  const Case c{1, 1024, 1024, 16, 1};
  const std::vector<float> weight = random_values(c.rows * c.cols, 1);
  const std::vector<float> x = random_values(4 * c.cols, 2);
  Matrix matrix;
  REQUIRE(espalier_matrix_pack(weight.data(), 1, c.rows, c.cols, 16, 1, &matrix) == ESPALIER_OK);
  CProduct product;
  REQUIRE(espalier_product_create(matrix, 0, &product) == ESPALIER_OK);
  std::atomic<size_t> items = 0;
  Pool pool;
  REQUIRE(espalier_pool_create_from(
              3,
              [](void* context, size_t count, espalier_body body, void* argument) {
                *static_cast<std::atomic<size_t>*>(context) += count;
                std::vector<std::thread> threads;
                for (size_t i = 0; i < count; ++i) threads.emplace_back([=] { body(argument, i); });
                for (std::thread& thread : threads) thread.join();
              },
              &items, &pool) == ESPALIER_OK);
  std::vector<float> alone(4 * c.rows), shared(4 * c.rows);
  REQUIRE(espalier_product_run(product, x.data(), 0, 4, nullptr, nullptr, alone.data(), nullptr) ==
          ESPALIER_OK);
  REQUIRE(espalier_product_run(product, x.data(), 0, 4, nullptr, nullptr, shared.data(), pool) ==
          ESPALIER_OK);
  CHECK(items > 1);
  CHECK(alone == shared);
}

}  // namespace
}  // namespace espalier
