// `hako attack`: the attacks of the test suite that need no world of the test's own, out of a box
// of this installation.
#include <arpa/inet.h>
#include <ifaddrs.h>

#include <algorithm>

#include "cli/attack_probe.h"
#include "cli/attack_report.h"
#include "cli/commands.h"
#include "cli/lifecycle.h"
#include "cli/output.h"
#include "cli/session.h"
#include "cli/terminal.h"

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

class TextSource : public ByteSource {
 public:
  explicit TextSource(std::string text) : text_(std::move(text)) {}
  Task<Result<size_t>> read_some(asio::mutable_buffer into) override {
    size_t count = std::min(into.size(), text_.size() - taken_);
    std::copy_n(text_.data() + taken_, count, static_cast<char*>(into.data()));
    taken_ += count;
    co_return count;
  }

 private:
  std::string text_;
  size_t taken_ = 0;
};

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

/// Attacks out of `box`; a signal cuts it short.
Task<Result<void>> attack_from(BoxAccess box, std::string input, AttackReport& report,
                               Interrupts& interrupts) {
  using namespace asio::experimental::awaitable_operators;
  auto work = run_probe(std::move(box), std::move(input), report);
  auto stopped = interrupts.wait();
  auto first = co_await (std::move(work) || std::move(stopped));
  if (first.index() == 1) co_return Error(ErrorCode::cancelled, "stopped");
  co_return std::get<0>(std::move(first));
}

void print_report(const GlobalOptions& global, const std::string& id, const std::string& level,
                  const AttackReport& report) {
  if (!global.json) {
    print("level " + level + "\n" + report.text());
    return;
  }
  json::object shown;
  shown["sandboxID"] = id;
  shown["level"] = level;
  shown["tried"] = report.tried();
  shown["refused"] = report.refused();
  shown["results"] = report.results();
  print_json(shown);
}

Task<int> attack_command(GlobalOptions global, BoxOptions options) {
  using namespace asio::experimental::awaitable_operators;
  auto config = load_config(global);
  if (!config) co_return fail(config.error());
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  TaskGroup tasks(co_await asio::this_coro::executor);
  Interrupts interrupts(co_await asio::this_coro::executor);
  interrupts.start(tasks);
  Api api(access.value());
  options.ttl = kLife;
  auto creating = create(api, options, config.value().default_template);
  auto finding = find_data_endpoint(access.value());
  auto [answer, data] = co_await (std::move(creating) && std::move(finding));
  if (!answer) {
    co_await tasks.stop();
    co_return fail(answer.error());
  }
  auto box = box_from_answer(answer.value(), std::move(data));
  std::string id = box ? box.value().id : "";
  Result<void> done = box ? ok() : Result<void>(box.error());
  std::string level;
  AttackReport report;
  if (done) {
    auto detail = co_await api.call(http::Verb::get, "/sandboxes/" + id);
    if (detail) level = level_of(detail.value());
    if (level.empty()) done = Error(ErrorCode::corrupted, "the API does not tell the box's level");
  }
  if (done) {
    if (!global.json) print_note("attacking out of box " + id + "; this takes about a minute");
    auto input = make_input(
        make_plan(config.value(), level, access.value().endpoint.is_loopback()));
    done = co_await attack_from(box.value(), std::move(input), report, interrupts);
  }
  if (box) {
    auto gone = co_await destroy(api, id);
    if (!gone) print_note("box " + id + " could not be destroyed: " + gone.error().message());
  }
  co_await tasks.stop();
  if (report.tried() > 0) print_report(global, id, level, report);
  if (!done) co_return fail(done.error());
  co_return report.holds() ? 0 : 1;
}

}  // namespace

int attack(const GlobalOptions& global, const BoxOptions& options) {
  return run_to_end([&] { return attack_command(global, options); });
}

}  // namespace hako::cli
