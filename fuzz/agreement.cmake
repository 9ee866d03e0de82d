hako_fuzz(agreement DEPENDS gate SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/agreement.cpp)
