hako_fuzz(exec_reply DEPENDS gate SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/exec_reply.cpp)
