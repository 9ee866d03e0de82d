#include "gate/access_log.h"

#include "wire/routing.h"

namespace hako::gate {
namespace {

constexpr Duration kPortInterval = std::chrono::seconds(1);
constexpr size_t kMostPorts = 16384;  ///< of all boxes, in one interval
constexpr size_t kMostParts = 256;
constexpr size_t kLongestPartName = 4096;

}  // namespace

bool AccessLog::concerns(const Machine& machine) {
  return machine.access_token.empty() || machine.ingress.grants;
}

void AccessLog::add(const Machine& machine, AccessRecord record) {
  if (!concerns(machine)) return;
  bound_texts(record);
  records_.add(machine.id, machine.box, std::move(record));
}

void AccessLog::refused(const Machine& machine, const http::RequestHead& head, uint16_t port,
                        unsigned status, const std::string& key, const std::string& reason) {
  AccessRecord record;
  if (port == wire::kDaemonPort) {
    AccessCall call = call_of(head);
    // What strangers name is their invention, and would only make many records of one.
    if (!key.empty()) record = record_of(head, call);
    record.kind = call.kind;
    record.action = call.action;
  } else {
    record.kind = "port";
    record.action = "reach";
    record.what = std::to_string(port);
  }
  record.verdict = "denied";
  record.key = key;
  record.status = status;
  record.reason = reason;
  add(machine, std::move(record));
}

void AccessLog::reached(const Machine& machine, uint16_t port, const std::string& key) {
  if (!concerns(machine) || machine.box.empty()) return;
  Port reached{machine.id, machine.box, key, port};
  auto found = ports_.find(reached);
  if (found != ports_.end()) {
    ++found->second;
  } else if (ports_.size() < kMostPorts) {
    ports_.emplace(std::move(reached), 1);
  } else {
    records_.drop(machine.id, machine.box, 1);
  }
}

void AccessLog::tell_ports(const std::string* machine) {
  for (auto entry = ports_.begin(); entry != ports_.end();) {
    const Port& port = entry->first;
    if (machine && port.machine != *machine) {
      ++entry;
      continue;
    }
    AccessRecord record;
    record.kind = "port";
    record.action = "reach";
    record.verdict = "allowed";
    record.key = port.key;
    record.what = std::to_string(port.port);
    record.count = entry->second;
    bound_texts(record);
    records_.add(port.machine, port.box, std::move(record));
    entry = ports_.erase(entry);
  }
}

Task<void> AccessLog::count_ports() {
  for (;;) {
    co_await sleep_for(kPortInterval);
    tell_ports(nullptr);
  }
}

Task<void> AccessLog::run() {
  using namespace asio::experimental::awaitable_operators;
  auto send = records_.run();
  auto count = count_ports();
  co_await (std::move(send) && std::move(count));
}

void AccessLog::settle(const std::string& machine) {
  for (Access* access : open_)
    if (access->machine().id == machine) access->tell();
  tell_ports(&machine);
  records_.send_of(machine);
}

void AccessLog::settle_all() {
  for (Access* access : open_) access->tell();
  tell_ports(nullptr);
  records_.send_all();
}

Access::Access(AccessLog& log, MachineRef machine, const http::RequestHead& head)
    : log_(log), machine_(std::move(machine)), call_(call_of(head)) {
  told_ = call_.told == AccessCall::Told::never || !AccessLog::concerns(*machine_);
  if (told_) return;
  record_ = record_of(head, call_);
  if (call_.has_message) message_.emplace(head, call_.method, machine_->peeked);
  bool names_itself = !record_.what.empty();
  if (call_.told == AccessCall::Told::at_end && call_.action == "write" && !names_itself) {
    auto boundary = wire::multipart_boundary(head.header("Content-Type"));
    std::string_view encoding = head.header("Content-Encoding");
    if (boundary && (encoding.empty() || encoding == "identity"))
      multipart_.emplace(*boundary);
    else
      record_.reason = "the names of its files are not readable";
  }
  log_.open_.insert(this);
}

Access::~Access() {
  log_.open_.erase(this);
  tell();
}

bool Access::sent(std::string_view piece) {
  if (told_) return true;
  if (call_.action == "write") record_.bytes += static_cast<int64_t>(piece.size());
  if (multipart_) read_parts(piece);
  if (!message_) return true;
  if (piece.empty()) {
    message_->finish();
  } else {
    message_->feed(piece);
  }
  // What is typed into a program is not recorded anyway.
  if (message_->hidden() != 0 && call_.action != "input") {
    stopped_.refused = message_->hidden();
    stopped_.reason = "the message cannot be recorded: " + message_->problem();
    record_.verdict = "denied";
    record_.status = stopped_.refused;
    tell();
    return false;
  }
  tell_if_known();
  return true;
}

void Access::read_parts(std::string_view piece) {
  using Kind = wire::MultipartDecoder::Kind;
  multipart_->feed(piece);
  for (;;) {
    auto event = multipart_->next();
    if (!event) {
      record_.reason = "not readable: " + event.error().message();
      return multipart_.reset();
    }
    const auto& [kind, name, filename, data] = event.value();
    if (kind == Kind::need_more || kind == Kind::end) return;
    if (kind == Kind::part_begin) {
      if (parts_.size() < kMostParts) {
        parts_.push_back({filename.value_or("").substr(0, kLongestPartName), 0});
      } else {
        ++more_parts_;
      }
    }
    if (kind == Kind::data && !parts_.empty() && more_parts_ == 0)
      parts_.back().bytes += static_cast<int64_t>(data.size());
  }
}

void Access::answered(unsigned status) {
  record_.status = status;
  tell_if_known();
}

void Access::received(size_t bytes) {
  if (call_.action == "read") record_.bytes += static_cast<int64_t>(bytes);
}

void Access::tell_if_known() {
  bool read = !message_ || message_->done();
  if (call_.told == AccessCall::Told::with_message && read) return tell();
  if (call_.told == AccessCall::Told::with_answer && read && record_.status != 0) tell();
}

void Access::tell() {
  if (std::exchange(told_, true)) return;
  if (message_) {
    // An answer that came before the whole question was for something else than it says.
    if (!message_->done()) message_->finish();
    if (message_->message())
      add_message(record_, call_, *message_->message());
    else
      record_.reason = "not readable: " + message_->problem();
    message_.reset();
  }
  if (parts_.empty()) return log_.add(*machine_, record_);
  for (Part& part : parts_) {
    AccessRecord one = record_;
    one.what = std::move(part.name);
    one.bytes = part.bytes;
    log_.add(*machine_, std::move(one));
  }
  if (more_parts_ == 0) return;
  record_.reason = "further files of one upload";
  record_.bytes = 0;
  record_.count = more_parts_;
  log_.add(*machine_, record_);
}

}  // namespace hako::gate
