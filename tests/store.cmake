hako_test(store_test LABELS unit DEPENDS store
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/store_test.cpp)
hako_test(store_disk_test LABELS integration DEPENDS store
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/store_disk_test.cpp)
