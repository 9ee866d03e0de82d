hako_fuzz(checkpoint_file DEPENDS engine SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/checkpoint_file.cpp)
