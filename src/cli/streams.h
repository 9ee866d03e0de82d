// What commands in boxes read and write: our own standard streams, or a text.
#pragma once

#include <boost/asio/thread_pool.hpp>

#include <string>

#include "base/async/task.h"
#include "base/fd.h"

namespace hako::cli {

/// Where bytes for a command come from.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// The next bytes; 0 at the end. Cancel: safe.
  virtual Task<Result<size_t>> read_some(asio::mutable_buffer into) = 0;
};

/// Where its output goes.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  /// All of `bytes`. Cancel: safe, a part may have been written.
  virtual Task<Result<void>> write(asio::const_buffer bytes) = 0;
};

/// A text of our own, for a command to read.
class TextSource : public ByteSource {
 public:
  explicit TextSource(std::string text) : text_(std::move(text)) {}
  Task<Result<size_t>> read_some(asio::mutable_buffer into) override;

 private:
  std::string text_;
  size_t taken_ = 0;
};

/// A descriptor we share with our parent, such as standard input. Read or written on a thread of
/// its own: O_NONBLOCK would change it for everyone who shares it. One operation at a time.
class SharedDescriptor : public ByteSource, public ByteSink {
 public:
  /// `fd` stays the caller's.
  explicit SharedDescriptor(int fd);
  ~SharedDescriptor() override;

  Task<Result<size_t>> read_some(asio::mutable_buffer into) override;
  /// Errors: the OS error, with os_error() EPIPE when nobody reads any more.
  Task<Result<void>> write(asio::const_buffer bytes) override;
  /// Completes when the reader of this pipe or socket has gone. Never for files.
  Task<Result<void>> closed_by_reader();

 private:
  Result<size_t> read_here(char* into, size_t size);
  Result<size_t> write_here(const char* bytes, size_t size);
  Result<size_t> wait_closed_here();
  /// Runs `work` on the thread; on cancellation the thread is woken and waited for.
  template <class Work>
  Task<Result<size_t>> on_thread(Work& work);
  /// Waits for `events` or the wake-up. cancelled after a wake-up.
  Result<short> wait_for(short events);

  int fd_;
  bool may_block_midway_;  // pipes and sockets: only small writes are sure not to block
  Fd wake_;
  asio::thread_pool thread_{1};
};

}  // namespace hako::cli
