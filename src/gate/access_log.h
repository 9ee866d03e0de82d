// Watching what is done in boxes, for the records of it.
#pragma once

#include <set>

#include "gate/access_call.h"
#include "gate/machine_table.h"
#include "gate/message_peek.h"
#include "http/relay.h"
#include "wire/multipart.h"

namespace hako::gate {

class Access;

/// What is told of a machine with a token and without grants is nobody's business but its maker's,
/// who is hako itself: such machines are where templates are built. Thread: one executor.
class AccessLog {
 public:
  explicit AccessLog(SendRecords send) : records_(std::move(send)) {}

  void add(const Machine& machine, AccessRecord record);
  /// Somebody was not let in. `status`: what they were told.
  void refused(const Machine& machine, const http::RequestHead& head, uint16_t port,
               unsigned status, const std::string& key, const std::string& reason);
  /// A connection to a port other than the daemon's has been made. Told once a second, with how
  /// many there were.
  void reached(const Machine& machine, uint16_t port, const std::string& key);

  /// Sends what was gathered, until cancelled.
  Task<void> run();
  /// Tells of what is under way in the machine, which is about to go, and sends all there is of it.
  void settle(const std::string& machine);
  /// The same of all of them.
  void settle_all();

 private:
  friend class Access;
  struct Port {
    std::string machine, box, key;
    uint16_t port = 0;
    auto operator<=>(const Port&) const = default;
  };

  static bool concerns(const Machine& machine);
  Task<void> count_ports();
  void tell_ports(const std::string* machine);

  RecordQueue<AccessRecord> records_;
  std::map<Port, int64_t> ports_;  ///< reached, and not told of yet
  std::set<Access*> open_;
};

/// One request for a daemon that is let in, from then to its end. The log outlives it.
class Access final : public http::RelayWatcher {
 public:
  Access(AccessLog& log, MachineRef machine, const http::RequestHead& head);
  ~Access() override;
  Access(const Access&) = delete;

  /// By whose grant it goes on.
  void is_of(std::string key) { record_.key = std::move(key); }

  /// False for what nobody could tell of afterwards: that it was refused is told.
  bool sent(std::string_view piece) override;
  /// How what was not let on is refused.
  const Judgement& stopped() const { return stopped_; }
  void answered(unsigned status) override;
  void received(size_t bytes) override;
  /// Tells of it now, whatever is known, if that has not been done yet.
  void tell();

  const Machine& machine() const { return *machine_; }

 private:
  /// A file in an upload that holds several.
  struct Part {
    std::string name;
    int64_t bytes = 0;
  };
  void read_parts(std::string_view piece);
  void tell_if_known();

  AccessLog& log_;
  MachineRef machine_;
  AccessCall call_;
  AccessRecord record_;
  std::optional<MessagePeek> message_;
  std::optional<wire::MultipartDecoder> multipart_;
  std::vector<Part> parts_;
  int64_t more_parts_ = 0;  ///< beyond those that are kept
  bool told_ = false;
  Judgement stopped_;
};

}  // namespace hako::gate
