hako_fuzz(routing DEPENDS wire SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/routing.cpp)
