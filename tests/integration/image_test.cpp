// Images and scratch disks on real file systems, whole and damaged.
#include "image/image.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/fd.h"
#include "image/checksum.h"

namespace hako::image {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Folder : public ::testing::Test {
 protected:
  Folder() {
    std::string pattern = fs::temp_directory_path() / "hako-image-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~Folder() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ / name; }

  void write(const std::string& name, std::string_view content) const {
    std::ofstream(path(name), std::ios::binary | std::ios::trunc) << content;
  }

  fs::path folder_;
};

class LoadImage : public Folder {
 protected:
  LoadImage() {
    write("vmlinux", "a kernel");
    write("initramfs.cpio", "an archive");
    write("rootfs.erofs", std::string(3'000'000, 'r'));
    write_manifest();
  }

  std::string entry(const std::string& name) const {
    auto content = read_file(path(name), 8 << 20).value();
    return "\"" + name + R"(": {"size": )" + std::to_string(content.size()) + R"(, "sha256": ")" +
           sha256_of_text(content) + "\"}";
  }

  void write_manifest() const {
    write("manifest.json", R"({"name": "base", "kernel": "vmlinux", "initrd": "initramfs.cpio",
      "rootfs": "rootfs.erofs", "kernel_version": "6.1.0-1-amd64", "files": {)" +
                               entry("vmlinux") + ", " + entry("initramfs.cpio") + ", " +
                               entry("rootfs.erofs") + "}}");
  }

  /// Changes one byte without changing the size.
  void damage(const std::string& name) const {
    std::fstream file(path(name), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(5);
    file.put('!');
  }

  void set_mtime(const std::string& name, const timespec& time) const {
    timespec times[] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, time};
    ASSERT_EQ(::utimensat(AT_FDCWD, path(name).c_str(), times, 0), 0);
  }

  timespec mtime(const std::string& name) const {
    struct stat info {};
    EXPECT_EQ(::stat(path(name).c_str(), &info), 0);
    return info.st_mtim;
  }

  void expect_failure(ErrorCode code, const std::string& mention) const {
    auto image = load_image(folder_);
    ASSERT_FALSE(image.has_value());
    EXPECT_EQ(image.error().code(), code) << image.error().message();
    EXPECT_THAT(image.error().message(), HasSubstr(mention));
  }
};

TEST_F(LoadImage, GivesWhatTheManifestSays) {
  auto image = load_image(folder_);
  ASSERT_TRUE(image.has_value()) << image.error().message();
  EXPECT_EQ(image.value().name, "base");
  EXPECT_EQ(image.value().kernel, path("vmlinux"));
  EXPECT_EQ(image.value().initrd, path("initramfs.cpio"));
  EXPECT_EQ(image.value().rootfs, path("rootfs.erofs"));
  EXPECT_EQ(image.value().kernel_version, "6.1.0-1-amd64");
  EXPECT_EQ(image.value().digest, sha256_of_text(read_file(path("manifest.json")).value()));
}

TEST_F(LoadImage, DigestChangesWithAnyFile) {
  auto before = load_image(folder_);
  write("initramfs.cpio", "another one");
  write_manifest();
  auto after = load_image(folder_);
  ASSERT_TRUE(before.has_value() && after.has_value());
  EXPECT_NE(before.value().digest, after.value().digest);
}

// The link `base` is pointed at a new folder while a daemon runs on the old one.
TEST_F(LoadImage, PathsDoNotGoThroughTheLink) {
  fs::path link = folder_.string() + "-link";
  fs::create_directory_symlink(folder_, link);
  auto image = load_image(link);
  fs::remove(link);
  ASSERT_TRUE(image.has_value()) << image.error().message();
  EXPECT_EQ(image.value().rootfs, path("rootfs.erofs"));
}

TEST_F(LoadImage, SaysHowToBuildOneThatIsNotThere) {
  fs::remove(path("manifest.json"));
  expect_failure(ErrorCode::not_found, "scripts/build-image");
  fs::remove_all(folder_);
  expect_failure(ErrorCode::not_found, "scripts/build-image");
}

TEST_F(LoadImage, MissingFileIsNamed) {
  fs::remove(path("vmlinux"));
  expect_failure(ErrorCode::corrupted, path("vmlinux") + " is missing");
}

TEST_F(LoadImage, DamagedFileIsNamed) {
  damage("rootfs.erofs");
  expect_failure(ErrorCode::corrupted, path("rootfs.erofs"));
  expect_failure(ErrorCode::corrupted, "checksum");
}

TEST_F(LoadImage, DamageAfterACheckIsSeen) {
  ASSERT_TRUE(load_image(folder_).has_value());
  set_mtime("rootfs.erofs", {.tv_sec = 1'000'000'000, .tv_nsec = 0});
  ASSERT_TRUE(load_image(folder_).has_value());
  damage("rootfs.erofs");
  expect_failure(ErrorCode::corrupted, path("rootfs.erofs"));
  // A failed check leaves no note that a later load could take for a good one.
  set_mtime("rootfs.erofs", {.tv_sec = 1'000'000'000, .tv_nsec = 1});
  expect_failure(ErrorCode::corrupted, path("rootfs.erofs"));
}

// Shows that the shortcut is taken at all, and with it what it rests on.
TEST_F(LoadImage, UnchangedFilesAreNotReadAgain) {
  timespec old = mtime("rootfs.erofs");
  ASSERT_TRUE(load_image(folder_).has_value());
  damage("rootfs.erofs");
  set_mtime("rootfs.erofs", old);
  EXPECT_TRUE(load_image(folder_).has_value());
  fs::remove(path(".verified"));
  expect_failure(ErrorCode::corrupted, path("rootfs.erofs"));
}

TEST_F(LoadImage, NotesAreBoundToTheExpectedChecksum) {
  ASSERT_TRUE(load_image(folder_).has_value());
  auto manifest = read_file(path("manifest.json")).value();
  auto sum = sha256_of_text("a kernel");
  manifest.replace(manifest.find(sum), sum.size(), std::string(64, '0'));
  write("manifest.json", manifest);
  expect_failure(ErrorCode::corrupted, path("vmlinux"));
}

TEST_F(LoadImage, RubbishNotesAreNoNotes) {
  for (std::string rubbish : {std::string(), std::string("x y z"), std::string(200'000, '7'),
                              std::string(64, '0') + " 1 2 3 4 vmlinux\n"}) {
    write(".verified", rubbish);
    EXPECT_TRUE(load_image(folder_).has_value());
    write(".verified", rubbish);
    damage("vmlinux");
    expect_failure(ErrorCode::corrupted, path("vmlinux"));
    write("vmlinux", "a kernel");
  }
}

TEST_F(LoadImage, WrongSizeIsNamed) {
  write("initramfs.cpio", "short");
  expect_failure(ErrorCode::corrupted, "has 5 bytes instead of 10");
}

TEST_F(LoadImage, ManifestMustBeWholeAndSmall) {
  auto manifest = read_file(path("manifest.json")).value();
  write("manifest.json", manifest.substr(0, manifest.size() / 2));
  expect_failure(ErrorCode::corrupted, "manifest.json");
  write("manifest.json", manifest + std::string(1 << 20, ' '));
  expect_failure(ErrorCode::corrupted, "too large");
}

TEST_F(LoadImage, LinksAndPipesAreNotFiles) {
  fs::rename(path("vmlinux"), path("kernel-elsewhere"));
  fs::create_symlink("kernel-elsewhere", path("vmlinux"));
  EXPECT_FALSE(load_image(folder_).has_value());
  fs::remove(path("vmlinux"));
  ASSERT_EQ(::mkfifo(path("vmlinux").c_str(), 0600), 0);
  expect_failure(ErrorCode::corrupted, "not a regular file");
}

int64_t allocated_kib(const std::string& path) {
  struct stat info {};
  EXPECT_EQ(::stat(path.c_str(), &info), 0);
  return info.st_blocks / 2;
}

class Scratch : public Folder {};

TEST_F(Scratch, IsALargeDiskInASmallFile) {
  auto made = make_scratch(path("scratch"), 4096);
  ASSERT_TRUE(made.has_value()) << made.error().message();
  EXPECT_EQ(fs::file_size(path("scratch")), 4096ull << 20);
  EXPECT_LT(allocated_kib(path("scratch")), 1024);
  EXPECT_EQ(fs::status(path("scratch")).permissions(), fs::perms(0600));
  EXPECT_EQ(std::system(("/sbin/e2fsck -fn " + path("scratch") + " >/dev/null 2>&1").c_str()), 0);
}

TEST_F(Scratch, CopiesStaySmallAndEqual) {
  ASSERT_TRUE(make_scratch(path("scratch"), 4096).has_value());
  auto source = open_file(path("scratch"), O_RDONLY);
  auto target = open_file(path("copy"), O_RDWR | O_CREAT | O_EXCL, 0600);
  ASSERT_TRUE(source.has_value() && target.has_value());
  auto copied = clone_file(source.value().get(), target.value().get());
  ASSERT_TRUE(copied.has_value()) << copied.error().message();
  EXPECT_LT(allocated_kib(path("copy")), 1024);
  EXPECT_EQ(std::system(("/sbin/e2fsck -fn " + path("copy") + " >/dev/null 2>&1").c_str()), 0);
}

// Templates of two hosts, or of two days, must not differ for nothing.
TEST_F(Scratch, IsTheSameEveryTime) {
  ASSERT_TRUE(make_scratch(path("a"), 64).has_value());
  ASSERT_TRUE(make_scratch(path("b"), 64).has_value());
  EXPECT_EQ(sha256_of_text(read_file(path("a"), 65 << 20).value()),
            sha256_of_text(read_file(path("b"), 65 << 20).value()));
}

TEST_F(Scratch, NeverOverwrites) {
  write("scratch", "somebody's disk");
  auto made = make_scratch(path("scratch"), 64);
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().code(), ErrorCode::already_exists);
  EXPECT_EQ(read_file(path("scratch")).value(), "somebody's disk");
}

TEST_F(Scratch, RefusesSillySizes) {
  for (int mib : {-1, 0, 7, (1 << 20) + 1}) {
    auto made = make_scratch(path("scratch"), mib);
    ASSERT_FALSE(made.has_value());
    EXPECT_EQ(made.error().code(), ErrorCode::invalid_argument);
    EXPECT_FALSE(fs::exists(path("scratch")));
  }
}

TEST_F(Scratch, FullDiskIsSaidAndNothingIsLeft) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to mount a small file system";
  ASSERT_EQ(::mount("tmpfs", folder_.c_str(), "tmpfs", 0, "size=16k"), 0) << strerror(errno);
  auto made = make_scratch(path("scratch"), 4096);
  bool left = fs::exists(path("scratch"));
  ASSERT_EQ(::umount2(folder_.c_str(), MNT_DETACH), 0);
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().code(), ErrorCode::no_space) << made.error().message();
  EXPECT_FALSE(left);
}

}  // namespace
}  // namespace hako::image
