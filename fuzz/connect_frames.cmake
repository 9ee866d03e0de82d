hako_fuzz(connect_frames DEPENDS wire SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/connect_frames.cpp)
