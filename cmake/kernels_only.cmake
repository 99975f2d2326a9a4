# base, tensor, sparse, the kernels that need no oneDNN and their C interface, with their tests: what is built for ARM. There
# third parties are as cmake/toolchains/arm.cmake names them.
find_package(Threads REQUIRED)
include(cmake/modules.cmake)
set_source_files_properties(lib/kernels/int8/int8_product.cpp PROPERTIES COMPILE_OPTIONS -ffp-contract=off)  # every instruction set rounds alike

include(cmake/libraries.cmake)

add_library(espalier_headers INTERFACE)
add_library(espalier_hwy INTERFACE)
if(ESPALIER_ARM_ROOT)
  target_include_directories(espalier_headers SYSTEM INTERFACE ${ESPALIER_ARM_HEADERS})
  target_compile_definitions(espalier_headers INTERFACE FMT_HEADER_ONLY SPDLOG_HEADER_ONLY SPDLOG_FMT_EXTERNAL)
  target_link_libraries(espalier_hwy INTERFACE ${ESPALIER_ARM_ROOT}/usr/lib/${ESPALIER_TRIPLET}/libhwy.so)
else()
  find_package(PkgConfig REQUIRED)
  find_package(fmt REQUIRED)
  pkg_check_modules(hwy REQUIRED IMPORTED_TARGET libhwy)
  target_link_libraries(espalier_headers INTERFACE fmt::fmt)
  target_link_libraries(espalier_hwy INTERFACE PkgConfig::hwy)
endif()
# Kernels for the instruction set of a processor that is known, e.g. haswell (AVX2), instead of all that are chosen from at run time.
set(ESPALIER_KERNELS_FOR "" CACHE STRING "Processor (-march) that the kernels are built for alone")
if(ESPALIER_KERNELS_FOR)
  add_compile_options(-march=${ESPALIER_KERNELS_FOR})
  target_compile_definitions(espalier_hwy INTERFACE HWY_COMPILE_ONLY_STATIC)
endif()
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

if(ESPALIER_ARM_ROOT)
  espalier_module(base lib/base LINK espalier_headers PRIVATE Threads::Threads)
elseif(ESPALIER_TESTS)
  find_package(spdlog REQUIRED)
  espalier_module(base lib/base LINK espalier_headers PRIVATE spdlog::spdlog Threads::Threads)
else()  # the log has no reader: no spdlog
  espalier_module(base lib/base LINK espalier_headers PRIVATE Threads::Threads WITHOUT "/log\\.cpp$")
endif()
espalier_module(tensor lib/tensor LINK espalier_base)
espalier_module(sparse lib/sparse LINK espalier_tensor)
espalier_module(kernels lib/kernels LINK espalier_sparse PRIVATE espalier_hwy WITHOUT "/(dense|dense_conv|dnnl_call|multiply_matrices)\\.cpp$")

espalier_module(c_kernels lib/c/kernels LINK espalier_kernels)
target_compile_definitions(espalier_c_kernels PRIVATE ESPALIER_VERSION="${PROJECT_VERSION}")
target_include_directories(espalier_c_kernels PUBLIC ${PROJECT_SOURCE_DIR}/lib/c/kernels)
if(NOT ESPALIER_ARM_ROOT)
  espalier_kernels_library(espalier_hwy fmt::fmt)
  if(ESPALIER_INSTALL)
    include(cmake/install.cmake)
  endif()
endif()

if(ESPALIER_TESTS)
  enable_testing()
  add_subdirectory(tests)
endif()
