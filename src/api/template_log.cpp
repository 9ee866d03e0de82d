#include "api/template_log.h"

#include <algorithm>

#include "base/clock.h"
#include "base/encoding.h"

namespace hako::api {
namespace json = boost::json;

namespace {

json::string_view view_of(std::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace

void TemplateLog::add(std::string_view level, std::string_view message, std::string_view step) {
  bool still_fits = entries_.size() < kMostEntries && bytes_ < kMostBytes;
  // How a build ended is told in any case.
  if (!still_fits && level != "error") {
    if (std::exchange(full_, true)) return;
    message = "(more output is left out)";
  }
  if (entries_.size() > kMostEntries + 100) return;
  std::string text = valid_utf8(std::string(message.substr(0, kLongestLine)));
  bytes_ += text.size();
  json::object entry;
  entry["timestamp"] = rfc3339_now();
  entry["level"] = view_of(level);
  entry["message"] = std::move(text);
  entry["step"] = view_of(step);
  entries_.push_back(std::move(entry));
}

void TemplateLog::add_line(bool is_error, std::string_view line, std::string_view prefix,
                           std::string_view step) {
  while (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  std::string text = "[" + std::string(prefix) + "] [" + (is_error ? "stderr" : "stdout") + "]: ";
  text += line;
  add(is_error ? "warn" : "info", text, step);
}

void TemplateLog::add_output(bool is_error, std::string_view bytes, std::string_view prefix,
                             std::string_view step) {
  std::string& open = open_[is_error];
  while (!bytes.empty()) {
    size_t end = bytes.find('\n');
    std::string_view piece = bytes.substr(0, end);
    if (open.size() < kLongestLine) open += piece.substr(0, kLongestLine - open.size());
    if (end == std::string_view::npos) return;
    add_line(is_error, open, prefix, step);
    open.clear();
    bytes.remove_prefix(end + 1);
  }
}

void TemplateLog::flush_output(std::string_view prefix, std::string_view step) {
  for (bool is_error : {false, true}) {
    if (!open_[is_error].empty()) add_line(is_error, open_[is_error], prefix, step);
    open_[is_error].clear();
  }
}

json::array TemplateLog::slice(const json::array& entries, size_t offset, size_t most) {
  json::array part;
  for (size_t i = offset; i < entries.size() && part.size() < most; ++i) part.push_back(entries[i]);
  return part;
}

json::array TemplateLog::tail(const json::array& entries, std::string_view step, size_t most) {
  json::array part;
  for (size_t i = entries.size(); i > 0 && part.size() < most; --i) {
    const json::object* entry = entries[i - 1].if_object();
    const json::value* at = entry ? entry->if_contains("step") : nullptr;
    if (at && at->is_string() && at->get_string() == view_of(step)) part.push_back(*entry);
  }
  std::reverse(part.begin(), part.end());
  return part;
}

}  // namespace hako::api
