hako_fuzz(rpc_frames DEPENDS rpc SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/rpc_frames.cpp)
