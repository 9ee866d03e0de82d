// A folder for tests of the command line.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/fd.h"

namespace hako::cli {

namespace fs = std::filesystem;

class Scratch : public ::testing::Test {
 protected:
  Scratch() {
    char pattern[] = "/tmp/hako-cli-test-XXXXXX";
    path_ = ::mkdtemp(pattern);
  }
  ~Scratch() override {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  void put(const std::string& name, std::string_view text, mode_t mode = 0644) {
    fs::create_directories(fs::path(path_ + "/" + name).parent_path());
    std::ofstream(path_ + "/" + name, std::ios::binary) << text;
    ::chmod((path_ + "/" + name).c_str(), mode);
  }
  std::string get(const std::string& name) {
    return read_file(path_ + "/" + name, 64 << 20).value();
  }
  Fd open(const std::string& name = "") {
    return open_file(path_ + "/" + name, O_RDONLY | O_DIRECTORY).value();
  }
  std::string path_;
};

}  // namespace hako::cli
