// What the operator can set. Every value has a default; the file is TOML.
#pragma once

#include <boost/asio/ip/address.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "policy/egress_plan.h"

namespace hako::config {

struct Config {
  std::string state_dir = "/var/lib/hako";  ///< [paths] state: boxes, snapshots, database, key
  std::string run_dir = "/run/hako";        ///< [paths] run: sockets, namespaces
  std::string image_dir = "/var/cache/hako/images";  ///< [paths] images: one folder per image

  std::string api_address = "127.0.0.1";   ///< [api] address
  uint16_t api_port = 3000;                ///< [api] port
  std::string api_certificate;  ///< [api] certificate: PEM file with the chain; empty: no TLS
  std::string api_certificate_key;  ///< [api] key: PEM file
  /// [api] allow_plain_beyond_loopback: serves other machines without TLS
  bool allow_plain_api_beyond_loopback = false;
  std::string gate_address = "127.0.0.1";  ///< [gate] address
  uint16_t gate_port = 3002;               ///< [gate] port
  /// [gate] domain: boxes answer at <port>-<id>.<domain>. What clients are told, so with a port
  /// behind it where they do not use the usual one.
  std::string domain = "hako.localhost";
  std::string gate_certificate;  ///< [gate] certificate: PEM file with the chain; empty: no TLS
  std::string gate_key;          ///< [gate] key: PEM file
  bool allow_plain_gate_beyond_loopback = false;  ///< [gate] allow_plain_beyond_loopback
  /// [gate] upstream_ca_file: PEM, whom to trust about servers that secrets are sent to
  std::string upstream_ca_file = "/etc/ssl/certs/ca-certificates.crt";

  std::string accel = "auto";                        ///< [engine] accel: auto|kvm|tcg
  std::string qemu = "/usr/bin/qemu-system-x86_64";  ///< [engine] qemu
  std::chrono::milliseconds boot_deadline{40000};    ///< [engine] boot_deadline_ms, per try
  int boot_tries = 3;                                ///< [engine] boot_tries
  std::string kernel;                           ///< [engine] kernel: boots instead of the image's
  std::string kernel_args;                      ///< [engine] kernel_args: added to the guest's own
  bool allow_emulated_beyond_loopback = false;  ///< [engine] allow_emulated_beyond_loopback

  std::string default_template = "base";  ///< [template] default
  int memory_mib = 256;                   ///< [template] memory_mib
  int vcpus = 1;                          ///< [template] vcpus
  int disk_mib = 4096;                    ///< [template] disk_mib
  /// [template] registries: what images may be pulled from, as host[:port]; empty: from nowhere.
  std::vector<std::string> registries;
  /// [template] insecure_registries: the same, over plain HTTP or unverified TLS.
  std::vector<std::string> insecure_registries;
  /// [template] registry_hosts: further hosts that a registry may send a pull to, for a token or
  /// for its layers; "*." in front means every name below.
  std::vector<std::string> registry_hosts;
  int pull_mib = 8192;                     ///< [template] pull_mib: the most one pull may bring
  int build_minutes = 240;                 ///< [template] build_minutes: the longest one build may take
  std::string skopeo = "/usr/bin/skopeo";  ///< [template] skopeo: the program that pulls
  /// [checkpoints] key_file: 32 bytes, or as many in hex, that only root may read; empty: no encryption.
  std::string checkpoint_key_file;
  /// [secrets] master_key_file: 32 bytes, in hex or base64 or as they are, that only root may read; and
  /// master_key_command: a program that prints them. Neither: this server keeps no secrets.
  std::string master_key_file;
  std::string master_key_command;
  int pool_size = 4;                      ///< [pool] size, clones kept ready per template

  bool cpu_shares = true;     ///< [fairness] cpu_shares: processors are shared between tenants
  int creates_at_once = 4;    ///< [fairness] creates_at_once: at the node; others wait their turn
  int creates_waiting = 64;   ///< [fairness] creates_waiting, of one tenant; further ones get a 429
  int calls_at_once = 64;     ///< [fairness] calls_at_once, of one tenant; further ones get a 429
  int calls_per_second = 200; ///< [fairness] calls_per_second, of one tenant; further ones wait; 0: any
  int pool_kept = 2;          ///< [fairness] pool_kept: clones of a pool that only those get who use little

  int max_boxes = 400;                      ///< [limits] boxes
  int max_memory_mib = 8192;                ///< [limits] memory_mib, of one box
  int max_vcpus = 8;                        ///< [limits] vcpus, of one box
  std::chrono::seconds max_ttl{24 * 3600};  ///< [limits] ttl_seconds
  int64_t min_free_disk_mib = 1024;         ///< [limits] min_free_disk_mib: creates stop below it
  int64_t min_free_memory_mib = 512;        ///< [limits] min_free_memory_mib

  // What a box may take of the host, its VMM included (docs/limits.md). 0: no limit.
  int spare_cpu_percent = 50;     ///< [limits] spare_cpu_percent, of one processor, beyond its CPUs
  int spare_memory_mib = 256;     ///< [limits] spare_memory_mib, beyond the guest's memory
  int boxes_memory_percent = 90;  ///< [limits] boxes_memory_percent, of the host's, all boxes together
  int vmm_threads = 192;          ///< [limits] threads, of one VMM
  int disk_mib_per_second = 512;  ///< [limits] disk_mib_per_second, reads and writes together
  int disk_operations_per_second = 20'000;  ///< [limits] disk_operations_per_second, likewise
  int network_mib_per_second = 1024;  ///< [limits] network_mib_per_second, in each direction
  int packets_per_second = 100'000;   ///< [limits] packets_per_second that it sends
  int connects_per_second = 1024;     ///< [limits] connects_per_second that reach the gate at all
  int names_per_second = 512;         ///< [limits] names_per_second that reach the gate at all

  std::string models_file;  ///< [models] file: a TOML file of its own (config/models.h); empty: none

  uint32_t api_uid = 640001;       ///< [users] api (uid and gid)
  uint32_t gate_uid = 640002;      ///< [users] gate
  uint32_t vmm_uid_base = 650000;  ///< [users] vmm_base: slot n runs as vmm_base + n

  std::chrono::seconds metrics_interval{30};  ///< [metrics] interval_seconds; 0: only when asked

  std::string log_level = "info";  ///< [log] level

  int64_t audit_segment_mib = 64;   ///< [audit] segment_mib
  int64_t audit_keep_segments = 0;  ///< [audit] keep_segments; 0: all
  std::chrono::days audit_keep{0};   ///< [audit] keep_days; 0: for ever
  std::chrono::seconds audit_sign_every{10};  ///< [audit] sign_every_s
  /// [audit] tenant_mib_per_day: of one tenant's records of what changed nothing; 0: any
  int64_t audit_tenant_mib_per_day = 1024;
  /// [audit] command_lines: "full", or only the "program" of commands that are started.
  std::string audit_command_lines = "full";

  /// [egress] and [labels]: what boxes may reach. No list is longer than 1024, none of a label
  /// than 128.
  policy::EgressPlatform egress;
  /// A DNS server that the gate asks.
  struct Resolver {
    boost::asio::ip::address address;
    uint16_t port = 53;
    bool operator==(const Resolver&) const = default;
  };
  std::vector<Resolver> resolvers;  ///< [egress] resolvers; empty: the host's own

  bool keeps_secrets() const { return !master_key_file.empty() || !master_key_command.empty(); }

  // Derived.
  std::string node_socket() const { return run_dir + "/node.sock"; }
  std::string gate_socket() const { return run_dir + "/gate-control.sock"; }
  std::string api_socket() const { return run_dir + "/api.sock"; }
  std::string wake_socket() const { return run_dir + "/wake.sock"; }
  std::string broker_socket() const { return run_dir + "/broker.sock"; }
  /// The name under which clients that know only the domain look for the API; none without TLS.
  std::string api_host() const {
    return gate_certificate.empty() ? "" : "api." + domain.substr(0, domain.find(':'));
  }
  std::string key_file() const { return state_dir + "/api-key"; }
  std::string audit_dir() const { return state_dir + "/api/audit"; }
  /// The key that signs the audit log; the public one is beside it (.pub, .pem).
  std::string audit_key() const { return state_dir + "/api/audit-key"; }
  std::string database() const { return state_dir + "/api/hako.db"; }

  bool operator==(const Config&) const = default;
};

/// Every key the file may have, as "section.key", in the order of the documentation.
std::vector<std::string> known_keys();

/// Where the configuration is looked for when nobody says: $HAKO_CONFIG, else /etc/hako/hako.toml.
std::string default_path();

/// Reads `path`. A missing file is all defaults when `must_exist` is false. Environment variables
/// HAKO_STATE_DIR, HAKO_RUN_DIR, HAKO_IMAGE_DIR, HAKO_API_PORT, HAKO_GATE_PORT, HAKO_POOL_SIZE
/// override the file. Errors: invalid_argument with file, line, key and what was expected
/// (unknown keys included, with the nearest known one).
Result<Config> load(const std::string& path, bool must_exist);

}  // namespace hako::config
