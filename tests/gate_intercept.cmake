hako_test(gate_intercept_test LABELS integration TIMEOUT 240 DEPENDS gate network OpenSSL::SSL
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_intercept_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_intercept_walls_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_model_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/gate_lab.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/gate_lab_broker.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/gate_lab_egress.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/gate_lab_intercept.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/gate_lab_world.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/guest_stack.cpp)
target_compile_definitions(gate_intercept_test PRIVATE
  HAKO_GATE_PROGRAM="$<TARGET_FILE:gate_program>"
  HAKO_GATE_TEST_PROGRAM="$<TARGET_FILE:gate_test_program>")
add_dependencies(gate_intercept_test gate_program gate_test_program)
