hako_test(audit_test LABELS unit DEPENDS audit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/audit_log_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/audit_text_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/audit_verify_test.cpp)
hako_test(audit_crash_test LABELS integration DEPENDS audit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/audit_crash_test.cpp)
