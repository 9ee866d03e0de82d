// Server-sent events (text/event-stream, WHATWG HTML 9.2) as they come, in bounded memory.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace hako::wire {

/// Tells of the data of each event, piece by piece, and keeps none of it. Other fields than `data` are
/// passed over. Lines of one event's data are joined by line feeds, as the standard wants it.
class EventStream {
 public:
  /// A piece of the data of the event that is being read.
  using Data = std::function<void(std::string_view piece)>;
  /// The event is complete; not called for one without data.
  using End = std::function<void()>;

  EventStream(Data data, End end) : data_(std::move(data)), end_(std::move(end)) {}

  void feed(std::string_view bytes);
  /// The stream has come to its end in order. An event of which only the empty line is missing counts:
  /// clients of models take it so.
  void finish();

 private:
  enum class Where {
    name,         ///< in the name of a field
    first_value,  ///< behind the colon, where one blank may be left out
    data,         ///< in the value of `data`
    other         ///< in a line that says nothing to us
  };

  void take_data(std::string_view piece);
  void begin_data();
  void end_line();
  void dispatch();

  Data data_;
  End end_;
  Where where_ = Where::name;
  std::string name_;         ///< what has come of the name, bounded
  bool has_data_ = false;    ///< of the event
  bool after_return_ = false;
  bool first_line_ = true;   ///< a byte order mark may come before it
};

}  // namespace hako::wire
