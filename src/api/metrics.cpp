#include "api/metrics.h"

#include <algorithm>
#include <cmath>

#include "api/data_plane.h"
#include "api/grants.h"
#include "api/now.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/client.h"
#include "wire/routing.h"

namespace hako::api {
namespace json = boost::json;
using namespace std::chrono_literals;

namespace {

/// How long one guest may take to answer, and how long whoever asks waits for all.
constexpr auto kGuestPatience = 3s;
constexpr auto kRoundPatience = 5s;
/// A sample younger than this is not taken again: clients poll.
constexpr int64_t kFreshMs = 1000;
constexpr size_t kLongestSample = 16 << 10;
/// No machine has more; what a guest says beyond is nonsense.
constexpr double kMostBytes = 1LL << 50;
constexpr double kMostGuestCpus = 4096;

/// A number of a guest, if it can be one. NaN cannot occur in JSON.
std::optional<double> number_of(const json::object& object, std::string_view name, double most) {
  const json::value* found = object.if_contains(json::string_view(name.data(), name.size()));
  if (!found || !found->is_number()) return std::nullopt;
  json::error_code bad;
  double number = found->to_number<double>(bad);
  if (bad || !std::isfinite(number) || number < 0 || number > most) return std::nullopt;
  return number;
}

}  // namespace

Result<Sample> parse_sample(std::string_view body, int64_t now_ms) {
  json::error_code bad;
  json::value value = json::parse(json::string_view(body.data(), body.size()), bad);
  const json::object* object = bad ? nullptr : value.if_object();
  if (!object) return Error(ErrorCode::corrupted, "the guest's metrics are not a JSON object");
  auto cpus = number_of(*object, "cpu_count", kMostGuestCpus);
  auto used = number_of(*object, "cpu_used_pct", 1e6);
  Sample sample;
  struct Size {
    const char* name;
    int64_t Sample::*member;
  };
  constexpr Size kSizes[] = {{"mem_used", &Sample::mem_used},
                             {"mem_total", &Sample::mem_total},
                             {"disk_used", &Sample::disk_used},
                             {"disk_total", &Sample::disk_total},
                             {"mem_cache", &Sample::mem_cache}};
  for (const Size& size : kSizes) {
    auto bytes = number_of(*object, size.name, kMostBytes);
    if (!bytes)
      return Error(ErrorCode::corrupted, std::string("the guest's metrics: bad ") + size.name);
    sample.*size.member = static_cast<int64_t>(*bytes);
  }
  if (!cpus || !used) return Error(ErrorCode::corrupted, "the guest's metrics: bad CPU use");
  sample.time_ms = now_ms;
  sample.cpu_count = static_cast<int64_t>(*cpus);
  sample.cpu_used_pct = std::min(*used, 100.0 * std::max(1.0, *cpus));
  return sample;
}

json::object sample_json(const Sample& sample) {
  json::object object;
  object["timestamp"] = to_rfc3339(from_unix_ms(sample.time_ms));
  object["timestampUnix"] = sample.time_ms / 1000;
  object["cpuCount"] = sample.cpu_count;
  object["cpuUsedPct"] = sample.cpu_used_pct;
  object["memUsed"] = sample.mem_used;
  object["memTotal"] = sample.mem_total;
  object["memCache"] = sample.mem_cache;
  object["diskUsed"] = sample.disk_used;
  object["diskTotal"] = sample.disk_total;
  return object;
}

Metrics::Metrics(asio::any_io_executor executor, const config::Config& config,
                 store::AsyncStore& store)
    : config_(config), store_(store), tasks_(std::move(executor)) {}

Task<void> Metrics::run() {
  if (config_.metrics_interval.count() == 0) co_return;
  for (;;) {
    co_await sleep_for(config_.metrics_interval);
    store::SandboxQuery query;
    query.alive_at_ms = unix_now_ms();
    query.limit = config_.max_boxes;
    auto running = co_await store_.list_sandboxes(std::move(query));
    if (running) co_await refresh(std::move(running).value());
  }
}

bool Metrics::is_fresh(const std::string& id) const {
  auto last = latest(id);
  return last && last->time_ms + kFreshMs > unix_now_ms();
}

namespace {

Task<Result<void>> wait_for_looks(Condition& looked, const std::set<std::string>& looking,
                                  std::vector<std::string> ids) {
  auto is_looked_at = [&](const std::string& id) { return looking.contains(id); };
  while (std::any_of(ids.begin(), ids.end(), is_looked_at)) co_await looked.wait();
  co_return ok();
}

}  // namespace

Task<void> Metrics::refresh(std::vector<store::SandboxRecord> sandboxes) {
  std::vector<std::string> ids;
  for (store::SandboxRecord& sandbox : sandboxes) {
    if (is_fresh(sandbox.id)) continue;
    ids.push_back(sandbox.id);
    // One look at a time: a guest that does not answer must not gather tasks, nor all the turns.
    if (looking_.insert(sandbox.id).second) tasks_.spawn("sample", look(std::move(sandbox)));
  }
  auto wait = wait_for_looks(looked_, looking_, std::move(ids));
  (void)co_await with_deadline(kRoundPatience, std::move(wait));
}

Task<void> Metrics::look(store::SandboxRecord sandbox) {
  struct Leave {
    Metrics& metrics;
    std::string id;
    Leave(Metrics& all, std::string which) : metrics(all), id(std::move(which)) {}
    ~Leave() {
      metrics.looking_.erase(id);
      metrics.looked_.notify_all();
    }
  } leave(*this, sandbox.id);
  auto turn = co_await turns_.take();
  // Somebody else may have looked while this one waited for its turn.
  if (is_fresh(sandbox.id)) co_return;
  auto asking = ask(sandbox.id, own_token(sandbox));
  auto sample = co_await with_deadline(kGuestPatience, std::move(asking));
  if (!sample) {
    json::object fields;
    fields["sandbox"] = sandbox.id;
    fields["error"] = sample.error().message();
    log(LogLevel::debug, "no metrics", std::move(fields));
    co_return;
  }
  // It may have ended meanwhile, and nobody would drop what is put down for it now.
  auto still = co_await store_.find_sandbox(sandbox.id);
  if (!still || !still.value()) co_return;
  auto& samples = series_[sandbox.id];
  samples.push_back(sample.value());
  if (samples.size() > kMostSamples) samples.pop_front();
}

Task<Result<Sample>> Metrics::ask(std::string id, std::string token) {
  HAKO_CO_TRY(auto client, co_await connect_gate(config_));
  http::Request request;
  request.target = "/metrics";
  request.fields.set(http::Field::host, "localhost");
  request.fields.set("E2b-Sandbox-Id", id);
  request.fields.set("E2b-Sandbox-Port", std::to_string(wire::kDaemonPort));
  if (!token.empty()) request.fields.set("X-Access-Token", token);
  HAKO_CO_TRY(auto response, co_await client.exchange(std::move(request), kLongestSample));
  if (response.status != 200) {
    co_return Error(ErrorCode::unavailable,
                    "the guest answered " + std::to_string(response.status));
  }
  co_return parse_sample(response.body, unix_now_ms());
}

std::vector<Sample> Metrics::between(const std::string& id, int64_t from_ms, int64_t to_ms) const {
  std::vector<Sample> found;
  auto series = series_.find(id);
  if (series == series_.end()) return found;
  for (const Sample& sample : series->second) {
    if (sample.time_ms >= from_ms && sample.time_ms <= to_ms) found.push_back(sample);
  }
  return found;
}

std::optional<Sample> Metrics::latest(const std::string& id) const {
  auto series = series_.find(id);
  if (series == series_.end() || series->second.empty()) return std::nullopt;
  return series->second.back();
}

}  // namespace hako::api
