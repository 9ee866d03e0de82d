hako_fuzz(guest_headers DEPENDS guest SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/guest_headers.cpp)
