#include "lib/sparse/indices.h"

#include "lib/base/check.h"

namespace espalier {

Indices Indices::deferred(size_t count, std::function<Made()> make) {
  Indices result;
  result.deferred_ = std::make_shared<Deferred>();
  result.deferred_->count = count;
  result.deferred_->make = std::move(make);
  return result;
}

const Indices::Vector& Indices::made() const {
  const std::lock_guard lock(deferred_->mutex);
  if (!deferred_->made) {
    deferred_->made = deferred_->make();
    ESPALIER_CHECK(deferred_->made->size() == deferred_->count);
  }
  return *deferred_->made;
}

Indices::Vector& Indices::own() {
  if (deferred_) {
    own_ = std::make_shared<Vector>(made());
    deferred_ = nullptr;
  } else if (own_.use_count() != 1) {
    own_ = std::make_shared<Vector>(*own_);
  }
  return *own_;
}

void Indices::give_back() const {
  if (!deferred_) return;
  const std::lock_guard lock(deferred_->mutex);
  deferred_->made = nullptr;
}

}  // namespace espalier
