#include "gate/grants.h"

#include <charconv>

#include "base/encoding.h"
#include "gate/machine_table.h"
#include "gate/walls.h"
#include "policy/daemon_action.h"
#include "wire/json_text.h"
#include "wire/routing.h"

namespace hako::gate {
namespace {

constexpr size_t kShortestToken = 8;
constexpr size_t kLongestToken = 128;
constexpr size_t kLongestGrantKey = 64;
constexpr size_t kLongestPath = 4096;
constexpr size_t kLongestGrantUser = 256;
constexpr size_t kLongestSignature = 64;

constexpr std::string_view kTokenHeader = "X-Access-Token";
constexpr std::string_view kSignatureParameters[] = {"signature", "signature_expiration"};

boost::beast::string_view beast(std::string_view text) {
  return {text.data(), text.size()};
}

Error wrong(std::string_view what) {
  return Error(ErrorCode::invalid_argument, "ingress.grants: " + std::string(what));
}

bool is_printable(std::string_view text) {
  for (char c : text)
    if (c < 0x21 || c > 0x7e) return false;
  return true;
}

Result<policy::ActionSet> parse_actions(const boost::json::object& fields) {
  auto* list = wire::find_member(fields, "actions");
  if (!list || !list->is_array()) return wrong("actions is no list");
  std::string words;
  for (const auto& word : list->get_array()) {
    if (!word.is_string() || !policy::action_from(word.get_string()))
      return wrong("actions holds what is no action");
    words += (words.empty() ? "" : ",") + std::string(word.get_string());
  }
  auto actions = policy::actions_from(words);
  if (!actions) return wrong("actions is empty");
  return *actions;
}

Result<Grant> parse_grant(const boost::json::value& value) {
  if (!value.is_object()) return wrong("a grant is no object");
  const boost::json::object& fields = value.get_object();
  Grant grant;
  HAKO_TRY(auto token, wire::string_member(fields, "token"));
  if (!token || token->size() < kShortestToken || token->size() > kLongestToken ||
      !is_printable(*token))
    return wrong("a token is missing, or none");
  grant.token = std::move(*token);
  HAKO_TRY(auto key, wire::string_member(fields, "key"));
  grant.key = key.value_or("");
  if (grant.key.size() > kLongestGrantKey || !is_printable(grant.key)) return wrong("key is none");
  HAKO_TRY(grant.actions, parse_actions(fields));
  HAKO_TRY(auto expires, wire::int_member(fields, "expires_ms"));
  if (expires) grant.expires = from_unix_ms(*expires);
  return grant;
}

bool has_expired(const std::optional<WallTime>& expires, WallTime now) {
  return expires && *expires <= now;
}

/// All are compared, whichever it is: how long that takes tells nothing.
const Grant* find_token(const Grants& grants, std::string_view token) {
  const Grant* found = nullptr;
  for (const Grant& grant : grants)
    if (wire::equal_secrets(grant.token, token)) found = &grant;
  return found;
}

const Grant* find_signer(const Grants& grants, const SignedRequest& request) {
  const Grant* found = nullptr;
  for (const Grant& grant : grants)
    if (request.fits(grant.token)) found = &grant;
  return found;
}

Judgement refuse(unsigned status, std::string reason, std::string key = {}) {
  Judgement judgement;
  judgement.refused = status;
  judgement.reason = std::move(reason);
  judgement.key = std::move(key);
  return judgement;
}

Judgement judge_grant(const Grant& grant, policy::Action action, WallTime now) {
  if (has_expired(grant.expires, now))
    return refuse(401, "the access token has expired", grant.key);
  if (!grant.actions.has(action))
    return refuse(403, "the access token is not good for " + std::string(to_string(action)),
                  grant.key);
  Judgement judgement;
  judgement.key = grant.key;
  judgement.by = Admission{grant.token, grant.key, action, grant.expires};
  return judgement;
}

Judgement judge_signed(const http::RequestHead& head, const Grants& grants, WallTime now) {
  if (!head.parameter("signature")) return refuse(401, "missing signature query parameter");
  auto request = SignedRequest::of(head);
  const Grant* grant = request ? find_signer(grants, *request) : nullptr;
  if (!grant) return refuse(401, "invalid signature");
  if (request->expired(now)) return refuse(401, "signature is already expired", grant->key);
  return judge_grant(*grant, request->action(), now);
}

/// `target` without the query's parameters that are a signature.
std::string without_signature(std::string_view target) {
  size_t mark = target.find('?');
  if (mark == target.npos) return std::string(target);
  std::string kept(target.substr(0, mark));
  std::string_view rest = target.substr(mark + 1);
  char before = '?';
  while (!rest.empty()) {
    std::string_view pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(pair.size() + 1, rest.size()));
    auto name = percent_decode(pair.substr(0, pair.find('=')), true);
    if (name && std::ranges::find(kSignatureParameters, *name) != std::end(kSignatureParameters))
      continue;
    kept += std::exchange(before, '&');
    kept += pair;
  }
  return kept;
}

}  // namespace

Result<Grants> parse_grants(const boost::json::value& list) {
  if (!list.is_array()) return wrong("no list");
  if (list.get_array().size() > kMostGrants)
    return Error(ErrorCode::too_large, "ingress.grants: more than " + std::to_string(kMostGrants));
  Grants grants;
  for (const auto& value : list.get_array()) {
    HAKO_TRY(auto grant, parse_grant(value));
    if (find_token(grants, grant.token)) return wrong("a token is there twice");
    grants.push_back(std::move(grant));
  }
  return grants;
}

bool still_hold(const Grants& grants, const Admission& admission, WallTime now) {
  const Grant* grant = find_token(grants, admission.token);
  return grant && !has_expired(grant->expires, now) && grant->actions.has(admission.action);
}

Judgement judge_daemon_request(const http::RequestHead& head, const Grants& grants, WallTime now) {
  auto method = boost::beast::http::to_string(head.method);
  auto action = policy::daemon_action({method.data(), method.size()}, head.path());
  if (!action) return {};
  std::string_view shown = head.header(kTokenHeader);
  bool file = head.path() == "/files" &&
              (head.method == http::Verb::get || head.method == http::Verb::post);
  if (shown.empty() && file) return judge_signed(head, grants, now);
  if (const Grant* grant = shown.empty() ? nullptr : find_token(grants, shown))
    return judge_grant(*grant, *action, now);
  return refuse(401, file ? "access token present in header but does not match"
                          : "unauthorized access, please provide a valid access token");
}

bool shows_grant(const http::RequestHead& head, const Grants& grants, WallTime now) {
  std::string_view shown = head.header(kTokenHeader);
  const Grant* grant = shown.empty() ? nullptr : find_token(grants, shown);
  return grant && !has_expired(grant->expires, now);
}

Judgement judge_port_request(const http::RequestHead& head, const Ingress& ingress, WallTime now) {
  if (ingress.traffic_token.empty()) return {};
  std::string_view shown = head.header(kTrafficHeader);
  if (shown.empty()) return refuse(403, "The sandbox asks for the header e2b-traffic-access-token");
  const Grant* grant = ingress.grants ? find_token(*ingress.grants, shown) : nullptr;
  if (!ingress.grants && wire::equal_secrets(shown, ingress.traffic_token)) return {};
  if (!grant) return refuse(403, "The traffic access token is not valid");
  Judgement judgement = judge_grant(*grant, policy::Action::sandbox_ports, now);
  if (!judgement.passes()) judgement.refused = 403;
  return judgement;
}

Judgement judge(const http::RequestHead& head, uint16_t port, const Machine& machine,
                WallTime now) {
  if (port != wire::kDaemonPort) return judge_port_request(head, machine.ingress, now);
  if (machine.access_token.empty() || !machine.ingress.grants || !stands(Wall::grants)) return {};
  return judge_daemon_request(head, *machine.ingress.grants, now);
}

void show_own_token(http::RequestHead& head, const std::string& token) {
  head.fields.set(beast(kTokenHeader), token);
  if (is_signed(head)) head.target = without_signature(head.target);
}

std::optional<Admission> lend_own_token(http::RequestHead& head, const Machine& machine,
                                        WallTime now) {
  std::string_view shown = head.header(kTokenHeader);
  if (shown.empty() || machine.access_token.empty() || !machine.ingress.grants) return std::nullopt;
  const Grant* grant = find_token(*machine.ingress.grants, shown);
  if (!grant) return std::nullopt;
  Judgement judgement = judge_grant(*grant, policy::Action::sandbox_exec, now);
  head.fields.erase(beast(kTokenHeader));
  if (judgement.passes()) head.fields.set(beast(kTokenHeader), machine.access_token);
  return judgement.by;
}

bool is_signed(const http::RequestHead& head) {
  return head.path() == "/files" && head.parameter("signature").has_value();
}

std::optional<SignedRequest> SignedRequest::of(const http::RequestHead& head) {
  if (!is_signed(head)) return std::nullopt;
  auto signature = head.parameter("signature");
  std::string path = head.parameter("path").value_or("");
  std::string user = head.parameter("username").value_or("");
  // Many tokens may be tried: what none can have signed must not cost that.
  if (path.size() > kLongestPath || user.size() > kLongestGrantUser ||
      signature->size() > kLongestSignature)
    return std::nullopt;
  SignedRequest request;
  request.signature_ = std::move(*signature);
  // A browser asks with OPTIONS before it sends what the signature is for.
  bool asks = head.method == http::Verb::options;
  bool writes = head.method == http::Verb::post ||
                (asks && head.header("Access-Control-Request-Method") == "POST");
  if (writes) request.action_ = policy::Action::files_write;
  if (auto text = head.parameter("signature_expiration")) {
    int64_t seconds = 0;
    auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), seconds);
    if (error != std::errc() || end != text->data() + text->size()) return std::nullopt;
    request.expires_ = seconds;
  }
  wire::FileGrant covered{path, writes ? "write" : "read", user, request.expires_};
  request.signer_.emplace(covered);
  return request;
}

bool SignedRequest::fits(std::string_view token) const {
  return wire::equal_secrets(signer_->sign(token), signature_);
}

bool SignedRequest::expired(WallTime now) const {
  return expires_ && *expires_ < to_unix_ms(now) / 1000;
}

}  // namespace hako::gate
