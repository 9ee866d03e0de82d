# hako_fuzz(NAME [DEPENDS lib...] SOURCES ...)    fuzz/NAME's LLVMFuzzerTestOneInput
#
# With HAKO_FUZZ (clang) it becomes a libFuzzer program fuzz_<name>, to be run on fuzz/corpus/<name>.
# Without, the same program runs every file of that folder once, as the ctest fuzz_<name>: seeds and
# whatever was ever found stay tested.

function(hako_fuzz name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;SOURCES" ${ARGN})
  set(target fuzz_${name})
  set(corpus "${CMAKE_SOURCE_DIR}/fuzz/corpus/${name}")
  add_executable(${target} ${ARG_SOURCES})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/fuzz")
  hako_defaults(${target})
  hako_link(${target} ${ARG_DEPENDS})
  if(HAKO_FUZZ)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer,address,undefined)
    return()
  endif()
  target_sources(${target} PRIVATE "${CMAKE_SOURCE_DIR}/fuzz/replay_main.cpp")
  hako_precompile(${target})
  add_test(NAME ${target} COMMAND ${target} "${corpus}")
  set_tests_properties(${target} PROPERTIES LABELS unit TIMEOUT 60)
endfunction()
