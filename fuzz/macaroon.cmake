hako_fuzz(macaroon DEPENDS wire SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/macaroon.cpp)
