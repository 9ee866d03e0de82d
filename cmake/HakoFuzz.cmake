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
  if(HAKO_FUZZ)
    hako_link(${target} fuzz_parsers)
    target_precompile_headers(${target} REUSE_FROM hako_fuzz_parsers)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer,address,undefined)
    add_dependencies(fuzz_targets ${target})
    return()
  endif()
  hako_link(${target} ${ARG_DEPENDS})
  target_sources(${target} PRIVATE "${CMAKE_SOURCE_DIR}/fuzz/replay_main.cpp")
  hako_precompile(${target})
  add_test(NAME ${target} COMMAND ${target} "${corpus}")
  set_tests_properties(${target} PROPERTIES LABELS unit TIMEOUT 60)
endfunction()

# hako_fuzz_parsers(PATTERN...)    the files of src that the targets need, in place of the libraries
#
# The rest, which is most of it, is then not compiled a second time by another compiler. A file that
# is missing shows as an undefined symbol. Files of one folder are compiled as one.
function(hako_fuzz_parsers)
  list(TRANSFORM ARGN PREPEND "${CMAKE_SOURCE_DIR}/src/")
  file(GLOB sources CONFIGURE_DEPENDS ${ARGN})
  add_library(hako_fuzz_parsers STATIC EXCLUDE_FROM_ALL ${sources})
  set_target_properties(hako_fuzz_parsers PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  foreach(source IN LISTS sources)
    cmake_path(GET source PARENT_PATH folder)
    cmake_path(GET folder FILENAME group)
    set_source_files_properties("${source}" PROPERTIES UNITY_GROUP "${group}")
  endforeach()
  hako_defaults(hako_fuzz_parsers)
  hako_link(hako_fuzz_parsers Boost::boost Boost::json Threads::Threads spdlog::spdlog fmt::fmt
    PkgConfig::SODIUM OpenSSL::SSL OpenSSL::Crypto ZLIB::ZLIB resolv)
  target_precompile_headers(hako_fuzz_parsers PRIVATE "${CMAKE_SOURCE_DIR}/src/base/precompiled.h")
endfunction()
