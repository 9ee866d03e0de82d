hako_fuzz(egress_target DEPENDS policy SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/egress_target.cpp)
