hako_test(tls_test LABELS unit DEPENDS tls
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/tls_authority_test.cpp)
