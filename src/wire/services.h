// The methods of the guest's two services, and what their messages hold.
#pragma once

#include <span>
#include <string_view>

#include "wire/proto.h"

namespace hako::wire {

struct Method {
  std::string_view name;
  const ProtoMessage* request;
  const ProtoMessage* response;
};

/// process.Process and filesystem.Filesystem. Nothing for a name that is no method of it.
const Method* find_process_method(std::string_view name);
const Method* find_filesystem_method(std::string_view name);

}  // namespace hako::wire
