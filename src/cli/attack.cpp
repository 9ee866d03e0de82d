// `hako attack`: the attacks of the test suite that need no world of the test's own, out of a box
// of this installation.
#include <arpa/inet.h>
#include <ifaddrs.h>

#include "cli/attack_probe.h"
#include "cli/attack_report.h"
#include "cli/commands.h"
#include "cli/lifecycle.h"
#include "cli/output.h"
#include "cli/session.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

constexpr std::chrono::seconds kLongest{280};
/// Longer than kLongest: the box ends by itself if nobody ends it.
constexpr std::chrono::seconds kLife{360};
constexpr size_t kMostComplaint = 4096;

/// Gets the program and its plan, and becomes it.
constexpr const char* kLoader = R"(
import json, os, runpy, sys, tempfile
given = json.load(sys.stdin)
folder = tempfile.mkdtemp()
for name, text in given["files"].items():
    with open(os.path.join(folder, name), "w") as file:
        file.write(text)
sys.argv = ["attack", json.dumps(given["plan"])]
sys.path.insert(0, folder)
runpy.run_path(os.path.join(folder, "__main__.py"), run_name="__main__")
)";

class ReportSink : public ByteSink {
 public:
  explicit ReportSink(AttackReport& report) : report_(report) {}
  Task<Result<void>> write(asio::const_buffer bytes) override {
    co_return report_.feed({static_cast<const char*>(bytes.data()), bytes.size()});
  }

 private:
  AttackReport& report_;
};

class ComplaintSink : public ByteSink {
 public:
  Task<Result<void>> write(asio::const_buffer bytes) override {
    std::string_view piece(static_cast<const char*>(bytes.data()), bytes.size());
    text.append(piece.substr(0, kMostComplaint - text.size()));
    co_return ok();
  }
  std::string text;
};

/// The addresses under which others reach this machine, which no box must reach it under.
json::array own_addresses() {
  json::array addresses;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return addresses;
  for (ifaddrs* one = all; one; one = one->ifa_next) {
    if (!one->ifa_addr) continue;
    char text[INET6_ADDRSTRLEN] = {};
    if (one->ifa_addr->sa_family == AF_INET)
      ::inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in*>(one->ifa_addr)->sin_addr, text,
                  sizeof text);
    std::string address = text;
    if (!address.empty() && !address.starts_with("127.")) addresses.emplace_back(address);
  }
  ::freeifaddrs(all);
  return addresses;
}

/// What the probe is to know. `local`: the installation is this machine's.
json::object make_plan(const config::Config& config, const std::string& level, bool local) {
  json::object plan;
  plan["level"] = level;
  plan["attacks_only"] = true;
  plan["system_resolver"] = true;
  if (local) {
    plan["connections"] = config.egress.limits.connections;
    plan["connects_per_second"] = config.egress.limits.connects_per_second;
    plan["names_per_second"] = config.egress.limits.names_per_second;
    json::object host;
    host["addresses"] = own_addresses();
    host["ports"] = json::array{config.api_port, config.gate_port, 22};
    plan["host"] = std::move(host);
  }
  return plan;
}

std::string make_input(json::object plan) {
  json::object files;
  for (const ProbeFile& file : attack_probe())
    files[json::string_view(file.name.data(), file.name.size())] =
        json::string_view(file.text.data(), file.text.size());
  json::object input;
  input["files"] = std::move(files);
  input["plan"] = std::move(plan);
  return json::serialize(input);
}

std::string level_of(const json::value& box) {
  const auto* fields = box.if_object();
  const auto* egress = fields ? fields->if_contains("egress") : nullptr;
  return egress ? text_member(*egress, "level") : "";
}

Task<Result<void>> run_probe(BoxAccess box, std::string input, AttackReport& report) {
  Session session(co_await asio::this_coro::executor, std::move(box), "root");
  Session::Spec spec;
  spec.timeout = kLongest;
  spec.start.process.cmd = "python3";
  spec.start.process.args = {"-c", kLoader};
  TextSource source(std::move(input));
  ReportSink results(report);
  ComplaintSink complaint;
  CommandStreams streams{&source, &results, &complaint};
  HAKO_CO_TRY(int status, co_await session.run(std::move(spec), streams));
  if (status == 0) co_return ok();
  co_return Error(ErrorCode::unavailable,
                  "the attacks broke off with status " + std::to_string(status) + " " +
                      session.problem() + printable(complaint.text));
}

/// What is known of the attacks, however far they came.
struct Attacks {
  std::string box, level;
  AttackReport report;
};

/// `local`: the installation is this machine's.
Task<Result<void>> attack_from(Api& api, BoxAccess box, const GlobalOptions& global,
                               const config::Config& config, bool local, Attacks& attacks) {
  attacks.box = box.id;
  auto detail = co_await api.call(http::Verb::get, "/sandboxes/" + box.id);
  if (detail) attacks.level = level_of(detail.value());
  if (attacks.level.empty())
    co_return Error(ErrorCode::corrupted, "the API does not tell the box's level");
  if (!global.json) print_note("attacking out of box " + box.id + "; this takes about a minute");
  auto probing = run_probe(std::move(box), make_input(make_plan(config, attacks.level, local)),
                           attacks.report);
  co_return co_await std::move(probing);
}

void print_report(const GlobalOptions& global, const Attacks& attacks) {
  const AttackReport& report = attacks.report;
  if (!global.json) {
    print("level " + attacks.level + "\n" + report.text());
    return;
  }
  json::object shown;
  shown["sandboxID"] = attacks.box;
  shown["level"] = attacks.level;
  shown["tried"] = report.tried();
  shown["refused"] = report.refused();
  shown["results"] = report.results();
  print_json(shown);
}

Task<int> attack_command(GlobalOptions global, BoxOptions options) {
  auto config = load_config(global);
  if (!config) co_return fail(config.error());
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  options.ttl = kLife;
  Attacks attacks;
  bool local = access.value().endpoint.is_loopback();
  BoxWork work = [&](Api& api, BoxAccess box) {
    return attack_from(api, std::move(box), global, config.value(), local, attacks);
  };
  auto attacking = work_in_own_box(access.value(), std::move(options),
                                   config.value().default_template, std::move(work));
  auto signal = co_await std::move(attacking);
  if (attacks.report.tried() > 0) print_report(global, attacks);
  if (!signal) co_return fail(signal.error());
  if (signal.value()) co_return fail(Error(ErrorCode::cancelled, "stopped"));
  co_return attacks.report.holds() ? 0 : 1;
}

}  // namespace

int attack(const GlobalOptions& global, const BoxOptions& options) {
  return run_to_end([&] { return attack_command(global, options); });
}

}  // namespace hako::cli
