hako_fuzz(secrets DEPENDS gate SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/secrets.cpp)
