hako_test(api_requests_test LABELS unit DEPENDS api
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/api_requests_test.cpp)
hako_test(api_egress_unit_test LABELS unit DEPENDS api
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/api_egress_test.cpp)
hako_test(api_routes_test LABELS unit DEPENDS api
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/api_routes_test.cpp)
hako_test(api_test LABELS integration DEPENDS api
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_access_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_secrets_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_builds_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_catalog_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_edges_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_egress_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_hostile_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_keys_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_links_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_quota_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_metrics_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_pause_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_pause_crash_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_pause_rights_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_copies_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_restart_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_tenants_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_tokens_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_tls_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_wake_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/registry_door_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/api_lab.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/openapi_check.cpp)
hako_test(api_images_test LABELS unit DEPENDS api
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/api_images_test.cpp)
hako_test(api_templates_test LABELS unit DEPENDS api
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/api_templates_test.cpp)
hako_test(api_grants_test LABELS unit DEPENDS api
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/api_grants_test.cpp)
hako_test(api_overload_test LABELS integration DEPENDS api
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_overload_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/api_lab.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/openapi_check.cpp)
hako_test(api_audit_bounds_test LABELS unit DEPENDS api
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/api_audit_bounds_test.cpp)
# Of its own, as it can take walls away.
hako_test(api_matrix_test LABELS integration DEPENDS api
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_matrix_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/api_lab.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/api_matrix.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/api_matrix_table.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/api_walls.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/openapi_check.cpp)
hako_test(api_audit_test LABELS integration DEPENDS api
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_audit_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/api_lab.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/openapi_check.cpp)
hako_test(api_box_secrets_test LABELS integration DEPENDS api
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_box_secrets_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/api_lab.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/openapi_check.cpp)
hako_test(api_limits_test LABELS unit DEPENDS api
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/api_limits_test.cpp)
hako_test(api_principal_test LABELS unit DEPENDS api
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/api_principal_test.cpp)
hako_test(api_either_test LABELS unit DEPENDS base
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/api_either_test.cpp)
hako_test(api_models_unit_test LABELS unit DEPENDS api
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/api_models_test.cpp)
hako_test(model_broker_test LABELS integration DEPENDS api
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/model_broker_test.cpp)
hako_test(api_models_test LABELS integration DEPENDS api
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/api_models_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/api_lab.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/support/openapi_check.cpp)
