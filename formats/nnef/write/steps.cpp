#include "formats/nnef/write/steps.h"

#include <fmt/format.h>

#include <string_view>

namespace espalier::nnef {
namespace {

std::string lower(std::string name) {
  name[0] = static_cast<char>(name[0] - 'A' + 'a');
  return name;
}

std::string call(const std::string& activation, std::string_view argument) {
  return fmt::format("{}({})", lower(activation), argument);
}

std::string columns(std::string_view from, int64_t begin, int64_t end) {
  return fmt::format("slice({}, axes = [1], begin = [{}], end = [{}])", from, begin, end);
}

std::string suffix(const std::vector<std::string>& activations) {
  std::string out;
  for (const std::string& name : activations) out += fmt::format("_{}", lower(name));
  return out;
}

// `lines` computes h1 (and c1) [N, H] from hs, cs [N, H] and xs [N, gates * H].
Step step_of(std::string name, bool has_c, bool has_bias, std::string_view lines) {
  std::string text = fmt::format(
      "fragment {}(\n    h: tensor<scalar>, {}x: tensor<scalar>, r: "
      "tensor<scalar>{} )\n    -> ( h_next: tensor<scalar>{} )\n{{\n",
      name, has_c ? "c: tensor<scalar>, " : "", has_bias ? ", b: tensor<scalar>" : "",
      has_c ? ", c_next: tensor<scalar>" : "");
  text += "    hs = squeeze(h, axes = [0]);\n";
  if (has_c) text += "    cs = squeeze(c, axes = [0]);\n";
  text += "    xs = squeeze(x, axes = [0]);\n";
  text += lines;
  text += "    h_next = unsqueeze(h1, axes = [0]);\n";
  if (has_c) text += "    c_next = unsqueeze(c1, axes = [0]);\n";
  return {std::move(name), text + "}\n"};
}

}  // namespace

// The reset gate is applied to h R^T (reset_last) or to h before the product.
Step gru_step(int64_t hidden, const std::vector<std::string>& activations, bool reset_last,
              bool has_bias) {
  const int64_t h = hidden;
  std::string lines, gates, candidate;
  if (reset_last) {
    const std::string product = "matmul(hs, r, transposeB = true)";
    lines = fmt::format("    rh = {};\n", has_bias ? fmt::format("add({}, b)", product) : product);
    gates = columns("rh", 0, 2 * h);
    candidate = fmt::format("mul(reset, {})", columns("rh", 2 * h, 3 * h));
  } else {
    lines = fmt::format(
        "    r_zr = slice(r, axes = [0], begin = [0], end = [{}]);\n"
        "    r_g = slice(r, axes = [0], begin = [{}], end = [{}]);\n",
        2 * h, 2 * h, 3 * h);
    gates = "matmul(hs, r_zr, transposeB = true)";
    candidate = "matmul(mul(reset, hs), r_g, transposeB = true)";
  }
  const auto gate = [&](size_t activation, int64_t begin, int64_t end, std::string_view from_h) {
    return call(activations[activation],
                fmt::format("add({}, {})", columns("xs", begin, end), from_h));
  };
  lines += fmt::format("    zr = {};\n", gate(0, 0, 2 * h, gates));
  lines += fmt::format("    z = {};\n", columns("zr", 0, h));
  lines += fmt::format("    reset = {};\n", columns("zr", h, 2 * h));
  lines += fmt::format("    g = {};\n", gate(1, 2 * h, 3 * h, candidate));
  lines += "    h1 = add(mul(sub(1.0, z), g), mul(z, hs));\n";
  return step_of(fmt::format("gru_step{}{}{}_{}", reset_last ? "_reset_last" : "",
                             has_bias ? "_bias" : "", suffix(activations), h),
                 false, has_bias, lines);
}

Step lstm_step(int64_t hidden, const std::vector<std::string>& activations) {
  const int64_t h = hidden;
  std::string lines = "    gates = add(xs, matmul(hs, r, transposeB = true));\n";
  if (activations == std::vector<std::string>{"Sigmoid", "Tanh", "Tanh"}) {
    lines += fmt::format("    ( h1, c1 ) = tract_core_lstm_epilogue(gates, cs, hidden = {});\n", h);
    return step_of(fmt::format("lstm_step_{}", h), true, false, lines);
  }
  lines += fmt::format("    iof = {};\n", call(activations[0], columns("gates", 0, 3 * h)));
  lines += fmt::format("    g = {};\n", call(activations[1], columns("gates", 3 * h, 4 * h)));
  lines += fmt::format("    c1 = add(mul({}, cs), mul({}, g));\n", columns("iof", 2 * h, 3 * h),
                       columns("iof", 0, h));
  lines +=
      fmt::format("    h1 = mul({}, {});\n", columns("iof", h, 2 * h), call(activations[2], "c1"));
  return step_of(fmt::format("lstm_step{}_{}", suffix(activations), h), true, false, lines);
}

Step rnn_step(const std::vector<std::string>& activations) {
  const std::string lines = fmt::format(
      "    h1 = {};\n", call(activations[0], "add(xs, matmul(hs, r, transposeB = true))"));
  return step_of(fmt::format("rnn_step{}", suffix(activations)), false, false, lines);
}

}  // namespace espalier::nnef
