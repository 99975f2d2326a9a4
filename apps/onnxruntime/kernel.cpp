#include "apps/onnxruntime/kernel.h"

#include <cstring>

namespace espalier::ort {

struct Kernel::Runner {
  SessionThreads threads;
  Executor executor;
  std::vector<TensorView> bound;  // inputs as they were in the run before

  Runner(const Api& api, const NodeModel& node)
      : threads(api), executor(node.model, {.pool = &threads.pool()}), bound(node.inputs.size()) {}

  void bind(const Api& api, const NodeModel& node, const OrtKernelContext& context) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const OrtValue* value = nullptr;
      api.check(api->KernelContext_GetInput(&context, node.inputs[i].index, &value));
      const TensorView view = api.view(*value);
      TensorView& before = bound[i];
      if (view.bytes != nullptr && view.bytes == before.bytes && view.dtype == before.dtype &&
          view.dims == before.dims)
        continue;
      before = {};  // until it is bound
      const size_t bytes = view.count() * bytes_in_view(view.dtype);
      executor.bind_view(node.inputs[i].name, view.dims, {view.bytes, bytes});
      before = view;
    }
  }

  void copy_outputs(const Api& api, const NodeModel& node, OrtKernelContext& context) const {
    for (const NodeModel::Slot& output : node.outputs) {
      const TensorView view = executor.output_view(output.name);
      OrtValue* value = nullptr;
      api.check(api->KernelContext_GetOutput(&context, output.index, view.dims.begin(),
                                             view.dims.rank(), &value));
      void* data = nullptr;
      api.check(api->GetTensorMutableData(value, &data));
      const size_t bytes = view.count() * bytes_in_view(view.dtype);
      if (bytes != 0) std::memcpy(data, view.bytes, bytes);
    }
  }
};

Kernel::Kernel(const Api& api, NodeModel model) : api_(api), node_(std::move(model)) {
  idle_.push_back(std::make_unique<Runner>(api_, node_));
}

Kernel::~Kernel() = default;

std::unique_ptr<Kernel::Runner> Kernel::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      auto runner = std::move(idle_.back());
      idle_.pop_back();
      return runner;
    }
  }
  return std::make_unique<Runner>(api_, node_);
}

void Kernel::put_back(std::unique_ptr<Runner> runner) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(runner));
}

// A runner whose run failed is not used again.
void Kernel::run(OrtKernelContext* context) {
  std::call_once(counted_, [&] { threads_ = SessionThreads::count(api_, context); });
  std::unique_ptr<Runner> runner = take();
  runner->threads.enter(context, threads_);
  runner->bind(api_, node_, *context);
  runner->executor.run_bound();
  runner->copy_outputs(api_, node_, *context);
  put_back(std::move(runner));
}

}  // namespace espalier::ort
