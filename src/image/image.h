// What guests boot from: kernel, initramfs, root file system, empty scratch disk.
#pragma once

#include <string>

#include "base/result.h"

namespace hako::image {

/// A built image on disk: a folder with manifest.json beside the files it names.
struct Image {
  std::string name;            ///< "base"
  std::string kernel;          ///< absolute paths from here on
  std::string initrd;
  std::string rootfs;          ///< erofs, uncompressed
  std::string kernel_version;  ///< "6.1.0-..-amd64"
  /// SHA-256 over the manifest, hex: changes whenever any file does.
  std::string digest;
};

/// Reads <directory>/manifest.json and checks that every file has the recorded size and SHA-256.
/// Checksums of unchanged files (same size, mtime, inode as at the last check) are remembered in
/// <directory>/.verified so that a restart is quick. Blocking.
/// Errors: not_found (says which command builds it), corrupted (names the file).
Result<Image> load_image(const std::string& directory);

/// Makes an empty scratch disk of `mib` MiB at `path`: sparse ext4 without a journal, since a box
/// that dies is gone and one that pauses keeps its memory. Runs mke2fs. Blocking.
Result<void> make_scratch(const std::string& path, int mib);

}  // namespace hako::image
