hako_fuzz(list_query DEPENDS api SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/list_query.cpp)
