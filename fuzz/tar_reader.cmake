hako_fuzz(tar_reader DEPENDS cli SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/tar_reader.cpp)
