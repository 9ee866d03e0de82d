hako_fuzz(egress_records DEPENDS node SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/egress_records.cpp)
