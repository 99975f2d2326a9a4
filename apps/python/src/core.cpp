#include "apps/python/src/failure.h"
#include "lib/base/error.h"

namespace nb = nanobind;

namespace espalier::python {
namespace {

const char* class_of(espalier_status status) {
  switch (status) {
    case ESPALIER_ERROR_USAGE:
      return "UsageError";
    case ESPALIER_ERROR_FORMAT:
      return "FormatError";
    case ESPALIER_ERROR_UNSUPPORTED:
      return "UnsupportedError";
    default:
      return "Error";
  }
}

espalier_status status_of(Fault fault) {
  switch (fault) {
    case Fault::kUsage:
      return ESPALIER_ERROR_USAGE;
    case Fault::kFormat:
      return ESPALIER_ERROR_FORMAT;
    case Fault::kUnsupported:
      break;
  }
  return ESPALIER_ERROR_UNSUPPORTED;
}

void raise(espalier_status status, const char* text) {
  if (status == ESPALIER_ERROR_MEMORY) {
    PyErr_SetString(PyExc_MemoryError, text);
    return;
  }
  const nb::object type = nb::module_::import_("espalier.errors").attr(class_of(status));
  PyErr_SetString(type.ptr(), text);
}

}  // namespace

void expect_ok(espalier_status status) {
  if (status != ESPALIER_OK) throw Failure(status, espalier_last_error());
}

void add_exceptions() {
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const Failure& failure) {
      raise(failure.status, failure.what());
    } catch (const Error& error) {
      raise(status_of(error.fault()), error.what());
    }
  });
}

}  // namespace espalier::python

NB_MODULE(_core, module) {
  using namespace espalier::python;
  module.attr("__version__") = espalier_version();
#ifdef ESPALIER_ONNXRUNTIME
  module.attr("HAS_ONNXRUNTIME") = true;
#else
  module.attr("HAS_ONNXRUNTIME") = false;
#endif
  module.def("simd_target", &espalier_simd_target);
  add_exceptions();
  add_session(module);
  add_commands(module);
  add_packing(module);
  add_weights(module);
}
