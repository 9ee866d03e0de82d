// Plays a VMM that has been taken over: makes one attempt and says on standard output how it ended,
// 0 where it got through, else an errno value. Arguments: the attempt's name and what the test
// prepared for it. Who gets no answer has been ended by the attempt.
#include "support/jail_probe.h"

#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <initializer_list>

int main(int argc, char** argv) {
  using namespace hako::jail_probe;
  if (argc == 2 && std::strcmp(argv[1], "am-i-root") == 0) {
    std::printf("%d", ::geteuid() == 0 ? 0 : EPERM);
    return 0;
  }
  if (argc == 2 && std::strcmp(argv[1], "am-i-here") == 0) {
    std::printf("0");
    return 0;
  }
  if (argc != 3) return 2;
  for (auto attempts :
       {file_attempts(), process_attempts(), socket_attempts(), kernel_attempts()}) {
    for (const Attempt& attempt : attempts) {
      if (std::strcmp(attempt.name, argv[1]) != 0) continue;
      std::printf("%d", attempt.run(argv[2]));
      return 0;
    }
  }
  return 2;
}
