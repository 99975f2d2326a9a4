#pragma once

// Inside lib/kernels only: the only header that knows oneDNN.

#include <dnnl.hpp>
#include <utility>
#include <vector>

namespace espalier {

/// The processor as oneDNN's engine.
const dnnl::engine& dnnl_engine();

/// oneDNN of this and later calls on this thread stays on this thread: espalier's own pool shares
/// out the work, and OpenMP's threads would spin beside it.
void keep_dnnl_on_this_thread();

/// A primitive with its memories, called again and again without allocating. Scratch memory is its
/// own, so that it may run on another thread than the one it was made on (not on two at once).
class DnnlCall {
 public:
  DnnlCall() = default;
  /// `primitive` was made with scratchpad_mode::user.
  DnnlCall(const dnnl::primitive& primitive, const dnnl::memory::desc& scratchpad,
           std::vector<std::pair<int, dnnl::memory>> arguments);

  /// Points an argument that was given without memory to `data`.
  void set(int argument, const void* data);
  void run() const;
  explicit operator bool() const { return static_cast<bool>(primitive_); }

 private:
  dnnl::primitive primitive_;
  dnnl::stream stream_;
  std::vector<std::pair<int, dnnl::memory>> memories_;  // keep what arguments_ points to
  std::vector<dnnl_exec_arg_t> arguments_;
};

/// A memory that DnnlCall::set fills in.
inline dnnl::memory unbound(const dnnl::memory::desc& desc) {
  return {desc, dnnl_engine(), DNNL_MEMORY_NONE};
}

/// Scratchpads belong to the caller.
dnnl::primitive_attr dnnl_attributes();

/// A copy from one layout to another; nothing is bound.
DnnlCall make_reorder(const dnnl::memory& from, const dnnl::memory& to);

/// `from` in the layout `desc`, which may be its own: then itself.
dnnl::memory reordered(const dnnl::memory& from, const dnnl::memory::desc& desc);

/// Runs make() and gives on what oneDNN refuses as an Error (kUnsupported) that begins with `what`.
template <class Make>
auto with_dnnl_errors(const char* what, const Make& make);

[[noreturn]] void throw_dnnl_error(const char* what, const dnnl::error& error);

template <class Make>
auto with_dnnl_errors(const char* what, const Make& make) {
  try {
    return make();
  } catch (const dnnl::error& error) {
    throw_dnnl_error(what, error);
  }
}

}  // namespace espalier
