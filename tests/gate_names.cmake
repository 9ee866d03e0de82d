hako_test(gate_names_test LABELS unit TIMEOUT 60 DEPENDS gate resolv
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/gate_names_test.cpp)
hako_test(gate_resolver_test LABELS integration TIMEOUT 120 DEPENDS gate
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/gate_resolver_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/dns_server.cpp)
