#include "gate/secret_swap.h"

#include <boost/beast/http/rfc7230.hpp>
#include <openssl/crypto.h>

#include <algorithm>

#include "base/encoding.h"
#include "gate/walls.h"
#include "wire/ascii.h"

namespace hako::gate {
namespace {

using Refused = SwapOutcome::Refused;

constexpr size_t kLongestFieldQuote = 64;
/// Fewer bytes, which are the same in all values of a kind, are passed on before it is known what
/// follows them: an answer that happens to end so does not wait.
constexpr size_t kWorthWaiting = 5;

std::string_view view(boost::beast::string_view text) {
  return {text.data(), text.size()};
}

boost::beast::string_view beast_view(std::string_view text) {
  return {text.data(), text.size()};
}

/// What is behind a scheme, in whatever case, and the spaces behind it.
std::optional<std::string_view> behind_scheme(std::string_view value, std::string_view scheme) {
  if (value.size() <= scheme.size() || value[scheme.size()] != ' ' ||
      !wire::equal_ignoring_case(value.substr(0, scheme.size()), scheme))
    return std::nullopt;
  value.remove_prefix(scheme.size());
  value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
  return value;
}

std::optional<std::string> swap_basic(std::string_view value, const SecretSwap& swap) {
  auto encoded = behind_scheme(value, "Basic");
  auto decoded = encoded ? base64_decode(*encoded) : std::nullopt;
  if (!decoded) return std::nullopt;
  size_t colon = decoded->find(':');
  if (colon == decoded->npos || decoded->substr(colon + 1) != swap.placeholder)
    return std::nullopt;
  std::string user = decoded->substr(0, colon);
  if (!swap.user.empty() && user != swap.user) return std::nullopt;
  return "Basic " + base64_encode(user + ":" + swap.value);
}

/// The field's value with the secret in it, if its placeholder is there as it should be.
std::optional<std::string> swapped(std::string_view name, std::string_view value,
                                   const SecretSwap& swap) {
  if (swap.kind == SecretSwap::Kind::header) {
    if (!wire::equal_ignoring_case(name, swap.header) ||
        value != swap.before + swap.placeholder + swap.after)
      return std::nullopt;
    return swap.before + swap.value + swap.after;
  }
  if (!wire::equal_ignoring_case(name, "Authorization")) return std::nullopt;
  if (swap.kind == SecretSwap::Kind::basic) return swap_basic(value, swap);
  auto token = behind_scheme(value, "Bearer");
  if (!token || *token != swap.placeholder) return std::nullopt;
  return "Bearer " + swap.value;
}

/// In lower case, and as if it were one word.
std::string without_marks(std::string_view name) {
  std::string plain;
  for (char c : name) {
    if (c == '-' || c == '_' || c == '$' || c == '.') continue;
    plain += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return plain;
}

/// Whether those who serve models take a key under this name, of a header or in the URL.
bool shows_key(std::string_view name) {
  constexpr std::string_view kNames[] = {
      "authorization", "xapikey", "apikey",      "xgoogapikey", "cookie",     "key",
      "token",         "xtoken",  "accesstoken", "authtoken",   "xauthtoken", "oauthtoken"};
  return std::ranges::find(kNames, name) != std::end(kNames);
}

class Swapping {
 public:
  Swapping(http::RequestHead& head, const HostSecrets& host, const PlaceholderSet& placeholders)
      : head_(head), host_(host), placeholders_(placeholders) {}

  SwapOutcome run() {
    // It makes a server repeat what it was sent.
    if (head_.method == http::Verb::trace) refuse("", "TRACE is not relayed");
    look_at(head_.target, "in the URL");
    http::Fields fields;
    for (const auto& field : head_.fields) {
      if (outcome_.refused) return std::move(outcome_);
      take_field(fields, view(field.name_string()), view(field.value()));
    }
    for (const auto& name : changed_)
      if (fields.count(beast_view(name)) != 1) refuse("", "the header " + name + " is there twice");
    if (outcome_.refused) return std::move(outcome_);
    head_.fields = std::move(fields);
    prepare();
    outcome_.headers = std::move(changed_);
    return std::move(outcome_);
  }

 private:
  void refuse(std::string secret, std::string reason) {
    if (!outcome_.refused) outcome_.refused = Refused{std::move(secret), std::move(reason)};
  }

  void look_at(std::string_view text, const std::string& where) {
    if (!stands(Wall::placeholders)) return;
    if (auto secret = placeholders_.find_in(text))
      refuse(*secret, "the placeholder of " + *secret + " " + where + ", where it does not belong");
  }

  void take_field(http::Fields& fields, std::string_view name, std::string_view value) {
    for (const auto& swap : host_.swaps) {
      auto with_value = swapped(name, value, swap);
      if (!with_value) continue;
      fields.insert(beast_view(name), beast_view(*with_value));
      OPENSSL_cleanse(with_value->data(), with_value->size());
      outcome_.used.push_back(swap.secret);
      changed_.emplace_back(name);
      return;
    }
    std::string shown = valid_utf8(std::string(name.substr(0, kLongestFieldQuote)));
    look_at(name, "in the name of a header");
    look_at(value, "in the header " + shown);
    fields.insert(beast_view(name), beast_view(value));
  }

  void prepare() {
    auto& fields = head_.fields;
    // Whatever else it lists would be taken out on the way, headers that are set here among it.
    auto [first, last] = fields.equal_range(http::Field::connection);
    bool upgrade = std::any_of(first, last, [](const auto& field) {
      return boost::beast::http::token_list(field.value()).exists("upgrade");
    });
    fields.erase(http::Field::connection);
    if (upgrade) fields.set(http::Field::connection, "Upgrade");
    for (const auto& fixed : host_.always) {
      fields.erase(beast_view(fixed.header));
      fields.set(beast_view(fixed.header), beast_view(fixed.value));
    }
    // Nothing that is compressed, or encrypted between the two ends, can be looked at.
    fields.set(http::Field::accept_encoding, "identity");
    fields.erase(http::Field::sec_websocket_extensions);
  }

  http::RequestHead& head_;
  const HostSecrets& host_;
  const PlaceholderSet& placeholders_;
  SwapOutcome outcome_;
  std::vector<std::string> changed_;
};

}  // namespace

SwapOutcome put_secrets(http::RequestHead& head, const HostSecrets& host,
                        const PlaceholderSet& placeholders) {
  return Swapping(head, host, placeholders).run();
}

const std::string* placeholder_in(const http::RequestHead& head,
                                  const PlaceholderSet& placeholders) {
  if (auto secret = placeholders.find_in(head.target)) return secret;
  for (const auto& field : head.fields) {
    if (auto secret = placeholders.find_in(view(field.name_string()))) return secret;
    if (auto secret = placeholders.find_in(view(field.value()))) return secret;
  }
  return nullptr;
}

std::string other_key(const http::RequestHead& head, const SwapOutcome& swapped,
                      const HostSecrets& host) {
  // Spelled as they are: to some servers X_API_Key is the same again.
  auto is_ours = [&](std::string_view name) {
    auto same = [&](std::string_view other) { return wire::equal_ignoring_case(name, other); };
    return std::ranges::any_of(swapped.headers, same) ||
           std::ranges::any_of(host.always, same, &FixedHeader::header);
  };
  bool shown = !swapped.used.empty();
  for (const auto& field : head.fields) {
    std::string_view name = view(field.name_string());
    if (!shows_key(without_marks(name))) continue;
    if (!is_ours(name)) return "it shows another key than the one that is kept for this model";
    shown = true;
  }
  for (std::string_view left = head.query(); !left.empty();) {
    std::string_view part = left.substr(0, left.find('&'));
    left.remove_prefix(std::min(part.size() + 1, left.size()));
    std::string name = without_marks(part.substr(0, part.find('=')));
    // Written with escapes it might be anything.
    if (shows_key(name) || name.find('%') != name.npos) return "it shows a key in the URL";
  }
  return shown ? "" : "it shows no key, and this model is called with the one that is kept for it";
}

size_t mask_fields(http::Fields& fields, const HostSecrets& host) {
  auto has_value = [&](std::string_view text) {
    PatternSet::Position position = PatternSet::kStart;
    return host.values.next(position, text).has_value();
  };
  if (host.values.empty() || !stands(Wall::echoes) ||
      std::none_of(fields.begin(), fields.end(), [&](const auto& field) {
        return has_value(view(field.name_string())) || has_value(view(field.value()));
      }))
    return 0;
  size_t masked = 0;
  http::Fields kept;
  for (const auto& field : fields) {
    AnswerMask name(host), value(host);
    std::string shown_name(name.pass(view(field.name_string())));
    shown_name += name.pass({});
    std::string shown(value.pass(view(field.value())));
    shown += value.pass({});
    masked += name.masked() + value.masked();
    kept.insert(beast_view(shown_name), beast_view(shown));
  }
  if (masked > 0) fields = std::move(kept);
  return masked;
}

std::string_view AnswerMask::pass(std::string_view piece) {
  const PatternSet& values = host_.values;
  if (values.empty() || !stands(Wall::echoes)) return piece;
  if (piece.empty()) {
    out_ = std::exchange(waiting_, {});
    return out_;
  }
  bool copied = !waiting_.empty();
  size_t before = waiting_.size();
  if (copied) out_ = std::exchange(waiting_, {}) + std::string(piece);
  size_t at = 0;
  while (auto found = values.next(position_, piece, at)) {
    at = found->end;
    if (!copied) out_ = piece;
    copied = true;
    const std::string& mask = host_.masks[found->text];
    size_t end = before + found->end;
    size_t size = std::min(end, mask.size());
    out_.replace(end - size, size, mask, mask.size() - size, size);
    ++masked_;
  }
  size_t open = values.open(position_);
  std::string_view all = copied ? std::string_view(out_) : piece;
  size_t kept = open >= kWorthWaiting ? std::min(open, all.size()) : 0;
  waiting_ = all.substr(all.size() - kept);
  return all.substr(0, all.size() - kept);
}

}  // namespace hako::gate
