hako_test(wire_start_test LABELS unit TIMEOUT 60 DEPENDS wire PkgConfig::CARES OpenSSL::SSL resolv
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/dns_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/client_hello_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/http_start_test.cpp)
hako_test(wire_model_test LABELS unit TIMEOUT 60 DEPENDS wire
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/model_call_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/model_usage_test.cpp)
