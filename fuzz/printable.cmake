hako_fuzz(printable DEPENDS cli SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/printable.cpp)
