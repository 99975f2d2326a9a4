// A step of a stream allocates nothing: neither espalier nor the libraries below it.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "formats/format.h"
#include "lib/prune/pack/pack_weights.h"
#include "lib/runtime/executor.h"

namespace {
std::atomic<bool> counting = false;
std::atomic<size_t> allocations = 0;
}  // namespace

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
// glibc lets a program define these (glibc manual, "Replacing malloc"); whatever the libraries of
// this process allocate comes through here.
constexpr bool kCounts = true;
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void __libc_free(void*);

void* malloc(size_t bytes) {
  if (counting) ++allocations;
  return __libc_malloc(bytes);
}
void* calloc(size_t count, size_t bytes) {
  if (counting) ++allocations;
  return __libc_calloc(count, bytes);
}
void* realloc(void* old, size_t bytes) {
  if (counting) ++allocations;
  return __libc_realloc(old, bytes);
}
void* memalign(size_t alignment, size_t bytes) {
  if (counting) ++allocations;
  return __libc_memalign(alignment, bytes);
}
void* aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }
int posix_memalign(void** result, size_t alignment, size_t bytes) {
  *result = memalign(alignment, bytes);
  return *result == nullptr ? ENOMEM : 0;
}
void free(void* old) { __libc_free(old); }
}
#else
constexpr bool kCounts = false;  // the sanitizer has its own
#endif

namespace espalier {
namespace {

std::filesystem::path shared_models() {
  const char* shared = std::getenv("ESPALIER_SHARED");
  return std::filesystem::path(shared != nullptr ? shared : ESPALIER_SOURCE_DIR "/../shared") /
         "models";
}

// Every free axis of an input has extent 1: batch 1, sequence 1.
void bind_one_step(const Model& model, Executor& executor) {
  for (const ValueId id : model.graph.inputs) {
    const Value& input = model.graph.values[id];
    if (model.graph.weights.contains(id)) continue;
    Shape shape = *input.shape;
    for (int64_t& extent : shape) extent = extent < 0 ? 1 : extent;
    const TensorView view = executor.input_view(input.name, Dims(shape));
    std::memset(view.bytes, 0, view.count() * bytes_in_view(view.dtype));
  }
}

size_t allocations_of_steps(const Model& model, size_t threads) {
  Executor executor(model, {.threads = threads});
  bind_one_step(model, executor);
  for (int i = 0; i < 3; ++i) executor.run_bound();  // makes the plan, then uses it
  allocations = 0;
  counting = true;
  for (int i = 0; i < 20; ++i) executor.run_bound();
  counting = false;
  return allocations;
}

TEST_CASE("a step allocates nothing, dense or packed, on one thread or two") {
  if (!kCounts) {
    MESSAGE("skipped: allocations are the sanitizer's here");
    return;
  }
  counting = true;
  std::free(std::malloc(1));
  counting = false;
  REQUIRE(allocations > 0);  // the counter counts
  std::vector<std::filesystem::path> paths{ESPALIER_SOURCE_DIR "/testdata/bandgru/denoise.onnx",
                                           ESPALIER_SOURCE_DIR
                                           "/testdata/bandgru/trained_16x1_90.onnx"};
  for (const char* name : {"dtln_1", "dtln_2", "bandgru384_trained_lpcnet"}) {
    const auto path = shared_models() / name / "model.onnx";
    if (std::filesystem::exists(path)) paths.push_back(path);
  }
  ThreadPool pool(1);
  for (const auto& path : paths) {
    CAPTURE(path.parent_path().filename().string());
    const Model model = read_model(path);
    for (const size_t threads : {1, 2}) {
      CAPTURE(threads);
      CHECK(allocations_of_steps(model, threads) == 0);
      CHECK(allocations_of_steps(pack_existing(model, std::nullopt, pool), threads) == 0);
    }
  }
}

}  // namespace
}  // namespace espalier
