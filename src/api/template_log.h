// What a build tells its user. Pure.
#pragma once

#include <boost/json.hpp>

#include <deque>
#include <string>
#include <string_view>

namespace hako::api {

/// Entries in the order they came, with their positions in it. What is beyond the limits is left
/// out, and the log says so at that place.
class TemplateLog {
 public:
  static constexpr size_t kMostEntries = 20'000;
  static constexpr size_t kLongestLine = 4096;
  static constexpr size_t kMostBytes = 4 << 20;

  /// `level`: debug, info, warn, error.
  void add(std::string_view level, std::string_view message, std::string_view step);
  /// Output of a program, in pieces; each line becomes an entry.
  void add_output(bool is_error, std::string_view bytes, std::string_view prefix,
                  std::string_view step);
  /// Ends the lines that have no end.
  void flush_output(std::string_view prefix, std::string_view step);

  const boost::json::array& entries() const { return entries_; }
  /// At most `most` of them from position `offset`.
  static boost::json::array slice(const boost::json::array& entries, size_t offset, size_t most);
  /// The messages of the last `most` entries of programs at `step`.
  static boost::json::array tail(const boost::json::array& entries, std::string_view step,
                                 size_t most);

 private:
  void add_line(bool is_error, std::string_view line, std::string_view prefix,
                std::string_view step);

  boost::json::array entries_;
  size_t bytes_ = 0;
  bool full_ = false;
  std::string open_[2];  ///< the line that has begun, of standard output and of errors
};

}  // namespace hako::api
