hako_test(store_test LABELS unit DEPENDS store
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/store_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/store_migration_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/store_models_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/store_tenants_test.cpp)
target_compile_definitions(store_test PRIVATE HAKO_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
hako_test(store_disk_test LABELS integration DEPENDS store
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/store_disk_test.cpp)
