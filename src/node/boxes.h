// The boxes of this node: from create to the end of their time.
#pragma once

#include <map>

#include "node/pool.h"
#include "node/templates.h"

namespace hako::node {

struct CreateBox {
  std::string box;
  std::string tenant = kDefaultTenant;
  std::string template_name;
  std::string checkpoint;  ///< id; the box goes on from there. Empty: it is made from the template
  std::optional<int> memory_mib, vcpus;  ///< not of one that goes on
  WallTime ends{};
  OnEnd on_end;
  std::string access_token;
  boost::json::object envs;
  boost::json::object ingress;  ///< for the gate: who may reach its ports, and how; not read here
  boost::json::object egress;   ///< for the gate: what it may reach; not read here
  Trust trust;                  ///< for the guest, and not kept
};

/// Why a box is no more, as told to the api.
enum class EndReason { destroyed, expired, died, out_of_memory, paused };
std::string_view to_string(EndReason reason);

/// Creates, ends and watches boxes. A create or destroy that has begun always runs to its end, even
/// if whoever asked has gone: nothing is left half-made. Thread: the node's executor.
class Boxes {
 public:
  using Ended = std::function<void(const std::string& box, EndReason, const std::string& detail)>;

  Boxes(Context& context, Templates& templates, Bases& bases, Checkpoints& checkpoints,
        Ended ended);

  /// Begins to enforce time to live and to watch health.
  void start();
  /// Leaves boxes running; destroys what is only pooled.
  Task<void> stop();

  struct Created {
    VmRecord record;
    bool from_pool = false;
  };
  /// Errors: not_found (template), invalid_argument, already_exists, no_capacity (boxes, slots,
  /// memory, disk), no_space, timed_out, unavailable.
  Task<Result<Created>> create(CreateBox request);
  Task<Result<void>> destroy(std::string box, EndReason reason, std::string detail);
  /// ok if the box is `tenant`'s; otherwise not_found, in the words of a box that does not exist.
  Result<void> check_tenant(const std::string& box, const std::string& tenant) const;
  Result<void> set_end(const std::string& box, WallTime ends, OnEnd on_end);

  struct Saved {
    int64_t bytes = 0;                      ///< on disk, without the snapshot that it stands on
    std::chrono::milliseconds stood_still{};  ///< for so long the box's programs did not run
  };
  /// Writes down the box as it stands, durably. With `end` it is then no more, and nobody is told of
  /// its end. On an error it goes on as before. `memory`: otherwise only its disk.
  /// Errors: not_found, already_exists (the checkpoint), failed_precondition, no_space, unavailable,
  /// timed_out.
  Task<Result<Saved>> save(std::string box, std::string checkpoint, bool memory, bool end);
  /// Boxes that go on from where this one stands. Those that cannot be made do not keep the others
  /// from it; answers are in the order of `children`. `reaching`: what the caller takes it that the
  /// box may reach; failed_precondition if that was another thing when the copy was taken. Errors that
  /// concern all: that, not_found, resource_exhausted, unavailable, timed_out.
  Task<Result<std::vector<Result<Created>>>> fork(
      std::string box, std::vector<CreateBox> children,
      std::optional<boost::json::object> reaching = std::nullopt);
  /// Puts the box back to where it stood; it keeps its name, its token, its end and what it may
  /// reach. On an error it goes on as it was. Errors: not_found (also where the checkpoint is not of
  /// this box), those of create().
  Task<Result<Created>> roll_back(std::string box, std::string checkpoint, Trust trust);
  /// What the box may reach from now on. Written down first: on an error it holds from the gate's
  /// next connection on at the latest, but what it forbids may go on till then. Errors: not_found,
  /// too_large (nothing has changed); unavailable, timed_out, the gate's.
  Task<Result<void>> set_egress(std::string box, boost::json::object egress,
                                std::optional<boost::json::object> ingress = std::nullopt);
  /// Whether `machine` is, or was until a moment ago, the machine of `box`.
  bool is_machine_of(const std::string& machine, const std::string& box) const;
  std::vector<VmRecord> list() const;
  Task<Result<std::string>> console(std::string box);

  /// Takes in boxes of an earlier run. From here on they are there; their machines are looked for
  /// beside each other, and for `wait` at most this waits until all are found: one that does not
  /// answer must not be in the others' way.
  Task<void> adopt(std::vector<VmRecord> records, Duration wait);
  /// Tells a newly connected gate of every machine.
  Task<void> announce_all();
  Result<std::vector<Fd>> open_sockets(const std::string& machine, int count);

  /// Makes the template's snapshot and starts its pool.
  Task<void> open_pool(std::string template_name);
  /// The same, tried until it succeeds or the template is gone.
  Task<void> keep_pool_open(std::string template_name);
  /// Ends it: its clones are of a template that is no more, or no longer what it was.
  Task<void> close_pool(std::string template_name);
  size_t pooled(const std::string& template_name) const;

 private:
  struct Box {
    std::shared_ptr<Vm> vm;
    std::shared_ptr<Vm> next;  ///< where it is about to be instead: what is said of it goes for both
    RecentUse::Held held;
    bool ending = false;
    bool pausing = false;  ///< as its end has come
    int failed_pauses = 0;
  };

  Result<void> check_disk() const;
  Result<void> check_room() const;
  Task<Result<Created>> create_to_end(CreateBox request);
  Task<Result<Saved>> save_to_end(std::string box, std::string checkpoint, bool memory, bool end);
  Task<Result<std::vector<Result<Created>>>> fork_to_end(
      std::string box, std::vector<CreateBox> children,
      std::optional<boost::json::object> reaching);
  Task<Result<Created>> roll_back_to_end(std::string box, std::string checkpoint, Trust trust);
  /// Which box it is, unless that is ending.
  Box* find(const std::string& box);
  /// Held while a box is made: its name is taken.
  class Making {
   public:
    Making(Boxes& boxes, std::string box) : boxes_(boxes), box_(std::move(box)) {
      boxes_.creating_.insert(box_);
    }
    Making(const Making&) = delete;
    Making& operator=(const Making&) = delete;
    ~Making() { boxes_.creating_.erase(box_); }

   private:
    Boxes& boxes_;
    std::string box_;
  };
  /// A box's machine whose turn it is.
  struct Held {
    Held(std::shared_ptr<Vm> vm, TurnQueue::Turn turn)
        : vm(std::move(vm)), turn(std::move(turn)) {}
    std::shared_ptr<Vm> vm;
    TurnQueue::Turn turn;
  };
  /// Waits for the turn of the box, in whatever machine it is by then. not_found.
  Task<Result<Held>> hold(std::string box);
  Result<void> check_request(const CreateBox& request) const;
  /// What the api is told of a machine that was not made, once it is clear of what: whatever is not
  /// there or in the way by then is not the client's fault.
  static Error of_making(const Error& error);
  static Task<bool> destroyed(Vm& vm);
  Task<Result<std::unique_ptr<Vm>>> claim_checkpoint(const CreateBox& asked);
  Task<Result<std::unique_ptr<Vm>>> restore(const CreateBox& request, const CheckpointRecord& of,
                                            const BoxState& state);
  Task<Result<std::unique_ptr<Vm>>> boot_from_disk(const CreateBox& request,
                                                   const CheckpointRecord& of,
                                                   const BoxState& state);
  struct Forking;
  Task<void> make_children(Forking& forking);
  Task<Result<BoxState>> take_state(std::shared_ptr<Vm> vm, bool memory, bool go_on,
                                    std::chrono::milliseconds& stood_still);
  Task<Result<void>> keep_base(Bases::Base base);
  Task<Result<void>> move_to(std::string box, std::shared_ptr<Vm> old, std::shared_ptr<Vm> vm);
  /// Changes what is written down of the box, wherever it is.
  Result<void> change_record(Box& box, const std::function<void(VmRecord&)>& change);
  Task<void> pause_expired(std::string box);
  Task<void> set_going(std::shared_ptr<Vm> vm);
  /// Sees to it that a machine whose copy failed does not stand still.
  void keep_going(std::shared_ptr<Vm> vm);
  Task<Result<void>> destroy_to_end(std::string box, EndReason reason, std::string detail);
  Task<Result<void>> set_egress_to_end(std::string box, boost::json::object egress,
                                       std::optional<boost::json::object> ingress);
  /// A built template gets a pool with its second box: most are used once, or never.
  void open_pool_if_used(const std::string& template_name);
  Task<void> open_pool_to_end(std::string template_name);
  Task<void> close_pool_to_end(std::string template_name);
  Task<Result<std::unique_ptr<Vm>>> claim(const CreateBox& request, bool& from_pool);
  Task<Result<std::unique_ptr<Vm>>> claim_pooled(const CreateBox& request,
                                                 std::shared_ptr<WarmPool> pool);
  Task<Result<std::unique_ptr<Vm>>> claim_clone(const CreateBox& request,
                                                std::shared_ptr<const LoadedSnapshot> snapshot);
  Task<Result<void>> hand_over(Vm& vm, const CreateBox& request);
  Task<Result<void>> wake_and_hand_over(Vm& vm, const CreateBox& request);
  Result<void> promise(Vm& vm, const CreateBox& request);
  Task<Result<void>> publish(Vm& vm, const CreateBox& request);
  /// From here on it is there, and is looked after.
  void keep(std::string box, std::shared_ptr<Vm> vm);
  void take_in(const std::string& box, std::shared_ptr<Vm> vm);
  /// Watches for its machine's end, and gives that its share.
  void look_after(const std::string& box, std::shared_ptr<Vm> vm);
  Task<void> find_again(std::shared_ptr<Vm> vm);
  /// How many boxes have a machine that is still to be found.
  int64_t not_found() const;
  /// For what needs the box's machine, before it waits for anything. not_found, unavailable.
  Result<void> check_answers(const std::string& box);
  Task<void> give_share(std::weak_ptr<Vm> claimed);
  Task<void> watch_end(std::string box, std::shared_ptr<engine::Machine> machine);
  Task<void> announce(std::shared_ptr<Vm> vm);
  Task<void> end_expired(std::string box);
  Task<void> enforce_ends();
  Task<void> watch_health();

  Context& context_;
  Templates& templates_;
  Bases& bases_;
  Checkpoints& checkpoints_;
  Ended ended_;
  Activity activity_;
  RecentUse uses_of_pools_;
  TurnQueue cloning_, claiming_;
  TurnQueue saving_, forking_;
  std::map<std::string, Box> boxes_;
  Condition found_;  ///< a box's machine was, or will not be any more
  std::set<std::string> creating_;
  /// Shared with creates that are taking from one while it is being closed.
  std::map<std::string, std::shared_ptr<WarmPool>> pools_;
  std::map<std::string, int> uses_;  ///< boxes made of templates without a pool
  bool stopping_ = false;
  TurnQueue pool_changes_;
  TaskGroup tasks_;
};

}  // namespace hako::node
