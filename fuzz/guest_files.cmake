hako_fuzz(guest_files DEPENDS guest SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/guest_files.cpp)
