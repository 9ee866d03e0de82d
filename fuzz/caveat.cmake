hako_fuzz(caveat DEPENDS policy SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/caveat.cpp)
