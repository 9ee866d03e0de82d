#include "node/kvm_trial.h"

namespace hako::node {

Task<Result<void>> run_trial_guest(Context& context, Templates& templates,
                                   std::string template_name) {
  const Template* found = templates.find(template_name);
  if (!found) co_return Error(ErrorCode::not_found, "template '" + template_name + "'");
  auto snapshot = co_await templates.snapshot(template_name, found->size);
  if (!snapshot) co_return snapshot.error();
  auto cloned = co_await Vm::clone(context, snapshot.value());
  if (!cloned) co_return cloned.error();
  auto vm = std::move(cloned).value();
  boost::json::object no_environment;
  Result<void> done = co_await vm->identify("trial", std::move(no_environment));
  co_await vm->destroy();
  co_return done;
}

}  // namespace hako::node
