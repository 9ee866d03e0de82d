#include "api/audit_bounds.h"

#include <algorithm>

namespace hako::api {
namespace {

using audit::Record;

constexpr double kSecondsOfDay = 24 * 3600;
/// Of what a day allows, so much at once.
constexpr double kAtOnce = kSecondsOfDay / 16;
constexpr double kStrangers = 1.0 / 16, kAllBoxes = 1.0 / 2, kOneBox = 1.0 / 4;
/// Of a line beside its texts: sequence, hash, time, names of members.
constexpr double kFrame = 320;

/// As a line has it: what is not printable is escaped.
double size_of(const std::string& text) {
  size_t size = std::min(text.size(), Record::kLongestText);
  auto printable = std::count_if(text.begin(), text.begin() + std::ptrdiff_t(size),
                                 [](char c) { return c >= ' ' && c <= '~'; });
  return double(printable) + 6.0 * double(size - size_t(printable));
}

double size_of(const Record& record) {
  double size = kFrame;
  for (const std::string* text :
       {&record.tenant, &record.actor, &record.user, &record.agent, &record.action,
        &record.sandbox, &record.outcome, &record.reason, &record.source, &record.request}) {
    size += size_of(*text);
  }
  for (const auto& [name, text] : record.details) size += double(name.size()) + size_of(text);
  return size;
}

}  // namespace

AuditBounds::AuditBounds(int64_t mib_per_day)
    : per_second_(double(mib_per_day) * (1 << 20) / kSecondsOfDay) {}

AuditBounds::Used& AuditBounds::bucket(const std::string& name, double part, Time now) {
  double rate = per_second_ * part;
  auto [found, made] = buckets_.try_emplace(name, Used{TokenBucket(rate, rate * kAtOnce), now});
  found->second.last = now;
  return found->second;
}

bool AuditBounds::admit_call(const Record& record, Time now) {
  if (per_second_ <= 0) return true;
  Used& tenant = bucket("tenant " + record.tenant, record.tenant.empty() ? kStrangers : 1, now);
  if (tenant.bytes.wait(now) > TokenBucket::Duration::zero()) {
    leave_out(record, now);
    return false;
  }
  tenant.bytes.spend(now, size_of(record));
  return true;
}

bool AuditBounds::admit_box(const Record& record, Time now) {
  if (per_second_ <= 0) return true;
  Used* all[] = {&bucket("tenant " + record.tenant, record.tenant.empty() ? kStrangers : 1, now),
                 &bucket("boxes of " + record.tenant, kAllBoxes, now),
                 &bucket("box " + record.sandbox, kOneBox, now)};
  for (Used* used : all) {
    if (used->bytes.wait(now) == TokenBucket::Duration::zero()) continue;
    leave_out(record, now);
    return false;
  }
  for (Used* used : all) used->bytes.spend(now, size_of(record));
  return true;
}

void AuditBounds::leave_out(const Record& record, Time now) {
  Kind kind(record.tenant, record.sandbox, record.action, record.outcome);
  // Of so many kinds only the tenants are told apart.
  if (left_out_.size() >= kMostKinds && !left_out_.contains(kind)) {
    kind = Kind(record.tenant, "", "", "");
  }
  LeftOut& left = left_out_[kind];
  if (left.count == 0) left.due = std::max(left.due, now + kToldAfter);
  ++left.count;
  left.label = record.label;
  left.agent = record.agent;
  left.source = record.source;
}

std::vector<Record> AuditBounds::summaries(Time now, bool all) {
  std::vector<Record> records;
  for (auto entry = left_out_.begin(); entry != left_out_.end();) {
    auto& [kind, left] = *entry;
    bool due = all || now >= left.due;
    if (due && left.count == 0) {
      entry = left_out_.erase(entry);  // it has ended
      continue;
    }
    if (due) {
      Record record;
      record.actor = "api";
      record.action = "audit.left_out";
      std::string action;
      std::tie(record.tenant, record.sandbox, action, record.outcome) = kind;
      if (record.outcome.empty()) record.outcome = "failed";
      record.agent = left.agent;
      record.label = left.label;
      record.source = left.source;
      record.reason = std::to_string(left.count) + " more of this kind were left out";
      record.details = {{"kind", action.empty() ? "several" : action},
                        {"count", std::to_string(left.count)}};
      records.push_back(std::move(record));
      left.count = 0;
      left.pause = std::min(left.pause * 2, kToldEvery);
      left.due = now + left.pause;
    }
    ++entry;
  }
  forget_the_full(now);
  return records;
}

/// Those that have filled up again are as good as new.
void AuditBounds::forget_the_full(Time now) {
  static constexpr auto kFullAfter =
      std::chrono::seconds(int64_t(kAtOnce)) + std::chrono::minutes(10);
  if (now - swept_ < std::chrono::minutes(1)) return;
  swept_ = now;
  std::erase_if(buckets_, [now](const auto& entry) {
    return now - entry.second.last > kFullAfter;
  });
}

}  // namespace hako::api
