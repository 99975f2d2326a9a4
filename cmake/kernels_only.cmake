# base, tensor, sparse and the kernels that need no oneDNN, with their tests: what is built for ARM. Third parties as
# cmake/toolchains/arm.cmake names them.
find_package(Threads REQUIRED)
include(cmake/modules.cmake)
set_source_files_properties(lib/kernels/int8/int8_product.cpp PROPERTIES COMPILE_OPTIONS -ffp-contract=off)  # every instruction set rounds alike

add_library(espalier_headers INTERFACE)
target_include_directories(espalier_headers SYSTEM INTERFACE ${ESPALIER_ARM_HEADERS})
target_compile_definitions(espalier_headers INTERFACE FMT_HEADER_ONLY SPDLOG_HEADER_ONLY SPDLOG_FMT_EXTERNAL)
add_library(espalier_hwy INTERFACE)
target_link_libraries(espalier_hwy INTERFACE ${ESPALIER_ARM_ROOT}/usr/lib/${ESPALIER_TRIPLET}/libhwy.so)
# Sums are held in structs, where a vector of SVE must have a size (lib/kernels/held_vector-inl.h): the machine's SVE of 256 bits or
# SVE2 of 128. Vectors of another length are left to NEON, at run time.
if(ESPALIER_SVE_BITS)
  set(sve_targets SVE SVE2 SVE_256 SVE2_128)
  list(FILTER sve_targets EXCLUDE REGEX "_${ESPALIER_SVE_BITS}$")
  list(TRANSFORM sve_targets PREPEND HWY_)
  list(JOIN sve_targets | disabled)
  target_compile_options(espalier_hwy INTERFACE -msve-vector-bits=${ESPALIER_SVE_BITS})
  target_compile_definitions(espalier_hwy INTERFACE "HWY_DISABLED_TARGETS=(${disabled})")
endif()

espalier_module(base lib/base LINK espalier_headers PRIVATE Threads::Threads)
espalier_module(tensor lib/tensor LINK espalier_base)
espalier_module(sparse lib/sparse LINK espalier_tensor)
espalier_module(kernels lib/kernels LINK espalier_sparse PRIVATE espalier_hwy WITHOUT "/(dense|dense_conv|dnnl_call|multiply_matrices)\\.cpp$")

if(ESPALIER_TESTS)
  enable_testing()
  add_subdirectory(tests)
endif()
