#include "cli/egress_text.h"

#include <boost/asio/ip/address.hpp>

#include <algorithm>
#include <charconv>

#include "cli/api.h"
#include "cli/text.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

constexpr size_t kVerdictWidth = 8;
constexpr size_t kKindWidth = 4;

std::string shown_text(const json::value& record, std::string_view name) {
  return printable_field(text_member(record, name));
}

std::string padded(std::string text, size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

/// "a.example (192.0.2.1):443"; what is missing is left out.
std::string destination_of(const json::value& record) {
  std::string name = shown_text(record, "name"), address = shown_text(record, "address");
  if (address.find(':') != std::string::npos) address = "[" + address + "]";
  std::string where = name;
  if (!name.empty() && !address.empty()) where += " (" + address + ")";
  if (name.empty()) where = address;
  int64_t port = number_member(record, "port");
  return port > 0 ? where + ":" + std::to_string(port) : where;
}

json::array array_of(const std::vector<std::string>& texts) {
  return json::array(texts.begin(), texts.end());
}

}  // namespace

Result<json::object> destination_json(std::string_view text) {
  Error wrong(ErrorCode::invalid_argument, "'" + printable_field(text) +
                                               "' is no destination: write NAME:PORT, "
                                               "ADDRESS:PORT or [IPV6]:PORT");
  size_t colon = text.rfind(':');
  if (colon == text.npos) return wrong;
  std::string_view host = text.substr(0, colon), digits = text.substr(colon + 1);
  uint16_t port = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size() || port == 0) return wrong;
  bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  bool has_colon = host.find(':') != host.npos;
  if (host.empty() || bracketed != has_colon) return wrong;
  boost::system::error_code no_address;
  (void)boost::asio::ip::make_address(std::string(host), no_address);
  json::object destination;
  destination[no_address ? "name" : "address"] = json::string_view(host.data(), host.size());
  destination["port"] = port;
  return destination;
}

void put_confinement(json::object& body, const Confinement& confinement) {
  if (!confinement.label.empty()) body["label"] = confinement.label;
  if (!confinement.egress.empty()) body["egress"] = confinement.egress;
  if (!confinement.allow.empty()) body["allow"] = array_of(confinement.allow);
  if (!confinement.deny.empty()) body["deny"] = array_of(confinement.deny);
}

std::string decision_text(const json::value& decision, bool allowed) {
  std::string text = allowed ? "allowed: " : "denied: ";
  text += shown_text(decision, "reason") + " (rule " + shown_text(decision, "rule") + ")\n";
  std::string remedy = shown_text(decision, "remedy");
  return remedy.empty() ? text : text + "to allow it: " + remedy + "\n";
}

std::string record_line(const json::value& record) {
  std::string line = shown_text(record, "timestamp") + "  " +
                     padded(shown_text(record, "verdict"), kVerdictWidth) + "  " +
                     padded(shown_text(record, "kind"), kKindWidth) + "  " +
                     destination_of(record);
  std::string rule = shown_text(record, "rule"), reason = shown_text(record, "reason");
  if (!reason.empty()) line += "  " + reason;
  if (!rule.empty()) line += " (rule " + rule + ")";
  int64_t out = number_member(record, "bytesOut"), in = number_member(record, "bytesIn");
  if (text_member(record, "verdict") == "ended") {
    line += "  out " + format_bytes(uint64_t(std::max<int64_t>(out, 0))) + ", in " +
            format_bytes(uint64_t(std::max<int64_t>(in, 0)));
  }
  if (int64_t count = number_member(record, "count"); count > 1)
    line += "  " + std::to_string(count) + " times";
  return line;
}

}  // namespace hako::cli
