// multipart/form-data taken apart piece by piece. No I/O.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hako::wire {

/// The boundary in a Content-Type header; nothing if it is no multipart/form-data with one.
std::optional<std::string> multipart_boundary(std::string_view content_type);

class MultipartDecoder {
 public:
  explicit MultipartDecoder(std::string_view boundary);

  enum class Kind {
    need_more,   ///< feed() more, or the body ended too early
    part_begin,  ///< `name` and `filename` of the part that begins
    data,        ///< `data` of the current part
    part_end,
    end,  ///< the closing boundary; what follows is ignored
  };
  struct Event {
    Kind kind = Kind::need_more;
    std::string name;
    std::optional<std::string> filename;
    std::string_view data;  ///< valid until the decoder is next touched
  };

  void feed(std::string_view bytes);
  /// invalid_argument: not multipart, or headers of a part over 16 KiB.
  Result<Event> next();

 private:
  enum class State { preamble, boundary, headers, content, finished };
  Result<Event> read_headers();
  Event read_content();
  void drop(size_t count);

  std::string delimiter_;  ///< "\r\n--" and the boundary
  std::string buffer_;
  size_t position_ = 0;
  State state_ = State::preamble;
};

}  // namespace hako::wire
