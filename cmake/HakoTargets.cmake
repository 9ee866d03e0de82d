# hako_library(NAME [DEPENDS lib...])    one static library per folder, of every .cpp in it
# hako_program(NAME OUTPUT file [DEPENDS lib...] SOURCES ...)
# hako_test(NAME [LABELS l...] [DEPENDS lib...] SOURCES ...)   a GoogleTest program run by ctest
#
# Libraries are called hako_<name>; DEPENDS takes short names of ours or whole CMake targets.

# Asio and Beast are compiled once (see src/base/asio_impl.cpp, src/http/beast_impl.cpp)
# and precompiled once; both matter, as they are most of the build.
function(hako_defaults target)
  target_include_directories(${target} PUBLIC "${CMAKE_SOURCE_DIR}/src")
  target_compile_definitions(${target} PUBLIC
    BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION
    BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_DISABLE_BOOST_COROUTINE
    SPDLOG_COMPILED_LIB SPDLOG_FMT_EXTERNAL)
  get_target_property(type ${target} TYPE)
  if(HAKO_SANITIZE AND type STREQUAL "EXECUTABLE")
    target_link_libraries(${target} PRIVATE hako_sanitizer_runtime)
  endif()
endfunction()

function(hako_link target)
  foreach(dep IN LISTS ARGN)
    if(TARGET hako_${dep})
      target_link_libraries(${target} PUBLIC hako_${dep})
    else()
      target_link_libraries(${target} PUBLIC ${dep})
    endif()
  endforeach()
endfunction()

function(hako_precompile target)
  if(target STREQUAL "hako_base")
    target_precompile_headers(hako_base PRIVATE "${CMAKE_SOURCE_DIR}/src/base/precompiled.h")
  else()
    target_precompile_headers(${target} REUSE_FROM hako_base)
  endif()
endfunction()

function(hako_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;EXCLUDE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  list(FILTER sources EXCLUDE REGEX "/main\\.cpp$")
  foreach(pattern IN LISTS ARG_EXCLUDE)
    list(FILTER sources EXCLUDE REGEX "${pattern}")
  endforeach()
  add_library(hako_${name} STATIC ${sources})
  set_target_properties(hako_${name} PROPERTIES LINKER_LANGUAGE CXX)
  if(name STREQUAL "base")
    # The guest replaces one object of this library (the log), so its files stay apart.
    set_target_properties(hako_${name} PROPERTIES UNITY_BUILD OFF)
  endif()
  hako_defaults(hako_${name})
  hako_link(hako_${name} ${ARG_DEPENDS})
  hako_precompile(hako_${name})
endfunction()

function(hako_program name)
  cmake_parse_arguments(ARG "" "OUTPUT" "DEPENDS;SOURCES" ${ARGN})
  add_executable(${name}_program ${ARG_SOURCES})
  set_target_properties(${name}_program PROPERTIES
    OUTPUT_NAME ${ARG_OUTPUT} RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
  hako_defaults(${name}_program)
  hako_link(${name}_program ${ARG_DEPENDS})
  hako_precompile(${name}_program)
endfunction()

function(hako_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "LABELS;DEPENDS;SOURCES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests" UNITY_BUILD OFF)
  target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}/tests")
  hako_defaults(${name})
  hako_link(${name} ${ARG_DEPENDS} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_options(${name} PRIVATE ${hako_test_options})
  target_precompile_headers(${name} REUSE_FROM hako_test_headers)
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * ${HAKO_PATIENCE}")
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
endfunction()
