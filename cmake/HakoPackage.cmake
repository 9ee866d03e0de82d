# The Debian package: scripts/build-package, or `cpack -G DEB` in a build tree whose programs are
# built. Its paths are those of the installed system, so the prefix is "/".
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)  # tests are not part of it

install(TARGETS hako_program hakod_program gate_program RUNTIME DESTINATION usr/bin)
# What boxes boot from is built on the machine itself, with the programs of [image] in packages.txt.
install(TARGETS guest_program RUNTIME DESTINATION usr/lib/hako)
install(PROGRAMS scripts/build-image DESTINATION usr/lib/hako/scripts)
install(FILES scripts/packages.txt DESTINATION usr/lib/hako/scripts)
install(DIRECTORY scripts/lib DESTINATION usr/lib/hako/scripts)
install(PROGRAMS packaging/debian/hako-build-image DESTINATION usr/sbin)
install(FILES packaging/hako.toml DESTINATION etc/hako)
install(DIRECTORY packaging/systemd/ DESTINATION lib/systemd/system)
install(FILES README.md SECURITY.md CHANGELOG.md DESTINATION usr/share/doc/hako)
install(FILES LICENSE DESTINATION usr/share/doc/hako RENAME copyright)
install(DIRECTORY docs/ DESTINATION usr/share/doc/hako FILES_MATCHING PATTERN "*.md"
  PATTERN decisions EXCLUDE)

# Packages of a section of scripts/packages.txt, with commas between them.
function(hako_packages section out)
  file(STRINGS "${CMAKE_SOURCE_DIR}/scripts/packages.txt" lines)
  set(inside FALSE)
  set(found "")
  foreach(line IN LISTS lines)
    if(line MATCHES "^\\[(.*)\\]$")
      string(COMPARE EQUAL "${CMAKE_MATCH_1}" "${section}" inside)
    elseif(inside AND NOT line MATCHES "^#")
      string(REGEX MATCHALL "[^ ]+" words "${line}")
      list(APPEND found ${words})
    endif()
  endforeach()
  list(JOIN found ", " found)
  set(${out} "${found}" PARENT_SCOPE)
endfunction()

hako_packages(run run_packages)
hako_packages(image image_packages)
hako_packages(pull pull_packages)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME hako)
set(CPACK_PACKAGE_VERSION "${PROJECT_VERSION}")
set(CPACK_PACKAGE_CONTACT "hako maintainers <maintainers@hako.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "virtual machines for AI agents, in milliseconds")
set(CPACK_PACKAGE_DESCRIPTION "Gives every agent a virtual machine of its own, a clone of a snapshot,
 with no way out but a gate that asks the box's policy. Served by an API of E2B's shape.")
set(CPACK_PACKAGING_INSTALL_PREFIX "/")
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "${run_packages}, init-system-helpers (>= 1.52)")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "${image_packages}")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "${pull_packages}")
set(scripts "${CMAKE_SOURCE_DIR}/packaging/debian")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  "${scripts}/preinst;${scripts}/postinst;${scripts}/prerm;${scripts}/postrm;${scripts}/conffiles")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
