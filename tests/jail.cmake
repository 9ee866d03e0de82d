add_executable(jail_probe ${CMAKE_CURRENT_SOURCE_DIR}/support/jail_probe.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/support/jail_probe_files.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/support/jail_probe_kernel.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/support/jail_probe_processes.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/support/jail_probe_sockets.cpp)
target_include_directories(jail_probe PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
# Static: a program that is setuid root and one behind other mounts start without looking for files.
target_compile_options(jail_probe PRIVATE -fno-sanitize=all)
target_link_options(jail_probe PRIVATE -static -fno-sanitize=all)
set_target_properties(jail_probe PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests"
  UNITY_BUILD OFF)
hako_test(jail_test LABELS integration TIMEOUT 120 DEPENDS jail rpc http SOURCES
  ${CMAKE_CURRENT_SOURCE_DIR}/integration/jail_vmm_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/integration/jail_probe_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/integration/jail_daemon_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/support/jail_launch.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/support/jail_walls.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/support/jail_probe_files.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/support/jail_probe_kernel.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/support/jail_probe_processes.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/support/jail_probe_sockets.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/integration/jail_gate_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/integration/jail_secluded_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/integration/jail_cgroup_test.cpp)
target_compile_definitions(jail_test PRIVATE HAKO_JAIL_PROBE="$<TARGET_FILE:jail_probe>")
add_dependencies(jail_test jail_probe)

# The control groups of v2, which many machines have not got: in an emulated one. Skipped where that
# machine was not built.
add_test(NAME jail_cgroup_v2 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/integration/nested_kvm
  $<TARGET_FILE:jail_test> $<TARGET_FILE:jail_probe> "Cgroup*:VmmShare*")
set_tests_properties(jail_cgroup_v2 PROPERTIES LABELS vm TIMEOUT 600 SKIP_RETURN_CODE 77 COST 60)
# It counts what is left on the machine.
set_tests_properties(jail_test PROPERTIES RUN_SERIAL TRUE)
