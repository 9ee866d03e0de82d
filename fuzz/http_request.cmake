hako_fuzz(http_request DEPENDS gate SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/http_request.cpp)
