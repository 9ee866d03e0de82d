#include "cli/output.h"

#include <unistd.h>
#include <boost/json/serialize.hpp>

#include "base/fd.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

void append_pretty(std::string& out, const json::value& value, size_t depth) {
  auto line = [&](size_t level) { out += '\n' + std::string(2 * level, ' '); };
  if (const auto* object = value.if_object(); object && !object->empty()) {
    out += '{';
    bool first = true;
    for (const auto& [key, member] : *object) {
      if (!std::exchange(first, false)) out += ',';
      line(depth + 1);
      out += json::serialize(json::string(key)) + ": ";
      append_pretty(out, member, depth + 1);
    }
    line(depth);
    out += '}';
  } else if (const auto* array = value.if_array(); array && !array->empty()) {
    out += '[';
    bool first = true;
    for (const auto& element : *array) {
      if (!std::exchange(first, false)) out += ',';
      line(depth + 1);
      append_pretty(out, element, depth + 1);
    }
    line(depth);
    out += ']';
  } else {
    out += json::serialize(value);
  }
}

}  // namespace

int run_to_end(std::function<Task<int>()> command, int fault_status) {
  asio::io_context loop(1);
  int status = fault_status;
  std::exception_ptr fault;
  asio::co_spawn(loop, command(), [&](std::exception_ptr thrown, int value) {
    fault = thrown;
    if (!thrown) status = value;
    loop.stop();
  });
  loop.run();
  if (!fault) return status;
  try {
    std::rethrow_exception(fault);
  } catch (const std::exception& thrown) {
    return fail(Error(ErrorCode::internal, std::string("a fault of hako itself: ") + thrown.what()),
                fault_status);
  }
}

int fail(const Error& error, int status) {
  print_note(error.message());
  return status;
}

void print_note(std::string_view text) {
  std::string line = "hako: " + std::string(text) + "\n";
  auto written = write_all(STDERR_FILENO, std::string_view(line));
  static_cast<void>(written);
}

void print(std::string_view text) {
  auto written = write_all(STDOUT_FILENO, text);
  static_cast<void>(written);
}

std::string pretty_json(const json::value& value) {
  std::string out;
  append_pretty(out, value, 0);
  return out + "\n";
}

void print_json(const json::value& value) {
  print(pretty_json(value));
}

}  // namespace hako::cli
