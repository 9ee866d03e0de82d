// Inside src/http only: moving bytes, and heads written by hand.
#pragma once

#include "http/message.h"
#include "http/stream.h"

namespace hako::http::detail {

/// Sends all of `pieces` (at most 4), without a trip through the event loop where the socket takes
/// them at once. Throws only when cancelled.
Task<boost::system::error_code> send_all(Stream& stream,
                                         std::span<const asio::const_buffer> pieces);
/// Reads some bytes. `eof` as an error code, as Asio has it. Throws only when cancelled.
Task<boost::system::error_code> receive(Stream& stream, asio::mutable_buffer into, size_t& count);
/// Reads and drops until the other side ends, `bytes` have come or `limit` has passed: a socket
/// closed with unread input resets the connection, and the last answer may be lost with it.
Task<void> drain(Stream& stream, size_t bytes, Duration limit);

Error broken(const boost::system::error_code& error);

/// Fields that concern one connection only, and those that frame the message.
bool is_connection_field(Field field);
/// Appends "name: value\r\n" for all but connection fields and Content-Length. A field that
/// would break the head's lines is left out.
void append_fields(std::string& out, const Fields& fields);
void append_field(std::string& out, std::string_view name, std::string_view value);
void append_status_line(std::string& out, unsigned status);
std::string_view reason_of(unsigned status);
/// A whole Content-Length value: digits only, no overflow.
std::optional<uint64_t> content_length_of(const Fields& fields);
/// "1f2e\r\n"
std::string_view chunk_header(uint64_t size, std::span<char, 20> room);

/// Ends the connection when a wait has gone on for too long. It costs a time stamp per wait: the
/// timer is only moved when it fires.
class Watchdog {
 public:
  explicit Watchdog(Stream& stream);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void allow(Duration time);  ///< from now, until the next call
  void relax();               ///< no limit
  bool fired() const;
  void release();  ///< lets go of the stream for good

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace hako::http::detail
