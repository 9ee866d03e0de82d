#include "audit/log.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "audit/line.h"
#include "audit/writer.h"
#include "base/log.h"

namespace hako::audit {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr size_t kBatchBytes = 1 << 20;
constexpr auto kRetryEvery = 1s;

/// Somebody who waits until a record is written. Completed once, on any thread.
class Waiter {
 public:
  virtual ~Waiter() = default;
  virtual void complete() = 0;
};

template <class Handler>
class HandlerWaiter final : public Waiter {
 public:
  explicit HandlerWaiter(Handler handler)
      : handler_(std::move(handler)),
        executor_(asio::prefer(asio::get_associated_executor(handler_),
                               asio::execution::outstanding_work.tracked)) {}
  void complete() override {
    // Nothing of the loop may be touched behind this: it may end with the handler.
    auto loop = asio::prefer(executor_, asio::execution::outstanding_work.untracked);
    auto run = [handler = std::move(handler_), work = std::move(executor_)]() mutable {
      std::move(handler)();
    };
    asio::post(loop, std::move(run));
  }

 private:
  Handler handler_;
  asio::any_io_executor executor_;
};

struct Entry {
  std::string body;
  std::unique_ptr<Waiter> waiter;   ///< null: nobody waits
  Result<void>* outcome = nullptr;  ///< of who waits; written before complete()
};

/// Records that have not come into the log.
struct Gap {
  int64_t refused = 0;  ///< whoever waited was told
  int64_t dropped = 0;
  bool empty() const { return refused == 0 && dropped == 0; }
};

/// Two threads: one writes, and one syncs and publishes heads, so that a slow disk holds up nobody
/// who only waits for the kernel.
class ThreadedLog final : public Log {
 public:
  explicit ThreadedLog(std::unique_ptr<Writer> writer)
      : writer_(std::move(writer)),
        options_(writer_->options()),
        last_(writer_->last_sequence()),
        published_(writer_->head()),
        writing_([this] { write_until_closed(); }),
        syncing_([this] { sync_until_closed(); }) {}

  ~ThreadedLog() override { close(); }

  Task<Result<void>> append(Record record) override {
    std::string body = body_of(record);
    Result<void> outcome = ok();
    // An operation without a cancellation slot: the outcome lives until the thread has written it.
    auto begin = [this, &body, &outcome](auto handler) {
      using Handler = decltype(handler);
      enqueue(Entry{std::move(body), std::make_unique<HandlerWaiter<Handler>>(std::move(handler)),
                    &outcome});
    };
    auto finished =
        asio::async_initiate<const asio::use_awaitable_t<>, void()>(begin, asio::use_awaitable);
    co_await std::move(finished);
    co_return outcome;
  }

  void append_later(Record record) override { enqueue(Entry{body_of(record), nullptr, nullptr}); }

  Result<void> ready() const override {
    std::lock_guard lock(mutex_);
    if (write_trouble_) return *write_trouble_;
    if (sync_trouble_) return *sync_trouble_;
    return ok();
  }

  std::string head() const override {
    std::lock_guard lock(mutex_);
    return published_;
  }

  int64_t last_sequence() const override { return last_; }

  const PublicKey& public_key() const override { return writer_->public_key(); }
  const std::string& directory() const override { return options_.directory; }

  void close() override {
    {
      std::lock_guard lock(mutex_);
      closing_ = true;
    }
    wake_writer_.notify_all();
    if (writing_.joinable()) writing_.join();
    {
      std::lock_guard lock(mutex_);
      written_all_ = true;
    }
    wake_syncer_.notify_all();
    if (syncing_.joinable()) syncing_.join();
  }

 private:
  struct Unsynced {
    std::shared_ptr<Fd> file;
    int64_t first;  ///< the sequence it begins with
  };

  void enqueue(Entry entry) {
    std::unique_lock lock(mutex_);
    size_t& count = entry.waiter ? waiting_ : later_;
    if (closing_ || count >= kMostWaiting) {
      if (!entry.waiter) {
        ++gap_.dropped;
        return;
      }
      *entry.outcome = Error(ErrorCode::unavailable,
                             closing_ ? "the audit log is closed" : "the audit log is too busy");
      lock.unlock();
      entry.waiter->complete();
      return;
    }
    ++count;
    queue_.push_back(std::move(entry));
    lock.unlock();
    wake_writer_.notify_one();
  }

  // The writing thread.

  void write_until_closed() {
    auto sign_at = Clock::now() + options_.sign_every;
    for (;;) {
      std::vector<Entry> batch;
      Gap gap;
      bool last = false;
      {
        std::unique_lock lock(mutex_);
        wake_writer_.wait_until(lock, next_wake(sign_at), [this] { return must_write(); });
        batch = take_batch();
        gap = std::exchange(gap_, Gap());
        last = closing_ && queue_.empty();
      }
      write_batch(std::move(batch), gap);
      if (last) break;
      if (Clock::now() >= sign_at) {
        sign("interval");
        sign_at = Clock::now() + options_.sign_every;
      }
    }
    sign("close");
  }

  Clock::time_point next_wake(Clock::time_point sign_at) const {
    return write_trouble_ ? std::min(sign_at, retry_at_) : sign_at;
  }

  /// While writing fails, only who waits makes us try at once.
  bool must_write() const {
    if (closing_ || waiting_ > 0) return true;
    bool something = !queue_.empty() || !gap_.empty() || doubtful_;
    return something && (!write_trouble_ || Clock::now() >= retry_at_);
  }

  std::vector<Entry> take_batch() {
    std::vector<Entry> batch;
    size_t bytes = 0;
    while (!queue_.empty() && bytes < kBatchBytes) {
      Entry& entry = queue_.front();
      bytes += entry.body.size();
      --(entry.waiter ? waiting_ : later_);
      batch.push_back(std::move(entry));
      queue_.pop_front();
    }
    return batch;
  }

  void write_batch(std::vector<Entry> batch, Gap gap) {
    auto written = renew_doubted();
    if (batch.empty() && gap.empty()) return;
    std::vector<std::string> bodies;
    bodies.reserve(batch.size() + 1);
    if (!gap.empty()) bodies.push_back(gap_body(gap.refused, gap.dropped));
    for (Entry& entry : batch) bodies.push_back(entry.body);
    if (written) written = writer_->rotate_if_full();
    if (written) written = writer_->write(bodies);
    note(written);
    note_doubts();
    if (written) {
      dirty();
    } else {
      gap.refused += std::count_if(batch.begin(), batch.end(),
                                   [](const Entry& entry) { return entry.waiter != nullptr; });
      put_back(batch, gap);
    }
    for (Entry& entry : batch) {
      if (!entry.waiter) continue;
      *entry.outcome = written;
      entry.waiter->complete();
    }
  }

  /// What nobody waits for is kept, as far as there is room, and comes first the next time.
  void put_back(std::vector<Entry>& batch, Gap gap) {
    std::lock_guard lock(mutex_);
    for (auto entry = batch.rbegin(); entry != batch.rend(); ++entry) {
      if (entry->waiter) continue;
      if (closing_ || later_ >= kMostWaiting) {
        ++gap.dropped;
        continue;
      }
      ++later_;
      queue_.push_front(std::move(*entry));
    }
    gap_.refused += gap.refused;
    gap_.dropped += gap.dropped;
  }

  /// After a failed sync nothing is written, or acknowledged, until what was written is on the
  /// disk.
  Result<void> renew_doubted() {
    {
      std::lock_guard lock(mutex_);
      for (int64_t first : std::exchange(doubted_, {})) writer_->doubt(first);
    }
    if (!writer_->doubts()) return ok();
    auto renewed = writer_->renew_doubtful();
    note(renewed);
    note_doubts();
    if (!renewed) return renewed;
    log_warn("audit log written anew after a failed sync");
    dirty();
    std::lock_guard lock(mutex_);
    sync_trouble_.reset();
    return ok();
  }

  void note_doubts() {
    std::lock_guard lock(mutex_);
    doubtful_ = writer_->doubts() || !doubted_.empty();
  }

  void sign(std::string_view why) {
    if (writer_->head_sequence() == writer_->last_sequence() && why == "interval") return;
    auto signed_ = renew_doubted();
    if (signed_) signed_ = writer_->write_head(why);
    note(signed_);
    if (signed_) dirty();
  }

  void note(const Result<void>& outcome) {
    std::lock_guard lock(mutex_);
    if (outcome) {
      write_trouble_.reset();
      return;
    }
    retry_at_ = Clock::now() + kRetryEvery;
    if (!write_trouble_) log_error("audit log not written", {{"error", outcome.error().message()}});
    write_trouble_ = outcome.error();
  }

  /// What has been written is to be synced, and the head then to be published.
  void dirty() {
    std::lock_guard lock(mutex_);
    last_ = writer_->last_sequence();
    auto file = writer_->file();
    if (unsynced_.empty() || unsynced_.back().file != file) {
      unsynced_.push_back({std::move(file), writer_->first_sequence()});
    }
    unpublished_ = writer_->head();
  }

  // The syncing thread.

  void sync_until_closed() {
    for (bool last = false; !last;) {
      std::vector<Unsynced> files;
      std::string head;
      {
        std::unique_lock lock(mutex_);
        wake_syncer_.wait_for(lock, options_.sync_every, [this] { return written_all_; });
        last = written_all_;
        // A sync behind one that has failed says nothing.
        if (doubtful_) continue;
        files = std::exchange(unsynced_, {});
        head = unpublished_;
      }
      if (!files.empty()) sync(files, head);
    }
  }

  void sync(const std::vector<Unsynced>& files, const std::string& head) {
    Result<void> synced = ok();
    std::vector<int64_t> failed;
    for (const Unsynced& one : files) {
      if (::fdatasync(one.file->get()) == 0) continue;
      synced = Error::from_errno(errno, "sync audit log");
      failed.push_back(one.first);
    }
    // Not before what it signs is on the disk for sure.
    if (synced && head != this->head()) synced = writer_->publish(head);
    std::unique_lock lock(mutex_);
    if (synced) {
      sync_trouble_.reset();
      published_ = head;
      return;
    }
    if (!sync_trouble_) log_error("audit log not synced", {{"error", synced.error().message()}});
    sync_trouble_ = synced.error();
    if (failed.empty()) {
      // Only the head: it is published the next time.
      unsynced_.insert(unsynced_.begin(), files.begin(), files.end());
      return;
    }
    doubted_.insert(doubted_.end(), failed.begin(), failed.end());
    doubtful_ = true;
    lock.unlock();
    wake_writer_.notify_all();
  }

  std::unique_ptr<Writer> writer_;  ///< of the writing thread, but for publish()
  const LogOptions options_;

  std::atomic<int64_t> last_;

  mutable std::mutex mutex_;
  std::condition_variable wake_writer_, wake_syncer_;
  std::deque<Entry> queue_;
  size_t waiting_ = 0, later_ = 0;  ///< in the queue, of either kind
  Gap gap_;                         ///< what the next record must tell of
  bool closing_ = false;
  bool written_all_ = false;
  Clock::time_point retry_at_;
  std::optional<Error> write_trouble_, sync_trouble_;
  std::vector<Unsynced> unsynced_;
  std::vector<int64_t> doubted_;  ///< segments whose sync has failed, for the writing thread
  bool doubtful_ = false;         ///< there are such, there or with the writer
  std::string unpublished_, published_;

  std::thread writing_, syncing_;  // last: they use all the rest
};

}  // namespace

Result<std::unique_ptr<Log>> Log::open(LogOptions options) {
  HAKO_TRY(auto writer, Writer::open(std::move(options)));
  std::unique_ptr<Log> log = std::make_unique<ThreadedLog>(std::move(writer));
  return log;
}

}  // namespace hako::audit
