hako_test(http_test LABELS unit DEPENDS http SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/http_test.cpp)
hako_test(http_sockets_test LABELS integration TIMEOUT 120 DEPENDS http
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/http_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/relay_test.cpp)
