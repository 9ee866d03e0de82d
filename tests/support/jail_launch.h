// Starts a program through the launch of VMMs, with the descriptors of a VMM, and hears what it
// says.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "support/jail_walls.h"

namespace hako::testing_support {

/// How an attempt of jail_probe ended.
struct Outcome {
  bool answered = false;
  int error = 0;   ///< where it answered; 0: it got through
  int signal = 0;  ///< where it was ended instead
  bool got_through() const { return answered && error == 0; }
  std::string text() const;
};

/// What a VMM has around it: disks, a tap, sealed memory, a control socket, an empty namespace; and
/// what it might go for: a process of root and one of its own uid, files, sockets, shared memory.
/// Needs root. Throws std::runtime_error where something cannot be had.
class JailLab {
 public:
  JailLab();
  ~JailLab();
  JailLab(const JailLab&) = delete;
  JailLab& operator=(const JailLab&) = delete;

  /// Makes one attempt in the jail without `left_out`. `instead`: descriptors that replace or add
  /// to those of a VMM, by their numbers there.
  Outcome attempt(const std::set<jail::Wall>& left_out, const std::string& name,
                  const std::string& value, const std::map<int, int>& instead = {});

  static constexpr uid_t kUid = 947001;
  static constexpr uint64_t kDiskSize = 64 << 20;
  /// Numbers of descriptors in a VMM, as the engine gives them.
  enum Number { memory = 3, control, root_disk, disk, tap, program, setuid_program };

  std::string folder;       ///< all may write in it
  std::string open_file;    ///< all may read and write it
  std::string owned_file;   ///< of the VMM's uid
  std::string socket_path;  ///< all may connect
  std::string abstract;     ///< name of a listening abstract socket, with its '@'
  pid_t root_process = -1, own_process = -1;
  std::string own_memory;                              ///< "pid:address" of a byte of own_process
  uint16_t tcp_port = 0, udp_port = 0, udp6_port = 0;  ///< on loopback; the last 0 without IPv6
  int shm_key = 0;

 private:
  void make_files();
  void make_descriptors();
  void make_processes();
  void make_sockets();

  asio::io_context io_;
  jail::VmmJail jail_;
  std::map<int, Fd> given_;
  std::vector<Fd> kept_;
  Fd netns_;
  std::string setuid_copy_;
  int shm_ = -1;
};

}  // namespace hako::testing_support
