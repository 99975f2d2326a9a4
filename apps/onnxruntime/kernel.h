#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "apps/onnxruntime/threads.h"
#include "lib/ir/model.h"
#include "lib/runtime/executor.h"

namespace espalier::ort {

/// A model that a node of onnxruntime stands for. Input "NAME" of the model is input `index` of the
/// node; outputs likewise.
struct NodeModel {
  struct Slot {
    size_t index;
    std::string name;
  };
  Model model;
  std::vector<Slot> inputs, outputs;
};

/// One node of one session. onnxruntime may run it on several threads at the same time: each such
/// run has an executor of its own, made when it is first needed and kept.
class Kernel {
 public:
  /// Errors  Fault::kUnsupported naming operator and node that cannot be run.
  Kernel(const Api& api, NodeModel model);
  ~Kernel();

  void run(OrtKernelContext* context);
  const Api& api() const { return api_; }

 private:
  struct Runner;
  std::unique_ptr<Runner> take();
  void put_back(std::unique_ptr<Runner> runner);

  Api api_;
  NodeModel node_;
  std::once_flag counted_;
  size_t threads_ = 1;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Runner>> idle_;
};

}  // namespace espalier::ort
