hako_fuzz(api_bodies DEPENDS api SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/api_bodies.cpp)
