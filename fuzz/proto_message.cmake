hako_fuzz(proto_message DEPENDS wire SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/proto_message.cpp)
