// Does wrong on purpose, so that scripts/sanitize sees that what the sanitizers find arrives, also
// from a process that is confined as the gate is: sanitizer_probe FAULT [confined]
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <thread>

#include "jail/jail.h"

namespace {

/// The compiler must not see through what goes wrong here.
template <class T>
T hidden(T value) {
  volatile T copy = value;
  return copy;
}

void overflow() {
  char* bytes = new char[8];
  std::printf("%d\n", bytes[hidden(8)]);
  delete[] bytes;
}

void leak() {
  int* lost = new int(hidden(1));
  std::printf("%d\n", *lost);
}

void undefined() {
  std::printf("%d\n", hidden(INT32_MAX) + hidden(1));
}

void race() {
  int shared = 0;
  std::thread other([&] { ++shared; });
  ++shared;
  other.join();
  std::printf("%d\n", shared);
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, std::function<void()>> faults{
      {"overflow", overflow}, {"leak", leak}, {"undefined", undefined}, {"race", race}};
  auto fault = argc > 1 ? faults.find(argv[1]) : faults.end();
  if (fault == faults.end()) {
    std::fputs("sanitizer_probe FAULT [confined]\n", stderr);
    return 2;
  }
  if (argc > 2)
    if (auto confined = hako::jail::confine_gate(); !confined) {
      std::fprintf(stderr, "%s\n", confined.error().message().c_str());
      return 2;
    }
  fault->second();
  return 0;
}
