hako_fuzz(snapshot_meta DEPENDS engine SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/snapshot_meta.cpp)
