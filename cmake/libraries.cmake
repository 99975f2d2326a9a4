# The libraries that are installed, made of the modules:
#
#   espalier_library(NAME VERSION_SCRIPT script ROOTS modules OBJECTS objects LINK libraries DEFINES what users are told)
#
# gives NAME_shared and NAME_static, files libNAME.so and libNAME.a below lib/. The shared one holds the modules ROOTS and what
# they use of other modules; the static one holds OBJECTS and asks its users to link LINK.
function(espalier_library name)
  cmake_parse_arguments(ARG "" "VERSION_SCRIPT" "ROOTS;OBJECTS;LINK;INCLUDE" ${ARGN})
  set(script ${PROJECT_SOURCE_DIR}/${ARG_VERSION_SCRIPT})
  add_library(${name}_shared SHARED)
  foreach(module ${ARG_ROOTS})
    target_sources(${name}_shared PRIVATE $<TARGET_OBJECTS:espalier_${module}>)
    target_link_libraries(${name}_shared PRIVATE $<BUILD_INTERFACE:espalier_${module}>)
  endforeach()
  # Only what is used is linked and named as needed; only what the script lists is seen.
  target_link_options(${name}_shared PRIVATE -Wl,--as-needed -Wl,--version-script=${script} -Wl,-z,defs -Wl,--gc-sections)
  set_target_properties(${name}_shared PROPERTIES LINK_DEPENDS ${script} VERSION ${PROJECT_VERSION}
                        SOVERSION ${PROJECT_VERSION_MAJOR})
  add_library(${name}_static STATIC)
  target_sources(${name}_static PRIVATE ${ARG_OBJECTS})
  target_link_libraries(${name}_static INTERFACE ${ARG_LINK})
  # What is linked into a shared library of a user's is not shown by it.
  target_link_options(${name}_static INTERFACE -Wl,--exclude-libs,lib${name}.a)
  foreach(kind shared static)
    target_include_directories(${name}_${kind} INTERFACE ${ARG_INCLUDE})
    set_target_properties(${name}_${kind} PROPERTIES OUTPUT_NAME ${name} LINKER_LANGUAGE CXX
                          ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
  endforeach()
endfunction()

# Objects of modules.
function(espalier_objects result)
  set(objects)
  foreach(module ${ARGN})
    list(APPEND objects $<TARGET_OBJECTS:espalier_${module}>)
  endforeach()
  set(${result} ${objects} PARENT_SCOPE)
endfunction()

# Of lib/kernels all that needs no oneDNN. `hwy` and `fmt`: targets.
function(espalier_kernels_library hwy fmt)
  espalier_objects(objects c_kernels sparse tensor base)
  list(APPEND objects
       $<FILTER:$<TARGET_OBJECTS:espalier_kernels>,EXCLUDE,/\(dense|dense_conv|dnnl_call|multiply_matrices|packed_or_dense\)\\.cpp>)
  espalier_library(espalier_kernels VERSION_SCRIPT lib/c/kernels/symbols.map ROOTS c_kernels OBJECTS ${objects}
                   LINK ${hwy} ${fmt} Threads::Threads INCLUDE ${PROJECT_SOURCE_DIR}/lib/c/kernels)
  add_library(espalier::kernels ALIAS espalier_kernels_shared)
  add_library(espalier::kernels_static ALIAS espalier_kernels_static)
endfunction()
