#include "cli/api.h"

#include <boost/asio/ip/tcp.hpp>

#include <cstdlib>

#include "base/fd.h"
#include "cli/text.h"

namespace hako::cli {
namespace {

constexpr std::chrono::seconds kConnectTime{5};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

/// The numeric address of `host`. Names are resolved by the system.
Task<Result<std::string>> resolve(std::string host) {
  boost::system::error_code failed;
  boost::asio::ip::make_address(host, failed);
  if (!failed) co_return host;
  if (host == "localhost") co_return std::string("127.0.0.1");
  asio::ip::tcp::resolver resolver(co_await asio::this_coro::executor);
  auto found =
      co_await resolver.async_resolve(host, "", asio::redirect_error(asio::use_awaitable, failed));
  if (failed || found.empty())
    co_return Error(ErrorCode::not_found, "no host is called '" + host + "'");
  co_return found.begin()->endpoint().address().to_string();
}

/// What else to try when a server is not trusted.
Error with_hint(Error error) {
  if (error.code() != ErrorCode::permission_denied) return error;
  return Error(error.code(), error.message() +
                                 ". If that is your own authority, name its certificate with "
                                 "--ca FILE or HAKO_CA_FILE");
}

}  // namespace

Task<Result<http::Client>> connect_to(Endpoint endpoint) {
  HAKO_CO_TRY(auto address, co_await resolve(endpoint.host));
  HAKO_CO_TRY(auto stream, co_await http::connect_tcp(address, endpoint.port, kConnectTime));
  if (endpoint.secure) {
    auto shaking = endpoint.tls->connect(std::move(stream), endpoint.host);
    auto shaken = co_await with_deadline(kConnectTime, std::move(shaking));
    if (!shaken) co_return with_hint(shaken.error());
    stream = std::move(shaken).value();
  }
  co_return http::Client(std::move(stream));
}

Task<Result<http::Client*>> Connection::client() {
  if (client_ && client_->reusable() && !client_->stale()) co_return &*client_;
  client_.reset();
  HAKO_CO_TRY(auto connected, co_await connect_to(endpoint_));
  client_.emplace(std::move(connected));
  co_return &*client_;
}

Task<Result<http::Response>> Connection::exchange(http::Request request, Duration limit) {
  request.target = endpoint_.prefix + request.target;
  request.fields.set(http::Field::host, endpoint_.authority());
  request.fields.set(http::Field::user_agent, "hako-cli");
  bool kept = client_ && client_->reusable() && !client_->stale();
  for (bool repeated = false;; repeated = true) {
    HAKO_CO_TRY(auto* client, co_await this->client());
    auto sent = client->exchange(request);
    auto response = co_await with_deadline(limit, std::move(sent));
    if (response) co_return response;
    drop();
    // A kept connection may have been closed by the other side in the very moment of use.
    bool repeatable = kept && !repeated && request.method != http::Verb::post &&
                      response.error().code() == ErrorCode::unavailable;
    if (!repeatable) co_return response;
  }
}

Result<config::Config> load_config(const GlobalOptions& options) {
  bool named = !options.config.empty() || std::getenv("HAKO_CONFIG");
  return config::load(options.config.empty() ? config::default_path() : options.config, named);
}

Result<ApiAccess> find_api(const GlobalOptions& options) {
  HAKO_TRY(auto config, load_config(options));
  std::string url = options.api_url;
  if (url.empty()) url = environment("HAKO_API_URL");
  if (url.empty()) url = environment("E2B_API_URL");
  if (url.empty()) {
    bool any = config.api_address == "0.0.0.0" || config.api_address == "::";
    std::string host = any ? "127.0.0.1" : config.api_address;
    if (host.find(':') != std::string::npos) host = "[" + host + "]";
    url = "http://" + host + ":" + std::to_string(config.api_port);
  }
  HAKO_TRY(auto endpoint, parse_endpoint(url));
  std::string ca_file = options.ca_file.empty() ? environment("HAKO_CA_FILE") : options.ca_file;
  endpoint.tls = std::make_shared<tls::Client>(std::move(ca_file));

  std::string key = environment("HAKO_API_KEY");
  if (key.empty()) key = environment("E2B_API_KEY");
  if (key.empty()) {
    auto file = read_file(config.key_file(), 4096);
    if (!file && file.error().code() == ErrorCode::not_found)
      return Error(ErrorCode::not_found,
                   "no API key: HAKO_API_KEY is not set and " + config.key_file() +
                       " does not exist. `hako up` makes the file; for an API on another machine "
                       "set HAKO_API_KEY");
    if (!file && file.error().code() == ErrorCode::permission_denied)
      return Error(ErrorCode::permission_denied,
                   "no API key: HAKO_API_KEY is not set and " + config.key_file() +
                       " may not be read by this user. Run as root, or set HAKO_API_KEY");
    if (!file) return file.error().with_context("read the API key");
    key = std::move(file.value());
    while (!key.empty() && (key.back() == '\n' || key.back() == ' ' || key.back() == '\r'))
      key.pop_back();
    if (key.empty())
      return Error(ErrorCode::failed_precondition,
                   "the key file " + config.key_file() +
                       " is empty: remove it and restart hako, which makes a new one");
  }
  for (char c : key)
    if (c <= ' ' || c > '~')
      return Error(ErrorCode::invalid_argument,
                   "the API key holds a character no key has: look at HAKO_API_KEY or at " +
                       config.key_file());
  // What it may be called is for the API to say; here it must only be a line of a header.
  for (char c : options.tenant)
    if (c <= ' ' || c > '~')
      return Error(ErrorCode::invalid_argument, "no tenant is called '" +
                                                    printable_field(options.tenant) + "'");
  return ApiAccess{std::move(endpoint), std::move(key), options.tenant};
}

Error unreachable(const Endpoint& endpoint, const Error& cause) {
  if (cause.code() == ErrorCode::timed_out)
    return Error(ErrorCode::timed_out, "the API at " + endpoint.url + " did not answer in time");
  if (cause.code() == ErrorCode::unavailable || cause.os_error() == ECONNREFUSED) {
    if (endpoint.is_loopback())
      return Error(ErrorCode::unavailable, "no daemon answers at " + endpoint.url + " (" +
                                               cause.message() + "): start it with `hako up`");
    return Error(ErrorCode::unavailable,
                 "no API answers at " + endpoint.url + " (" + cause.message() + ")");
  }
  return cause.with_context("ask the API at " + endpoint.url);
}

Error api_error(const Endpoint& endpoint, const http::Response& response) {
  std::string message;
  boost::system::error_code failed;
  auto body = boost::json::parse(response.body, failed);
  if (!failed) message = text_member(body, "message");
  if (response.status == 401)
    return Error(ErrorCode::unauthenticated,
                 "the API at " + endpoint.url +
                     " refuses the key: look at HAKO_API_KEY, or unset it to use the key file");
  if (message.empty())
    message = "the API at " + endpoint.url + " answered " + std::to_string(response.status);
  ErrorCode code = response.status == 404   ? ErrorCode::not_found
                   : response.status == 403 ? ErrorCode::permission_denied
                   : response.status == 409 ? ErrorCode::failed_precondition
                   : response.status == 429 ? ErrorCode::resource_exhausted
                   : response.status == 400 ? ErrorCode::invalid_argument
                   : response.status == 502 || response.status == 503 ? ErrorCode::unavailable
                                                                      : ErrorCode::internal;
  return Error(code, printable_field(message));
}

Api::Api(ApiAccess access) : access_(std::move(access)), connection_(access_.endpoint) {}

Task<Result<http::Response>> Api::request(http::Verb method, std::string target,
                                          std::optional<boost::json::value> body, Duration limit) {
  http::Request request;
  request.method = method;
  request.target = std::move(target);
  request.fields.set("X-API-KEY", access_.key);
  if (!access_.tenant.empty()) request.fields.set("X-Hako-Tenant", access_.tenant);
  if (body) {
    request.fields.set(http::Field::content_type, "application/json");
    request.body = boost::json::serialize(*body);
  }
  auto response = co_await connection_.exchange(std::move(request), limit);
  if (!response) co_return unreachable(endpoint(), response.error());
  if (response.value().status >= 300) co_return api_error(endpoint(), response.value());
  co_return std::move(response.value());
}

Task<Result<void>> Api::download(std::string target, ByteTaker take, Duration limit) {
  auto downloading = download_now(std::move(target), std::move(take));
  auto done = co_await with_deadline(limit, std::move(downloading));
  connection_.drop();
  co_return done;
}

Task<Result<void>> Api::download_now(std::string target, ByteTaker take) {
  // A kept connection may be dead without anybody knowing.
  connection_.drop();
  auto client = co_await connection_.client();
  if (!client) co_return unreachable(endpoint(), client.error());
  http::Request request;
  request.target = endpoint().prefix + target;
  request.fields.set(http::Field::host, endpoint().authority());
  request.fields.set("X-API-KEY", access_.key);
  auto head = co_await client.value()->start(std::move(request));
  if (!head) co_return unreachable(endpoint(), head.error());
  std::string piece(256 << 10, '\0');
  http::Response refusal;
  refusal.status = head.value().status;
  for (;;) {
    HAKO_CO_TRY(size_t count, co_await client.value()->read_some(asio::buffer(piece)));
    if (count == 0) break;
    std::string_view got(piece.data(), count);
    if (refusal.status >= 300) {
      refusal.body.append(got.substr(0, (64 << 10) - std::min<size_t>(refusal.body.size(), 64 << 10)));
    } else {
      HAKO_CO_TRYV(take(got));
    }
  }
  if (refusal.status >= 300) co_return api_error(endpoint(), refusal);
  co_return ok();
}

Task<Result<boost::json::value>> Api::call(http::Verb method, std::string target,
                                           std::optional<boost::json::value> body, Duration limit) {
  HAKO_CO_TRY(auto response, co_await request(method, std::move(target), std::move(body), limit));
  boost::json::value answer;
  if (response.body.empty()) co_return answer;
  boost::system::error_code failed;
  answer = boost::json::parse(response.body, failed);
  if (failed)
    co_return Error(ErrorCode::corrupted, "what answers at " + endpoint().url +
                                              " is no hako API: its answer is not JSON");
  co_return answer;
}

std::string text_member(const boost::json::value& object, std::string_view name) {
  if (const auto* fields = object.if_object())
    if (const auto* member = fields->if_contains(name))
      if (const auto* text = member->if_string()) return std::string(*text);
  return {};
}

int64_t number_member(const boost::json::value& object, std::string_view name) {
  if (const auto* fields = object.if_object())
    if (const auto* member = fields->if_contains(name)) {
      if (const auto* number = member->if_int64()) return *number;
      if (member->is_uint64()) return INT64_MAX;
      if (const auto* number = member->if_double()) return static_cast<int64_t>(*number);
    }
  return 0;
}

}  // namespace hako::cli
