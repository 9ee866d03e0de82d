hako_test(vault_test LABELS unit DEPENDS vault tls
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/vault_test.cpp)
hako_test(api_secret_request_test LABELS unit DEPENDS api
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/api_secret_request_test.cpp)
