hako_fuzz(http_response DEPENDS http SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/http_response.cpp)
