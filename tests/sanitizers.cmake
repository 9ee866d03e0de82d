if(HAKO_SANITIZE)
  add_executable(sanitizer_probe ${CMAKE_CURRENT_SOURCE_DIR}/support/sanitizer_probe.cpp)
  set_target_properties(sanitizer_probe PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests" UNITY_BUILD OFF)
  hako_defaults(sanitizer_probe)
  hako_link(sanitizer_probe jail)
  hako_precompile(sanitizer_probe)
endif()
