#include "gate/box_secrets.h"

#include <openssl/crypto.h>

#include <algorithm>

#include "wire/ascii.h"
#include "wire/json_text.h"

namespace hako::gate {
namespace {

namespace json = boost::json;

constexpr size_t kMostHostPorts = 16;
constexpr size_t kMostSecretHosts = 128 * kMostHostPorts;
constexpr size_t kMostOfHost = 256;
constexpr size_t kLongestSecretName = 256;
constexpr size_t kLongestHeaderName = 128;
constexpr size_t kLongestValue = 8 << 10;
/// Shorter values would be found in answers that have nothing to do with them.
constexpr size_t kShortestMasked = 8;
/// Of a header that all requests get, from here on it may be something to keep.
constexpr size_t kShortestFixedMasked = 16;
constexpr std::string_view kPlace = "{}";

Error unfit(const std::string& what) {
  return Error(ErrorCode::invalid_argument, what);
}

bool is_token(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::ranges::all_of(text, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kMarks.find(c) != kMarks.npos;
  });
}

/// What may stand in a header's value without ending it, or being cut off its ends.
bool is_header_text(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c == '\t' || (c >= ' ' && c <= '~'); }) &&
         (text.empty() || (text.front() > ' ' && text.back() > ' '));
}

class MaterialReader {
 public:
  Result<std::string> text(const json::object& object, std::string_view name, size_t longest) {
    HAKO_TRY(auto text, wire::string_member(object, name));
    if (!text || text->empty()) return unfit(std::string(name) + " is missing");
    if (text->size() > longest) return unfit(std::string(name) + " is too long");
    return std::move(*text);
  }

  Result<const json::array*> list(const json::object& object, std::string_view name, size_t most) {
    static const json::array kEmpty;
    auto* value = wire::find_member(object, name);
    if (!value) return &kEmpty;
    if (!value->is_array()) return unfit(std::string(name) + " is no list");
    if (value->get_array().size() > most) return unfit(std::string(name) + " is too long");
    for (const auto& each : value->get_array())
      if (!each.is_object()) return unfit(std::string(name) + " holds something that is no object");
    return &value->get_array();
  }

  Result<std::string> header_name(const json::object& object) {
    HAKO_TRY(auto header, text(object, "header", kLongestHeaderName));
    constexpr std::string_view kOurs[] = {"host", "connection", "content-length", "upgrade", "te",
                                          "transfer-encoding", "trailer", "expect", "keep-alive",
                                          "content-encoding", "accept-encoding"};
    bool ours = std::ranges::any_of(
        kOurs, [&](auto name) { return wire::equal_ignoring_case(header, name); });
    if (!is_token(header) || ours) return unfit("header is none that may be set");
    return header;
  }

  Result<FixedHeader> fixed(const json::object& object) {
    FixedHeader fixed;
    HAKO_TRY(fixed.header, header_name(object));
    HAKO_TRY(auto value, wire::string_member(object, "value"));
    fixed.value = value.value_or("");
    if (fixed.value.size() > kLongestValue || !is_header_text(fixed.value))
      return unfit("value is none that a header may have");
    return fixed;
  }

  Result<SecretSwap> swap(const json::object& object) {
    SecretSwap swap;
    HAKO_TRY(swap.secret, text(object, "secret", kLongestSecretName));
    HAKO_TRY(swap.placeholder, text(object, "placeholder", kLongestValue));
    HAKO_TRY(swap.value, text(object, "value", kLongestValue));
    if (!is_header_text(swap.value) || !is_header_text(swap.placeholder))
      return unfit("the secret " + swap.secret + " is none that a header may hold");
    if (swap.placeholder.size() < PlaceholderSet::kShortest)
      return unfit("the placeholder of " + swap.secret + " is too short");
    HAKO_TRY(auto kind, text(object, "kind", kLongestHeaderName));
    if (kind == "bearer") {
      swap.kind = SecretSwap::Kind::bearer;
    } else if (kind == "basic") {
      swap.kind = SecretSwap::Kind::basic;
      HAKO_TRY(auto user, wire::string_member(object, "user"));
      swap.user = user.value_or("");
    } else if (kind == "header") {
      HAKO_TRY(swap.header, header_name(object));
      HAKO_TRY(auto given, wire::string_member(object, "template"));
      std::string form = given.value_or(std::string(kPlace));
      size_t place = form.find(kPlace);
      if (place == form.npos || form.find(kPlace, place + 1) != form.npos ||
          form.size() > kLongestValue || !is_header_text(form))
        return unfit("template has not one place for the secret");
      swap.before = form.substr(0, place);
      swap.after = form.substr(place + kPlace.size());
    } else {
      return unfit("kind is unknown");
    }
    return swap;
  }

  Result<HostSecrets> host(const json::object& object) {
    HostSecrets host;
    HAKO_TRY(host.host, text(object, "host", 253));
    auto* ports = wire::find_member(object, "ports");
    if (!ports || !ports->is_array() || ports->get_array().size() > kMostHostPorts)
      return unfit("ports is no list");
    for (const auto& each : ports->get_array()) {
      json::error_code error;
      auto port = each.to_number<int64_t>(error);
      if (error || port < 1 || port > UINT16_MAX) return unfit("ports holds no port");
      host.ports.insert(static_cast<uint16_t>(port));
    }
    HAKO_TRY(auto always, list(object, "always", kMostOfHost));
    for (const auto& each : *always) {
      HAKO_TRY(auto header, fixed(each.get_object()));
      host.always.push_back(std::move(header));
    }
    HAKO_TRY(auto swaps, list(object, "swaps", kMostOfHost));
    for (const auto& each : *swaps) {
      HAKO_TRY(auto made, swap(each.get_object()));
      host.swaps.push_back(std::move(made));
    }
    HAKO_TRY(auto model, wire::object_member(object, "model"));
    if (model) {
      HAKO_TRY(auto api, text(*model, "api", kLongestHeaderName));
      host.model = wire::parse_model_api(api);
      if (!host.model) return unfit("api is none that is known");
      HAKO_TRY(auto by_secret, wire::bool_member(*model, "by_secret"));
      host.by_secret = by_secret.value_or(false);
    }
    HAKO_TRYV(add_masks(host));
    return host;
  }

 private:
  static void add_mask(std::vector<std::string>& values, std::vector<std::string>& masks,
                       std::string_view value, std::string_view placeholder) {
    if (value.size() < kShortestMasked) return;
    values.emplace_back(value);
    masks.emplace_back(value.size() == placeholder.size() ? std::string(placeholder)
                                                          : std::string(value.size(), '*'));
    for (auto& form : base64_forms(value)) {
      masks.emplace_back(form.size(), '*');
      values.push_back(std::move(form));
    }
  }

  static Result<void> add_masks(HostSecrets& host) {
    std::vector<std::string> values;
    for (const auto& swap : host.swaps)
      add_mask(values, host.masks, swap.value, swap.placeholder);
    for (const auto& fixed : host.always) {
      std::string_view value = fixed.value;
      // Behind the scheme, if there is one, is what counts.
      if (wire::equal_ignoring_case(fixed.header, "authorization"))
        value.remove_prefix(std::min(value.size(), value.find(' ') + 1));
      // Dates, media types and the like are nobody's secret, and answers are full of them.
      else if (value.size() < kShortestFixedMasked || value.find_first_of(" /;") != value.npos)
        continue;
      add_mask(values, host.masks, value, {});
    }
    size_t bytes = 0;
    for (const auto& value : values) bytes += value.size();
    if (bytes > PatternSet::kMostBytes) return unfit("the values for " + host.host + " are too long");
    host.values = PatternSet(values);
    for (auto& value : values) OPENSSL_cleanse(value.data(), value.size());
    return ok();
  }
};

}  // namespace

SecretSwap::~SecretSwap() {
  OPENSSL_cleanse(value.data(), value.size());
}

const HostSecrets* BoxSecrets::host(const std::string& name, uint16_t port) const {
  auto found = hosts.find(name);
  if (found == hosts.end()) return nullptr;
  for (const auto& each : found->second)
    if (each.ports.contains(port)) return &each;
  return nullptr;
}

Result<BoxSecretsRef> parse_box_secrets(const json::object& body) {
  MaterialReader reader;
  HAKO_TRY(auto ca, wire::object_member(body, "ca"));
  if (!ca) return unfit("ca is missing");
  HAKO_TRY(auto certificate, reader.text(*ca, "certificate", 64 << 10));
  HAKO_TRY(auto key, reader.text(*ca, "key", 64 << 10));
  auto authority = tls::Authority::load(certificate, key);
  OPENSSL_cleanse(key.data(), key.size());
  if (!authority) return authority.error().with_context("ca");
  auto secrets = std::make_shared<BoxSecrets>(std::move(authority).value());
  HAKO_TRY(secrets->revision, reader.text(body, "revision", 256));
  HAKO_TRY(auto hosts, reader.list(body, "hosts", kMostSecretHosts));
  for (const auto& each : *hosts) {
    HAKO_TRY(auto host, reader.host(each.get_object()));
    for (uint16_t port : host.ports)
      if (secrets->host(host.host, port))
        return unfit("port " + std::to_string(port) + " of " + host.host + " is there twice");
    auto& servers = secrets->hosts[host.host];
    servers.push_back(std::move(host));
  }
  HAKO_TRY(auto list, reader.list(body, "placeholders", PlaceholderSet::kMost));
  std::vector<PlaceholderSet::Placeholder> placeholders;
  for (const auto& each : *list) {
    PlaceholderSet::Placeholder placeholder;
    HAKO_TRY(placeholder.secret, reader.text(each.get_object(), "secret", kLongestSecretName));
    HAKO_TRY(placeholder.text, reader.text(each.get_object(), "placeholder", kLongestValue));
    placeholders.push_back(std::move(placeholder));
  }
  HAKO_TRY(secrets->placeholders, PlaceholderSet::make(std::move(placeholders)));
  return secrets;
}

}  // namespace hako::gate
