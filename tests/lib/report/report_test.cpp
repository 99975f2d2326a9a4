#include "lib/report/report.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lib/report/paper.h"
#include "lib/report/results.h"

namespace espalier {
namespace {

LayerResult layer(std::string weight, size_t weights, double zeros) {
  LayerResult row;
  row.name = "node_" + weight;
  row.weight = std::move(weight);
  row.op = "Gemm";
  row.type = "f32";
  row.block = "16x1";
  row.shape = {64, static_cast<int64_t>(weights / 64)};
  row.matrix_rows = 64;
  row.matrix_cols = weights / 64;
  row.weights = weights;
  row.zeros = zeros;
  row.bytes_before = 4 * weights;
  row.bytes_after = weights;
  return row;
}

LayerResult left_out(std::string weight, std::string why) {
  LayerResult row = layer(std::move(weight), 64, 0);
  row.left_out = std::move(why);
  return row;
}

Results packed_results() {
  Results results;
  results.command = "prune";
  PackResults& pack = results.pack.emplace();
  pack.input = {"in.onnx", "onnx", 1000};
  pack.output = {"out.nnef", "nnef", 300};
  pack.options = {{"block", std::string("16x1")}, {"sparsity", 0.8}, {"seed", count_cell(0)}};
  pack.layers = {layer("a", 640, 0.5), layer("b", 64, 1.0), left_out("c", "too small")};
  pack.layers[0].output_error = 0.0712345;
  results.verdicts = {{"size", true, "30 % of the dense file"},
                      {"accuracy", false, "GAP"},
                      {"speed", std::nullopt, "not measured"}};
  return results;
}

std::string render(const char* name, const Results& results, size_t width = 100) {
  const Renderer* renderer = find_renderer(name);
  REQUIRE(renderer != nullptr);
  return renderer->render(make_report(results), {.width = width});
}

using Json = nlohmann::json;

TEST_CASE("the JSON of prune has the promised keys, and null for what was not measured") {
  const Json json = Json::parse(render("json", packed_results()));
  CHECK(json["input"] == Json{{"file", "in.onnx"}, {"bytes", 1000}});
  CHECK(json["output"]["bytes"] == 300);
  CHECK(json["options"]["sparsity"] == 0.8);
  const Json& row = json["layers"][0];
  for (const char* key :
       {"name", "weight", "operator", "shape", "matrix", "block", "weights", "zeros", "blocks",
        "blocks_kept", "diagonal", "bytes_before", "bytes_after", "output_error", "ms_dense",
        "ms_sparse", "method_used", "obs_multiply_adds", "left_out"}) {
    CAPTURE(key);
    CHECK(row.contains(key));
  }
  CHECK(row["matrix"] == Json{64, 10});
  CHECK(row["output_error"] == 0.0712345);
  CHECK(row["ms_dense"].is_null());
  CHECK(json["layers"][2]["left_out"] == "too small");
  CHECK(json["verdicts"][2]["ok"].is_null());
  CHECK(json["verdicts"][1]["ok"] == false);
}

TEST_CASE("the total covers the layers that were not left out") {
  const Json total = Json::parse(render("json", packed_results()))["total"];
  CHECK(total["layers"] == 2);
  CHECK(total["weights"] == 704);
  CHECK(total["zeros"].get<double>() == doctest::Approx((320 + 64) / 704.0));
  CHECK(total["bytes_before"] == 4 * 704);
}

TEST_CASE("a diagonal kept apart counts neither as weights nor as zeros in the total") {
  Results results = packed_results();
  results.pack->layers[0].diagonal = 140;
  const Json total = Json::parse(render("json", results))["total"];
  CHECK(total["zeros"].get<double>() == doctest::Approx((250 + 64) / 564.0));
  CHECK(total["weights"] == 704);
}

TEST_CASE("the JSON of inspect, verify and bench has the promised keys") {
  Results inspect;
  InspectResults& found = inspect.inspect.emplace();
  found.file = {"m.onnx", "onnx", 10};
  found.operators = {{"Gemm", 2}};
  found.inputs = {{"x", "f32", Shape{-1, 4}, {"batch", ""}}};
  found.outputs = {{"y", "f32", std::nullopt, {}}};
  found.layers = {layer("a", 640, 0.5), left_out("b", "too small")};
  found.producer = "pytorch 2.4.0";
  found.opsets = {{"ai.onnx", 17}};
  found.parameters = 1280;
  found.magnitudes = {{0.0, 0.25}, {std::nullopt, 0.75}};
  const Json a = Json::parse(render("json", inspect));
  CHECK(a["operators"] == Json{{"Gemm", 2}});
  CHECK(a["inputs"][0] == Json{{"name", "x"},
                               {"type", "f32"},
                               {"shape", {-1, 4}},
                               {"dimension_names", {"batch", nullptr}}});
  CHECK(a["outputs"][0]["shape"].is_null());
  CHECK(a["layers"][0]["block"] == "16x1");
  CHECK(a["total"]["bytes"] == 640);
  CHECK(a["producer"] == "pytorch 2.4.0");
  CHECK(a["opsets"] == Json{{"ai.onnx", 17}});
  CHECK(a["prunable"] == 640);
  CHECK(a["multiply_adds"].is_null());
  CHECK(a["magnitudes"][1] == Json{{"limit", nullptr}, {"share", 0.75}});
  const std::string shown = render("text", inspect);
  CHECK(shown.find("parameters: 1.28 k, 50.0 % in weights that can be pruned\n") !=
        std::string::npos);
  CHECK(shown.find("│ more │ 75.0 % │ ##############################") != std::string::npos);
  CHECK(shown.find("│ x    │ f32  │ ?x4   │ 0: batch") != std::string::npos);

  Results verify;
  verify.verify = VerifyResults{};
  verify.verify->a = "a.onnx";
  verify.verify->outputs = {{"y", 0.5, std::numeric_limits<double>::infinity(), 0, 1, false}};
  const Json b = Json::parse(render("json", verify));
  CHECK(b["a"] == "a.onnx");
  CHECK(b["ok"] == true);
  CHECK(b["tolerance"] == Json{{"abs", 1e-4}, {"rel", 1e-4}});
  CHECK(b["outputs"][0]["max_abs"] == 0.5);
  CHECK(b["outputs"][0]["max_rel"].is_null());
  CHECK(b.contains("metric"));
  CHECK(b["metric"].is_null());

  Results bench;
  bench.bench = BenchResults{
      {"CPU", "AVX2", 2}, 10, {{"m.onnx", "espalier", {{"x", {1, 4}}}, {5, 1, 2, 0.5}, 99, 1, {}}}};
  const Json c = Json::parse(render("json", bench));
  CHECK(c["machine"] == Json{{"processor", "CPU"}, {"simd", "AVX2"}, {"threads", 2}});
  CHECK(c["models"][0]["inputs"] == Json{{"x", {1, 4}}});
  CHECK(c["models"][0]["real_time_factor"] == 0.1);
  CHECK(c["models"][0]["peak_bytes"] == 99);
  CHECK(c["models"][0]["runtime"] == "espalier");
  CHECK(render("text", bench).find("warning: the runs of m.onnx scatter") != std::string::npos);
}

// Lines of boxes, each box's lines of one width; `frame`: what a line of a box begins with.
std::vector<std::string> boxed_lines(const std::string& text, size_t width,
                                     const std::vector<std::string>& frame) {
  std::istringstream lines(text);
  std::vector<std::string> found;
  size_t box = 0;
  for (std::string line; std::getline(lines, line);) {
    CAPTURE(line);
    CHECK(display_width(line) <= width);
    const bool boxed = std::ranges::any_of(
        frame, [&](const std::string& start) { return line.starts_with(start); });
    if (!boxed || line.starts_with(frame[0])) box = 0;
    if (!boxed) continue;
    if (box == 0) box = display_width(line);
    CHECK(display_width(line) == box);
    found.push_back(line);
  }
  return found;
}

Results long_names() {
  Results results = packed_results();
  results.pack->layers.clear();
  for (int i = 0; i < 4; ++i) {
    results.pack->layers.push_back(
        layer(fmt::format("encoder.layers.{}.attention.self.query.weight", i), 64000, 0.5));
  }
  results.pack->layers.push_back(
      left_out("encoder.layers.0.模型/层/权重", "a fixed transform by its name (mel filter bank)"));
  results.pack->layers.push_back(left_out("encoder.layers.1.模型/层/权重", "too small"));
  results.verdicts[0].text = "30 % of the dense file: " + std::string(50, '1') + " instead of more";
  return results;
}

TEST_CASE("at any width no line is wider than the terminal, no column lost, no two rows alike") {
  for (const size_t width : {size_t{60}, size_t{80}, size_t{110}, size_t{200}}) {
    CAPTURE(width);
    const std::string text =
        find_renderer("text")->render(make_report(long_names()), {.width = width, .wrap = true});
    const auto lines = boxed_lines(text, width, {"┌", "│", "├", "└"});
    std::map<std::string, int> labels;  // with the number of the box: each shortens as it has room
    size_t titles = 0, box = 0;
    for (const std::string& line : lines) {
      if (line.starts_with("┌")) ++box;
      if (line.starts_with("│ encoder.layers.") || line.starts_with("│ …"))
        ++labels[fmt::format("{} {}", box, line.substr(0, line.find("│", 4)))];
      for (const char* title : {" shape ", " zeros ", " before ", " after ", " dense "})
        titles += line.find(title) != std::string::npos ? 1 : 0;
    }
    CHECK(titles == 5);
    CHECK(labels.size() >= 4 * box + 2);  // those left out, too
    for (const auto& [label, rows] : labels) CHECK(rows == 1);
  }
}

TEST_CASE("without UTF-8 a report is plain ASCII, as wide and as distinct") {
  for (const size_t width : {size_t{60}, size_t{110}}) {
    const std::string text = find_renderer("text")->render(
        make_report(long_names()), {.width = width, .wrap = true, .ascii = true});
    CHECK(std::ranges::all_of(text, [](unsigned char c) { return c < 0x80; }));
    CHECK(boxed_lines(text, width, {"+", "|"}).size() > 10);
    CHECK(text.find("\\u6a21\\u578b") != std::string::npos);  // 模型
  }
}

TEST_CASE("lines are broken at blanks, long words within") {
  CHECK(wrapped("one two three", 8, 2) == std::vector<std::string>{"one two", "  three"});
  CHECK(wrapped("abcdefghij k", 4, 0) == std::vector<std::string>{"abcd", "efgh", "ij k"});
  CHECK(wrapped("", 8, 2) == std::vector<std::string>{""});
  CHECK(wrapped("size:     30 %", 20, 10) == std::vector<std::string>{"size:     30 %"});
}

TEST_CASE("long names lose their middle") {
  CHECK(shortened("abcdefghij", 5) == "ab…ij");
  CHECK(shortened("abc", 5) == "abc");
  CHECK(display_width("模型") == 4);
  CHECK(display_width(shortened("模型模型模型", 5)) <= 5);
}

TEST_CASE("layers left out come last; many of them come together by reason") {
  Table table{"k", "", {{"w", "w"}, {"r", "r", Unit::kReason}}, {}, {}};
  for (int i = 0; i < 20; ++i)
    table.rows.push_back({fmt::format("w{}", i), i == 7 ? Cell() : Cell("small")});
  const PaperTable paper = on_paper(table);
  CHECK(paper.rows == std::vector<std::vector<std::string>>{{"w7"}});
  REQUIRE(paper.left_out.size() == 1);
  CHECK(paper.left_out[0].what == "19 weights: w0, w1, w2, ...");
  CHECK(on_paper(table, 20).left_out.size() == 19);
}

size_t count_of(const std::string& text, std::string_view piece) {
  size_t count = 0;
  for (size_t at = text.find(piece); at != std::string::npos; at = text.find(piece, at + 1))
    ++count;
  return count;
}

// What the page's script draws.
Json page_data(const std::string& page) {
  const std::string_view start = "id=\"data\">";
  const size_t begin = page.find(start) + start.size();
  return Json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

TEST_CASE("what a file calls its tensors does nothing to terminal, browser or spreadsheet") {
  Results results = packed_results();
  results.pack->layers[0].weight = "\x1b[31m<script>|\"=\x07\xff";
  results.pack->layers[1].weight = "=1+1";
  for (const Renderer* renderer : renderers()) {
    CAPTURE(renderer->name);
    const std::string text = render(std::string(renderer->name).c_str(), results);
    CHECK(text.find('\x1b') == std::string::npos);
    CHECK(text.find('\x07') == std::string::npos);
    CHECK(text.find('\xff') == std::string::npos);
  }
  // The page's own three, none of them the file's.
  const std::string page = render("html", results);
  CHECK(count_of(page, "<script") == 3);
  CHECK(page.find("<script>|") == std::string::npos);
  CHECK(render("markdown", results).find("<script") == std::string::npos);
  CHECK(render("csv", results).find(",'=1+1,") != std::string::npos);
}

// One result of each kind, so that every section has something to say.
std::vector<Results> one_of_each() {
  std::vector<Results> all{packed_results()};
  all.emplace_back().inspect = InspectResults{};
  all.emplace_back().verify = VerifyResults{};
  all.back().verify->weights = {{"w", {2}, 0, 0, true}};
  all.back().verify->metric = MetricPair{"top1", 1, 0.5};
  all.emplace_back().bench = BenchResults{{"CPU", "AVX2", 1}, 0, {}};
  all.emplace_back().kernels =
      KernelResults{{"CPU", "AVX2", 1}, 100, {{"gemv_16x1", "16x1", "f32", 1, 2, 3}}};
  all.emplace_back().advise = AdviseResults{};
  all.back().advise->layers = {
      {"fc", "fc", "w", "16x1", Shape{4, 2}, 3, 0.25, 1.0, 0.5, 0.4, true, ""},
      {"g", "", "v", "", Shape{4, 2}, 0, {}, {}, {}, {}, false, "small"}};
  all.emplace_back().diff = DiffResults{};
  all.back().diff->weights = {{"w", "only in a", Shape{2}, {}, {}, 0.5, {}, 8, {}}};
  all.emplace_back().masks = MaskResults{"a.npz", "", {{"w", {2}, 0.5, std::nullopt, 0}}};
  return all;
}

TEST_CASE("a curve is a table, and a picture on the page") {
  Results results = packed_results();
  results.pack->metric = MetricPair{"<top1>", 0.98, 0.9, 0.5};
  results.pack->curve = {
      {0.9, 0.5, 0.1, {}, 100}, {0.3, 0.9, 0.8, {}, 200}, {0.6, {}, {}, 1.5, {}}};
  results.pack->metric_limit = 0.85;
  results.pack->reached_sparsity = 0.6;
  const Json json = Json::parse(render("json", results));
  CHECK(json["metric"]["magnitude"] == 0.5);
  REQUIRE(json["curve"].size() == 3);
  CHECK(json["curve"][0]["sparsity"] == 0.3);  // in order
  CHECK(json["curve"][1]["metric"].is_null());
  CHECK(json["curve"][1]["ms"] == 1.5);
  const std::string page = render("html", results);
  CHECK(page.find("<top1>") == std::string::npos);
  CHECK(page.find("<figure data-chart=\"0\">") != std::string::npos);
  const Json chart = page_data(page)["charts"][0];
  CHECK(chart["x"] == Json({0.3, 0.6, 0.9}));
  REQUIRE(chart["series"].size() == 3);  // no time of the dense model, so no share of it
  CHECK(chart["series"][0]["values"] == Json({0.9, nullptr, 0.5}));
  CHECK(chart["series"][0]["fits"] == true);
  CHECK(chart["series"][1]["label"] == "by magnitude");
  CHECK(chart["series"][1]["fits"] == false);  // it does not squeeze the rest
  CHECK(chart["series"][2]["right"] == true);
  CHECK(chart["limit"] == 0.85);
  CHECK(chart["chosen"] == 0.6);
  CHECK(page.find("<tr class=\"chosen\"") != std::string::npos);
  results.pack->curve.resize(1);  // one point is no line
  CHECK(render("html", results).find("<figure") == std::string::npos);
  results.pack->curve = {{0.5, NAN, {}, {}, {}}, {0.5, INFINITY, {}, {}, {}}};
  CHECK(page_data(render("html", results))["charts"][0]["series"][0]["values"] ==
        Json({nullptr, nullptr}));
}

TEST_CASE("a report says how it came about, in JSON and on the page") {
  Results results = packed_results();
  results.run = RunInfo{"1.2",
                        "abc",
                        "espalier prune '<a>'",
                        "2026-11-30T00:00:00Z",
                        7,
                        {"CPU", "AVX2", 2},
                        {{"fmt", "9.1"}},
                        std::string(64, 'a'),
                        ""};
  const Json run = Json::parse(render("json", results))["run"];
  CHECK(run["version"] == "1.2");
  CHECK(run["seed"] == 7);
  CHECK(run["machine"] == Json({{"processor", "CPU"}, {"simd", "AVX2"}, {"threads", 2}}));
  CHECK(run["libraries"] == Json({{"fmt", "9.1"}}));
  CHECK(run["model_sha256"] == std::string(64, 'a'));
  CHECK(run["data_sha256"].is_null());
  const std::string page = render("html", results);
  CHECK(page.find("espalier prune &#39;&lt;a&gt;&#39;") != std::string::npos);
  CHECK(render("text", results).find("2026-11-30") == std::string::npos);
}

TEST_CASE("a page holds all that it shows and loads nothing") {
  Results results = packed_results();
  results.verdicts = {{"size", true, "10 % of the dense file", "10.0 %"}};
  results.pack->masks = {{"w</script>", "4x2 in 2x1", 2, 2, 2, 1, 1, false, "0f7f"}};
  const std::string page = render("html", results);
  CHECK(page.find("default-src 'none'") != std::string::npos);
  CHECK(page.find("src=") == std::string::npos);
  CHECK(page.find("<link") == std::string::npos);
  CHECK(page.find("<div class=\"figure\">10.0 %</div>") != std::string::npos);
  CHECK(count_of(page, "</script>") == 3);
  const Json mask = page_data(page)["masks"][0];
  CHECK(mask["name"] == "w</script>");
  CHECK(mask["cells"] == "0f7f");
  CHECK(page.find("Leon Sorokin") != std::string::npos);  // uPlot's licence goes along
}

TEST_CASE("a sweep has a point for each row, and charts of the metric over size and time") {
  Results results;
  results.command = "sweep";
  SweepResults& sweep = results.sweep.emplace();
  sweep.model = "m.onnx", sweep.metric = "top1";
  sweep.dense = {"m.onnx", 1000, 2.0, 0.9};
  sweep.int8 = SweepResults::Reference{"int8.onnx", 300, 1.5, 0.89};
  sweep.points = {{"obs", "16x1", "", "", 0.8, "a.onnx", "d", 200, 0.8, 0.1, 0.88, 0.5, 4.0, true},
                  {"l2", "16x1", "", "", 0.8, "b.onnx", "e", 220, 0.8, 0.2, 0.5, 0.6, 3.3, false}};
  sweep.picked = 0;
  const Json json = Json::parse(render("json", results));
  CHECK(json["dense"]["bytes"] == 1000);
  CHECK(json["int8"]["metric"] == 0.89);
  CHECK(json["points"][0]["pareto"] == true);
  CHECK(json["picked"] == "a.onnx");
  const std::string page = render("html", results);
  const Json charts = page_data(page)["charts"];
  REQUIRE(charts.size() == 2);
  CHECK(charts[0]["x"] == Json({200.0, 220.0, 300.0, 1000.0}));
  CHECK(charts[0]["series"].size() == 4);  // two methods, dense, int8
  CHECK(charts[0]["labels"][0] == "obs 16x1 at 80.0 %");
  CHECK(charts[1]["x_unit"] == "ms");
}

TEST_CASE("every section goes through every renderer") {
  for (const Results& results : one_of_each()) {
    const Report report = make_report(results);
    CHECK(report.parts.size() + report.notes.size() > 0);
    for (const Renderer* renderer : renderers()) {
      CAPTURE(renderer->name);
      const std::string text = renderer->render(report, {});
      CHECK_FALSE(text.empty());
      if (renderer->name == "json") CHECK(Json::parse(text).is_object());
    }
  }
}

TEST_CASE("numbers show three digits that count, bytes their unit, shares percent") {
  CHECK(format_number(0) == "0");
  CHECK(format_number(0.0712345) == "0.0712");
  CHECK(format_number(1.234) == "1.23");
  CHECK(format_number(123.4) == "123");
  CHECK(format_number(1e-7) == "1.0e-07");
  CHECK(format_bytes(999) == "999 B");
  CHECK(format_bytes(340344) == "340 kB");
  CHECK(format_bytes(1667000) == "1.67 MB");
  CHECK(format_cell(0.9, Unit::kShare) == "90.0 %");
  CHECK(format_cell({}, Unit::kShare) == "-");
  CHECK(format_cell(std::numeric_limits<double>::quiet_NaN(), Unit::kNumber) == "-");
  CHECK(format_cell(Shape{3, 4}, Unit::kText) == "3x4");
}

}  // namespace
}  // namespace espalier
