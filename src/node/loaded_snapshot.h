// A snapshot in memory, with all that a clone of it needs.
#pragma once

#include <string>

#include "engine/engine.h"
#include "node/record.h"

namespace hako::node {

/// What clones are made from; shared by all clones of one template and size.
struct LoadedSnapshot {
  std::string id;  ///< of this content: equal ones are the same memory
  engine::Snapshot memory;
  // Open descriptors, not paths: a template that is replaced must not change under its old clones.
  Fd rootfs;  ///< read-only root image
  Fd disk;    ///< scratch disk as captured; none where only checkpoints with disks of their own stand on it
  std::string template_name;
  std::string revision;    ///< of the template
  GuestDefaults defaults;  ///< of the template
  int disk_mib = 0;
};

}  // namespace hako::node
