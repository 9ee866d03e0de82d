hako_fuzz(mcp_message DEPENDS mcp SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/mcp_message.cpp)
