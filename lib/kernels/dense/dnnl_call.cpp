#include "lib/kernels/dense/dnnl_call.h"

#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <new>

#include "lib/base/check.h"
#include "lib/base/error.h"
#include "lib/kernels/simd_target.h"

#ifdef ESPALIER_DNNL_OPENMP
// Of libgomp, which Debian's libdnnl runs on. Not from omp.h: clang has it only with its own OpenMP
// library.
extern "C" void omp_set_num_threads(int threads);
#else
static void omp_set_num_threads(int /*threads*/) {}  // a oneDNN without threads
#endif

namespace espalier {
namespace {

// oneDNN follows set_simd_target() as far as it can: it takes a limit only before its first use.
dnnl::engine make_engine() {
  const std::string target = simd_target();
  dnnl_cpu_isa_t limit = dnnl_cpu_isa_all;
  if (target == "AVX2") limit = dnnl_cpu_isa_avx2;
  if (target == "SSE4" || target == "SSSE3" || target == "EMU128" || target == "SCALAR")
    limit = dnnl_cpu_isa_sse41;
  static_cast<void>(dnnl_set_max_cpu_isa(limit));
  return {dnnl::engine::kind::cpu, 0};
}

// oneDNN 2.6 does not look whether it got the memory for the code that it generates, and then ends
// the program: it is asked for before. Errors  std::bad_alloc.
void expect_memory_for_code() {
  constexpr size_t kBytes = size_t{48} << 20;
  const std::unique_ptr<void, void (*)(void*)> probe(std::malloc(kBytes), std::free);
  if (probe == nullptr) throw std::bad_alloc();
}

}  // namespace

const dnnl::engine& dnnl_engine() {
  static const dnnl::engine engine = make_engine();
  return engine;
}

void keep_dnnl_on_this_thread() { omp_set_num_threads(1); }

DnnlCall::DnnlCall(const dnnl::primitive& primitive, const dnnl::memory::desc& scratchpad,
                   std::vector<std::pair<int, dnnl::memory>> arguments)
    : primitive_(primitive), stream_(dnnl_engine()), memories_(std::move(arguments)) {
  expect_memory_for_code();
  if (scratchpad.get_size() != 0)
    memories_.emplace_back(DNNL_ARG_SCRATCHPAD, dnnl::memory(scratchpad, dnnl_engine()));
  for (const auto& [argument, memory] : memories_) arguments_.push_back({argument, memory.get()});
}

void DnnlCall::set(int argument, const void* data) {
  for (const dnnl_exec_arg_t& one : arguments_) {
    if (one.arg != argument) continue;
    // oneDNN has one type for memory that is read and that is written.
    ESPALIER_CHECK(dnnl_memory_set_data_handle(one.memory, const_cast<void*>(data)) ==
                   dnnl_success);
    return;
  }
  ESPALIER_CHECK(!"the primitive has no such argument");
}

// The first run of the program generates code that all primitives share.
void DnnlCall::run() const {
  static const bool is_first = (expect_memory_for_code(), true);
  static_cast<void>(is_first);
  const auto status = dnnl_primitive_execute(
      primitive_.get(), stream_.get(), static_cast<int>(arguments_.size()), arguments_.data());
  if (status != dnnl_success)
    throw_dnnl_error("oneDNN", dnnl::error(status, "a primitive did not run"));
}

dnnl::primitive_attr dnnl_attributes() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

DnnlCall make_reorder(const dnnl::memory& from, const dnnl::memory& to) {
  const dnnl::reorder::primitive_desc desc(from, to, dnnl_attributes());
  return {dnnl::reorder(desc), desc.scratchpad_desc(), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}}};
}

dnnl::memory reordered(const dnnl::memory& from, const dnnl::memory::desc& desc) {
  if (from.get_desc() == desc) return from;
  dnnl::memory to(desc, dnnl_engine());
  make_reorder(from, to).run();
  return to;
}

void throw_dnnl_error(const char* what, const dnnl::error& error) {
  if (error.status == dnnl_out_of_memory) throw std::bad_alloc();
  throw Error(Fault::kUnsupported, fmt::format("{}: oneDNN rejects it: {}", what, error.what()));
}

}  // namespace espalier
