// The machine that a template is built in, as the api reaches it: through the gate.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "api/template_recipe.h"
#include "base/async/task.h"
#include "base/fd.h"
#include "config/config.h"
#include "http/client.h"

namespace hako::api {

struct BoxCommand {
  std::string cmd;
  std::vector<std::string> args;
  std::string user = "root";
  std::string cwd = "/";
  std::map<std::string, std::string> envs;
};

/// Everything it hears is hostile. Cancel: safe. Thread: one executor.
class TemplateBox {
 public:
  /// Pieces of what a program prints, as they come.
  using Output = std::function<void(bool is_error, std::string_view bytes)>;

  TemplateBox(const config::Config& config, std::string box, std::string token);

  /// Runs a program to its end; its exit status, -1 when a signal ended it. `limit`: after which
  /// the guest ends it; zero: it lives on, even when this call is cancelled.
  /// Errors: timed_out, unavailable, corrupted, and what the guest says (invalid_argument: no such
  /// program or folder; unauthenticated: no such user).
  Task<Result<int>> run(BoxCommand command, Output output, std::chrono::seconds limit);

  /// Writes `file` as `path`, owned by root.
  Task<Result<void>> upload(int file, std::string path, asio::thread_pool& disk);

 private:
  Task<Result<int>> follow(BoxCommand command, Output output, std::chrono::seconds limit);
  Task<Result<http::Client>> connect() const;
  http::Request request(std::string target, std::string_view type) const;

  std::string address_;
  uint16_t port_;
  std::string box_;
  std::string token_;
};

}  // namespace hako::api
