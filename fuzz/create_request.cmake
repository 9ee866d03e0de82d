hako_fuzz(create_request DEPENDS api SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/create_request.cpp)
