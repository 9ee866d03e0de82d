// Audit logs in a folder of their own, and what somebody may do to them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "audit/line.h"
#include "audit/log.h"
#include "audit/segments.h"
#include "audit/verify.h"
#include "base/fd.h"
#include "support/run_task.h"

namespace hako::audit::testing_support {

class AuditLab {
 public:
  AuditLab() {
    std::string pattern = std::filesystem::temp_directory_path() / "hako-audit-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
    folder_ = pattern;
  }
  ~AuditLab() { std::filesystem::remove_all(folder_); }
  AuditLab(const AuditLab&) = delete;

  const std::string& folder() const { return folder_; }
  std::string directory() const { return folder_ + "/audit"; }
  LogOptions options() const {
    LogOptions options;
    options.directory = directory();
    options.key_file = folder_ + "/key";
    return options;
  }
  PublicKey key() const { return public_key_from(read_file(folder_ + "/key.pub").value()).value(); }

  Result<Verdict> verify(const Expectation& expected = {}) const {
    return verify_log(directory(), key(), expected);
  }

  /// On a loop that outlives the log, if the lab does.
  Result<void> append(Log& log, Record record) {
    Result<void> outcome = ok();
    auto task = [](Log& log, Record record, Result<void>& outcome) -> Task<void> {
      outcome = co_await log.append(std::move(record));
    };
    test::run_on(loop_, task(log, std::move(record), outcome));
    return outcome;
  }

  std::vector<int64_t> segments() const {
    auto listed = list_segments(directory());
    return listed ? std::move(listed.value()) : std::vector<int64_t>();
  }
  std::vector<std::string> lines(int64_t segment) const {
    std::ifstream file(segment_path(directory(), segment), std::ios::binary);
    std::vector<std::string> all;
    for (std::string line; std::getline(file, line);) all.push_back(line);
    return all;
  }
  std::vector<std::string> lines() const {
    std::vector<std::string> all;
    for (int64_t segment : segments()) {
      for (auto& line : lines(segment)) all.push_back(std::move(line));
    }
    return all;
  }
  std::string text(int64_t segment) const {
    std::ifstream file(segment_path(directory(), segment), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void put_text(int64_t segment, const std::string& text) const {
    // A new file: file systems flush one that is cut to nothing and written again.
    std::filesystem::remove(segment_path(directory(), segment));
    std::ofstream(segment_path(directory(), segment), std::ios::binary) << text;
  }
  void put(int64_t segment, const std::vector<std::string>& lines) const {
    std::string text;
    for (const auto& line : lines) text += line + "\n";
    put_text(segment, text);
  }

  void keep_copy() const { copy(directory(), folder_ + "/copy"); }
  void restore() const { copy(folder_ + "/copy", directory()); }

 private:
  static void copy(const std::string& from, const std::string& to) {
    std::filesystem::remove_all(to);
    std::filesystem::copy(from, to, std::filesystem::copy_options::recursive);
  }

  std::string folder_;
  asio::io_context loop_;
};

inline Record some_record(int number) {
  Record record;
  record.tenant = "default";
  record.actor = "key operator";
  record.action = "sandbox.create";
  record.sandbox = "i" + std::to_string(number);
  record.outcome = "ok";
  record.details = {{"template", "base"}, {"number", std::to_string(number)}};
  return record;
}

}  // namespace hako::audit::testing_support
