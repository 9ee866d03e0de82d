hako_test(image_manifest_test LABELS unit TIMEOUT 60 DEPENDS image
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/image_test.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/disk_checksum_test.cpp)
hako_test(image_test LABELS integration TIMEOUT 120 DEPENDS image
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/image_test.cpp)
