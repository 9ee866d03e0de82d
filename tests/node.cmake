hako_test(node_record_test LABELS unit DEPENDS node
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/node_record_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/node_records_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/node_recent_use_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/node_gate_link_test.cpp)
hako_test(node_sweep_test LABELS integration DEPENDS node
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/node_sweep_test.cpp)
hako_test(node_shares_test LABELS integration DEPENDS node
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/node_shares_test.cpp)
# On v2, as jail_cgroup_v2.
add_test(NAME node_shares_v2 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/integration/nested_kvm
  $<TARGET_FILE:node_shares_test> $<TARGET_FILE:jail_probe> "SharesTest.*")
set_tests_properties(node_shares_v2 PROPERTIES LABELS vm TIMEOUT 600 SKIP_RETURN_CODE 77 COST 60)
# They count what is left on the machine.
set_tests_properties(node_sweep_test node_shares_test PROPERTIES RUN_SERIAL TRUE)
