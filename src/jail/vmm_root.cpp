#include "jail/vmm_root.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <sstream>

#include "base/process.h"

namespace hako::jail {
namespace {

constexpr size_t kLongestList = 64 << 10;

/// Whether the file has as much there.
Result<bool> read_at(const Fd& file, void* to, size_t size, off_t at) {
  ssize_t n = ::pread(file.get(), to, size, at);
  if (n < 0) return Error::from_errno(errno, "read a VMM's program");
  return n == static_cast<ssize_t>(size);
}

/// The loader that a program names; empty for one without (a static one, a script).
Result<std::string> loader_of(const std::string& program) {
  HAKO_TRY(auto file, open_file(program, O_RDONLY));
  Elf64_Ehdr header{};
  HAKO_TRY(bool long_enough, read_at(file, &header, sizeof header, 0));
  if (!long_enough) return "";
  if (std::string_view(reinterpret_cast<char*>(header.e_ident), SELFMAG) != ELFMAG) return "";
  for (int i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr part{};
    off_t at = static_cast<off_t>(header.e_phoff) + i * static_cast<off_t>(sizeof part);
    HAKO_TRY(bool there, read_at(file, &part, sizeof part, at));
    if (!there) return "";
    if (part.p_type != PT_INTERP) continue;
    std::string path(std::min<size_t>(part.p_filesz, PATH_MAX), '\0');
    auto at_path = static_cast<off_t>(part.p_offset);
    HAKO_TRY(bool whole, read_at(file, path.data(), path.size(), at_path));
    if (!whole) return "";
    return path.substr(0, path.find('\0'));
  }
  return "";
}

/// Error also if it does not end well: what it said may then not be all.
Result<std::string> output_of(asio::any_io_executor executor, const ProcessSpec& asked) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return Error::from_errno(errno, "pipe");
  Fd reading(ends[0]), writing(ends[1]);
  ProcessSpec spec = asked;
  spec.fds = {{writing.get(), 1}};
  HAKO_TRY(auto process, spawn(executor, spec));
  writing.reset();
  std::string text;
  char buffer[4096];
  for (ssize_t n; text.size() < kLongestList;) {
    n = ::read(reading.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "read what " + spec.path + " says");
    if (n == 0) break;
    text.append(buffer, static_cast<size_t>(n));
  }
  reading.reset();
  siginfo_t ended{};
  while (::waitid(P_PID, static_cast<id_t>(process.pid()), &ended, WEXITED | WNOWAIT) < 0 &&
         errno == EINTR) {
  }
  if (ended.si_code != CLD_EXITED || ended.si_status != 0)
    return Error(ErrorCode::unavailable, spec.path + " fails: " + text);
  return text;
}

/// The loader's list has lines "name => /path (address)" and "/path (address)".
std::vector<std::string> paths_in(const std::string& list) {
  std::vector<std::string> paths;
  std::istringstream lines(list);
  for (std::string line; std::getline(lines, line);) {
    size_t start = line.find('/'), end = line.rfind(" (");
    if (size_t arrow = line.find("=> "); arrow != std::string::npos) start = arrow + 3;
    if (start == std::string::npos || end == std::string::npos || end <= start) continue;
    if (line[start] == '/') paths.push_back(line.substr(start, end - start));
  }
  return paths;
}

}  // namespace

Result<std::vector<Shown>> files_of_vmm(asio::any_io_executor executor, const std::string& program,
                                        bool kvm) {
  std::vector<Shown> shown{{program, Shown::As::program}};
  HAKO_TRY(auto loader, loader_of(program));
  if (!loader.empty()) {
    // It maps the libraries to list them, and runs nothing of them.
    HAKO_TRY(auto list,
             output_of(executor, {loader, {loader, "--list", program}, {"LC_ALL=C"}, {}}));
    auto paths = paths_in(list);
    // The loader thinks it ends well with that, too.
    if (list.find("=> not found") != std::string::npos)
      return Error(ErrorCode::failed_precondition, program + " lacks libraries: " + list);
    if (paths.empty())
      return Error(ErrorCode::failed_precondition, loader + " lists no libraries of " + program);
    for (auto& path : paths) shown.push_back({path, Shown::As::program});
    shown.push_back({"/etc/ld.so.cache"});
  }
  // .../bin/qemu-system-x86_64 looks for these beside its own folder.
  auto prefix = std::filesystem::path(program).parent_path().parent_path().string();
  for (const char* folder : {"/share/qemu", "/share/seabios"}) shown.push_back({prefix + folder});
  for (const char* folder : {"/lib/qemu", "/lib/x86_64-linux-gnu/qemu"})
    shown.push_back({prefix + folder, Shown::As::program});
  if (kvm) shown.push_back({"/dev/kvm", Shown::As::device});
  return shown;
}

}  // namespace hako::jail
