# Compiler flags, the linker, the compiler cache, and the libraries everything shares.

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()

# Assertions stay on in what is shipped; -O3 would only make the build longer.
set(CMAKE_CXX_FLAGS_RELEASE "-O2")

find_program(HAKO_CCACHE ccache)
if(HAKO_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # The two sloppiness settings are what ccache needs to cache uses of a precompiled header; with the
  # other two, one clone of the project profits from what another has compiled.
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND};-E;env;CCACHE_SLOPPINESS=pch_defines,time_macros;CCACHE_BASEDIR=${CMAKE_SOURCE_DIR};CCACHE_NOHASHDIR=1;${HAKO_CCACHE}")
endif()
find_program(HAKO_MOLD mold)
if(HAKO_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_compile_options(-Wall -Wextra -Wpedantic -Wno-missing-field-initializers -fno-plt)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # When GCC 12 optimises, it takes the frames of coroutines for mismatched allocations, and the
  # insides of std::string for overflows (GCC bugs 105329, 105651).
  add_compile_options(-fcoroutines -fpch-preprocess -Wno-mismatched-new-delete
    -Wno-stringop-overflow -Wno-array-bounds -Wno-restrict)
  # Several sources compiled as one (presets) make GCC see types of one file inside another.
  add_compile_options(-Wno-subobject-linkage)
endif()
if(HAKO_WERROR)
  add_compile_options(-Werror)
endif()
if(HAKO_FUZZ)
  # Without this libFuzzer does not see which inputs lead somewhere new. Clang 14 cannot check the
  # types of functions that are coroutines.
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize=function
    -fno-sanitize-recover=all -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS)
  add_link_options(-fsanitize=fuzzer-no-link,address,undefined)
elseif(HAKO_SANITIZE)
  # A finding ends the program: one that goes on is one that nobody reads.
  add_compile_options(-fsanitize=${HAKO_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS)
  if(HAKO_SANITIZE MATCHES "undefined")
    # Checks at every use of a pointer make up most of the code, and triple the time to compile it.
    # What they would find traps anyway (null) or is AddressSanitizer's (sizes).
    add_compile_options(-fno-sanitize=null,alignment,vptr,object-size,pointer-overflow)
  endif()
  if(HAKO_SANITIZE MATCHES "thread")
    # Asio has fences beside its locks; ThreadSanitizer does not see them, and needs only the locks.
    add_compile_options(-Wno-tsan)
  endif()
  add_link_options(-fsanitize=${HAKO_SANITIZE})
  add_library(hako_sanitizer_runtime OBJECT
    "${CMAKE_SOURCE_DIR}/tests/support/sanitizer_runtime.cpp")
  # The sanitizers call some of it before they are ready to look into anything.
  target_compile_options(hako_sanitizer_runtime PRIVATE -fno-sanitize=all)
  target_compile_definitions(hako_sanitizer_runtime PRIVATE
    HAKO_SANITIZER_REPORT="${CMAKE_BINARY_DIR}/sanitizer-report.txt")
else()
  add_compile_options(-fstack-protector-strong)
  if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
    add_compile_options(-D_FORTIFY_SOURCE=2)  # needs optimisation
  endif()
endif()

# How many times as long as usual tests may take.
set(HAKO_PATIENCE 1)
if(HAKO_SANITIZE)
  set(HAKO_PATIENCE 6)
endif()

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS json)
find_package(OpenSSL REQUIRED)
find_package(ZLIB REQUIRED)
find_package(spdlog REQUIRED)
find_package(fmt REQUIRED)
find_package(tomlplusplus QUIET)
find_package(CLI11 REQUIRED)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(SECCOMP REQUIRED IMPORTED_TARGET libseccomp)
pkg_check_modules(NFTABLES REQUIRED IMPORTED_TARGET libnftables)
pkg_check_modules(CARES REQUIRED IMPORTED_TARGET libcares)
