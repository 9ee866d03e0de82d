hako_test(base_test LABELS unit TIMEOUT 60 DEPENDS base SOURCES
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/base_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/base_async_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/base_process_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/base_fairness_test.cpp)
