#include "policy/caveat.h"

#include <charconv>

#include "base/clock.h"
#include "policy/narrowing_members.h"
#include "policy/target_match.h"

namespace hako::policy {
namespace {

Error wrong(std::string message) {
  return Error(ErrorCode::invalid_argument, std::move(message));
}

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

/// The parts between separators, trimmed. An empty text has none.
std::vector<std::string_view> parts_of(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  if (text.empty()) return parts;
  for (size_t begin = 0; begin <= text.size();) {
    size_t end = std::min(text.find(separator, begin), text.size());
    parts.push_back(trimmed(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return parts;
}

/// "name sign value".
struct Parts {
  std::string_view name, sign, value;
};

Result<Parts> split(std::string_view text) {
  if (text.size() > kLongestCaveat)
    return wrong("a caveat is longer than " + std::to_string(kLongestCaveat) + " bytes");
  if (!std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; }))
    return wrong("a caveat is printable ASCII on one line");
  size_t at = text.find_first_of("=<");
  if (at == std::string_view::npos)
    return wrong(in_quotes(text) + " is no caveat: nothing is said to be = or <= something");
  size_t length = text.substr(at).starts_with("<=") ? 2 : 1;
  return Parts{trimmed(text.substr(0, at)), text.substr(at, length),
               trimmed(text.substr(at + length))};
}

Result<void> expect_sign(const Parts& parts, std::string_view sign) {
  if (parts.sign == sign) return ok();
  return wrong(in_quotes(parts.name) + " takes the sign " + std::string(sign));
}

Result<int64_t> number_of(const Parts& parts, int64_t least) {
  int64_t number = 0;
  const char* end = parts.value.data() + parts.value.size();
  auto [rest, error] = std::from_chars(parts.value.data(), end, number);
  if (error != std::errc() || rest != end || number < least)
    return wrong(in_quotes(parts.name) + " takes a whole number from " + std::to_string(least));
  return number;
}

Result<std::set<std::string>> words_of(const Parts& parts, bool (*is_word)(std::string_view)) {
  std::set<std::string> words;
  for (std::string_view word : parts_of(parts.value, ',')) {
    if (!is_word(word))
      return wrong(in_quotes(word) + " cannot be a " + std::string(parts.name));
    words.emplace(word);
  }
  return words;
}

Result<ActionSet> read_actions(const Parts& parts) {
  ActionSet actions;
  for (std::string_view word : parts_of(parts.value, ',')) {
    auto action = action_from(word);
    if (!action) return wrong(in_quotes(word) + " is not an action");
    actions = actions | ActionSet{*action};
  }
  return actions;
}

Result<EgressLayer> read_egress(const Parts& parts) {
  size_t end = std::min(parts.value.find(' '), parts.value.size());
  std::string_view word = parts.value.substr(0, end);
  std::vector<Target> targets;
  for (std::string_view text : parts_of(trimmed(parts.value.substr(end)), ' ')) {
    if (text.empty()) continue;
    HAKO_TRY(auto target, parse_target(text));
    targets.push_back(std::move(target));
  }
  EgressLayer layer;
  if (word == "allow") {
    layer.level = EgressLevel::allow;
    layer.allow = std::move(targets);
    return layer;
  }
  if (word == "deny" && !targets.empty()) {
    layer.level = EgressLevel::internet;
    layer.deny = std::move(targets);
    return layer;
  }
  if ((word != "none" && word != "internet") || !targets.empty())
    return wrong("\"egress\" is none, internet, allow TARGET..., or deny TARGET...");
  layer.level = word == "none" ? EgressLevel::none : EgressLevel::internet;
  return layer;
}

Result<void> read_place(const Parts& parts, Narrowing& narrowing) {
  HAKO_TRYV(expect_sign(parts, "="));
  bool is_tenant = parts.name == "tenant";
  if (!(is_tenant ? is_tenant_name(parts.value) : is_agent_path(parts.value)))
    return wrong(in_quotes(parts.value) + " cannot be a name of a" +
                 (is_tenant ? " tenant" : "n agent"));
  (is_tenant ? narrowing.tenant : narrowing.agent) = std::string(parts.value);
  return ok();
}

Result<void> read_label(const Parts& parts, Narrowing& narrowing) {
  HAKO_TRYV(expect_sign(parts, "<="));
  narrowing.label = label_from(parts.value);
  if (!narrowing.label) return wrong("\"label\" is public, internal, confidential or secret");
  return ok();
}

Result<void> read_expiry(const Parts& parts, Narrowing& narrowing) {
  HAKO_TRYV(expect_sign(parts, "<"));
  auto time = from_rfc3339(parts.value);
  if (!time) return wrong("\"expires\" takes a time such as 2026-12-01T00:00:00Z");
  narrowing.expires_ms = to_unix_ms(*time);
  return ok();
}

Result<void> read(const Parts& parts, Narrowing& narrowing) {
  for (const NumberMember& member : kNumberMembers) {
    if (parts.name != member.caveat) continue;
    HAKO_TRYV(expect_sign(parts, "<="));
    HAKO_TRY(narrowing.*member.value, number_of(parts, member.least));
    return ok();
  }
  for (const ListMember& member : kListMembers) {
    if (parts.name != member.caveat) continue;
    HAKO_TRYV(expect_sign(parts, "="));
    HAKO_TRY(narrowing.*member.value, words_of(parts, member.is_word));
    return ok();
  }
  if (parts.name == "tenant" || parts.name == "agent") return read_place(parts, narrowing);
  if (parts.name == "label") return read_label(parts, narrowing);
  if (parts.name == "expires") return read_expiry(parts, narrowing);
  if (parts.name != "actions" && parts.name != "egress")
    return wrong("nobody here knows the caveat " + in_quotes(parts.name));
  HAKO_TRYV(expect_sign(parts, "="));
  if (parts.name == "actions") {
    HAKO_TRY(narrowing.actions, read_actions(parts));
  } else {
    HAKO_TRY(narrowing.egress, read_egress(parts));
  }
  return ok();
}

std::string joined(const std::set<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ",") + word;
  return text;
}

std::string with_targets(std::string text, const std::vector<Target>& targets) {
  for (const Target& target : targets) text += " " + to_string(target);
  return text;
}

void add_egress(std::vector<std::string>& caveats, const EgressLayer& layer) {
  if (layer.level == EgressLevel::none) {
    caveats.push_back("egress = none");
    return;
  }
  if (layer.level == EgressLevel::allow) {
    caveats.push_back(with_targets("egress = allow", layer.allow));
  } else if (layer.deny.empty()) {
    caveats.push_back("egress = internet");
  }
  if (!layer.deny.empty()) caveats.push_back(with_targets("egress = deny", layer.deny));
}

}  // namespace

Result<Narrowing> parse_caveat(std::string_view text) {
  HAKO_TRY(auto parts, split(text));
  Narrowing narrowing;
  HAKO_TRYV(read(parts, narrowing));
  return narrowing;
}

std::vector<std::string> to_caveats(const Narrowing& narrowing) {
  std::vector<std::string> caveats;
  if (narrowing.tenant) caveats.push_back("tenant = " + *narrowing.tenant);
  if (narrowing.agent && !narrowing.agent->empty())
    caveats.push_back("agent = " + *narrowing.agent);
  for (const ListMember& member : kListMembers) {
    const auto& list = narrowing.*member.value;
    if (list) caveats.push_back(std::string(member.caveat) + " = " + joined(*list));
  }
  if (narrowing.actions) caveats.push_back("actions = " + to_string(*narrowing.actions));
  if (narrowing.label) caveats.push_back("label <= " + std::string(to_string(*narrowing.label)));
  if (narrowing.egress) add_egress(caveats, *narrowing.egress);
  for (const NumberMember& member : kNumberMembers) {
    const auto& number = narrowing.*member.value;
    if (number) caveats.push_back(std::string(member.caveat) + " <= " + std::to_string(*number));
  }
  if (narrowing.expires_ms)
    caveats.push_back("expires < " + to_rfc3339(from_unix_ms(*narrowing.expires_ms)));
  return caveats;
}

}  // namespace hako::policy
