#include "image/image.h"

#include <fcntl.h>
#include <stdlib.h>

#include <cerrno>
#include <memory>

#include "base/fd.h"
#include "image/checksum.h"
#include "image/manifest.h"
#include "image/verified.h"

namespace hako::image {

namespace {

constexpr size_t kManifestLimit = 64 << 10;

/// Where `directory` really is. An image's folder is replaced by pointing a link elsewhere, so the
/// paths handed out must not go through the link: they would come to mean other files.
Result<std::string> resolve(const std::string& directory) {
  std::unique_ptr<char, decltype(&::free)> path(::realpath(directory.c_str(), nullptr), ::free);
  if (!path) return Error::from_errno(errno, "resolve " + directory);
  return std::string(path.get());
}

Error corrupted(const std::string& path, std::string_view why) {
  return Error(ErrorCode::corrupted,
               path + " " + std::string(why) + "; build the image again: scripts/build-image");
}

Result<void> check_file(const std::string& directory, const std::string& name,
                        const FileEntry& expected, VerifiedFiles& verified) {
  std::string path = directory + "/" + name;
  // Not blocking: should it be a FIFO, opening must not wait for a writer.
  auto fd = open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd) {
    if (fd.error().code() == ErrorCode::not_found) return corrupted(path, "is missing");
    return fd.error();
  }
  struct stat before {};
  if (::fstat(fd.value().get(), &before) < 0) return Error::from_errno(errno, "stat " + path);
  if (!S_ISREG(before.st_mode)) return corrupted(path, "is not a regular file");
  if (static_cast<uint64_t>(before.st_size) != expected.size)
    return corrupted(path, "has " + std::to_string(before.st_size) + " bytes instead of " +
                               std::to_string(expected.size));
  auto identity = FileIdentity::of(before, expected.sha256);
  if (verified.contains(name, identity)) return ok();

  auto sum = sha256_of_file(fd.value().get());
  if (!sum) return std::move(sum).error().with_context(path);
  struct stat after {};
  if (::fstat(fd.value().get(), &after) < 0) return Error::from_errno(errno, "stat " + path);
  if (sum.value() != expected.sha256 || FileIdentity::of(after, expected.sha256) != identity) {
    verified.forget(name);
    return corrupted(path, "does not have its checksum");
  }
  verified.add(name, std::move(identity));
  return ok();
}

}  // namespace

Result<Image> load_image(const std::string& directory) {
  auto folder = resolve(directory);
  auto text = folder ? read_file(folder.value() + "/manifest.json", kManifestLimit)
                     : Result<std::string>(folder.error());
  if (!text) {
    if (text.error().code() == ErrorCode::not_found)
      return Error(ErrorCode::not_found,
                   "no image in " + directory + "; build one with: scripts/build-image");
    if (text.error().code() == ErrorCode::too_large)
      return corrupted(folder.value() + "/manifest.json", "is too large");
    return std::move(text).error();
  }
  auto manifest = parse_manifest(text.value());
  if (!manifest) return std::move(manifest).error().with_context("image in " + folder.value());

  VerifiedFiles verified(folder.value());
  Result<void> checked = ok();
  for (const auto& [name, entry] : manifest.value().files) {
    checked = check_file(folder.value(), name, entry, verified);
    if (!checked) break;
  }
  verified.save();
  HAKO_TRYV(checked);

  const Manifest& found = manifest.value();
  return Image{.name = found.name,
               .kernel = folder.value() + "/" + found.kernel,
               .initrd = folder.value() + "/" + found.initrd,
               .rootfs = folder.value() + "/" + found.rootfs,
               .kernel_version = found.kernel_version,
               .digest = sha256_of_text(text.value())};
}

}  // namespace hako::image
