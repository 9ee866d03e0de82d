hako_test(policy_test LABELS unit DEPENDS policy
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/policy_test.cpp)
