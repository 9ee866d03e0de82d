hako_test(mcp_test LABELS unit TIMEOUT 60 DEPENDS mcp
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/mcp_message_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/mcp_tools_test.cpp)
