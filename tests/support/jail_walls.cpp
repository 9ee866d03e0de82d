#include "support/jail_walls.h"

namespace hako {

namespace {

std::set<jail::Wall> missing;

}  // namespace

bool jail::stands(Wall wall) {
  return missing.count(wall) == 0;
}

Result<Process> testing_support::launch_vmm_without(const std::set<jail::Wall>& left_out,
                                                    asio::any_io_executor executor,
                                                    const ProcessSpec& spec,
                                                    const jail::VmmJail& jail) {
  missing = left_out;
  auto process = jail::launch_vmm(executor, spec, jail);
  missing.clear();
  return process;
}

}  // namespace hako
