hako_test(gate_test LABELS unit DEPENDS gate SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/gate_test.cpp)
hako_test(gate_process_test LABELS integration TIMEOUT 180 DEPENDS gate network
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_ports_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_tls_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/gate_lab.cpp)
target_compile_definitions(gate_process_test PRIVATE HAKO_GATE_PROGRAM="$<TARGET_FILE:gate_program>")
add_dependencies(gate_process_test gate_program)
hako_test(gate_egress_test LABELS integration TIMEOUT 180 DEPENDS gate network
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_egress_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_egress_names_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/gate_lab.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/gate_lab_egress.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/gate_lab_world.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/guest_stack.cpp)
target_compile_definitions(gate_egress_test PRIVATE HAKO_GATE_PROGRAM="$<TARGET_FILE:gate_program>")
add_dependencies(gate_egress_test gate_program)
