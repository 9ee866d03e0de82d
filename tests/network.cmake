hako_test(network_test LABELS integration TIMEOUT 120 DEPENDS network SOURCES
  ${CMAKE_CURRENT_SOURCE_DIR}/integration/network_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/integration/network_egress_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/integration/network_limits_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/support/guest_stack.cpp)
# It counts what is left on the machine.
set_tests_properties(network_test PROPERTIES RUN_SERIAL TRUE)
