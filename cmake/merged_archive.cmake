# libespalier.a as it is installed: with the objects of the libraries that Debian does not have (onnx) or has with more than is
# needed (oneDNN, where scripts/setup built it).
set(archives $<TARGET_FILE:espalier_static> $<TARGET_FILE:ONNX::onnx> $<TARGET_FILE:ONNX::onnx_proto>)
set(static_needs)
if(dnnl_kind STREQUAL STATIC_LIBRARY)
  list(APPEND archives $<TARGET_FILE:DNNL::dnnl>)
else()
  set(static_needs "dnnl gomp")
endif()
set(merged_archive ${PROJECT_BINARY_DIR}/lib/installed/libespalier.a)
set(script "CREATE ${merged_archive}\n")
foreach(archive ${archives})
  string(APPEND script "ADDLIB ${archive}\n")
endforeach()
file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/lib/merge_$<CONFIG>.mri CONTENT "${script}SAVE\nEND\n")
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/lib/installed)
add_custom_command(OUTPUT ${merged_archive} COMMAND ${CMAKE_AR} -M < ${PROJECT_BINARY_DIR}/lib/merge_$<CONFIG>.mri
                   DEPENDS espalier_static ${PROJECT_BINARY_DIR}/lib/merge_$<CONFIG>.mri VERBATIM)
add_custom_target(espalier_merged ALL DEPENDS ${merged_archive})
