// What a record of the audit log costs. Prints rows for bench/run as JSON.
//
//   audit_bench FOLDER [RECORDS]
//
// FOLDER is made, and removed again; it should be on the disk that is to be measured.
#include <boost/json.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "audit/log.h"
#include "audit/verify.h"
#include "base/fd.h"

namespace {

namespace json = boost::json;
using namespace hako;
using Clock = std::chrono::steady_clock;

constexpr int kWriters = 64;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Like that of a call of the API.
audit::Record usual_record(int number) {
  audit::Record record;
  record.tenant = "default";
  record.actor = "key k1a2b3c4d5";
  record.user = "someone@example.com";
  record.agent = "build/worker-1";
  record.action = "command.start";
  record.sandbox = "i0123456789abcdefghij";
  record.outcome = "ok";
  record.label = "internal";
  record.source = "127.0.0.1";
  record.request = "0123456789abcdef";
  record.details = {{"command", "/bin/bash -l -c 'python3 -m pytest -q tests/unit'"},
                    {"cwd", "/home/user/project"},
                    {"number", std::to_string(number)}};
  return record;
}

std::unique_ptr<audit::Log> open_log(const std::string& folder, const std::string& name) {
  audit::LogOptions options;
  options.directory = folder + "/" + name;
  options.key_file = folder + "/key";
  auto log = audit::Log::open(options);
  if (!log) {
    std::cerr << log.error().message() << "\n";
    std::exit(1);
  }
  return std::move(log.value());
}

Task<void> write_some(audit::Log& log, int count, std::vector<double>* times) {
  for (int i = 0; i < count; ++i) {
    auto begin = Clock::now();
    auto written = co_await log.append(usual_record(i));
    if (!written) throw std::runtime_error(written.error().message());
    if (times) times->push_back(seconds_since(begin));
  }
}

/// Seconds that each append took, one after another.
std::vector<double> one_writer(const std::string& folder, int count) {
  auto log = open_log(folder, "one");
  std::vector<double> times;
  asio::io_context loop;
  asio::co_spawn(loop, write_some(*log, count, &times), asio::detached);
  loop.run();
  log->close();
  return times;
}

struct Many {
  double per_second = 0;
  std::vector<double> times;
};

Many many_writers(const std::string& folder, int count) {
  auto log = open_log(folder, "many");
  Many many;
  asio::io_context loop;
  auto begin = Clock::now();
  for (int i = 0; i < kWriters; ++i) {
    asio::co_spawn(loop, write_some(*log, count / kWriters, &many.times), asio::detached);
  }
  loop.run();
  many.per_second = double(many.times.size()) / seconds_since(begin);
  log->close();
  return many;
}

json::object row(std::string_view name, double value, std::string_view unit) {
  return {{"name", name}, {"value", value}, {"unit", unit}};
}

json::object row(std::string_view name, const std::vector<double>& times) {
  return {{"name", name}, {"unit", "ms"}, {"seconds", json::value_from(times)}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  std::string folder = argv[1];
  int count = argc > 2 ? std::atoi(argv[2]) : 50'000;
  std::filesystem::create_directories(folder);
  json::array rows;
  rows.push_back(row("audit: one record, alone", one_writer(folder, count / 10)));
  Many many = many_writers(folder, count);
  rows.push_back(row("audit: one record, 64 writers at once", many.times));
  rows.push_back(row("audit: records written, 64 writers", many.per_second, "1/s"));
  auto key = audit::public_key_from(read_file(folder + "/key.pub").value()).value();
  auto begin = Clock::now();
  auto verdict = audit::verify_log(folder + "/many", key);
  double took = seconds_since(begin);
  if (!verdict || verdict.value().problem) {
    std::cerr << "the log does not verify\n";
    return 1;
  }
  rows.push_back(row("audit: records verified", double(verdict.value().records) / took, "1/s"));
  auto bytes = std::filesystem::file_size(folder + "/many/audit-0000000000000001.jsonl");
  rows.push_back(
      row("audit: bytes of a record", double(bytes) / double(verdict.value().records), "B"));
  std::cout << json::serialize(rows) << "\n";
  std::filesystem::remove_all(folder);
  return 0;
}
