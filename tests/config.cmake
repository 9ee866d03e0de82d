hako_test(config_test LABELS unit DEPENDS config
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/config_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/config_models_test.cpp)
target_compile_definitions(config_test PRIVATE HAKO_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
