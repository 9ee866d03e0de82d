#include "api/template_builder.h"

#include "api/oci_unpack.h"
#include "api/sandboxes.h"
#include "api/template_scripts.h"
#include "base/clock.h"
#include "base/encoding.h"
#include "base/random.h"

namespace hako::api {
namespace json = boost::json;
using namespace std::chrono_literals;
using store::BuildRecord;
using store::BuildState;

namespace {

constexpr auto kBootTime = 5min;
constexpr auto kDiskTime = 2min;
constexpr auto kCaptureTime = 5min;
constexpr auto kStepTime = 1h;
constexpr auto kToolTime = 10min;
constexpr auto kReadyTime = 10min;
constexpr auto kOneReadyTime = 2min;
constexpr auto kReadyPause = 250ms;
/// How long a start command without a ready command has to show that it does not end at once.
constexpr auto kStartTime = 5s;
constexpr size_t kLongestReport = 1 << 20;
constexpr size_t kTokenSize = 20;

/// Texts of ours for the user pass as they are; what the node or a store says is looked at first.
Error for_user(const Error& error) {
  return error_for_user(error, "template build failed");
}

BoxCommand script(std::string_view text, std::vector<std::string> arguments) {
  BoxCommand command;
  command.cmd = "/bin/sh";
  command.args = {"-c", std::string(text), "sh"};
  for (auto& argument : arguments) command.args.push_back(std::move(argument));
  return command;
}

std::string owner_of(const std::string& user) {
  return user.find(':') == std::string::npos ? user + ":" + user : user;
}

}  // namespace

/// What a build begins on.
struct TemplateBuilder::Source {
  std::string text;  ///< for the log
  std::string node_name;
  std::string revision;
  StepContext context;
  policy::Label label = policy::Label::public_data;
  policy::Amounts sizes;
};

Task<Result<TemplateBuilder::Status>> TemplateBuilder::status(std::string template_id,
                                                              std::string build_id,
                                                              Principal who) {
  HAKO_CO_TRY(auto build, co_await catalog_.find_build(template_id, build_id, std::move(who)));
  Status status;
  status.build = build;
  if (auto found = live_.find(build_id); found != live_.end()) {
    status.build = found->second->build;
    if (!found->second->pulled) status.entries = found->second->log->entries();
    co_return status;
  }
  boost::system::error_code bad;
  json::value log = json::parse(build.log.empty() ? "[]" : build.log, bad);
  if (!bad && log.is_array()) status.entries = std::move(log.get_array());
  status.build.log.clear();
  co_return status;
}

Task<Result<json::object>> TemplateBuilder::ask(const Live& live, std::string method,
                                                json::object body, Duration deadline) {
  body["build"] = live.machine;
  auto answer = co_await node_.call(std::move(method), std::move(body), deadline);
  if (!answer) co_return for_user(answer.error());
  co_return std::move(answer).value();
}

Result<ImageName> TemplateBuilder::may_pull(const std::string& image) const {
  HAKO_TRY(auto name, parse_image_name(image));
  auto admitted = puller_.admit(name);
  if (admitted) return name;
  return Error(admitted.error().code(),
               "image '" + image + "' has not been imported (hako template import), and " +
                   admitted.error().message());
}

Task<Result<void>> TemplateBuilder::admit(const Recipe& recipe, Principal who) {
  if (recipe.from_image.empty()) co_return ok();
  HAKO_CO_TRY(auto imported, co_await catalog_.find_imported(recipe.from_image, std::move(who)));
  if (!imported) {
    HAKO_CO_TRYV(may_pull(recipe.from_image));
  }
  co_return ok();
}

Task<Result<ResolvedTemplate>> TemplateBuilder::find_image(Live& live) {
  const std::string& image = live.recipe.from_image;
  HAKO_CO_TRY(auto imported, co_await catalog_.find_imported(image, live.who));
  if (imported) co_return *imported;
  HAKO_CO_TRY(auto name, may_pull(image));
  // One at a time: what is being pulled for one build may be what the next wants.
  auto turn = co_await pulls_.take(live.who.tenant);
  if (!turn) co_return turn.error();
  auto pulled = co_await pull(live, std::move(name));
  live.recipe.login = {};
  if (!pulled) co_return pulled.error().with_context("image '" + image + "'");
  co_return std::move(pulled);
}

Task<Result<ResolvedTemplate>> TemplateBuilder::pull(Live& live, ImageName name) {
  live.log->add("info", "[base] Asking " + name.registry + " for " + name.text(), live.step);
  ImagePull::Say say = [&live](std::string_view line) {
    live.log->add("info", "[base] [pull]: " + std::string(line), live.step);
  };
  auto pull = puller_.begin(name, std::move(live.recipe.login), std::move(say));
  HAKO_CO_TRY(auto digest, co_await pull->look());
  HAKO_CO_TRY(auto known, co_await catalog_.find_pulled(name.repository, digest, live.who));
  if (known) {
    live.log->add("info", "CACHED [base] " + name.text_at(digest), live.step);
    co_return *known;
  }
  auto image = std::make_shared<Live>();
  HAKO_CO_TRY(image->archive, co_await pull->fetch());
  pull.reset();
  auto registering = catalog_.register_pulled(name.repository, digest, live.who);
  HAKO_CO_TRY(auto registered, co_await std::move(registering));
  image->pulled = true;
  image->build = std::move(registered.build);
  image->who = live.who;
  image->log = live.log;
  live_[image->build.id] = image;
  // A task of its own, which sees to its end when this one is stopped.
  struct StopsWithUs {
    Build image;
    ~StopsWithUs() {
      if (!image->is_over()) image->stop();
    }
  } stops{image};
  tasks_.spawn("build " + image->build.id, carry_out(image, ok()));
  co_await until_over(image);
  if (image->build.state != BuildState::ready)
    co_return Error(ErrorCode::failed_precondition, image->build.reason);
  HAKO_CO_TRYV(co_await catalog_.forget_old_pulled(live.who.tenant));
  co_return ResolvedTemplate{registered.what.id, registered.what.name, image->build.id};
}

Task<Result<TemplateBuilder::Source>> TemplateBuilder::find_source(Live& live) {
  const Recipe& recipe = live.recipe;
  Source source;
  std::string reference = recipe.from_template;
  if (!recipe.from_image.empty()) {
    HAKO_CO_TRY(auto resolved, co_await find_image(live));
    source.label = resolved.label;
    source.node_name = resolved.node_name;
    source.text = recipe.from_image;
    HAKO_CO_TRYV(may_start_from(live, resolved));
  } else {
    if (reference.empty()) reference = config_.default_template;
    HAKO_CO_TRY(auto resolved, co_await catalog_.resolve(reference, live.who));
    source.label = resolved.label;
    source.node_name = resolved.node_name;
    source.text = reference;
    HAKO_CO_TRYV(may_start_from(live, resolved));
  }
  HAKO_CO_TRY(auto known, co_await catalog_.node_templates());
  for (const NodeTemplateFacts& facts : known) {
    if (facts.name != source.node_name) continue;
    source.revision = facts.revision;
    source.context = facts.defaults;
    source.sizes = {1, facts.vcpus, facts.memory_mib, facts.disk_mib};
    co_return source;
  }
  co_return Error(ErrorCode::not_found,
                  "template '" + source.text + "' was built on another base image; build it again");
}

Task<Result<size_t>> TemplateBuilder::begin(Live& live, TemplateBox& box, const Source& source,
                                            std::vector<std::string> keys, std::string token) {
  json::object body;
  body["from"] = source.node_name;
  body["tenant"] = live.who.tenant;
  body["access_token"] = token;
  if (live.build.memory_mib > 0) body["memory_mib"] = live.build.memory_mib;
  if (live.build.vcpus > 0) body["vcpus"] = live.build.vcpus;
  json::array layers;
  for (const auto& key : keys) layers.emplace_back(key);
  body["layers"] = std::move(layers);
  HAKO_CO_TRY(auto begun, co_await ask(live, "build.begin", std::move(body), kBootTime));
  FieldReader reader(begun, "build.begin: ");
  auto cached = reader.number("cached", 0, int64_t(keys.size()));
  auto read = reader.outcome();
  if (!read || !cached) co_return for_user(Error(ErrorCode::corrupted, "build.begin: no answer"));
  co_await find_shell(live, box);
  co_return size_t(*cached);
}

Task<void> TemplateBuilder::find_shell(Live& live, TemplateBox& box) {
  live.shell = "/bin/bash";
  BoxCommand probe;
  probe.cmd = live.shell;
  probe.args = {"-c", ":"};
  auto found = co_await box.run(std::move(probe), nullptr, kToolTime);
  if (!found && found.error().code() == ErrorCode::invalid_argument) live.shell = "/bin/sh";
}

Task<Result<void>> TemplateBuilder::unpack_archive(Live& live, TemplateBox& box,
                                                   StepContext& context) {
  Fd content = std::move(live.archive);
  if (!content) {
    const std::string& hash = live.recipe.from_archive;
    auto file = files_.open(live.upload(hash));
    if (!TemplateFiles::is_hash(hash) || !file)
      co_return Error(ErrorCode::failed_precondition, "the image archive has not been uploaded");
    content = std::move(file.value().content);
  }
  // Where the node looks for it, on the machine's disk, is agreed in docs/internal-messages.md.
  std::string archive = "/tmp/.image", root = "/image-root";
  live.log->add("info", "[base] Unpacking the image", live.step);
  auto upload = box.upload(content.get(), archive, files_.disk());
  auto uploaded = co_await with_deadline(kStepTime, std::move(upload));
  if (!uploaded) co_return Error(ErrorCode::failed_precondition, uploaded.error().message());
  content.reset();
  BoxCommand command;
  command.cmd = "/usr/bin/python3";
  command.args = {"-c", std::string(oci_unpack_program()), archive, root};
  std::string report;
  TemplateBox::Output output = [&](bool is_error, std::string_view bytes) {
    live.log->add_output(is_error, bytes, "unpack", live.step);
    if (!is_error && report.size() + bytes.size() <= kLongestReport) report += bytes;
  };
  auto status = co_await box.run(std::move(command), std::move(output), kStepTime);
  live.log->flush_output("unpack", live.step);
  if (!status) co_return Error(ErrorCode::failed_precondition, status.error().message());
  if (status.value() != 0)
    co_return Error(ErrorCode::failed_precondition,
                    "the image archive could not be unpacked; the log says why");
  while (!report.empty() && report.back() == '\n') report.pop_back();
  size_t line = report.rfind('\n');
  HAKO_CO_TRY(auto told, parse_body(std::string_view(report).substr(line + 1)));
  HAKO_CO_TRY(context, parse_context(told));
  live.build.is_image = true;
  json::object nothing;
  HAKO_CO_TRYV(co_await ask(live, "build.use_as_root", std::move(nothing), kBootTime));
  co_await find_shell(live, box);
  co_return ok();
}

Task<Result<void>> TemplateBuilder::build(Build live) {
  const Recipe& recipe = live->recipe;
  HAKO_CO_TRY(auto source, co_await find_source(*live));
  HAKO_CO_TRYV(co_await admit_build_of(*live, source.sizes));
  auto raising = catalog_.raise_label(live->build.template_id, source.label);
  HAKO_CO_TRY(auto label, co_await std::move(raising));
  if (!live->pulled) live->log->add("info", "[base] FROM " + source.text, live->step);
  for (const RecipeStep& step : recipe.steps) {
    if (step.kind != StepKind::copy || !TemplateFiles::is_hash(step.files_hash)) continue;
    // What is missing is told when its step comes.
    auto file = files_.open(live->upload(step.files_hash));
    if (file) live->digests[step.files_hash] = file.value().digest;
  }
  LayerCache cache{source.revision, live->who.tenant, label};
  std::vector<std::string> keys = layer_keys(cache, recipe.steps, live->digests);
  std::vector<std::string> usable;
  // A root that was unpacked just now is no other build's, so no disk fits on it.
  bool cacheable = recipe.from_archive.empty() && !live->pulled;
  if (!cacheable) keys.clear();
  for (size_t i = 0; i < keys.size() && !recipe.force && !recipe.steps[i].force; ++i)
    usable.push_back(keys[i]);

  std::string token = random_hex(kTokenSize);
  TemplateBox box(config_, live->machine, token);
  HAKO_CO_TRY(size_t cached, co_await begin(*live, box, source, std::move(usable), token));
  StepContext context = source.context;
  if (!cacheable) {
    HAKO_CO_TRYV(co_await unpack_archive(*live, box, context));
  }
  HAKO_CO_TRYV(co_await run_steps(*live, box, context, cached, keys));
  live->step = kLastStep;
  co_return co_await finalize(*live, box, context);
}

Task<Result<void>> TemplateBuilder::run_steps(Live& live, TemplateBox& box, StepContext& context,
                                              size_t cached, const std::vector<std::string>& keys) {
  const auto& steps = live.recipe.steps;
  for (size_t i = 0; i < steps.size(); ++i) {
    live.step = std::to_string(i + 1);
    std::string prefix = "builder " + live.step + "/" + std::to_string(steps.size());
    std::string line = "[" + prefix + "] " + describe_step(steps[i]);
    if (i < cached) {
      live.log->add("info", "CACHED " + line, live.step);
      apply_step(steps[i], context);
      HAKO_CO_TRYV(check_size(context));
      continue;
    }
    live.log->add("info", line, live.step);
    StepContext before = context;
    apply_step(steps[i], context);
    HAKO_CO_TRYV(check_size(context));
    // What a step makes is made for those after it; what it runs, runs as things were before it.
    bool prepares = steps[i].kind == StepKind::workdir || steps[i].kind == StepKind::user;
    HAKO_CO_TRYV(co_await run_step(live, box, steps[i], prepares ? context : before, prefix));
    if (steps[i].kind == StepKind::env || keys.empty()) continue;
    json::object body;
    body["key"] = keys[i];
    HAKO_CO_TRYV(co_await ask(live, "build.layer", std::move(body), kDiskTime));
  }
  co_return ok();
}

BoxCommand TemplateBuilder::in_shell(const Live& live, const std::string& line,
                                     const StepContext& context) const {
  BoxCommand command;
  command.cmd = live.shell;
  command.args = {"-l", "-c", line};
  command.user = context.user;
  command.cwd = context.workdir;
  command.envs = context.envs;
  return command;
}

Task<Result<void>> TemplateBuilder::run_step(Live& live, TemplateBox& box, const RecipeStep& step,
                                             const StepContext& context, std::string prefix) {
  switch (step.kind) {
    case StepKind::env:
      co_return ok();
    case StepKind::copy:
      co_return co_await copy(live, box, step, context, std::move(prefix));
    case StepKind::run: {
      StepContext as = context;
      if (step.args.size() > 1 && !step.args[1].empty()) as.user = step.args[1];
      auto command = in_shell(live, step.args[0], as);
      std::string what = "failed to run command '" + step.args[0].substr(0, 1000) + "'";
      co_return co_await run_logged(live, box, std::move(command), std::move(prefix),
                                    std::move(what));
    }
    case StepKind::workdir: {
      auto command = script(kWorkdirScript, {context.workdir, owner_of(context.user)});
      std::string what = "failed to make the working directory '" + context.workdir + "'";
      co_return co_await run_logged(live, box, std::move(command), std::move(prefix),
                                    std::move(what));
    }
    case StepKind::user: {
      std::string may_be_root = step.args.size() > 1 ? step.args[1] : "";
      auto command = script(kUserScript, {context.user, may_be_root});
      std::string what = "failed to set the user '" + context.user + "'";
      co_return co_await run_logged(live, box, std::move(command), std::move(prefix),
                                    std::move(what));
    }
  }
  co_return ok();
}

Task<Result<void>> TemplateBuilder::run_logged(Live& live, TemplateBox& box, BoxCommand command,
                                               std::string prefix, std::string what) {
  TemplateBox::Output output = [&live, prefix](bool is_error, std::string_view bytes) {
    live.log->add_output(is_error, bytes, prefix, live.step);
  };
  auto status = co_await box.run(std::move(command), std::move(output), kStepTime);
  live.log->flush_output(prefix, live.step);
  if (!status)
    co_return Error(ErrorCode::failed_precondition, what + ": " + status.error().message());
  if (status.value() == 0) co_return ok();
  std::string how =
      status.value() < 0 ? "ended by a signal" : "exit status " + std::to_string(status.value());
  co_return Error(ErrorCode::failed_precondition, what + ": " + how);
}

Task<Result<void>> TemplateBuilder::copy(Live& live, TemplateBox& box, const RecipeStep& step,
                                         const StepContext& context, std::string prefix) {
  std::string what = "failed to copy '" + step.args[0] + "'";
  auto file = files_.open(live.upload(step.files_hash));
  if (!TemplateFiles::is_hash(step.files_hash) || !file)
    co_return Error(ErrorCode::failed_precondition, what + ": its files have not been uploaded");
  // The layer is kept under the digest that was read when the build began.
  if (file.value().digest != live.digests[step.files_hash])
    co_return Error(ErrorCode::failed_precondition,
                    what + ": its files were uploaded anew while the template was being built");
  std::string archive = "/tmp/.upload-" + random_hex(8);
  auto upload = box.upload(file.value().content.get(), archive, files_.disk());
  auto uploaded = co_await with_deadline(kStepTime, std::move(upload));
  if (!uploaded)
    co_return Error(ErrorCode::failed_precondition, what + ": " + uploaded.error().message());
  bool has_owner = step.args.size() > 2 && !step.args[2].empty();
  std::string mode = step.args.size() > 3 ? step.args[3] : "";
  auto command = script(kCopyScript,
                        {archive, fixed_part(step.args[0]), step.args[1],
                         owner_of(has_owner ? step.args[2] : context.user), mode, context.workdir});
  co_return co_await run_logged(live, box, std::move(command), std::move(prefix), std::move(what));
}

Task<Result<void>> TemplateBuilder::finalize(Live& live, TemplateBox& box,
                                             const StepContext& context) {
  json::object nothing;
  HAKO_CO_TRYV(co_await ask(live, "build.settle", std::move(nothing), kCaptureTime));
  // A box whose user or folder is missing could start nothing.
  auto probe = in_shell(live, ":", context);
  auto usable = co_await box.run(std::move(probe), nullptr, kToolTime);
  if (!usable)
    co_return Error(ErrorCode::failed_precondition, "nothing can be started as '" + context.user +
                                                        "' in '" + context.workdir +
                                                        "': " + usable.error().message());
  // What cannot be read back would spoil every list of templates.
  HAKO_CO_TRYV(parse_context(context_json(context)));
  HAKO_CO_TRYV(co_await start_programs(live, box, context));
  live.log->add("info", "[finalize] Taking the snapshot", live.step);
  json::object body;
  body["template"] = live.build.id;
  body["defaults"] = context_json(context);
  body["start_cmd"] = live.recipe.start_cmd;
  body["ready_cmd"] = live.recipe.ready_cmd;
  HAKO_CO_TRY(auto made, co_await ask(live, "build.finish", std::move(body), kCaptureTime));
  FieldReader reader(made, "build.finish: ");
  live.build.memory_mib = int(reader.number("memory_mib", 0, INT32_MAX).value_or(0));
  live.build.vcpus = int(reader.number("vcpus", 0, INT32_MAX).value_or(0));
  live.build.disk_mib = int(reader.number("disk_mib", 0, INT32_MAX).value_or(0));
  co_return ok();
}

namespace {

/// Returns when the start command has failed; not before, for as long as it runs or once it has
/// ended well.
Task<void> watch_start(TemplateBox& box, BoxCommand command, TemplateBox::Output output,
                       std::optional<Result<int>>& ended) {
  ended.emplace(co_await box.run(std::move(command), std::move(output), 0s));
  bool well = *ended && ended->value() == 0;
  for (; well;) co_await sleep_for(24h);
}

Task<void> wait_ready(TemplateBox& box, const BoxCommand& check, Result<void>& outcome) {
  auto give_up = std::chrono::steady_clock::now() + kReadyTime;
  for (;;) {
    BoxCommand again = check;
    auto status = co_await box.run(std::move(again), nullptr, kOneReadyTime);
    if (status && status.value() == 0) co_return;
    if (std::chrono::steady_clock::now() >= give_up) {
      outcome = Error(ErrorCode::failed_precondition, "the ready command does not succeed within " +
                                                          std::to_string(kReadyTime.count()) +
                                                          " minutes");
      co_return;
    }
    co_await sleep_for(kReadyPause);
  }
}

Task<void> wait_a_while() {
  co_await sleep_for(kStartTime);
}

}  // namespace

Task<Result<void>> TemplateBuilder::start_programs(Live& live, TemplateBox& box,
                                                   const StepContext& context) {
  using namespace asio::experimental::awaitable_operators;
  const Recipe& recipe = live.recipe;
  Result<void> ready = ok();
  auto check = in_shell(live, recipe.ready_cmd, context);
  if (recipe.start_cmd.empty()) {
    if (!recipe.ready_cmd.empty()) co_await wait_ready(box, check, ready);
    co_return ready;
  }
  live.log->add("info", "[finalize] START " + recipe.start_cmd, live.step);
  const char* prefix = "start";
  TemplateBox::Output output = [&live, prefix](bool is_error, std::string_view bytes) {
    live.log->add_output(is_error, bytes, prefix, live.step);
  };
  std::optional<Result<int>> ended;
  auto command = in_shell(live, recipe.start_cmd, context);
  auto running = watch_start(box, std::move(command), std::move(output), ended);
  auto waiting = recipe.ready_cmd.empty() ? wait_a_while() : wait_ready(box, check, ready);
  auto first = co_await (std::move(running) || std::move(waiting));
  live.log->flush_output(prefix, live.step);
  if (first.index() == 0) {
    std::string how =
        *ended ? "exit status " + std::to_string(ended->value()) : ended->error().message();
    co_return Error(ErrorCode::failed_precondition,
                    "the start command '" + recipe.start_cmd.substr(0, 1000) + "' failed: " + how);
  }
  co_return ready;
}

}  // namespace hako::api
