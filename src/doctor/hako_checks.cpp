// What hako itself needs: virtualisation, programs, images, places to write.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fd.h"
#include "doctor/sources.h"
#include "image/image.h"

namespace hako::doctor {
namespace {

/// The nearest directory above `path` that exists.
std::string existing_parent(std::filesystem::path path) {
  std::error_code ignored;
  while (!std::filesystem::is_directory(path, ignored) && path.has_parent_path() &&
         path != path.parent_path())
    path = path.parent_path();
  return path.string();
}

enum class Reflink { yes, no, unknown };

/// Tries whether files in `directory` can share their data.
Reflink probe_reflink(const std::string& directory) {
  Fd source(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  Fd target(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!source || !target) return Reflink::unknown;
  if (!write_all(source.get(), std::string(64 << 10, 'x'))) return Reflink::unknown;
  auto copied = clone_file(source.get(), target.get());
  if (!copied) return Reflink::unknown;
  return copied.value() == CopyMethod::reflink ? Reflink::yes : Reflink::no;
}

}  // namespace

Check check_user(const Sources& sources) {
  const char* title = "User";
  if (sources.user == 0) return passed("user", title, "root");
  return warned("user", title, "not root: some of what follows cannot be seen",
                "run this with sudo; `hako up` needs root too");
}

Check check_kvm(const config::Config& config, const engine::KvmProbe& probe) {
  const char* title = "Hardware virtualisation (KVM)";
  if (config.accel == "tcg")
    return warned("kvm", title, "not used: the configuration says [engine] accel = \"tcg\"",
                  "set accel = \"auto\" to use it where it works");
  if (probe.usable && probe.exit_microseconds > 20)
    return warned("kvm", title,
                  "works, but each exit takes " +
                      std::to_string(static_cast<int>(probe.exit_microseconds)) +
                      " microseconds: this seems to be a virtual machine itself",
                  "for speed, run hako on a machine of its own");
  if (probe.usable) return passed("kvm", title, "runs guest code");
  if (config.accel == "kvm")
    return failed("kvm", title,
                  "demanded by the configuration, but it cannot run a kernel here: " + probe.reason,
                  "use a machine with working KVM, or set [engine] accel = \"auto\"");
  return warned("kvm", title, "cannot run a kernel here: " + probe.reason,
                "use a machine with working KVM (bare metal, or nested virtualisation that runs "
                "ordinary kernels); until then boxes are emulated");
}

Check check_qemu(const config::Config& config, const Sources& sources) {
  const char* title = "QEMU";
  auto version = sources.version_of(config.qemu);
  if (!version && version.error().code() == ErrorCode::not_found)
    return failed("qemu", title, "there is no " + config.qemu,
                  "apt-get install qemu-system-x86, or set [engine] qemu");
  if (!version)
    return failed("qemu", title, config.qemu + " does not work: " + version.error().message(),
                  "apt-get install --reinstall qemu-system-x86");
  size_t at = version.value().find("version ");
  int major = 0, minor = 0;
  if (at == std::string::npos ||
      std::sscanf(version.value().c_str() + at, "version %d.%d", &major, &minor) != 2)
    return warned("qemu", title, "does not say its version: " + version.value(),
                  "hako is tested with QEMU 7.2");
  std::string text = std::to_string(major) + "." + std::to_string(minor);
  if (major < 7 || (major == 7 && minor < 2))
    return failed("qemu", title, text + " is too old", "install QEMU 7.2 or later");
  return passed("qemu", title, text + " at " + config.qemu);
}

Check check_image(const config::Config& config) {
  const char* title = "Image of the default template";
  auto image = image::load_image(config.image_dir + "/" + config.default_template);
  if (image) return passed("image", title, "kernel " + image.value().kernel_version);
  // The loader's own words name the command that builds an image.
  return failed("image", title, image.error().message(),
                image.error().code() == ErrorCode::not_found
                    ? "build the image, or point [paths] images at it"
                    : "build the image again");
}

Check check_tun(const Sources& sources) {
  const char* title = "Network devices (/dev/net/tun)";
  Fd device(::open((sources.root + "/dev/net/tun").c_str(), O_RDWR | O_CLOEXEC));
  if (device) return passed("tun", title, "can be opened");
  int error = errno;
  if (error == EACCES || error == EPERM)
    return sources.user == 0 ? failed("tun", title, "may not be opened, even by root",
                                      "in a container, allow the device (--device /dev/net/tun)")
                             : skipped("tun", title, "may only be opened by root");
  return failed("tun", title, std::string("cannot be opened: ") + ::strerror(error),
                "modprobe tun; in a container, allow the device (--device /dev/net/tun)");
}

Check check_disk(const config::Config& config) {
  const char* title = "Disk for boxes";
  std::string directory = existing_parent(config.state_dir);
  struct statvfs status {};
  if (::statvfs(directory.c_str(), &status) < 0)
    return skipped("disk", title, directory + " cannot be looked at");
  auto free_mib = static_cast<int64_t>(status.f_bavail * (status.f_frsize / 512) / 2048);
  std::string text = std::to_string(free_mib) + " MiB free at " + directory;
  if (free_mib < config.min_free_disk_mib)
    return failed("disk", title, text,
                  "hako makes no box with less than " + std::to_string(config.min_free_disk_mib) +
                      " MiB free: make room, or set [paths] state");
  if (probe_reflink(directory) == Reflink::no)
    return warned("disk", title,
                  text +
                      "; its file system cannot share data between files, so "
                      "disks are copied",
                  "put [paths] state on XFS or btrfs for faster starts");
  return passed("disk", title, text);
}

Check check_programs(const Sources& sources) {
  const char* title = "Owner of hako's programs";
  if (sources.program_directory.empty()) return skipped("programs", title, "not looked for");
  std::vector<std::string> paths{sources.program_directory};
  for (const char* name : {"hako", "hakod", "hako-gate"})
    paths.push_back(sources.program_directory + "/" + name);
  for (const auto& path : paths) {
    struct stat status {};
    if (::stat(path.c_str(), &status) < 0)
      return failed("programs", title, path + " is missing",
                    "install hako anew: all its programs belong into one directory");
    if (status.st_uid != sources.owner || status.st_mode & 0022)
      return warned("programs", title,
                    path + " can be changed by someone else than root, who runs it",
                    "chown root:root " + path + " && chmod go-w " + path);
  }
  return passed("programs", title, "only root can change them");
}

}  // namespace hako::doctor
