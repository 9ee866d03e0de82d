hako_test(rpc_test LABELS unit TIMEOUT 60 DEPENDS rpc SOURCES
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/rpc_frame_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/rpc_link_test.cpp ${CMAKE_CURRENT_SOURCE_DIR}/unit/rpc_test.cpp)
