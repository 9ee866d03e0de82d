#include "guest/identity.h"

#include <fcntl.h>
#include <linux/random.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "base/encoding.h"
#include "base/fd.h"
#include "guest/network.h"
#include "guest/remedies.h"
#include "guest/trust.h"
#include "wire/json_text.h"

namespace hako::guest {
namespace json = boost::json;
namespace {

constexpr size_t kLeastEntropy = 64;
constexpr size_t kMostEntropy = 4096;
constexpr int64_t kClockTolerance = 100'000'000;  // ns
constexpr char kBootId[] = "/run/hako/boot_id";
constexpr char kKernelBootId[] = "/proc/sys/kernel/random/boot_id";

Error invalid(std::string message) {
  return Error(ErrorCode::invalid_argument, "init: " + std::move(message));
}

/// In place rather than by rename: these files may be mount points, and their blocks exist already.
/// A link in its place, as images have them for resolv.conf, is replaced.
Result<void> rewrite(const char* path, std::string_view content, mode_t mode = 0644) {
  // A pipe that root in the box has put there must not hold us up.
  constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK;
  auto fd = open_file(path, kFlags, mode);
  if (!fd && fd.error().os_error() == ELOOP) {
    if (::unlink(path) < 0) return Error::from_errno(errno, std::string("remove the link ") + path);
    fd = open_file(path, kFlags, mode);
  }
  if (!fd) return fd.error();
  auto written = write_all(fd.value().get(), content);
  if (!written) return std::move(written).error().with_context(path);
  return ok();
}

/// Credits the bytes to the kernel's pool. That alone leaves two clones with the same output until
/// the generator next takes from the pool.
Result<void> add_entropy(std::string_view entropy) {
  HAKO_TRY(auto fd, open_file("/dev/urandom", O_WRONLY));
  std::vector<char> buffer(sizeof(rand_pool_info) + entropy.size());
  // SAFETY: vector memory is aligned for any scalar, and the kernel reads buf_size bytes of buf.
  auto* pool = reinterpret_cast<rand_pool_info*>(buffer.data());
  pool->entropy_count = static_cast<int>(entropy.size() * 8);
  pool->buf_size = static_cast<int>(entropy.size());
  std::memcpy(pool->buf, entropy.data(), entropy.size());
  if (::ioctl(fd.get(), RNDADDENTROPY, pool) < 0) return Error::from_errno(errno, "add entropy");
  return ok();
}

/// Makes the generator take from the pool at once.
Result<void> force_reseed() {
  HAKO_TRY(auto fd, open_file("/dev/urandom", O_WRONLY));
  if (::ioctl(fd.get(), RNDRESEEDCRNG, nullptr) < 0) return Error::from_errno(errno, "reseed");
  return ok();
}

Result<void> set_clock(int64_t wanted) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  int64_t difference = wanted - (int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec);
  if (difference < kClockTolerance && difference > -kClockTolerance) return ok();
  timespec time{wanted / 1'000'000'000, wanted % 1'000'000'000};
  if (::clock_settime(CLOCK_REALTIME, &time) < 0) return Error::from_errno(errno, "set clock");
  return ok();
}

bool is_hostname(std::string_view name) {
  if (name.empty() || name.size() > 63 || name.front() == '-') return false;
  for (char c : name) {
    bool allowed = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                   c == '-' || c == '.';
    if (!allowed) return false;
  }
  return true;
}

bool is_hex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_uuid(std::string_view text) {
  if (text.size() != 36) return false;
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash != (text[i] == '-')) return false;
    if (!dash) digits += text[i];
  }
  return is_hex(digits);
}

std::string hosts_file(const std::string& hostname) {
  return "127.0.0.1 localhost\n127.0.1.1 " + hostname + "\n";
}

/// Whatever the image or a step of its build has put there: no other server can be reached.
Result<void> rewrite_resolver() {
  return rewrite("/etc/resolv.conf", std::string("nameserver ") + kHostAddress +
                                         "\noptions timeout:2 attempts:2\n");
}

}  // namespace

Result<void> Identity::apply(const json::object& init) {
  HAKO_TRY(auto generation, wire::int_member(init, "generation"));
  if (!generation || *generation < 0) return invalid("field 'generation' is required");
  if (*generation < generation_)
    return Error(ErrorCode::failed_precondition, "init: generation " + std::to_string(*generation) +
                                                     " is older than " +
                                                     std::to_string(generation_));
  HAKO_TRY(auto sandbox_id, wire::string_member(init, "sandboxId"));
  HAKO_TRY(auto template_id, wire::string_member(init, "templateId"));
  HAKO_TRY(auto token, wire::string_member(init, "accessToken"));
  HAKO_TRY(auto variables, wire::object_member(init, "envVars"));
  HAKO_TRY(auto authority, wire::string_member(init, "caCertificate"));
  if (authority && !is_certificate(*authority)) {
    return invalid("field 'caCertificate' must be one certificate in PEM");
  }
  HAKO_TRY(auto user, wire::string_member(init, "defaultUser"));
  HAKO_TRY(auto workdir, wire::string_member(init, "defaultWorkdir"));
  wire::Environment environment;
  if (variables) {
    HAKO_TRY(auto parsed, wire::parse_environment(*variables));
    environment = std::move(parsed);
  }
  generation_ = *generation;
  sandbox_id_ = sandbox_id.value_or("");
  template_id_ = template_id.value_or("");
  if (owns_machine_) {
    HAKO_TRYV(apply_to_machine(init));
    // What an image has in the way of it keeps nobody from using the machine: the gate's hosts alone
    // are then not trusted in it.
    if (authority) install_authority(*authority);
  }
  if (authority) has_authority_ = true;

  access_token_ = token.value_or("");
  if (variables) environment_ = std::move(environment);
  if (user && !user->empty()) default_user_ = std::move(*user);
  if (workdir) default_workdir_ = std::move(*workdir);
  return ok();
}

Result<void> Identity::set_names(const std::string& hostname, const std::string& machine_id,
                                 const std::string& boot_id) {
  if (::sethostname(hostname.data(), hostname.size()) < 0)
    return Error::from_errno(errno, "set host name");
  HAKO_TRYV(rewrite("/etc/hostname", hostname + "\n"));
  HAKO_TRYV(rewrite("/etc/hosts", hosts_file(hostname)));
  HAKO_TRYV(rewrite("/etc/machine-id", machine_id + "\n", 0444));
  return rewrite(kBootId, boot_id + "\n", 0444);
}

bool Identity::stays_as_it_was(Remedy remedy) const {
  // What clones are made from takes all of it: a pool that is due for a reseed anyway would hide
  // what is missing in them.
  return generation_ > 0 && is_taken_out(remedy);
}

Result<void> Identity::apply_to_machine(const json::object& init) {
  HAKO_TRY(auto encoded, wire::string_member(init, "entropy"));
  auto entropy = base64_decode(encoded.value_or(""));
  if (!entropy || entropy->size() < kLeastEntropy || entropy->size() > kMostEntropy)
    return invalid("field 'entropy' must be base64 of 64 to 4096 bytes");
  HAKO_TRY(auto time, wire::int_member(init, "timestampNs"));
  if (!time || *time <= 0) return invalid("field 'timestampNs' is required");
  HAKO_TRY(auto hostname, wire::string_member(init, "hostname"));
  if (!hostname || !is_hostname(*hostname)) return invalid("field 'hostname' is not a host name");
  HAKO_TRY(auto machine_id, wire::string_member(init, "machineId"));
  if (!machine_id || machine_id->size() != 32 || !is_hex(*machine_id))
    return invalid("field 'machineId' must be 32 hex digits");
  HAKO_TRY(auto boot_id, wire::string_member(init, "bootId"));
  if (!boot_id || !is_uuid(*boot_id)) return invalid("field 'bootId' must be a UUID");

  HAKO_TRYV(add_entropy(*entropy));
  if (!stays_as_it_was(Remedy::reseed)) {
    HAKO_TRYV(force_reseed());
  }
  if (!stays_as_it_was(Remedy::clock)) {
    HAKO_TRYV(set_clock(*time));
  }
  if (!stays_as_it_was(Remedy::names)) {
    HAKO_TRYV(set_names(*hostname, *machine_id, *boot_id));
  }
  HAKO_TRYV(rewrite_resolver());
  HAKO_TRYV(rewrite("/run/e2b/.E2B_SANDBOX", "true"));
  HAKO_TRYV(rewrite("/run/e2b/.E2B_SANDBOX_ID", sandbox_id_));
  HAKO_TRYV(rewrite("/run/e2b/.E2B_TEMPLATE_ID", template_id_));
  return ok();
}

Result<void> prepare_identity_files() {
  for (const char* folder : {"/run/hako", "/run/e2b"})
    if (::mkdir(folder, 0755) < 0 && errno != EEXIST)
      return Error::from_errno(errno, std::string("make ") + folder);
  HAKO_TRYV(rewrite("/etc/hostname", "hako\n"));
  HAKO_TRYV(rewrite("/etc/hosts", hosts_file("hako")));
  HAKO_TRYV(rewrite_resolver());
  // Empty means "not yet known" to programs that would otherwise make one up.
  HAKO_TRYV(rewrite("/etc/machine-id", "", 0444));
  HAKO_TRYV(rewrite("/run/e2b/.E2B_SANDBOX", "true"));
  prepare_trust();
  HAKO_TRYV(rewrite(kBootId, "00000000-0000-0000-0000-000000000000\n", 0444));
  if (::mount(kBootId, kKernelBootId, nullptr, MS_BIND, nullptr) < 0)
    return Error::from_errno(errno, "replace the boot id");
  return ok();
}

}  // namespace hako::guest
