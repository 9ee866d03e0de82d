hako_fuzz(access_call DEPENDS gate SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/access_call.cpp)
