hako_fuzz(multipart_body DEPENDS wire SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/multipart_body.cpp)
