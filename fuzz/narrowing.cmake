hako_fuzz(narrowing DEPENDS policy SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/narrowing.cpp)
