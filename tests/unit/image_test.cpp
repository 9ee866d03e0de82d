// What a manifest may say. It is written by scripts/build-image, but a half-written or edited one
// must end in a plain error, and never point outside of the image's folder.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "image/checksum.h"
#include "image/manifest.h"

namespace hako::image {
namespace {

using ::testing::HasSubstr;

const std::string kSum(64, 'a');

std::string manifest_text(const std::string& kernel_name = "vmlinux") {
  return R"({"name": "base", "kernel": ")" + kernel_name +
         R"(", "initrd": "initramfs.cpio", "rootfs": "rootfs.erofs",
           "kernel_version": "6.1.0-1-amd64", "files": {
             ")" +
         kernel_name + R"(": {"size": 5, "sha256": ")" + kSum + R"("},
             "initramfs.cpio": {"size": 6, "sha256": ")" +
         kSum + R"("},
             "rootfs.erofs": {"size": 7, "sha256": ")" +
         kSum + R"("}}})";
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

void expect_corrupted(std::string_view text, std::string_view mention) {
  auto manifest = parse_manifest(text);
  ASSERT_FALSE(manifest.has_value()) << text;
  EXPECT_EQ(manifest.error().code(), ErrorCode::corrupted);
  EXPECT_THAT(manifest.error().message(), HasSubstr(std::string(mention)));
}

TEST(Manifest, IsRead) {
  auto manifest = parse_manifest(manifest_text());
  ASSERT_TRUE(manifest.has_value()) << manifest.error().message();
  EXPECT_EQ(manifest.value().name, "base");
  EXPECT_EQ(manifest.value().kernel, "vmlinux");
  EXPECT_EQ(manifest.value().kernel_version, "6.1.0-1-amd64");
  EXPECT_EQ(manifest.value().files.at("rootfs.erofs").size, 7u);
  EXPECT_EQ(manifest.value().files.at("rootfs.erofs").sha256, kSum);
}

TEST(Manifest, EveryTruncationIsRefused) {
  std::string whole = manifest_text();
  for (size_t length = 0; length < whole.size(); ++length) {
    auto manifest = parse_manifest(std::string_view(whole).substr(0, length));
    ASSERT_FALSE(manifest.has_value()) << length;
    EXPECT_EQ(manifest.error().code(), ErrorCode::corrupted);
  }
}

TEST(Manifest, NamesTheWrongMember) {
  expect_corrupted("[]", "not a JSON object");
  expect_corrupted("{}", "\"files\"");
  expect_corrupted(replaced(manifest_text(), R"("name": "base")", R"("name": 7)"), "\"name\"");
  expect_corrupted(
      replaced(manifest_text(), R"("kernel_version": "6.1.0-1-amd64")", R"("kernel_version": "")"),
      "\"kernel_version\"");
  expect_corrupted(
      replaced(manifest_text(), R"("rootfs": "rootfs.erofs")", R"("rootfs": "other.erofs")"),
      "\"rootfs\"");
  expect_corrupted(replaced(manifest_text(), R"("size": 5)", R"("size": -5)"), "\"size\"");
  expect_corrupted(replaced(manifest_text(), R"("size": 5)", R"("size": 5.5)"), "\"size\"");
  expect_corrupted(replaced(manifest_text(), kSum, "abc"), "\"sha256\"");
  expect_corrupted(replaced(manifest_text(), kSum, std::string(64, 'A')), "\"sha256\"");
}

TEST(Manifest, FileNamesStayInTheFolder) {
  for (const char* name : {"../vmlinux", "/etc/passwd", "a/b", "..", ".verified", "", "a b"})
    expect_corrupted(manifest_text(name), "without folders");
}

TEST(Checksum, IsSha256) {
  EXPECT_EQ(sha256_of_text("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_of_text(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

}  // namespace
}  // namespace hako::image
