hako_test(wire_test LABELS unit DEPENDS base wire
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/wire_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/macaroon_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/multipart_test.cpp)
hako_test(guest_test LABELS unit DEPENDS guest vault
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/guest_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/guest_trust_test.cpp)
hako_test(guest_daemon_test LABELS integration DEPENDS guest http
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/integration/guest_daemon.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/guest_process_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/guest_files_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/guest_transfer_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/guest_watch_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/guest_freeze_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/guest_codec_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/integration/guest_relay_test.cpp)
add_dependencies(guest_daemon_test guest_program)
target_compile_definitions(guest_daemon_test PRIVATE
  HAKO_GUEST_PROGRAM="$<TARGET_FILE:guest_program>")
