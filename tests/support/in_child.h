// Tests that change their own process for good run in a child.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <iostream>

namespace hako::testing_support {

/// Runs `check` in a forked child. Its return value (0..255), or minus the signal that ended it.
template <class Check>
int in_child(Check check) {
  std::cout.flush();
  std::fflush(nullptr);
  // Behind fork() ThreadSanitizer starts a thread, and many checks are of what a process with threads
  // may not do.
  pid_t child = ::_Fork();
  if (child == 0) ::_exit(check());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace hako::testing_support
