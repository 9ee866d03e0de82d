#include <gtest/gtest.h>

#include <set>

#include "api/data_plane.h"
#include "api/openapi.h"
#include "api/render.h"
#include "api/router.h"
#include "api/server.h"

namespace hako::api {
namespace {

namespace json = boost::json;
using http::Verb;

TEST(Router, TakesParametersOutOfThePath) {
  auto match = match_route(routes(), Verb::post, "/v2/sandboxes/iabc/connect");
  ASSERT_NE(match.route, nullptr);
  EXPECT_EQ(match.route->pattern, "/v2/sandboxes/{sandboxID}/connect");
  EXPECT_EQ(match.parameters, std::vector<std::string>{"iabc"});
}

TEST(Router, DecodesParameters) {
  auto match = match_route(routes(), Verb::delete_, "/templates/abc%3Adefault");
  ASSERT_NE(match.route, nullptr);
  EXPECT_EQ(match.parameters, std::vector<std::string>{"abc:default"});
  EXPECT_EQ(match_route(routes(), Verb::delete_, "/templates/%00").route, nullptr);
  EXPECT_EQ(match_route(routes(), Verb::delete_, "/templates/%zz").route, nullptr);
}

TEST(Router, AnExactPathComesBeforeAParameter) {
  auto match = match_route(routes(), Verb::get, "/sandboxes/metrics");
  ASSERT_NE(match.route, nullptr);
  EXPECT_EQ(match.route->pattern, "/sandboxes/metrics");
}

TEST(Router, TellsAnUnknownPathFromAWrongMethod) {
  for (const char* path : {"/", "", "sandboxes", "/nothing", "/sandboxes/", "/sandboxes/a/b",
                           "/sandboxes//timeout", "//sandboxes", "/sandboxes/a/timeout/"}) {
    auto match = match_route(routes(), Verb::get, path);
    EXPECT_EQ(match.route, nullptr) << path;
    EXPECT_EQ(match.allowed, "") << path;
  }
  auto match = match_route(routes(), Verb::put, "/v2/sandboxes");
  EXPECT_EQ(match.route, nullptr);
  EXPECT_EQ(match.allowed, "POST, GET");
}

std::string lower(std::string_view text) {
  std::string result;
  for (char c : text) result += char(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

TEST(OpenApi, DescribesEveryRouteAndNothingElse) {
  std::set<std::string> in_table, in_document;
  for (const Route& route : routes()) {
    auto name = boost::beast::http::to_string(route.method);
    in_table.insert(lower({name.data(), name.size()}) + " " + std::string(route.pattern));
  }
  json::value document = json::parse(openapi_document());
  for (const auto& path : document.at("paths").as_object()) {
    for (const auto& method : path.value().as_object()) {
      in_document.insert(std::string(method.key()) + " " + std::string(path.key()));
    }
  }
  EXPECT_EQ(in_table, in_document);
  EXPECT_EQ(document.at("openapi").as_string(), "3.1.0");
}

/// Every name in braces of a path is described, and open routes say that they need no key.
TEST(OpenApi, AgreesOnParametersAndKeys) {
  json::value document = json::parse(openapi_document());
  const auto& shared = document.at("components").at("parameters").as_object();
  for (const Route& route : routes()) {
    auto name = boost::beast::http::to_string(route.method);
    const auto& operation = document.at("paths")
                                .at({route.pattern.data(), route.pattern.size()})
                                .at(lower({name.data(), name.size()}))
                                .as_object();
    EXPECT_EQ(operation.contains("security"), route.access == Access::open) << route.pattern;
    std::set<std::string> described;
    if (auto parameters = operation.if_contains("parameters")) {
      for (const json::value& each : parameters->as_array()) {
        const json::object* parameter = &each.as_object();
        if (auto reference = parameter->if_contains("$ref")) {
          std::string target(reference->as_string());
          parameter = &shared.at(target.substr(target.rfind('/') + 1)).as_object();
        }
        if (parameter->at("in") == "path") {
          described.insert("{" + std::string(parameter->at("name").as_string()) + "}");
        }
      }
    }
    std::set<std::string> in_path;
    std::string_view rest = route.pattern;
    for (size_t open = rest.find('{'); open != rest.npos; open = rest.find('{')) {
      size_t close = rest.find('}', open);
      in_path.insert(std::string(rest.substr(open, close - open + 1)));
      rest.remove_prefix(close);
    }
    EXPECT_EQ(described, in_path) << route.pattern;
  }
}

/// Follows every $ref of the document.
void check_references(const json::value& document, const json::value& part) {
  if (const json::array* items = part.if_array()) {
    for (const json::value& item : *items) check_references(document, item);
  } else if (const json::object* members = part.if_object()) {
    for (const auto& member : *members) {
      if (member.key() == "$ref") {
        std::string pointer = std::string(member.value().as_string()).substr(1);
        json::error_code bad;
        (void)document.find_pointer(pointer, bad);
        EXPECT_FALSE(bad) << pointer;
      }
      check_references(document, member.value());
    }
  }
}

TEST(OpenApi, AllReferencesLeadSomewhere) {
  json::value document = json::parse(openapi_document());
  check_references(document, document);
}

TEST(Console, LinesLoseWhatATerminalWouldObey) {
  auto lines = console_lines("a\x1b[2Jb\r\nt\tab\n\n\x7f\nc1\xc2\x9bx \xc3\xbc\nlast");
  EXPECT_EQ(lines, (std::vector<std::string>{"a[2Jb", "t\tab", "c1x ü", "last"}));
}

TEST(Console, SelectsLines) {
  std::vector<std::string> lines{"a1", "b1", "a2"};
  using Texts = std::vector<std::string>;
  EXPECT_EQ(select_lines(lines, 5, {}), lines);
  EXPECT_EQ(select_lines(lines, 5, {.limit = 2}), (Texts{"b1", "a2"}));
  EXPECT_EQ(select_lines(lines, 5, {.limit = 2, .backward = true}), (Texts{"a2", "b1"}));
  EXPECT_EQ(select_lines(lines, 5, {.search = "a"}), (Texts{"a1", "a2"}));
  EXPECT_EQ(select_lines(lines, 5, {.not_before_ms = 6}), Texts{});
  EXPECT_EQ(select_lines(lines, 5, {.limit = 0}), Texts{});
  EXPECT_EQ(select_lines(lines, 5, {.info = false}), Texts{});
}

store::SandboxRecord record() {
  store::SandboxRecord made;
  made.id = "iabc";
  made.template_name = made.alias = "base";
  made.state = store::SandboxState::running;
  made.started_ms = 1000;
  made.ends_ms = 2000;
  made.metadata = R"({"a":"b"})";
  made.access_token = "secret";
  made.vcpus = 1;
  made.memory_mib = 256;
  made.disk_mib = 4096;
  made.isolation = "emulated";
  return made;
}

TEST(Render, ListsDoNotShowTheToken) {
  config::Config config;
  EXPECT_EQ(sandbox_json(record(), config).at("envdAccessToken"), "secret");
  EXPECT_EQ(detail_json(record(), config).at("envdAccessToken"), "secret");
  EXPECT_EQ(json::serialize(listed_json(record())).find("secret"), std::string::npos);
}

TEST(Render, EveryRecordSaysItsIsolation) {
  config::Config config;
  EXPECT_EQ(sandbox_json(record(), config).at("isolation"), "emulated");
  EXPECT_EQ(listed_json(record()).at("isolation"), "emulated");
  json::object detail = detail_json(record(), config);
  EXPECT_EQ(detail.at("startedAt"), "1970-01-01T00:00:01.000Z");
  EXPECT_EQ(detail.at("metadata").at("a"), "b");
  EXPECT_EQ(detail.at("allowInternetAccess"), false);
}

TEST(Render, AnOpenSandboxHasNoToken) {
  config::Config config;
  store::SandboxRecord open = record();
  open.access_token.clear();
  EXPECT_FALSE(sandbox_json(open, config).contains("envdAccessToken"));
}

TEST(Errors, TheCodeInTheBodyIsTheStatus) {
  for (auto code : {ErrorCode::invalid_argument, ErrorCode::not_found, ErrorCode::unavailable,
                    ErrorCode::resource_exhausted, ErrorCode::unsupported, ErrorCode::internal}) {
    auto response = response_for(Error(code, "x"));
    EXPECT_EQ(json::parse(response.body).at("code").to_number<unsigned>(), response.status);
    bool again = code == ErrorCode::unavailable || code == ErrorCode::resource_exhausted;
    EXPECT_EQ(response.fields.count("Retry-After"), again ? 1u : 0u);
  }
}

TEST(Errors, UsersAreNotToldOurInsides) {
  for (auto code : {ErrorCode::internal, ErrorCode::corrupted, ErrorCode::permission_denied,
                    ErrorCode::unavailable, ErrorCode::timed_out, ErrorCode::no_space}) {
    Error error = error_for_user(Error(code, "open /var/lib/hako/x: SELECT"), "test");
    EXPECT_EQ(error.message().find("/var"), std::string::npos);
  }
  EXPECT_EQ(error_for_user(Error(ErrorCode::resource_exhausted, "no slot"), "t").message(),
            "no slot");
}

http::RequestHead head(std::string target, std::string sandbox = {}) {
  http::RequestHead made;
  made.target = std::move(target);
  made.fields.set("Host", "127.0.0.1:3000");
  if (!sandbox.empty()) made.fields.set("E2b-Sandbox-Id", sandbox);
  return made;
}

TEST(DataPlane, TellsBoxesFromTheApi) {
  EXPECT_TRUE(is_data_plane(head("/health", "iabc")));
  EXPECT_TRUE(is_data_plane(head("/process.Process/Start", "iabc")));
  EXPECT_TRUE(is_data_plane(head("/files?path=x")));
  EXPECT_FALSE(is_data_plane(head("/sandboxes")));
  EXPECT_FALSE(is_data_plane(head("/v2/sandboxes?metadata=x")));
  EXPECT_FALSE(is_data_plane(head("/v1/info")));
  EXPECT_FALSE(is_data_plane(head("/openapi.json")));
}

}  // namespace
}  // namespace hako::api
