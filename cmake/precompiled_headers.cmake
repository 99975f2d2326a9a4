# With ESPALIER_PRECOMPILED_HEADERS what nearly every source includes of the standard library and {fmt} is parsed once per set of
# compiler flags, not once per source. Headers of espalier are not in it: a change of one compiles what includes it, no more. A source
# that leaves out an #include of these headers compiles all the same; the presets without the option (dev, asan, tsan, fuzz) tell.
# Reading what was precompiled takes its time too: a header is worth a place in the list if a quarter of the sources include it.
set(espalier_common_headers <algorithm> <array> <cmath> <cstddef> <cstdint> <cstring> <functional> <map> <memory> <mutex> <optional> <set>
    <span> <string> <string_view> <unordered_map> <utility> <variant> <vector> <fmt/format.h>)

# espalier_precompiled(NAME headers...): an object library that precompiles the common headers and these for targets with its flags.
function(espalier_precompiled name)
  file(TOUCH ${PROJECT_BINARY_DIR}/empty.cpp)
  add_library(${name} OBJECT ${PROJECT_BINARY_DIR}/empty.cpp)
  target_link_libraries(${name} PRIVATE fmt::fmt)
  target_precompile_headers(${name} PRIVATE ${espalier_common_headers} ${ARGN})
  target_compile_options(${name} PRIVATE -fpch-preprocess)  # ccache asks for it
endfunction()

# espalier_precompile(TARGET NAME): the target's sources see what espalier_precompiled(NAME) has precompiled.
# espalier_precompile(TARGET HEADERS headers...): what is precompiled for this target alone, because it has flags or headers of its own.
function(espalier_precompile target)
  cmake_parse_arguments(ARG "" "" "HEADERS" ${ARGN})
  if(ARG_HEADERS)
    target_precompile_headers(${target} PRIVATE ${espalier_common_headers} ${ARG_HEADERS})
  else()
    target_precompile_headers(${target} REUSE_FROM ${ARG_UNPARSED_ARGUMENTS})
  endif()
  target_compile_options(${target} PRIVATE -fpch-preprocess)
endfunction()
