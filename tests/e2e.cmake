# The whole system through its own programs, on real machines. They need root. One at a time, as each
# wants a core or two; the engine's own tests in their nested machine may run beside them.
foreach(part run boxes identity errors guest plane templates sdk load)
  add_test(NAME e2e_${part}
    COMMAND python3 "${CMAKE_CURRENT_SOURCE_DIR}/e2e/test_${part}.py")
  set_tests_properties(e2e_${part} PROPERTIES LABELS e2e TIMEOUT 1800 RESOURCE_LOCK hako
    ENVIRONMENT "HAKO_BIN_DIR=${CMAKE_BINARY_DIR}/bin;PYTHONDONTWRITEBYTECODE=1")
endforeach()
