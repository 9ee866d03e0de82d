# PID 1 of the machines that the engine's tests boot.
add_executable(engine_test_guest ${CMAKE_CURRENT_SOURCE_DIR}/support/engine_guest.cpp)
target_compile_options(engine_test_guest PRIVATE -fno-sanitize=all)
target_link_options(engine_test_guest PRIVATE -static -fno-sanitize=all)
set_target_properties(engine_test_guest PROPERTIES
  RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")

hako_test(engine_test LABELS unit DEPENDS engine SOURCES
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/engine_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/qmp_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/snapshot_store_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/checkpoint_store_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/process_memory_test.cpp)

hako_test(engine_vm_test LABELS vm TIMEOUT 300 DEPENDS engine jail network SOURCES
  ${CMAKE_CURRENT_SOURCE_DIR}/integration/engine_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/integration/engine_failures_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/integration/engine_checkpoint_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/integration/engine_taken_over_test.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/support/engine_vm.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/support/engine_lab.cpp)
add_dependencies(engine_vm_test engine_test_guest)
target_compile_definitions(engine_vm_test PRIVATE
  HAKO_TEST_GUEST="$<TARGET_FILE:engine_test_guest>")

# The same with VMMs in their jail.
add_test(NAME engine_jailed COMMAND engine_vm_test)
set_tests_properties(engine_jailed PROPERTIES LABELS vm TIMEOUT 300 COST 15
  ENVIRONMENT HAKO_TEST_JAIL=1)

# The same on KVM, in an emulated machine that has one: those tests that differ there. Skipped where
# that machine was not built.
set(nested_tests EngineTest.ClonesRunBesideEachOther EngineTest.CloneStartsPausedAndPausesAgain
  EngineTest.GuestHasItsDisks EngineTest.ReleasedMachineIsAdopted EngineTest.StoredSnapshotRuns
  EngineFailures.DamagedDeviceStateIsAnError EngineFailures.HangingGuestIsSeenAndKilled
  EngineFailures.UnprivilegedVmmRunsAndCannotChangeItsTemplate
  EngineCheckpoint.ChildIsItsParent EngineCheckpoint.GenerationsDoNotAddUp
  EngineCheckpoint.NeitherSeesWhatTheOtherWrites EngineCheckpoint.StoredCheckpointRuns)
list(JOIN nested_tests ":" nested_tests)
add_test(NAME engine_nested_kvm COMMAND
  ${CMAKE_CURRENT_SOURCE_DIR}/integration/nested_kvm
  $<TARGET_FILE:engine_vm_test> $<TARGET_FILE:engine_test_guest> ${nested_tests})
set_tests_properties(engine_nested_kvm PROPERTIES LABELS vm TIMEOUT 900 SKIP_RETURN_CODE 77
  COST 400 PROCESSORS 2)  # a machine in a machine: with half a core it takes far longer
set_tests_properties(engine_vm_test PROPERTIES COST 15)
