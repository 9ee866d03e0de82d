#include "vault/master_key.h"

#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <poll.h>
#include <signal.h>
#include <sodium/utils.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <stdexcept>

#include "base/encoding.h"
#include "base/fd.h"

namespace hako::vault {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kLongestKeyText = 4096;

struct FreeKdf {
  void operator()(EVP_KDF* kdf) const { EVP_KDF_free(kdf); }
  void operator()(EVP_KDF_CTX* context) const { EVP_KDF_CTX_free(context); }
};

void wipe(std::string& text) {
  sodium_memzero(text.data(), text.size());
  text.clear();
}

Error no_key() {
  return Error(ErrorCode::invalid_argument,
               "it must be 32 bytes, as they are, in hex or in base64 (openssl rand -hex 32)");
}

/// The end of a child of ours, by the deadline; else it is killed, with its process group.
Result<int> wait_for(pid_t child, Clock::time_point deadline) {
  int status = 0;
  for (;;) {
    pid_t ended = ::waitpid(child, &status, WNOHANG);
    if (ended == child) return status;
    if (ended < 0 && errno != EINTR) return Error::from_errno(errno, "wait for the command");
    if (Clock::now() >= deadline) break;
    ::poll(nullptr, 0, 10);
  }
  ::kill(-child, SIGKILL);
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return Error(ErrorCode::timed_out, "it did not end in time");
}

/// What comes out of `pipe` until it ends, the deadline, or more has come than a key may have.
std::string read_output(const Fd& pipe, Clock::time_point deadline) {
  std::string text;
  for (;;) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd ready{pipe.get(), POLLIN, 0};
    int count = ::poll(&ready, 1, int(std::max<int64_t>(left.count(), 0)));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return text;
    char buffer[512];
    ssize_t got = ::read(pipe.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(buffer, size_t(got));
    sodium_memzero(buffer, sizeof buffer);
    if (text.size() > kLongestKeyText) return text;
  }
}

/// In the child, where nothing but async-signal-safe calls are allowed.
[[noreturn]] void become_command(const char* command, int output) {
  ::setpgid(0, 0);
  // As programs expect it, and not as this one has set it.
  ::signal(SIGPIPE, SIG_DFL);
  int nothing = ::open("/dev/null", O_RDWR);
  if (nothing < 0 || ::dup2(nothing, 0) < 0 || ::dup2(output, 1) < 0) ::_exit(126);
  char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  char* environment[] = {path, nullptr};
  char shell[] = "sh", option[] = "-c";
  // SAFETY: execve() does not write to its arguments.
  char* arguments[] = {shell, option, const_cast<char*>(command), nullptr};
  ::execve("/bin/sh", arguments, environment);
  ::_exit(127);
}

}  // namespace

MasterKey::MasterKey(std::string_view bytes) {
  if (bytes.size() != kMasterKeyBytes) throw std::logic_error("a master key has 32 bytes");
  std::copy(bytes.begin(), bytes.end(), bytes_.begin());
}

MasterKey::~MasterKey() {
  sodium_memzero(bytes_.data(), bytes_.size());
}

std::string MasterKey::derive(std::string_view purpose, std::string_view about,
                              size_t length) const {
  std::unique_ptr<EVP_KDF, FreeKdf> kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  std::unique_ptr<EVP_KDF_CTX, FreeKdf> context(EVP_KDF_CTX_new(kdf.get()));
  // The byte between them keeps "a" "bc" and "ab" "c" apart.
  std::string info = "hako " + std::string(purpose) + '\0' + std::string(about);
  char digest[] = "SHA256";
  auto key = bytes_;
  OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, key.data(), key.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.data(), info.size()),
      OSSL_PARAM_construct_end()};
  std::string out(length, '\0');
  // SAFETY: bytes as bytes.
  auto* bytes = reinterpret_cast<unsigned char*>(out.data());
  bool derived = context && EVP_KDF_derive(context.get(), bytes, out.size(), parameters) == 1;
  sodium_memzero(key.data(), key.size());
  if (!derived) throw std::runtime_error("a key could not be derived");
  return out;
}

Result<MasterKey> parse_master_key(std::string text) {
  // Raw bytes may end like a line.
  while (text.size() > kMasterKeyBytes && (text.back() == '\n' || text.back() == '\r')) {
    text.pop_back();
  }
  std::optional<std::string> bytes;
  if (text.size() == kMasterKeyBytes) {
    bytes = text;
  } else if (text.size() == 2 * kMasterKeyBytes) {
    bytes = hex_decode(text);
  } else {
    bytes = base64_decode(text);
  }
  wipe(text);
  if (!bytes || bytes->size() != kMasterKeyBytes) return no_key();
  MasterKey key(*bytes);
  wipe(*bytes);
  return key;
}

Result<MasterKey> read_master_key_file(const std::string& path) {
  auto named = [&](const Error& error) { return error.with_context("master key " + path); };
  auto file = open_file(path, O_RDONLY);
  if (!file) return named(file.error());
  struct stat info {};
  if (::fstat(file.value().get(), &info) < 0) return named(Error::from_errno(errno, "stat"));
  if ((info.st_uid != 0 && info.st_uid != ::geteuid()) || (info.st_mode & 077) != 0) {
    return named(Error(ErrorCode::permission_denied,
                       "it must be root's, and nobody else's to read (chmod 600)"));
  }
  auto text = read_file(path, kLongestKeyText);
  if (!text) return named(text.error());
  auto key = parse_master_key(std::move(text).value());
  if (!key) return named(key.error());
  return key;
}

Result<MasterKey> run_master_key_command(const std::string& command, std::chrono::seconds limit) {
  auto named = [](const Error& error) { return error.with_context("master key command"); };
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return named(Error::from_errno(errno, "make a pipe"));
  Fd output(ends[0]), input(ends[1]);
  pid_t child = ::fork();
  if (child < 0) return named(Error::from_errno(errno, "start it"));
  if (child == 0) become_command(command.c_str(), input.get());
  ::setpgid(child, child);
  input = Fd();
  auto deadline = Clock::now() + limit;
  std::string text = read_output(output, deadline);
  // One that goes on to print is ended by that.
  output = Fd();
  auto status = wait_for(child, deadline);
  if (!status) wipe(text);
  if (!status) return named(status.error());
  if (!WIFEXITED(status.value()) || WEXITSTATUS(status.value()) != 0) {
    wipe(text);
    std::string how = WIFEXITED(status.value())
                          ? "exit status " + std::to_string(WEXITSTATUS(status.value()))
                          : "it was ended by a signal";
    return named(Error(ErrorCode::failed_precondition, how));
  }
  auto key = parse_master_key(std::move(text));
  if (!key) {
    return named(Error(ErrorCode::failed_precondition, "what it prints is no key: " +
                                                           key.error().message()));
  }
  return key;
}

}  // namespace hako::vault
