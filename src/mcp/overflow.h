// Output that is too long to be shown, put into a file in the box where it can be read on.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "mcp/upstream.h"

namespace hako::mcp {

/// One file that is written while it comes. What cannot be written is left out, and said.
class Overflow {
 public:
  /// All that one file may hold, bytes: beyond it output is only counted.
  static constexpr uint64_t kMost = 64 << 20;

  Overflow(Api& api, std::string box, std::string user, std::string path);

  /// Waits for the box, which has a time for each piece. Never fails: see problem().
  Task<void> add(std::string_view bytes);
  /// Nothing more comes. The file is whole only after this.
  Task<void> finish();
  const std::string& path() const { return path_; }
  /// Why not all of it is there; empty if it is.
  const std::string& problem() const { return problem_; }
  /// Whether there is a file.
  bool is_kept() const { return finished_; }

 private:
  Task<Result<void>> begin();
  Task<Result<void>> end();

  Api& api_;
  std::string box_, user_, path_;
  std::optional<http::Client> client_;
  uint64_t written_ = 0;
  std::string problem_;
  bool begun_ = false, finished_ = false;
};

}  // namespace hako::mcp
