#include "cli/tar.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

namespace hako::cli {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kLongestRecord = 64 << 10;
constexpr uint64_t kLargestUstar = (uint64_t{1} << 33) - 1;

struct Field {
  size_t offset, length;
};
constexpr Field kName{0, 100}, kMode{100, 8}, kUid{108, 8}, kGid{116, 8}, kSize{124, 12},
    kMtime{136, 12}, kChecksum{148, 8}, kLink{157, 100}, kMagic{257, 6}, kPrefix{345, 155};
constexpr size_t kType = 156;

Error corrupted(std::string_view what) {
  return Error(ErrorCode::corrupted, "the archive is damaged: " + std::string(what));
}

std::string text_of(std::string_view block, Field field) {
  std::string_view text = block.substr(field.offset, field.length);
  return std::string(text.substr(0, text.find('\0')));
}

/// Octal digits with spaces or zero bytes around them, or GNU's big-endian form.
std::optional<uint64_t> number_of(std::string_view block, Field field) {
  std::string_view text = block.substr(field.offset, field.length);
  uint64_t value = 0;
  if (static_cast<unsigned char>(text[0]) == 0x80) {
    for (size_t i = 1; i < text.size(); ++i) {
      if (value >> 55) return std::nullopt;
      value = value << 8 | static_cast<unsigned char>(text[i]);
    }
    return value;
  }
  size_t i = 0;
  while (i < text.size() && text[i] == ' ') ++i;
  for (; i < text.size() && text[i] != ' ' && text[i] != '\0'; ++i) {
    if (text[i] < '0' || text[i] > '7' || value >> 60) return std::nullopt;
    value = value << 3 | static_cast<uint64_t>(text[i] - '0');
  }
  return value;
}

uint64_t checksum_of(std::string_view block) {
  uint64_t sum = 0;
  for (size_t i = 0; i < kBlock; ++i) {
    bool own = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.length;
    sum += own ? ' ' : static_cast<unsigned char>(block[i]);
  }
  return sum;
}

uint64_t padding_of(uint64_t size) {
  return (kBlock - size % kBlock) % kBlock;
}

void put(std::string& block, Field field, std::string_view text) {
  std::copy_n(text.begin(), std::min(text.size(), field.length),
              block.begin() + static_cast<ptrdiff_t>(field.offset));
}

void put_number(std::string& block, Field field, uint64_t value) {
  std::string digits(field.length - 1, '0');
  for (size_t i = digits.size(); i-- > 0; value >>= 3)
    digits[i] = static_cast<char>('0' + value % 8);
  put(block, field, digits);
}

std::string ustar_block(const TarEntry& entry, char type) {
  std::string block(kBlock, '\0');
  put(block, kName, entry.name);
  put_number(block, kMode, entry.mode & 07777);
  put_number(block, kUid, 0);
  put_number(block, kGid, 0);
  put_number(block, kSize, std::min(entry.size, kLargestUstar));
  put_number(block, kMtime,
             static_cast<uint64_t>(
                 std::clamp<int64_t>(entry.mtime, 0, static_cast<int64_t>(kLargestUstar))));
  block[kType] = type;
  put(block, kLink, entry.link);
  put(block, kMagic,
      std::string_view("ustar\0"
                       "00",
                       8)
          .substr(0, 6));
  block[263] = block[264] = '0';
  std::string sum(7, '0');
  uint64_t value = checksum_of(block);
  for (size_t i = 6; i-- > 0; value >>= 3) sum[i] = static_cast<char>('0' + value % 8);
  sum[6] = '\0';
  put(block, kChecksum, sum);
  block[kChecksum.offset + 7] = ' ';
  return block;
}

/// "<length> <key>=<value>\n", where the length counts itself.
std::string pax_record(std::string_view key, std::string_view value) {
  size_t rest = key.size() + value.size() + 3;
  size_t length = rest + 1;
  while (rest + std::to_string(length).size() != length)
    length = rest + std::to_string(length).size();
  std::string record = std::to_string(length) + " ";
  record.append(key).append("=").append(value).append("\n");
  return record;
}

}  // namespace

Result<void> TarReader::feed(std::string_view bytes) {
  while (!bytes.empty() && !ended_) {
    switch (part_) {
      case Part::header: {
        size_t take = std::min(bytes.size(), kBlock - block_.size());
        block_.append(bytes.substr(0, take));
        bytes.remove_prefix(take);
        if (block_.size() == kBlock) {
          HAKO_TRYV(take_header());
        }
        break;
      }
      case Part::data: {
        size_t take = static_cast<size_t>(std::min<uint64_t>(bytes.size(), body_left_));
        HAKO_TRYV(sink_.data(bytes.substr(0, take)));
        bytes.remove_prefix(take);
        body_left_ -= take;
        if (body_left_ == 0) {
          HAKO_TRYV(end_body());
        }
        break;
      }
      case Part::record: {
        size_t take = static_cast<size_t>(std::min<uint64_t>(bytes.size(), body_left_));
        block_.append(bytes.substr(0, take));
        bytes.remove_prefix(take);
        body_left_ -= take;
        if (body_left_ == 0) {
          HAKO_TRYV(end_body());
        }
        break;
      }
      case Part::padding: {
        size_t take = static_cast<size_t>(std::min<uint64_t>(bytes.size(), padding_left_));
        bytes.remove_prefix(take);
        padding_left_ -= take;
        if (padding_left_ == 0) part_ = Part::header;
        break;
      }
    }
  }
  return ok();
}

Result<void> TarReader::end_body() {
  if (part_ == Part::data) {
    HAKO_TRYV(sink_.end_of_entry());
  } else {
    HAKO_TRYV(take_record());
    block_.clear();
  }
  part_ = padding_left_ > 0 ? Part::padding : Part::header;
  return ok();
}

Result<void> TarReader::take_header() {
  std::string block = std::exchange(block_, {});
  if (block.find_first_not_of('\0') == std::string::npos) {
    ended_ = ++zero_blocks_ == 2;
    return ok();
  }
  zero_blocks_ = 0;
  auto sum = number_of(block, kChecksum);
  if (!sum || *sum != checksum_of(block)) return corrupted("a header has a wrong checksum");
  auto size = number_of(block, kSize);
  auto mode = number_of(block, kMode);
  if (!size || !mode) return corrupted("a header holds a malformed number");
  char type = block[kType];

  if (type == 'L' || type == 'K' || type == 'x' || type == 'g') {
    if (*size > kLongestRecord) return corrupted("an extension record is too long");
    record_type_ = type;
    body_left_ = *size;
    padding_left_ = padding_of(*size);
    part_ = Part::record;
    return body_left_ == 0 ? end_body() : Result<void>(ok());
  }

  TarEntry entry;
  entry.name = text_of(block, kName);
  if (block.substr(kMagic.offset, 6) == std::string_view("ustar\0", 6))
    if (std::string prefix = text_of(block, kPrefix); !prefix.empty())
      entry.name = prefix + "/" + entry.name;
  entry.link = text_of(block, kLink);
  if (!next_name_.empty()) entry.name = std::exchange(next_name_, {});
  if (!next_link_.empty()) entry.link = std::exchange(next_link_, {});
  entry.size = has_next_size_ ? next_size_ : *size;
  has_next_size_ = false;
  entry.mode = static_cast<uint32_t>(*mode & 07777);
  entry.mtime = static_cast<int64_t>(number_of(block, kMtime).value_or(0) & INT64_MAX);
  switch (type) {
    case '0':
    case '\0':
    case '7':
      entry.kind = entry.name.ends_with('/') ? TarEntry::Kind::directory : TarEntry::Kind::file;
      break;
    case '5':
      entry.kind = TarEntry::Kind::directory;
      break;
    case '2':
      entry.kind = TarEntry::Kind::symlink;
      break;
    case '1':
      entry.kind = TarEntry::Kind::hard_link;
      break;
    default:
      entry.kind = TarEntry::Kind::other;
  }
  // Links carry no data whatever their header says.
  if (type == '1' || type == '2') entry.size = 0;
  if (entry.size > (uint64_t{1} << 62)) return corrupted("an entry is impossibly large");
  HAKO_TRYV(sink_.entry(entry));
  body_left_ = entry.size;
  padding_left_ = padding_of(entry.size);
  part_ = Part::data;
  return body_left_ == 0 ? end_body() : Result<void>(ok());
}

Result<void> TarReader::take_record() {
  if (record_type_ == 'g') return ok();
  if (record_type_ != 'x') {
    std::string text = block_.substr(0, block_.find('\0'));
    (record_type_ == 'L' ? next_name_ : next_link_) = std::move(text);
    return ok();
  }
  std::string_view rest = block_;
  while (!rest.empty() && rest.front() != '\0') {
    size_t length = 0;
    auto [end, failed] = std::from_chars(rest.data(), rest.data() + rest.size(), length);
    auto digits = static_cast<size_t>(end - rest.data());
    if (failed != std::errc{} || length > rest.size() || length < digits + 3 ||
        rest[digits] != ' ' || rest[length - 1] != '\n')
      return corrupted("a pax record is malformed");
    std::string_view pair = rest.substr(digits + 1, length - digits - 2);
    rest.remove_prefix(length);
    size_t equals = pair.find('=');
    if (equals == std::string_view::npos) return corrupted("a pax record is malformed");
    std::string_view key = pair.substr(0, equals), value = pair.substr(equals + 1);
    if (key == "path") {
      next_name_ = value;
    } else if (key == "linkpath") {
      next_link_ = value;
    } else if (key == "size") {
      auto [stop, bad] = std::from_chars(value.data(), value.data() + value.size(), next_size_);
      if (bad != std::errc{} || stop != value.data() + value.size())
        return corrupted("a pax record holds a malformed size");
      has_next_size_ = true;
    } else if (key.starts_with("GNU.sparse")) {
      return Error(ErrorCode::unsupported, "the archive holds a sparse file");
    }
  }
  return ok();
}

Result<void> TarReader::finish() const {
  if (ended_) return ok();
  return corrupted("it is cut short");
}

std::string tar_header(const TarEntry& entry) {
  char type = entry.kind == TarEntry::Kind::directory ? '5'
              : entry.kind == TarEntry::Kind::symlink ? '2'
                                                      : '0';
  std::string records;
  if (entry.name.size() > kName.length) records += pax_record("path", entry.name);
  if (entry.link.size() > kLink.length) records += pax_record("linkpath", entry.link);
  if (entry.size > kLargestUstar) records += pax_record("size", std::to_string(entry.size));
  if (records.empty()) return ustar_block(entry, type);
  TarEntry extension;
  extension.name = "pax";
  extension.size = records.size();
  return ustar_block(extension, 'x') + records + tar_padding(records.size()) +
         ustar_block(entry, type);
}

std::string tar_padding(uint64_t size) {
  return std::string(padding_of(size), '\0');
}

std::string tar_trailer() {
  return std::string(2 * kBlock, '\0');
}

}  // namespace hako::cli
