# What `cmake --install` copies, in three components that are packages too: program, libraries, dev. Package files: cpack -G DEB.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Debug builds keep their symbols.
install(CODE [[
  if(CMAKE_INSTALL_CONFIG_NAME MATCHES "^(Release|MinSizeRel)$")
    set(CMAKE_INSTALL_DO_STRIP 1)
  endif()
]] ALL_COMPONENTS)

if(TARGET espalier)
  install(TARGETS espalier RUNTIME COMPONENT program)
endif()

set(installed_libraries)
foreach(name espalier_kernels espalier)
  if(NOT TARGET ${name}_shared)
    continue()
  endif()
  list(APPEND installed_libraries ${name})
  install(TARGETS ${name}_shared LIBRARY COMPONENT libraries NAMELINK_COMPONENT dev)
endforeach()
# The archives, without symbols for debuggers (Release builds have none), stripped of local names.
install(FILES $<TARGET_FILE:espalier_kernels_static> DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)
if(TARGET espalier_static)
  install(FILES ${merged_archive} DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)
endif()

# Headers: C, and the C++ ones that are promised with all that they include.
install(FILES lib/c/kernels/espalier_kernels.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT dev)
if(TARGET espalier_static)
  install(FILES lib/c/models/espalier.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT dev)
  set(cxx_headers
      formats/format.h lib/base/byte_reader.h lib/base/check.h lib/base/checked_math.h lib/base/error.h lib/base/thread_pool.h
      lib/ir/model.h lib/kernels/sparse_product.h lib/ops/product_observer.h lib/passes/pass.h lib/passes/passes.def lib/prune/plan.h
      lib/prune/score/criteria.def lib/prune/score/criterion.h lib/prune/score/statistics.h lib/prune/select/selection.h
      lib/runtime/executor.h lib/sparse/block_mask.h lib/sparse/block_shape.h lib/sparse/indices.h lib/sparse/sparse_matrix.h lib/tensor/dtype.h
      lib/tensor/matrix_view.h lib/tensor/shape.h lib/tensor/tensor.h lib/tensor/view.h)
  foreach(header ${cxx_headers})
    get_filename_component(folder ${header} DIRECTORY)
    install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/espalier/${folder} COMPONENT dev)
  endforeach()
endif()

# find_package(espalier COMPONENTS kernels kernels_static models models_static) and pkg-config.
set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/espalier)
configure_package_config_file(cmake/espalier-config.cmake.in ${PROJECT_BINARY_DIR}/espalier-config.cmake INSTALL_DESTINATION ${package_folder}
                              PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/espalier-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/espalier-config.cmake ${PROJECT_BINARY_DIR}/espalier-config-version.cmake DESTINATION ${package_folder}
        COMPONENT dev)
foreach(name ${installed_libraries})
  string(REPLACE _ - dashed ${name})
  configure_file(cmake/${dashed}.pc.in ${PROJECT_BINARY_DIR}/${dashed}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${dashed}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)
endforeach()
foreach(component program libraries dev)
  install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/espalier-${component} COMPONENT ${component})
endforeach()
install(FILES ${extra_licenses} DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/espalier-libraries COMPONENT libraries)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME espalier)
set(CPACK_PACKAGE_CONTACT "espalier maintainers <espalier@localhost>")
set(CPACK_PACKAGE_VENDOR espalier)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL program libraries dev)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME espalier)
set(CPACK_COMPONENT_PROGRAM_DESCRIPTION "Block pruning of neural networks, offline\n Reads ONNX and NNEF, drops weak blocks of weights, packs what is left, runs and measures it.")
set(CPACK_DEBIAN_LIBRARIES_PACKAGE_NAME libespalier${PROJECT_VERSION_MAJOR})
set(CPACK_DEBIAN_LIBRARIES_PACKAGE_SECTION libs)
set(CPACK_COMPONENT_LIBRARIES_DESCRIPTION "Libraries that run block-sparse neural networks\n libespalier runs models, libespalier_kernels products, recurrent layers and convolutions.")
set(CPACK_DEBIAN_DEV_PACKAGE_NAME libespalier-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "libespalier${PROJECT_VERSION_MAJOR} (= ${PROJECT_VERSION}), libfmt-dev, libhwy-dev")
set(CPACK_DEBIAN_DEV_PACKAGE_RECOMMENDS "libspdlog-dev, libprotobuf-dev, libarchive-dev, zlib1g-dev, libre2-dev, pkg-config")
set(CPACK_COMPONENT_DEV_DESCRIPTION "Headers and static libraries of espalier\n C11 and C++20, with a CMake package and pkg-config files.")
include(CPack)
