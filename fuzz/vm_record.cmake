hako_fuzz(vm_record DEPENDS node SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/vm_record.cpp)
