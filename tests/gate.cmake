hako_test(gate_test LABELS unit DEPENDS gate SOURCES
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/gate_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/gate_egress_parts_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/gate_grants_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/gate_access_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/gate_model_call_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/gate_secrets_test.cpp)
hako_test(gate_process_test LABELS integration TIMEOUT 180 DEPENDS gate network
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_ports_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_grants_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_access_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_sleepers_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_tls_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/gate_lab.cpp)
# The gate with walls that a test can take away. Never installed.
add_executable(gate_test_program ${CMAKE_SOURCE_DIR}/src/gate/main.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/support/gate_walls.cpp)
set_target_properties(gate_test_program PROPERTIES
  OUTPUT_NAME hako-gate-test RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
hako_defaults(gate_test_program)
hako_link(gate_test_program gate)
hako_precompile(gate_test_program)
target_compile_definitions(gate_process_test PRIVATE
  HAKO_GATE_PROGRAM="$<TARGET_FILE:gate_program>"
  HAKO_GATE_TEST_PROGRAM="$<TARGET_FILE:gate_test_program>")
add_dependencies(gate_process_test gate_program gate_test_program)
hako_test(gate_egress_test LABELS integration TIMEOUT 180 DEPENDS gate network OpenSSL::SSL
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_egress_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_egress_names_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_egress_bytes_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_egress_links_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_egress_retry_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_egress_walls_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/gate_lab.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/gate_lab_egress.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/gate_lab_world.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/guest_stack.cpp)
target_compile_definitions(gate_egress_test PRIVATE
  HAKO_GATE_PROGRAM="$<TARGET_FILE:gate_program>"
  HAKO_GATE_TEST_PROGRAM="$<TARGET_FILE:gate_test_program>")
add_dependencies(gate_egress_test gate_program gate_test_program)
set_tests_properties(gate_egress_test PROPERTIES COST 100)  # it waits for limits of time
