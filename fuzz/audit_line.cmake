hako_fuzz(audit_line DEPENDS audit SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/audit_line.cpp)
