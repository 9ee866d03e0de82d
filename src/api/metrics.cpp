#include "api/metrics.h"

#include <algorithm>

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

}  // namespace

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
