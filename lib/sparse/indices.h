#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <vector>

namespace espalier {

/// Numbers of blocks: a vector whose copies share their elements until one of them is changed, and
/// which may be made only when it is looked at (as Tensor::deferred). Looking at elements of one
/// that is not const counts as a change.
class Indices {
 public:
  using Vector = std::vector<uint32_t>;
  using value_type = uint32_t;
  using Made = std::shared_ptr<const Vector>;

  Indices() = default;
  Indices(Vector values) : own_(std::make_shared<Vector>(std::move(values))) {}
  Indices(std::initializer_list<uint32_t> values) : Indices(Vector(values)) {}
  /// `make` gives `count` elements.
  static Indices deferred(size_t count, std::function<Made()> make);

  size_t size() const { return deferred_ ? deferred_->count : own_->size(); }
  bool empty() const { return size() == 0; }
  const Vector& vector() const { return deferred_ ? made() : *own_; }
  operator const Vector&() const { return vector(); }
  const uint32_t* data() const { return vector().data(); }
  const uint32_t* begin() const { return data(); }
  const uint32_t* end() const { return data() + size(); }
  uint32_t operator[](size_t index) const { return vector()[index]; }
  uint32_t front() const { return vector().front(); }
  uint32_t back() const { return vector().back(); }
  bool operator==(const Indices& other) const { return vector() == other.vector(); }

  /// To be changed: nothing shares it then.
  Vector& own();
  uint32_t& operator[](size_t index) { return own()[index]; }
  uint32_t& back() { return own().back(); }
  void push_back(uint32_t value) { own().push_back(value); }
  void pop_back() { own().pop_back(); }
  void clear() { own().clear(); }
  void reserve(size_t count) { own().reserve(count); }
  void assign(size_t count, uint32_t value) { own().assign(count, value); }
  void assign(const uint32_t* first, const uint32_t* last) { own().assign(first, last); }

  bool is_deferred() const { return deferred_ != nullptr; }
  /// Lets go of what was made, for all copies; it is made again when it is looked at.
  void give_back() const;

 private:
  struct Deferred {
    size_t count;
    std::function<Made()> make;
    std::mutex mutex;
    Made made;
  };
  const Vector& made() const;
  std::shared_ptr<Vector> own_ = std::make_shared<Vector>();
  std::shared_ptr<Deferred> deferred_;  // then own_ is not looked at
};

}  // namespace espalier
