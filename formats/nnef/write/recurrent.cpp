// GRU, LSTM and RNN. ONNX: X [T, N, I], W [D, gates * H, I], R [D, gates * H, H], B [D, 2 * gates *
// H], Y [T, D, N, H], states [D, N, H]; with layout = 1 the first two axes of X and Y, and D and N
// of states, change places.
//
// A GRU with linear_before_reset and the default activations is tract's own operator; everything
// else is tract_core_scan over a fragment that makes one step. Input projections stand before the
// loop as one matrix product over all steps.
#include <fmt/format.h>

#include <algorithm>

#include "formats/nnef/write/operators.h"
#include "formats/nnef/write/steps.h"

namespace espalier::nnef {
namespace {

// What GRU, LSTM and RNN have in common, in ONNX's layout = 0.
struct Cell {
  int64_t gates, hidden, directions;
  bool batch_first;
  std::vector<bool> reverse;             // per direction
  std::vector<std::string> activations;  // of one direction; both have the same
  Wire x, w, r;
  std::optional<Wire> b;
  std::vector<std::optional<Wire>> states;  // initial h, and c of an LSTM
  Dim batch, steps;
};

// One direction of it.
struct Direction {
  bool reverse;
  Wire w, r;              // [1, gates * H, I], [1, gates * H, H]
  std::optional<Wire> b;  // [1, 2 * gates * H]
  std::vector<Wire> states;
};

void refuse(NodeWriter& n, size_t input, std::string_view name) {
  if (n.has(input)) n.fail(fmt::format("input {} is not supported", name));
}

Wire swap_first_two(NodeWriter& n, const Wire& wire, bool swap) {
  if (!swap) return wire;
  std::vector<int64_t> axes{1, 0};
  for (size_t i = 2; i < wire.extents->size(); ++i) axes.push_back(static_cast<int64_t>(i));
  return n.text.transpose(wire, axes);
}

void expect(NodeWriter& n, std::string_view name, const Wire& wire, const Extents& extents) {
  bool fits = wire.extents->size() == extents.size();
  for (size_t i = 0; fits && i < extents.size(); ++i) {
    const Dim &have = (*wire.extents)[i], &want = extents[i];
    fits = !have.constant() || !want.constant() || have == want;
  }
  if (!fits) {
    n.fail(
        fmt::format("{} is {}, expected {}", name, to_string(*wire.extents), to_string(extents)));
  }
}

// The activations of one direction, which the other must share.
std::vector<std::string> activations_of(NodeWriter& n, int64_t directions,
                                        std::vector<std::string> defaults) {
  const std::vector<std::string> given = strings_attribute(n.node, "activations", {});
  if (given.empty()) return defaults;
  const size_t count = defaults.size();
  if (given.size() != count * static_cast<size_t>(directions)) {
    n.fail(fmt::format("activations has {} values", given.size()));
  }
  for (size_t i = 0; i < given.size(); ++i) {
    const std::string& name = given[i];
    if (name != "Sigmoid" && name != "Tanh" && name != "Relu") {
      n.fail(fmt::format("activations: '{}' is not supported", printable(name)));
    }
    if (name != given[i % count]) n.fail("activations that differ by direction are not supported");
  }
  return {given.begin(), given.begin() + static_cast<ptrdiff_t>(count)};
}

std::vector<bool> directions_of(NodeWriter& n) {
  const std::string direction = string_attribute(n.node, "direction", "forward");
  if (direction == "forward") return {false};
  if (direction == "reverse") return {true};
  if (direction == "bidirectional") return {false, true};
  n.fail(fmt::format("direction '{}' is not known", printable(direction)));
}

// Attributes and inputs of a recurrent operator with their shapes checked, X as [T, N, I].
Cell cell_of(NodeWriter& n, int64_t gates, size_t states, std::vector<std::string> activations) {
  for (const std::string_view name : {"clip", "activation_alpha", "activation_beta"}) {
    if (find_attribute(n.node, name) != nullptr) {
      n.fail(fmt::format("attribute {} is not supported", name));
    }
  }
  refuse(n, 4, "sequence_lens");
  Cell cell;
  cell.gates = gates;
  cell.reverse = directions_of(n);
  cell.directions = static_cast<int64_t>(cell.reverse.size());
  cell.activations = activations_of(n, cell.directions, std::move(activations));
  cell.batch_first = int_attribute(n.node, "layout", 0) != 0;
  cell.x = n.ranked(0);
  if (cell.x.extents->size() != 3) n.fail("X must have three axes");
  cell.x = swap_first_two(n, cell.x, cell.batch_first);
  cell.steps = (*cell.x.extents)[0];
  cell.batch = (*cell.x.extents)[1];
  cell.w = n.ranked(1);
  cell.r = n.ranked(2);
  if (cell.r.extents->size() != 3 || !(*cell.r.extents)[2].constant()) {
    n.fail("R must have three axes of known extents");
  }
  cell.hidden = *(*cell.r.extents)[2].constant();
  const Dim rows = Dim(gates) * Dim(cell.hidden);
  expect(n, "W", cell.w, {cell.directions, rows, (*cell.x.extents)[2]});
  expect(n, "R", cell.r, {cell.directions, rows, cell.hidden});
  if (n.has(3)) {
    cell.b = n.ranked(3);
    expect(n, "B", *cell.b, {cell.directions, Dim(2) * rows});
  }
  for (size_t i = 0; i < states; ++i) {
    cell.states.emplace_back();
    if (!n.has(5 + i)) continue;
    cell.states[i] = swap_first_two(n, n.ranked(5 + i), cell.batch_first);
    expect(n, i == 0 ? "initial_h" : "initial_c", *cell.states[i],
           {cell.directions, cell.batch, cell.hidden});
  }
  return cell;
}

Direction direction_of(NodeWriter& n, const Cell& cell, int64_t d) {
  const auto part = [&](const Wire& whole) { return n.text.slice(whole, 0, d, d + 1); };
  Direction result;
  result.reverse = cell.reverse[static_cast<size_t>(d)];
  result.w = part(cell.w);
  result.r = part(cell.r);
  if (cell.b) result.b = part(*cell.b);
  for (const std::optional<Wire>& state : cell.states) {
    if (state) {
      result.states.push_back(part(*state));
      continue;
    }
    const Extents extents{1, cell.batch, cell.hidden};
    result.states.push_back(
        n.step("zero", fmt::format("tract_core_broadcast(0.0, shape = {})", n.spelled(extents)),
               extents, cell.x.dtype));
    if (cell.x.dtype != DType::kF32)
      n.fail("a missing initial state in a type other than f32 is not supported");
  }
  return result;
}

// What one direction gives: Y [T, N, H] and the last states [1, N, H].
struct Result {
  Wire y;
  std::vector<Wire> last;
};

// Y and states of all directions as the node's outputs.
void set_outputs(NodeWriter& n, const Cell& cell, const std::vector<Result>& results) {
  const auto joined = [&](const std::vector<Wire>& wires, int64_t axis, std::string id) {
    if (wires.size() == 1) return wires[0];
    Extents extents = *wires[0].extents;
    extents[static_cast<size_t>(axis)] = Dim(static_cast<int64_t>(wires.size()));
    return n.text.assign(std::move(id),
                         fmt::format("concat([{}, {}], axis = {})", wires[0].id, wires[1].id, axis),
                         extents, wires[0].dtype);
  };
  if (n.wants(0)) {
    std::vector<Wire> ys;
    ys.reserve(results.size());
    for (const Result& result : results) ys.push_back(n.text.unsqueeze(result.y, {1}));
    const Wire y = joined(ys, 1, n.fresh("both"));
    n.set(0, cell.batch_first ? n.text.transpose(y, {2, 0, 1, 3}) : y);
  }
  for (size_t i = 0; i < cell.states.size(); ++i) {
    if (!n.wants(i + 1)) continue;
    std::vector<Wire> lasts;
    lasts.reserve(results.size());
    for (const Result& result : results) lasts.push_back(result.last[i]);
    n.set(i + 1, swap_first_two(n, joined(lasts, 0, n.fresh("last")), cell.batch_first));
  }
}

// A matrix product over all steps: X W^T + bias [T, N, gates * H]; `bias` is [1, gates * H].
Wire project(NodeWriter& n, const Cell& cell, const Direction& d, const std::optional<Wire>& bias) {
  const Extents extents{cell.steps, cell.batch, Dim(cell.gates * cell.hidden)};
  const std::string product = fmt::format("matmul({}, {}, transposeB = true)", cell.x.id, d.w.id);
  if (!bias) return n.step("x", product, extents, cell.x.dtype);
  const Wire raised = n.raised(*bias, 3);
  return n.step("x", fmt::format("add({}, {})", product, raised.id), extents, cell.x.dtype);
}

// The two halves of B: for X and for H.
std::pair<Wire, Wire> halves(NodeWriter& n, const Cell& cell, const Wire& b) {
  const int64_t rows = cell.gates * cell.hidden;
  return {n.text.slice(b, 1, 0, rows), n.text.slice(b, 1, rows, 2 * rows)};
}

std::optional<Wire> summed_bias(NodeWriter& n, const Cell& cell, const Direction& d) {
  if (!d.b) return std::nullopt;
  const auto [for_x, for_h] = halves(n, cell, *d.b);
  return n.step("bias", fmt::format("add({}, {})", for_x.id, for_h.id), for_x.extents, for_x.dtype);
}

// tract_core_scan of fragment `body`, whose parameters are the states, x and then `full`; the first
// state is also what Y collects.
Result scan(NodeWriter& n, const Cell& cell, const Direction& d, const std::string& body,
            const Wire& x, const std::vector<std::pair<std::string_view, Wire>>& full) {
  constexpr std::array<std::string_view, 2> kStates{"h", "c"};
  std::vector<std::string> states, outputs, constants, ids{n.fresh("steps")};
  const int step = d.reverse ? -1 : 1;
  outputs.push_back(fmt::format("('h_next', 'full', 0, {})", step));
  Result result;
  for (size_t i = 0; i < d.states.size(); ++i) {
    states.push_back(fmt::format("('{0}', {1}, '{0}_next')", kStates[i], d.states[i].id));
    outputs.push_back(fmt::format("('{}_next', 'last', 0, 1)", kStates[i]));
    ids.push_back(n.fresh(fmt::format("last_{}", kStates[i])));
    result.last.push_back({ids.back(), d.states[i].extents, cell.x.dtype});
  }
  for (const auto& [name, wire] : full) {
    constants.push_back(fmt::format("('{}', {})", name, wire.id));
  }
  result.y = {ids[0], Extents{cell.steps, cell.batch, Dim(cell.hidden)}, cell.x.dtype};
  n.text.assign(ids, fmt::format("tract_core_scan(body = '{}', scan = [('x', {}, 0, {})], full = "
                                 "[{}], state = [{}], output = [{}], skip = 0, reset_every_turn = "
                                 "0, external_state = 0)",
                                 body, x.id, step, fmt::join(constants, ", "),
                                 fmt::join(states, ", "), fmt::join(outputs, ", ")));
  return result;
}

Result gru_by_operator(NodeWriter& n, const Cell& cell, const Direction& d) {
  // The operator wants the batch first, and gives y [N, T, H] and the last state [N, 1, H].
  const Wire x = swap_first_two(n, cell.x, true);
  const Wire w = n.text.squeeze(d.w, {0}), r = n.text.squeeze(d.r, {0});
  const Wire y{n.fresh("batch"), Extents{cell.batch, cell.steps, cell.hidden}, cell.x.dtype};
  const Wire last{n.fresh("final"), Extents{cell.batch, 1, cell.hidden}, cell.x.dtype};
  n.text.assign(
      std::array{y.id, last.id},
      fmt::format("tract_core_gru_seq(x = {}, w = {}, r = {}, {}initial_h = {}, hidden = {}, "
                  "chunk = {}, has_bias = {}, reset_every_turn = 0, emit_y = 1, projected = 0)",
                  x.id, w.id, r.id, d.b ? fmt::format("b = {}, ", d.b->id) : "", d.states[0].id,
                  cell.hidden, d.reverse ? -1 : 1, d.b ? 1 : 0));
  return {swap_first_two(n, y, true), {swap_first_two(n, last, true)}};
}

Result by_scan(NodeWriter& n, const Cell& cell, const Direction& d, const Step& step) {
  n.use_fragment(step.name, step.text);
  return scan(n, cell, d, step.name, project(n, cell, d, summed_bias(n, cell, d)),
              {{"r", n.text.squeeze(d.r, {0})}});
}

// The bias for h waits for the reset gate, that for x does not.
Result gru_reset_last(NodeWriter& n, const Cell& cell, const Direction& d) {
  const Step step = gru_step(cell.hidden, cell.activations, true, d.b.has_value());
  n.use_fragment(step.name, step.text);
  std::vector<std::pair<std::string_view, Wire>> full{{"r", n.text.squeeze(d.r, {0})}};
  if (!d.b) return scan(n, cell, d, step.name, project(n, cell, d, std::nullopt), full);
  const auto [for_x, for_h] = halves(n, cell, *d.b);
  full.emplace_back("b", for_h);
  return scan(n, cell, d, step.name, project(n, cell, d, for_x), full);
}

template <typename Spell>
void each_direction(NodeWriter& n, const Cell& cell, const Spell& spell) {
  std::vector<Result> results;
  for (int64_t d = 0; d < cell.directions; ++d) {
    results.push_back(spell(direction_of(n, cell, d)));
  }
  set_outputs(n, cell, results);
}

}  // namespace

void spell_gru(NodeWriter& n) {
  const std::vector<std::string> usual{"Sigmoid", "Tanh"};
  const Cell cell = cell_of(n, 3, 1, usual);
  const bool reset_last = int_attribute(n.node, "linear_before_reset", 0) != 0;
  const bool has_operator = reset_last && cell.activations == usual;
  each_direction(n, cell, [&](const Direction& d) {
    if (has_operator) return gru_by_operator(n, cell, d);
    if (reset_last) return gru_reset_last(n, cell, d);
    return by_scan(n, cell, d, gru_step(cell.hidden, cell.activations, false, false));
  });
}

void spell_lstm(NodeWriter& n) {
  refuse(n, 7, "P (peepholes)");
  if (int_attribute(n.node, "input_forget", 0) != 0) n.fail("input_forget is not supported");
  const Cell cell = cell_of(n, 4, 2, {"Sigmoid", "Tanh", "Tanh"});
  const Step step = lstm_step(cell.hidden, cell.activations);
  each_direction(n, cell, [&](const Direction& d) { return by_scan(n, cell, d, step); });
}

void spell_rnn(NodeWriter& n) {
  const Cell cell = cell_of(n, 1, 1, {"Tanh"});
  const Step step = rnn_step(cell.activations);
  each_direction(n, cell, [&](const Direction& d) { return by_scan(n, cell, d, step); });
}

}  // namespace espalier::nnef
