hako_fuzz(client_hello DEPENDS wire SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/client_hello.cpp)
