#pragma once

#include <nanobind/nanobind.h>

#include <exception>
#include <string>

#include "lib/c/kernels/espalier_kernels.h"

namespace espalier::python {

/// What becomes one of the exceptions of espalier.errors.
struct Failure : std::exception {
  Failure(espalier_status failed, std::string said) : status(failed), text(std::move(said)) {}
  const char* what() const noexcept override { return text.c_str(); }

  espalier_status status;
  std::string text;
};

/// Errors  Failure with the text of the C interface, where the call did not succeed.
void expect_ok(espalier_status status);

/// Makes Failure and espalier::Error exceptions of Python.
void add_exceptions();

void add_session(nanobind::module_& module);
void add_commands(nanobind::module_& module);
void add_packing(nanobind::module_& module);
void add_weights(nanobind::module_& module);

}  // namespace espalier::python
