// What commands print, and how they are run.
#pragma once

#include <boost/json/value.hpp>

#include <functional>
#include <string_view>

#include "base/async/task.h"

namespace hako::cli {

/// Runs `command` on an event loop of its own until it ends. An exception that leaves it is
/// reported as a fault of hako's, with status `fault_status`.
int run_to_end(std::function<Task<int>()> command, int fault_status = 1);

/// "hako: <message>" on standard error; returns `status`.
int fail(const Error& error, int status = 1);
void print_note(std::string_view text);
/// Standard output, whole; a closed pipe is not an error of ours.
void print(std::string_view text);
void print_json(const boost::json::value& value);
/// Indented JSON with a newline at the end.
std::string pretty_json(const boost::json::value& value);

}  // namespace hako::cli
