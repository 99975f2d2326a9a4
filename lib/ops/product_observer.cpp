#include "lib/ops/product_observer.h"

#include <utility>

namespace espalier {
namespace {

class ObservedProduct final : public Product {
 public:
  ObservedProduct(std::shared_ptr<const Product> product, ProductObserver& observer, size_t number,
                  size_t first, size_t count, size_t inputs)
      : product_(std::move(product)),
        observer_(observer),
        number_(number),
        first_(first),
        count_(count),
        inputs_(inputs) {}

  void run(const float* x, Features features, size_t n, const float* bias, float* y,
           ThreadPool& pool) const override {
    observer_.see(number_, first_, count_, x, features, inputs_, n);
    product_->run(x, features, n, bias, y, pool);
  }
  std::string_view kernel() const override { return product_->kernel(); }
  size_t bytes() const override { return product_->bytes(); }

 private:
  std::shared_ptr<const Product> product_;
  ProductObserver& observer_;
  size_t number_, first_, count_, inputs_;
};

}  // namespace

std::shared_ptr<const Product> observed(std::shared_ptr<const Product> product,
                                        ProductObserver& observer, size_t number, size_t first,
                                        size_t count, size_t inputs) {
  return std::make_shared<ObservedProduct>(std::move(product), observer, number, first, count,
                                           inputs);
}

}  // namespace espalier
