hako_fuzz(certificate_name DEPENDS tls SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/certificate_name.cpp)
