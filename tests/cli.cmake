hako_test(cli_test LABELS unit DEPENDS cli
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/cli_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/cli_archive_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/cli_agents_test.cpp)
hako_test(doctor_test LABELS unit DEPENDS doctor
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/doctor_test.cpp)
target_compile_definitions(doctor_test PRIVATE HAKO_DOCS="${CMAKE_SOURCE_DIR}/docs")
hako_test(cli_run_test LABELS integration TIMEOUT 300 DEPENDS http tls
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/cli_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/cli_tls_test.cpp)
target_compile_definitions(cli_run_test PRIVATE
  HAKO_PROGRAM="$<TARGET_FILE:hako_program>" HAKO_GUEST="$<TARGET_FILE:guest_program>")
target_link_libraries(cli_run_test PRIVATE util)
add_dependencies(cli_run_test hako_program guest_program)
hako_test(token_test LABELS unit TIMEOUT 60 DEPENDS wire policy
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/token_test.cpp)
target_compile_definitions(token_test PRIVATE HAKO_PROGRAM="$<TARGET_FILE:hako_program>"
  HAKO_EXAMPLES="${CMAKE_SOURCE_DIR}/examples")
add_dependencies(token_test hako_program)
hako_test(cli_tenants_test LABELS integration DEPENDS api
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/cli_tenants_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/api_lab.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/openapi_check.cpp)
target_compile_definitions(cli_tenants_test PRIVATE HAKO_PROGRAM="$<TARGET_FILE:hako_program>")
add_dependencies(cli_tenants_test hako_program)
