hako_fuzz(guest_sample DEPENDS api SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/guest_sample.cpp)
