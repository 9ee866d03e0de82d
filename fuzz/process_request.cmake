hako_fuzz(process_request DEPENDS wire SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/process_request.cpp)
