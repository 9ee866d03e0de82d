hako_fuzz(http_start DEPENDS wire http SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/http_start.cpp)
