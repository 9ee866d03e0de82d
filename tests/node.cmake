hako_test(node_record_test LABELS unit DEPENDS node
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/node_record_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/node_records_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/node_recent_use_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/node_gate_link_test.cpp)
hako_test(node_sweep_test LABELS integration DEPENDS node
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/node_sweep_test.cpp)
hako_test(node_shares_test LABELS integration DEPENDS node
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/node_shares_test.cpp)
