hako_fuzz(dns_query DEPENDS wire resolv SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/dns_query.cpp)
