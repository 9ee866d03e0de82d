hako_fuzz(qmp DEPENDS engine SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/qmp.cpp)
