add_library(espalier_warnings INTERFACE)
target_compile_options(espalier_warnings INTERFACE -Wall -Wextra -Wnon-virtual-dtor -Wcast-qual)
if(ESPALIER_WERROR)
  target_compile_options(espalier_warnings INTERFACE -Werror)
endif()

# One static library per folder, not recursing into folders that are modules themselves: espalier_module(NAME FOLDER
# LINK what its headers use PRIVATE third parties that only its sources use).
function(espalier_module name folder)
  cmake_parse_arguments(ARG "" "" "LINK;PRIVATE" ${ARGN})
  if(name STREQUAL "formats")
    file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.cpp)
  else()
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.cpp)
  endif()
  if(NOT sources)  # nothing there yet
    set(sources ${PROJECT_BINARY_DIR}/empty.cpp)
    file(TOUCH ${sources})
  endif()
  add_library(espalier_${name} STATIC ${sources})
  target_include_directories(espalier_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(espalier_${name} PUBLIC ${ARG_LINK} PRIVATE ${ARG_PRIVATE} espalier_warnings)
endfunction()
