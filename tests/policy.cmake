hako_test(policy_test LABELS unit DEPENDS policy
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/policy_test.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/policy_daemon_action_test.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/policy_target_test.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/policy_address_test.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/policy_egress_test.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/policy_plan_test.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/policy_quota_test.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/policy_lattice_test.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/policy_property_test.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/policy_permission_test.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/policy_caveat_test.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/policy_permission_property_test.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/policy_explain_test.cpp)
