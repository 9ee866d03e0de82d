#include "support/api_matrix.h"

#include <sqlite3.h>

#include <algorithm>
#include <map>
#include <set>

#include "api/openapi.h"
#include "api/token_keys.h"
#include "audit/segments.h"
#include "base/clock.h"
#include "base/random.h"
#include "http/client.h"
#include "policy/narrowing_json.h"
#include "store/store.h"
#include "support/openapi_check.h"
#include "wire/macaroon.h"

namespace hako::test {
using namespace std::chrono_literals;
using http::Verb;

namespace {

using Words = std::set<std::string>;

// Said here once more, and not asked of the code that is tested.
const Words kOnBoxes = {"sandbox.read",  "sandbox.control", "sandbox.exec",
                        "sandbox.ports", "files.read",      "files.write"};
const Words kMember = {"sandbox.create", "sandbox.read",  "sandbox.control", "sandbox.exec",
                       "sandbox.ports",  "files.read",    "files.write",     "template.read",
                       "template.write", "tenant.read",   "secret.read"};
const Words kViewer = {"sandbox.read", "template.read", "tenant.read", "secret.read"};
const Words kAuditor = {"audit.read", "tenant.read"};

Words with(Words words, Words more) {
  words.merge(more);
  return words;
}

/// Somebody who asks.
struct Caller {
  std::string name;
  std::string credential;  ///< empty: none
  std::string tenant;      ///< X-Hako-Tenant
  Words actions;           ///< that are left
  bool admitted = true;    ///< else 401
  bool sees_agents = false, sees_tenants = false;
};

/// What operations are tried on, made anew for each.
struct Scene {
  std::map<std::string, std::string> things;  ///< "$box" and so on
};

struct Asked {
  unsigned status = 0;
  std::string head;  ///< but what differs each time
  std::string body;
};

std::string replaced(std::string text, const std::map<std::string, std::string>& by) {
  // The longest first: "$name" and "$n" could both be there.
  for (auto each = by.rbegin(); each != by.rend(); ++each) {
    for (size_t at = text.find(each->first); at != text.npos; at = text.find(each->first, at)) {
      text.replace(at, each->first.size(), each->second);
      at += each->second.size();
    }
  }
  return text;
}

/// Everything that the API keeps, as text.
std::string dump(const std::string& path) {
  std::string all;
  sqlite3* database = nullptr;
  if (sqlite3_open(path.c_str(), &database) != SQLITE_OK) throw std::runtime_error("no database");
  sqlite3_busy_timeout(database, 5000);
  auto add = [](void* into, int columns, char** values, char**) {
    for (int i = 0; i < columns; ++i) {
      *static_cast<std::string*>(into) += std::string(values[i] ? values[i] : "") + "|";
    }
    *static_cast<std::string*>(into) += "\n";
    return 0;
  };
  std::string names;
  sqlite3_exec(database, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name", add,
               &names, nullptr);
  for (size_t at = 0; at < names.size();) {
    size_t end = names.find('|', at);
    std::string query = "SELECT * FROM \"" + names.substr(at, end - at) + "\" ORDER BY 1, 2";
    all += names.substr(at, end - at) + "\n";
    sqlite3_exec(database, query.c_str(), add, &all, nullptr);
    at = end + 2;
  }
  sqlite3_close(database);
  return all;
}

class Matrix {
 public:
  explicit Matrix(ApiLab& lab) : lab_(lab) {}

  Task<std::vector<std::string>> run() {
    make_callers();
    json::value document = json::parse(api::openapi_document());
    std::set<std::string> known;
    for (const auto& path : document.at("paths").as_object()) {
      for (const auto& method : path.value().as_object()) {
        std::string operation = std::string(method.key()) + " " + std::string(path.key());
        known.insert(operation);
        co_await run_operation(operation, method.value().as_object());
      }
    }
    for (const Expectation& each : expectations()) {
      if (!known.contains(each.operation)) complain(each.operation, "is not in the document");
    }
    co_return std::move(problems_);
  }

 private:
  void complain(const std::string& where, const std::string& what) {
    problems_.push_back(where + ": " + what);
  }

  // Who asks.

  std::string add_key(const std::string& id, const std::string& tenant, const std::string& role,
                      const std::string& narrowing, const std::string& clearance = "secret") {
    std::string key = api::make_api_key();
    store::ApiKey made;
    made.id = id;
    made.hash = api::hash_api_key(key);
    made.tenant = tenant;
    made.role = role;
    made.user = "user-of-" + id;
    made.narrowing = narrowing;
    made.clearance = clearance;
    auto put = store_->tenants().put_key(made);
    if (!put) throw std::runtime_error(put.error().message());
    return key;
  }

  std::string add_token(const std::string& key_id, std::vector<std::string> caveats) {
    auto master = api::read_or_make_token_master(lab_.config).value();
    auto key = store_->tenants().find_key_by_id(key_id).value();
    auto root = api::token_root_key(master, key->id, key->hash);
    auto token = wire::mint(root, key_id + "." + random_hex(8)).value();
    for (const std::string& caveat : caveats) token = wire::narrow(token, caveat).value();
    last_token_id_ = token.identifier;
    return wire::to_string(token);
  }

  void make_callers() {
    store_ = std::move(store::open_sqlite_store(lab_.config.database()).value());
    for (const char* name : {"acme", "other"}) {
      store::TenantRecord tenant;
      tenant.name = name;
      if (!store_->tenants().add_tenant(tenant)) throw std::runtime_error("no tenant");
    }
    const char* kAgentA = R"({"agent":"build/a"})";
    Words owner = with(kMember, {"key.manage", "secret.manage", "audit.read"});
    Words all = with(owner, {"tenant.manage"});
    maker_ = {"maker", add_key("maker", "acme", "member", kAgentA), "", kMember, true, true, true};
    owner_ = {"owner", add_key("owner", "acme", "owner", ""), "", owner, true, true, true};
    operator_there_ = {"operator in acme", lab_.key, "acme", all, true, true, true};
    callers_.push_back(maker_);
    callers_.push_back(owner_);
    callers_.push_back(operator_there_);
    callers_.push_back({"agent above", add_key("above", "acme", "member", R"({"agent":"build"})"),
                        "", kMember, true, true, true});
    callers_.push_back(
        {"other tenant", add_key("foreign", "other", "owner", ""), "", owner, true, false, false});
    callers_.push_back({"other agent", add_key("b", "acme", "member", R"({"agent":"build/b"})"), "",
                        kMember, true, false, true});
    callers_.push_back(
        {"viewer", add_key("viewer", "acme", "viewer", ""), "", kViewer, true, true, true});
    callers_.push_back(
        {"auditor", add_key("auditor", "acme", "auditor", ""), "", kAuditor, true, true, true});
    callers_.push_back({"not cleared", add_key("low", "acme", "owner", "", "public"), "", owner,
                        true, false, true});
    callers_.push_back({"operator at home", lab_.key, "", all, true, false, true});
    callers_.push_back({"foreign header", owner_.credential, "other", owner, true, false, false});
    std::string revoked = add_key("revoked", "acme", "owner", "");
    if (!store_->tenants().remove_key("revoked")) throw std::runtime_error("no key");
    callers_.push_back({"revoked key", revoked, "", {}, false});
    callers_.push_back({"expired token",
                        add_token("owner", {"expires < 2020-01-01T00:00:00Z"}), "", {}, false});
    std::string withdrawn = add_token("owner", {});
    int64_t later = to_unix_ms(WallClock::now()) + 1'000'000;
    if (!store_->tenants().revoke_token(last_token_id_, "owner", later)) {
      throw std::runtime_error("no token");
    }
    callers_.push_back({"revoked token", withdrawn, "", {}, false});
    std::string forged = add_token("owner", {});
    forged.back() = forged.back() == '0' ? '1' : '0';
    callers_.push_back({"forged token", forged, "", {}, false});
    callers_.push_back({"no key", "", "", {}, false});
  }

  // What is asked about.

  Task<json::value> make(const Caller& who, Verb method, std::string target, std::string body) {
    auto asked = co_await ask(who, method, std::move(target), std::move(body));
    if (asked.status >= 300) throw std::runtime_error("scene: " + asked.body);
    co_return json::parse(asked.body);
  }

  Task<std::string> make_box(const Caller& who) {
    auto made = co_await make(who, Verb::post, "/v2/sandboxes",
                              R"({"templateID":"base","label":"internal","timeout":60,)"
                              R"("metadata":{"mark":"mark-of-)" + who.name + R"("}})");
    co_return std::string(made.at("sandboxID").as_string());
  }

  Task<Scene> make_scene() {
    Scene scene;
    auto& things = scene.things;
    things["$box"] = co_await make_box(maker_);
    things["$peer"] = co_await make_box(maker_);
    std::string link = R"({"from":")" + things["$box"] + R"(","to":")" + things["$peer"] +
                       R"(","port":8080,"name":"mark-of-link.box"})";
    auto linked = co_await make(maker_, Verb::post, "/v1/links", std::move(link));
    things["$link"] = std::string(linked.at("linkID").as_string());
    things["$name"] = "mark-" + random_hex(6);
    auto made = co_await make(maker_, Verb::post, "/v3/templates",
                              R"({"name":")" + things["$name"] + R"(","label":"internal"})");
    things["$template"] = std::string(made.at("templateID").as_string());
    things["$build"] = std::string(made.at("buildID").as_string());
    // As if another build of it had come to an end.
    auto ready = store_->templates().find_build(things["$build"]).value();
    ready->id = random_uuid();
    ready->state = store::BuildState::ready;
    lab_.node.templates.insert(ready->id);
    bool kept = store_->templates().put_build(*ready).has_value() &&
                store_->templates()
                    .set_tags(things["$template"], ready->id, {"default", "old"}, 1)
                    .has_value();
    if (!kept) throw std::runtime_error("no build");
    things["$snapshot"] = add_snapshot(things["$box"]);
    things["$secret"] = "mark-of-secret-" + random_hex(6);
    (void)co_await make(owner_, Verb::post, "/v1/secrets",
                        R"({"name":")" + things["$secret"] +
                            R"(","value":"the-value-of-a-secret","hosts":["a.example"],)"
                            R"("label":"internal","grants":[{"agent":"build/a"}]})");
    things["$key"] = "k" + random_hex(6);
    (void)add_key(things["$key"], "acme", "viewer", "");
    things["$tenant"] = "acme";
    // Of somebody else, so that lists have something to show.
    (void)co_await make_box(owner_);
    co_return scene;
  }

  /// As if the maker had taken it.
  std::string add_snapshot(const std::string& box) {
    store::SnapshotRecord record;
    record.id = "s-" + random_lower_alphanumeric(20);
    record.sandbox = box;
    record.tenant = "acme";
    record.agent = "build/a";
    record.label = "internal";
    record.vcpus = 1;
    record.memory_mib = 256;
    record.created_ms = to_unix_ms(WallClock::now());
    store::SnapshotMade made{"mark-of-" + record.id + ":default", record.label, 1};
    bool kept = store_->snapshots().add_snapshot(record).has_value() &&
                store_->snapshots().set_snapshot_ready(record.id, made).has_value();
    if (!kept) throw std::runtime_error("no snapshot");
    lab_.node.checkpoints[record.id] = {{"checkpoint", record.id}, {"tenant", "acme"},
                                        {"memory", true},          {"created_ms", record.created_ms},
                                        {"memory_mib", 256},       {"vcpus", 1}};
    return record.id;
  }

  /// The same names, of things that are not there.
  static Scene absent(const Scene& scene) {
    Scene other = scene;
    auto& things = other.things;
    things["$box"] = "i" + random_lower_alphanumeric(20);
    things["$peer"] = "i" + random_lower_alphanumeric(20);
    things["$link"] = "l" + random_lower_alphanumeric(20);
    things["$name"] = "mark-" + random_hex(6);
    things["$template"] = random_lower_alphanumeric(20);
    things["$build"] = random_uuid();
    things["$snapshot"] = "s-" + random_lower_alphanumeric(20);
    things["$secret"] = "mark-of-secret-" + random_hex(6);
    things["$key"] = "k" + random_hex(6);
    things["$tenant"] = "amce";
    return other;
  }

  /// Names of things become what they stand for again.
  static std::string without_names(std::string text, const Scene& scene) {
    std::map<std::string, std::string> back;
    for (const auto& [name, id] : scene.things) back[id] = name;
    return replaced(std::move(text), back);
  }

  // Asking.

  Task<Asked> ask(const Caller& who, Verb method, std::string target, std::string body) {
    auto stream = co_await http::connect_tcp("127.0.0.1", lab_.port, 5s);
    if (!stream) throw std::runtime_error(stream.error().message());
    http::Client client(std::move(stream.value()));
    http::Request request;
    request.method = method;
    std::string path = target.substr(0, target.find('?'));
    request.target = std::move(target);
    request.fields.set(http::Field::host, "127.0.0.1");
    if (!who.credential.empty()) request.fields.set("X-API-KEY", who.credential);
    if (!who.tenant.empty()) request.fields.set("X-Hako-Tenant", who.tenant);
    request.body = std::move(body);
    auto response = co_await with_deadline(20s, client.exchange(std::move(request)));
    if (!response) throw std::runtime_error(response.error().message());
    Asked asked;
    asked.status = response.value().status;
    asked.body = std::move(response.value().body);
    for (const auto& field : response.value().fields) {
      std::string name(field.name_string());
      if (name == "X-Request-Id" || name == "Date" || name == "Content-Length") continue;
      asked.head += name + ": " + std::string(field.value()) + "\n";
    }
    boost::system::error_code bad;
    bool is_json =
        asked.body.empty() || asked.head.find(": application/json\n") != std::string::npos;
    json::value parsed;
    if (is_json && !asked.body.empty()) parsed = json::parse(asked.body, bad);
    if (bad) complain(path, "gave no JSON");
    std::string wrong = is_json ? disagreement(method, path, asked.status, parsed) : "";
    if (!wrong.empty()) complain(path + " by " + who.name, wrong);
    co_return asked;
  }

  Task<Asked> ask(const Caller& who, const Expectation& what, const Scene& scene) {
    size_t space = what.operation.find(' ');
    std::map<std::string, std::string> in_path = {
        {"{sandboxID}", scene.things.at("$box")},   {"{templateID}", scene.things.at("$template")},
        {"{buildID}", scene.things.at("$build")},   {"{alias}", scene.things.at("$name")},
        {"{name}", scene.things.at("$name")},       {"{linkID}", scene.things.at("$link")},
        {"{hash}", std::string(64, 'a')},           {"{token}", std::string(40, 'b')},
        {"{secretID}", scene.things.at("$secret")},
        {"{tenant}", scene.things.at("$tenant")},   {"{keyID}", scene.things.at("$key")},
    };
    std::string path = what.operation.substr(space + 1);
    if (path.starts_with("/v1/audit/segments")) in_path["{name}"] = first_segment();
    std::string target = replaced(path, in_path);
    if (target.find('{') != target.npos) complain(what.operation, "has a parameter unknown here");
    if (!what.query.empty()) target += "?" + replaced(what.query, scene.things);
    static const std::map<std::string, Verb> kVerbs = {
        {"get", Verb::get},     {"post", Verb::post},      {"put", Verb::put},
        {"patch", Verb::patch}, {"delete", Verb::delete_},
    };
    Verb method = kVerbs.at(what.operation.substr(0, space));
    auto asking = ask(who, method, std::move(target), replaced(what.body, scene.things));
    co_return co_await std::move(asking);
  }

  std::string first_segment() const {
    auto all = audit::list_segments(lab_.config.audit_dir());
    if (!all || all.value().empty()) throw std::runtime_error("no segment");
    return audit::segment_name(all.value().front());
  }

  // What must come of it.

  Task<void> run_operation(std::string operation, json::object described) {
    bool known = false;
    for (const Expectation& each : expectations()) {
      if (each.operation != operation) continue;
      known = true;
      if (each.about != About::nobody) co_await run_expectation(each, described);
    }
    if (!known) complain(operation, "nothing says who may ask for it");
  }

  Task<void> run_expectation(const Expectation& what, const json::object& described) {
    auto named = described.if_contains("x-hako-action");
    action_ = named ? std::string(named->as_string()) : "";
    Scene scene = co_await make_scene();
    // One that is narrowed to a sandbox of another agent.
    Caller narrowed{"token for another sandbox", "", "", kOnBoxes, true, false, false};
    Caller neighbour = callers_[5];
    std::string other_box = co_await make_box(neighbour);
    narrowed.credential = add_token("owner", {"sandbox = " + other_box});
    std::vector<Caller> callers = callers_;
    callers.push_back(std::move(narrowed));
    for (const Caller& who : callers) co_await run_caller(what, who, scene);
    co_await run_allowed(what, scene);
  }

  bool sees(const Caller& who, About about) const {
    if (about == About::agents) return who.sees_agents;
    if (about == About::tenants) return who.sees_tenants;
    if (about == About::keys) return who.sees_tenants && who.name != "operator at home";
    return about != About::guess;
  }

  unsigned expected(const Expectation& what, const Caller& who) const {
    if (what.about == About::guess) return 404;
    if (!who.admitted) return 401;
    if (who.name == "foreign header") return 404;
    if (action_ != "any" && !who.actions.contains(action_)) return 403;
    return sees(who, what.about) ? what.allowed : what.hidden;
  }

  Task<void> run_caller(const Expectation& what, const Caller& who, const Scene& scene) {
    unsigned wanted = expected(what, who);
    bool refused = wanted == 401 || wanted == 403 || (wanted == 404 && what.allowed != 404);
    bool reads = what.operation.starts_with("get ");
    bool hidden = !sees(who, what.about);
    // What is allowed and changes something is asked once, at the end.
    if (!refused && !reads && !hidden) co_return;
    std::string where = what.operation + " by " + who.name;
    std::string before = dump(lab_.config.database());
    size_t calls = changing_calls();
    Asked asked = co_await ask(who, what, scene);
    if (asked.status != wanted) {
      complain(where, "gives " + std::to_string(asked.status) + " and not " +
                          std::to_string(wanted) + ": " + asked.body.substr(0, 200));
    }
    if (refused && dump(lab_.config.database()) != before) complain(where, "changes records");
    if (refused && changing_calls() != calls) complain(where, "reaches the node");
    bool of_all = what.about == About::records && who.actions.contains("tenant.manage");
    bool looks = (!sees(who, About::agents) || !who.admitted) && !of_all;
    // The segments are the operator's, and hold what everybody did.
    bool whole = what.operation.starts_with("get /v1/audit/segments");
    if (looks && !(whole && asked.status == 200)) look_for_traces(what, where, asked, scene);
    if (!who.actions.contains("files.read")) {
      for (const char* token : {"envdAccessToken", "trafficAccessToken"}) {
        bool shown = asked.body.find(token) != asked.body.npos;
        if (shown) complain(where, std::string("shows ") + token);
      }
    }
    if (what.about == About::list && asked.status == 200) check_count(where, asked);
    if (hidden || wanted == 403) co_await compare_with_absent(what, who, scene, asked);
  }

  /// What is hidden, and what may not be done, answers as what is not there.
  Task<void> compare_with_absent(const Expectation& what, const Caller& who, const Scene& scene,
                                 const Asked& asked) {
    Scene other = absent(scene);
    Asked none = co_await ask(who, what, other);
    std::string where = what.operation + " by " + who.name;
    if (none.status != asked.status) {
      complain(where, "is " + std::to_string(asked.status) + " for what is hidden, and " +
                          std::to_string(none.status) + " for what is not there");
    }
    if (without_names(asked.body, scene) != without_names(none.body, other)) {
      complain(where, "says of what is hidden " + asked.body + " and of what is not there " +
                          none.body);
    }
    if (asked.head != none.head) complain(where, "has other headers for what is hidden");
  }

  /// Whatever the caller has not named must not be in the answer.
  void look_for_traces(const Expectation& what, const std::string& where, const Asked& asked,
                       const Scene& scene) {
    std::string said = replaced(what.query + what.body, scene.things);
    std::map<std::string, std::string> parameters = {
        {"{sandboxID}", "$box"}, {"{templateID}", "$template"}, {"{buildID}", "$build"},
        {"{alias}", "$name"},    {"{name}", "$name"},           {"{linkID}", "$link"},
        {"{secretID}", "$secret"}};
    for (const auto& [parameter, thing] : parameters) {
      if (what.operation.find(parameter) != std::string::npos) said += scene.things.at(thing);
    }
    std::vector<std::string> traces = {"mark-of-maker", "mark-of-link", "build/a"};
    for (const char* thing :
         {"$box", "$peer", "$link", "$name", "$template", "$build", "$snapshot", "$secret"}) {
      traces.push_back(scene.things.at(thing));
    }
    for (const std::string& trace : traces) {
      if (said.find(trace) != std::string::npos) continue;
      bool shown = (asked.head + asked.body).find(trace) != std::string::npos;
      // Which agents there are in one's own tenant, its keys and what was done with them may say.
      bool names_agents = what.operation.find("/v1/keys") != std::string::npos ||
                          what.about == About::records;
      if (trace == "build/a" && names_agents) continue;
      if (shown) complain(where, "shows " + trace);
    }
  }

  void check_count(const std::string& where, const Asked& asked) {
    std::string field = "X-Total-Running: ";
    size_t at = asked.head.find(field);
    if (at == std::string::npos) return;
    size_t counted = std::stoul(asked.head.substr(at + field.size()));
    // As many as a page at most are there.
    size_t listed = json::parse(asked.body).as_array().size();
    if (counted != listed) complain(where, "counts " + std::to_string(counted) + " and lists " +
                                               std::to_string(listed));
  }

  /// That it can be done at all: else nothing above would say anything.
  Task<void> run_allowed(const Expectation& what, const Scene& scene) {
    if (what.about == About::guess || what.operation.starts_with("get ")) co_return;
    const Caller& who = owner_.actions.contains(action_) || action_ == "any" ? owner_
                                                                             : operator_there_;
    Asked asked = co_await ask(who, what, scene);
    if (asked.status != what.allowed) {
      complain(what.operation + " by " + who.name,
               "gives " + std::to_string(asked.status) + " and not " +
                   std::to_string(what.allowed) + ": " + asked.body.substr(0, 300));
    }
    co_await settle();
  }

  /// Builds that were started end badly, as the node builds nothing, and are written down so.
  Task<void> settle() {
    std::function<bool()> settled = [this] {
      return dump(lab_.config.database()).find("|building|") == std::string::npos;
    };
    (void)co_await ApiLab::eventually(std::move(settled));
  }

  size_t changing_calls() const {
    static const std::set<std::string> kLooks = {"node.info", "template.list", "box.list",
                                                 "box.console", "checkpoint.list"};
    return size_t(std::count_if(lab_.node.calls.begin(), lab_.node.calls.end(),
                                [](const std::string& call) { return !kLooks.contains(call); }));
  }

  ApiLab& lab_;
  std::unique_ptr<store::Store> store_;  ///< the API's own, opened a second time
  std::vector<Caller> callers_;
  Caller maker_, owner_, operator_there_;
  std::string last_token_id_, action_;
  std::vector<std::string> problems_;
};

}  // namespace

Task<std::vector<std::string>> run_matrix(ApiLab& lab) {
  Matrix matrix(lab);
  co_return co_await matrix.run();
}

}  // namespace hako::test
