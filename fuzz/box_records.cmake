hako_fuzz(box_records DEPENDS node SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/box_records.cpp)
