#include "policy/daemon_action.h"

#include <gtest/gtest.h>

namespace hako::policy {
namespace {

TEST(DaemonAction, FilesAreReadOrWritten) {
  EXPECT_EQ(daemon_action("GET", "/files"), Action::files_read);
  EXPECT_EQ(daemon_action("HEAD", "/files"), Action::files_read);
  EXPECT_EQ(daemon_action("POST", "/files"), Action::files_write);
  EXPECT_EQ(daemon_action("PUT", "/files"), Action::files_write);
  EXPECT_EQ(daemon_action("POST", "/files/compose"), Action::files_write);
}

TEST(DaemonAction, LookingAtTheFileSystemIsReading) {
  for (const char* name : {"Stat", "ListDir", "WatchDir", "CreateWatcher", "GetWatcherEvents",
                           "RemoveWatcher"})
    EXPECT_EQ(daemon_action("POST", std::string("/filesystem.Filesystem/") + name),
              Action::files_read)
        << name;
  for (const char* name : {"MakeDir", "Move", "Remove"})
    EXPECT_EQ(daemon_action("POST", std::string("/filesystem.Filesystem/") + name),
              Action::files_write)
        << name;
}

TEST(DaemonAction, ProcessesAndTheEnvironmentAreExecution) {
  for (const char* name : {"Start", "Connect", "List", "SendInput", "StreamInput", "CloseStdin",
                           "SendSignal", "Update", "SomethingNew"})
    EXPECT_EQ(daemon_action("POST", std::string("/process.Process/") + name),
              Action::sandbox_exec)
        << name;
  EXPECT_EQ(daemon_action("GET", "/envs"), Action::sandbox_exec);
}

TEST(DaemonAction, MetricsAreReadAndHealthIsAnybodys) {
  EXPECT_EQ(daemon_action("GET", "/metrics"), Action::sandbox_read);
  EXPECT_EQ(daemon_action("GET", "/health"), std::nullopt);
}

TEST(DaemonAction, WhatIsUnknownNeedsTheStrongest) {
  const std::pair<const char*, const char*> requests[] = {
      {"GET", "/"},
      {"GET", "/Files"},
      {"GET", "/files/"},
      {"GET", "//files"},
      {"GET", "/%66iles"},
      {"GET", "/files/compose"},
      {"DELETE", "/files"},
      {"OPTIONS", "/files"},
      {"get", "/files"},
      {"POST", "/metrics"},
      {"POST", "/health"},
      {"GET", "/health/"},
      {"GET", "/filesystem.Filesystem/Stat"},
      {"POST", "/filesystem.Filesystem/"},
      {"POST", "/filesystem.Filesystem/Chmod"},
      {"POST", "/filesystem.Filesystem/stat"},
      {"POST", "/filesystem.Filesystem/Stat/"},
      {"POST", "/upgrade"},
      {"", ""},
  };
  for (auto [method, path] : requests)
    EXPECT_EQ(daemon_action(method, path), Action::sandbox_exec) << method << " " << path;
}

}  // namespace
}  // namespace hako::policy
