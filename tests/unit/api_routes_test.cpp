#include <gtest/gtest.h>

#include <set>

#include "api/data_plane.h"
#include "api/journal.h"
#include "api/metrics.h"
#include "api/openapi.h"
#include "api/render.h"
#include "api/router.h"
#include "api/server.h"
#include "api/template_files.h"

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
  // A stream, served beside the table.
  in_table.insert("put " + std::string(TemplateFiles::kPath) + "{token}");
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
    EXPECT_EQ(operation.contains("security"), route.open) << route.pattern;
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

/// What each operation needs stands in the document as in the table.
TEST(OpenApi, AgreesOnActions) {
  json::value document = json::parse(openapi_document());
  for (const Route& route : routes()) {
    auto name = boost::beast::http::to_string(route.method);
    const auto& operation = document.at("paths")
                                .at({route.pattern.data(), route.pattern.size()})
                                .at(lower({name.data(), name.size()}))
                                .as_object();
    std::string where = std::string(route.pattern) + " " + std::string(name.data(), name.size());
    EXPECT_EQ(operation.contains("x-hako-action"), !route.open) << where;
    EXPECT_EQ(route.audited.empty(), route.open) << where;
    if (route.open) continue;
    auto needed = route.action ? policy::to_string(*route.action) : std::string_view("any");
    EXPECT_EQ(operation.at("x-hako-action").as_string(),
              json::string_view(needed.data(), needed.size()))
        << where;
    EXPECT_TRUE(operation.at("responses").as_object().contains("403")) << where;
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

std::vector<std::string> texts(const std::vector<LogLine>& lines) {
  std::vector<std::string> all;
  for (const LogLine& line : lines) all.push_back(line.text);
  return all;
}

TEST(Console, LinesLoseWhatATerminalWouldObey) {
  auto lines = console_lines("a\x1b[2Jb\r\nt\tab\n\n\x7f\nc1\xc2\x9bx \xc3\xbc\nlast", 5);
  EXPECT_EQ(texts(lines), (std::vector<std::string>{"a[2Jb", "t\tab", "c1x ü", "last"}));
  EXPECT_EQ(lines.front().time_ms, 5);
}

TEST(Console, SelectsLines) {
  std::vector<LogLine> lines{{1, Level::info, "console", "a1"},
                             {2, Level::warn, "console", "b1"},
                             {3, Level::info, "sandbox", "a2"}};
  using Texts = std::vector<std::string>;
  auto select = [&](const LogQuery& query) { return texts(select_lines(lines, query)); };
  EXPECT_EQ(select({}), (Texts{"a1", "b1", "a2"}));
  EXPECT_EQ(select({.limit = 2}), (Texts{"a1", "b1"}));
  EXPECT_EQ(select({.limit = 2, .tail = true}), (Texts{"b1", "a2"}));
  EXPECT_EQ(select({.limit = 2, .backward = true}), (Texts{"a2", "b1"}));
  EXPECT_EQ(select({.search = "a"}), (Texts{"a1", "a2"}));
  EXPECT_EQ(select({.cursor_ms = 2}), (Texts{"b1", "a2"}));
  EXPECT_EQ(select({.cursor_ms = 2, .backward = true}), (Texts{"b1", "a1"}));
  EXPECT_EQ(select({.limit = 0}), Texts{});
  EXPECT_EQ(select({.least = Level::warn}), Texts{"b1"});
  EXPECT_EQ(select({.least = Level::error}), Texts{});
}

TEST(Journal, KeepsTheLatestOfEachSandbox) {
  Journal journal;
  for (size_t i = 0; i < Journal::kMostLines + 2; ++i) {
    journal.note("ia", int64_t(i), std::to_string(i));
  }
  journal.note("ib", 7, "other");
  ASSERT_EQ(journal.lines("ia").size(), Journal::kMostLines);
  EXPECT_EQ(journal.lines("ia").front().text, "2");
  journal.drop("ia");
  EXPECT_TRUE(journal.lines("ia").empty());
  EXPECT_EQ(journal.lines("ib").size(), 1u);
}

constexpr const char* kSample =
    R"({"ts":1,"cpu_count":2,"cpu_used_pct":12.5,"mem_total":100,"mem_used":50,"mem_cache":7,)"
    R"("disk_used":1,"disk_total":1e12})";

TEST(Sample, IsWhatTheGuestSays) {
  auto sample = parse_sample(kSample, 1500);
  ASSERT_TRUE(sample) << sample.error().message();
  auto shown = sample_json(sample.value());
  EXPECT_EQ(shown.at("timestampUnix"), 1);
  EXPECT_EQ(shown.at("timestamp"), "1970-01-01T00:00:01.500Z");
  EXPECT_EQ(shown.at("cpuCount"), 2);
  EXPECT_EQ(shown.at("cpuUsedPct"), 12.5);
  EXPECT_EQ(shown.at("memCache"), 7);
  EXPECT_EQ(shown.at("diskTotal"), 1'000'000'000'000);
}

TEST(Sample, OfAGuestThatLiesIsRefusedOrBounded) {
  json::object whole = json::parse(kSample).as_object();
  for (const char* name : {"cpu_count", "cpu_used_pct", "mem_total", "mem_used", "mem_cache",
                           "disk_used", "disk_total"}) {
    for (const json::value& lie :
         {json::value(-1), json::value(1e300), json::value("x"), json::value(nullptr)}) {
      json::object changed = whole;
      changed[name] = lie;
      EXPECT_FALSE(parse_sample(json::serialize(changed), 1)) << name;
    }
  }
  for (const char* text : {"", "[]", "{", "null", "{\"cpu_count\":"}) {
    EXPECT_FALSE(parse_sample(text, 1)) << text;
  }
  whole["cpu_used_pct"] = 5000;
  EXPECT_EQ(parse_sample(json::serialize(whole), 1).value().cpu_used_pct, 200);
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

const ShownTokens kTokens{"granted", "traffic"};

TEST(Render, NothingShowsTheGuestsOwnToken) {
  config::Config config;
  json::object made = sandbox_json(record(), config, kTokens);
  json::object detail = detail_json(record(), config, kTokens);
  EXPECT_EQ(made.at("envdAccessToken"), "granted");
  EXPECT_EQ(detail.at("envdAccessToken"), "granted");
  for (const json::object& shown : {made, detail, listed_json(record())}) {
    EXPECT_EQ(json::serialize(shown).find("secret"), std::string::npos);
  }
  EXPECT_EQ(json::serialize(listed_json(record())).find("granted"), std::string::npos);
}

TEST(Render, EveryRecordSaysItsIsolation) {
  config::Config config;
  EXPECT_EQ(sandbox_json(record(), config, {}).at("isolation"), "emulated");
  EXPECT_EQ(listed_json(record()).at("isolation"), "emulated");
  json::object detail = detail_json(record(), config, {});
  EXPECT_EQ(detail.at("startedAt"), "1970-01-01T00:00:01.000Z");
  EXPECT_EQ(detail.at("metadata").at("a"), "b");
  EXPECT_EQ(detail.at("allowInternetAccess"), false);
  EXPECT_EQ(detail.at("label"), "public");
  EXPECT_EQ(detail.at("egress").at("level"), "none");
  EXPECT_EQ(detail.at("lifecycle").at("onTimeout"), "kill");
}

TEST(Render, ShowsWhatWasAskedForButNoPassword) {
  config::Config config;
  store::SandboxRecord asked = record();
  asked.traffic_token = "traffic";
  asked.options = R"({"internet":false,"autoPause":true,"autoResume":true,"network":{)"
                  R"("allowPublicTraffic":false,"denyOut":["0.0.0.0/0"],"egressProxy":)"
                  R"({"address":"p:1","username":"u","password":"hidden"}}})";
  json::object detail = detail_json(asked, config, kTokens);
  EXPECT_EQ(detail.at("allowInternetAccess"), false);
  EXPECT_EQ(detail.at("lifecycle").at("onTimeout"), "pause");
  EXPECT_EQ(detail.at("lifecycle").at("autoResume"), true);
  EXPECT_EQ(detail.at("network").at("allowPublicTraffic"), false);
  EXPECT_FALSE(detail.at("network").as_object().contains("egressProxy"));
  EXPECT_EQ(json::serialize(detail).find("hidden"), std::string::npos);
  EXPECT_EQ(sandbox_json(asked, config, kTokens).at("trafficAccessToken"), "traffic");
  EXPECT_FALSE(sandbox_json(record(), config, {}).contains("trafficAccessToken"));
}

TEST(Render, AnOpenSandboxHasNoToken) {
  config::Config config;
  store::SandboxRecord open = record();
  open.access_token.clear();
  ShownTokens tokens = shown_tokens(itself(), open);
  EXPECT_FALSE(sandbox_json(open, config, tokens).contains("envdAccessToken"));
}

TEST(Errors, TheCodeInTheBodyIsTheStatus) {
  for (auto code : {ErrorCode::invalid_argument, ErrorCode::not_found, ErrorCode::unavailable,
                    ErrorCode::resource_exhausted, ErrorCode::no_capacity, ErrorCode::unsupported,
                    ErrorCode::internal}) {
    auto response = response_for(Error(code, "x"));
    EXPECT_EQ(json::parse(response.body).at("code").to_number<unsigned>(), response.status);
    bool again = code == ErrorCode::unavailable || code == ErrorCode::resource_exhausted ||
                 code == ErrorCode::no_capacity;
    EXPECT_EQ(response.fields.count("Retry-After"), again ? 1u : 0u);
  }
}

TEST(Errors, AFullMachineIsSaidInTheWordsThatClientsKnow) {
  auto response = response_for(Error(ErrorCode::no_capacity, "x"));
  EXPECT_EQ(response.status, 503u);
  EXPECT_EQ(response.fields["Retry-After"], "10");
  EXPECT_EQ(json::parse(response.body).at("error_code"), "sandbox_capacity_unavailable");
  // That of the server's own disk is no fault of the request.
  Error full = error_for_user(Error(ErrorCode::no_space, "write x: no space"), "test");
  EXPECT_EQ(response_for(full).status, 503u);
  auto other = response_for(Error(ErrorCode::unavailable, "x"));
  EXPECT_FALSE(json::parse(other.body).as_object().contains("error_code"));
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
