hako_fuzz(egress_policy DEPENDS policy SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/egress_policy.cpp)
