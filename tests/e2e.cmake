# The whole system through its own programs, on real machines. They need root. Each has a hako of its
# own, so that two may run at once; the dearest begin first.
function(hako_e2e part cost)
  add_test(NAME e2e_${part}
    COMMAND python3 "${CMAKE_CURRENT_SOURCE_DIR}/e2e/test_${part}.py")
  set_tests_properties(e2e_${part} PROPERTIES LABELS e2e TIMEOUT 1800 COST ${cost}
    ENVIRONMENT "HAKO_BIN_DIR=${CMAKE_BINARY_DIR}/bin;PYTHONDONTWRITEBYTECODE=1")
endfunction()
hako_e2e(sdk 270)
hako_e2e(attack 200)
hako_e2e(chaos 240)
hako_e2e(errors 120)
hako_e2e(boxes 110)
hako_e2e(run 100)
hako_e2e(registry 100)
hako_e2e(identity 60)
hako_e2e(plane 60)
hako_e2e(templates 60)
hako_e2e(tls 60)
hako_e2e(egress 60)
hako_e2e(audit 120)
hako_e2e(tenants 60)
hako_e2e(load 25)
hako_e2e(guest 20)
