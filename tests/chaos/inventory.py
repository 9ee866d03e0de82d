"""What a hako has made on this machine, and which of it has no owner.

Judged from outside: from the kernel, the disk and the database, not from what hako says of itself.
"""

import collections
import glob
import hashlib
import json
import os
import re
import sqlite3
import subprocess
import time

from processes import stat_of

# A box is ended within a second of its time; a node that is away looks again when it is back.
LATE_SECONDS = 15
# So long a snapshot may be in the making; of one that was cut off the api knows no sooner
# (kLongestMakingMs in src/api/sandboxes_reconcile.cpp).
MAKING_SECONDS = 300
SPARE_SLOTS = 4  # namespaces that the node keeps ready (kSlotsReady in src/node/node.cpp)


def _records(hako):
    """Folder name -> record; None where there is no readable one."""
    found = {}
    for folder in hako.vm_folders():
        path = os.path.join(hako.state, "node", "vms", folder, "record.json")
        try:
            with open(path) as file:
                found[folder] = json.load(file)
        except (OSError, ValueError):
            found[folder] = None
    return found


def box_of(hako, pid):
    """The box that has this VMM, by the node's records; nothing if it is nobody's."""
    for record in _records(hako).values():
        if record and record["pid"] == pid and record["box"]:
            return record["box"]
    return None


def _own_pids(hako):
    """The supervisor and its roles."""
    with open(os.path.join(hako.run_dir, "up.json")) as file:
        state = json.load(file)
    pids = [role["process"]["pid"] for role in state["roles"]]
    return {*pids, *_numbers_named_pid(state)}


def _numbers_named_pid(value):
    if isinstance(value, dict):
        own = [value["pid"]] if isinstance(value.get("pid"), int) else []
        return own + [p for v in value.values() for p in _numbers_named_pid(v)]
    if isinstance(value, list):
        return [p for v in value for p in _numbers_named_pid(v)]
    return []


def _processes_of(hako):
    """Pid -> command line of each process that belongs to this hako by its command line or its
    configuration, under whatever user."""
    marks = (hako.run_dir.encode(), hako.state.encode())
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read()
            with open(f"/proc/{name}/environ", "rb") as file:
                variables = file.read()
        except OSError:
            continue  # it has ended
        if words and any(mark in words or mark in variables for mark in marks):
            found[int(name)] = words.replace(b"\0", b" ").decode(errors="replace")[:120]
    return found


def _slot_numbers(hako):
    return sorted(int(mount.rsplit("-", 1)[1]) for mount in hako.slot_mounts())


def _other_mounts(hako):
    with open("/proc/self/mountinfo") as file:
        mounts = [line.split()[4] for line in file]
    mine = [m for m in mounts if m.startswith((hako.run_dir + "/", hako.state + "/"))]
    netns = f"{hako.run_dir}/netns"  # a mount of its own, in which the namespaces are bound
    return [m for m in mine if m != netns and not m.startswith(netns + "/")]


def links_in(hako, slot):
    """Names of the network interfaces in a slot's namespace."""
    path = f"{hako.run_dir}/netns/slot-{slot}"
    done = subprocess.run(["nsenter", f"--net={path}", "ip", "-j", "link"], capture_output=True,
                          text=True, check=False)
    return sorted(link["ifname"] for link in json.loads(done.stdout or "[]"))


def _rows(hako, query):
    with sqlite3.connect(f"file:{hako.state}/api/hako.db?mode=ro", uri=True) as database:
        rows = list(database.execute(query))
    database.close()
    return rows


def _sandbox_rows(hako):
    return dict(_rows(hako, "SELECT id, state FROM sandboxes"))


def _names_in(hako, folder):
    path = os.path.join(hako.state, "node", folder)
    return sorted(n for n in os.listdir(path) if not n.startswith("."))


def _base_of(hako, checkpoint):
    """What a checkpoint in clear stands on."""
    path = os.path.join(hako.state, "node", "checkpoints", checkpoint, "record")
    with open(path, "rb") as file:
        return re.search(rb'"base":"([^"]*)"', file.read()).group(1).decode()


def _kept_states(hako, records):
    """Checkpoints of which no row knows, rows whose checkpoint is not there, and bases that nothing
    stands on."""
    lines, owned = [], set()
    paused = _rows(hako, "SELECT id, pauses FROM sandboxes WHERE state = 'paused'")
    snapshots = _rows(hako, "SELECT id, state, created_ms FROM snapshots")
    checkpoints = _names_in(hako, "checkpoints")
    for box, pauses in paused:
        owned.add(f"p-{box}-{pauses}")
    for snapshot, state, created_ms in snapshots:
        owned.add(snapshot)
        late = time.time() - created_ms / 1000 - MAKING_SECONDS
        if state == "making" and late > LATE_SECONDS + 60:
            lines.append(f"row: snapshot {snapshot} is making for ever")
        if state == "ready" and snapshot not in checkpoints:
            lines.append(f"row: snapshot {snapshot} has nothing kept")
    lines += [f"row: sandbox {box} is paused, and nothing of it is kept" for box, pauses in paused
              if f"p-{box}-{pauses}" not in checkpoints]
    lines += [f"checkpoint: {name} has no owner" for name in checkpoints if name not in owned]
    needed = {_base_of(hako, name) for name in checkpoints}
    needed |= {record.get("vmm_base") for record in records.values() if record}
    lines += [f"base: nothing stands on {name}" for name in _names_in(hako, "bases")
              if name.split(".")[0] not in needed]
    return lines


def _template_parts(hako):
    """Templates of which no build knows, and snapshots and root file systems of no template."""
    templates, roots, lines = _names_in(hako, "templates"), set(), []
    for name in templates:
        path = os.path.join(hako.state, "node", "templates", name, "template.json")
        try:
            with open(path) as file:
                roots.add(json.load(file)["root"])
        except (OSError, ValueError):
            lines.append(f"template: {name} cannot be read")
    builds = {build for build, in _rows(hako, "SELECT id FROM template_builds")}
    lines += [f"template: {name} is of no build" for name in templates if name not in builds]
    lines += [f"snapshot: {name} is of no template" for name in _names_in(hako, "snapshots")
              if name.rsplit(".", 1)[0] not in (*templates, "base")]
    return lines + [f"root: {name} is no template's" for name in _names_in(hako, "roots")
                    if name not in roots]


def _unfinished(hako):
    """Files and folders of a making that was cut short."""
    found = []
    for folder in ("snapshots", "templates", "roots", "layers", "checkpoints", "bases"):
        path = os.path.join(hako.state, "node", folder)
        found += [os.path.join(folder, n) for n in os.listdir(path) if n.startswith(".")]
    for top in (hako.state, hako.run_dir):
        for path, _, names in os.walk(top):
            found += [os.path.join(path, n) for n in names if n.endswith(".tmp") or ".tmp-" in n]
    return found


def cgroup_trees(hako):
    """This hako's folder in each hierarchy of control groups, as src/node/shares.cpp names it."""
    name = hashlib.sha256(os.path.realpath(hako.run_dir).encode()).hexdigest()[:16]
    with open("/proc/self/mountinfo") as file:
        mounts = [line.split()[4] for line in file
                  if line.split(" - ")[1].split()[0] in ("cgroup", "cgroup2")]
    trees = [os.path.join(mount, "hako", name) for mount in mounts]
    return [tree for tree in trees if os.path.isdir(tree)]


def _cgroups(hako, machines):
    """Control groups of machines that are not there, and of tenants that have none."""
    found = []
    tenants, used = [], set()
    for tree in cgroup_trees(hako):
        for above in _groups_in(tree, "tenant-") + _groups_in(tree, "pool"):
            boxes = _groups_in(above, "box-")
            found += [b for b in boxes if os.path.basename(b)[len("box-"):] not in machines]
            if boxes:
                used.add(os.path.basename(above))
            elif not above.endswith("pool"):
                tenants.append(above)
    # Where each controller has a hierarchy of its own, a tenant's last box takes all of them away.
    return found + [path for path in tenants if os.path.basename(path) not in used]


def _groups_in(path, prefix):
    return [entry.path for entry in os.scandir(path)
            if entry.is_dir() and entry.name.startswith(prefix)]


def _without_limits(hako, records):
    """VMMs outside of a control group that is their machine's."""
    trees, found = cgroup_trees(hako), []
    for folder, record in records.items():
        for tree in trees if record and os.path.exists(f"/proc/{record['pid']}") else ():
            members = set()
            for group in glob.glob(os.path.join(tree, "*", f"box-{folder}", "cgroup.procs")):
                with open(group) as file:
                    members |= {int(line) for line in file}
            if record["pid"] not in members:
                found.append(f"limits: VMM {record['pid']} of {folder} has none of {tree}")
    return found


def orphans(hako):
    """One line for each thing without an owner, while hako runs and nothing is going on."""
    records = _records(hako)
    lines = []
    owned_pids = {r["pid"] for r in records.values() if r}
    for pid in hako.vmm_processes():
        if pid not in owned_pids:
            lines.append(f"process: VMM {pid} has no record")
    known = owned_pids | _own_pids(hako) | set(hako.vmm_processes())
    for pid, words in _processes_of(hako).items():
        if pid not in known and not _descends_from(pid, known | {os.getpid()}):
            lines.append(f"process: {pid} is nobody's: {words}")
    vmms = set(hako.vmm_processes())
    for folder, record in records.items():
        if record is None:
            lines.append(f"folder: {folder} has no record")
        elif record["pid"] not in vmms:
            lines.append(f"record: {folder} of a VMM that has ended ({record['state']})")
    for socket in hako.control_sockets():
        if not any(socket.startswith(folder) for folder in records):
            lines.append(f"socket: {socket}")
    slots = {r["slot"] for r in records.values() if r}
    spare = [n for n in _slot_numbers(hako) if n not in slots]
    if len(spare) > SPARE_SLOTS:
        lines.append(f"namespace: slots {spare} are no machine's, and only {SPARE_SLOTS} are "
                     "kept ready")
    for slot in _slot_numbers(hako):
        if len(links_in(hako, slot)) != 2:  # its tap and its loopback
            lines.append(f"tap: slot {slot} has {links_in(hako, slot)}")
    lines += [f"mount: {mount}" for mount in _other_mounts(hako)]
    lines += [f"file: {name}" for name in _unfinished(hako)]
    lines += [f"cgroup: {path}" for path in _cgroups(hako, records)]
    for folder, record in records.items():
        if record and record["state"] == "box":
            late = time.time() - record["ends_ms"] / 1000
            if late > LATE_SECONDS:
                lines.append(f"life: box {record['box']} of {folder} is {late:.0f} s late to end")
    pooled = [f for f, r in records.items() if r and r["state"] == "pooled"]
    if len(pooled) > hako.pool:
        lines.append(f"clone: {len(pooled)} are pooled, and the pool has {hako.pool} places")
    boxes = {r["box"] for r in records.values() if r and r["state"] == "box"}
    lines += _kept_states(hako, records)
    lines += _template_parts(hako)
    lines += _without_limits(hako, records)
    for row, state in _sandbox_rows(hako).items():
        if state == "paused":
            if row in boxes:
                lines.append(f"row: sandbox {row} is paused, and has a machine")
        elif row not in boxes:
            lines.append(f"row: sandbox {row} ({state}) has no machine")
        elif state != "running":
            lines.append(f"row: sandbox {row} is {state} for ever")
    lines += [f"box: {box} has no row" for box in boxes - set(_sandbox_rows(hako))]
    return lines


def remains(hako):
    """One line for each thing that is left of a hako which has been stopped with `hako down`, beside
    its files of state."""
    lines = [f"process: {pid} {words}" for pid, words in _processes_of(hako).items()]
    lines += [f"process: VMM {pid}" for pid in hako.vmm_processes()]
    lines += [f"folder: {name}" for name in hako.vm_folders()]
    lines += [f"socket: {name}" for name in hako.control_sockets()]
    with open("/proc/self/mountinfo") as file:
        mounts = [line.split()[4] for line in file]
    lines += [f"mount: {m}" for m in mounts if m.startswith((hako.run_dir + "/", hako.state + "/"))]
    lines += [f"cgroup: {path}" for path in cgroup_trees(hako)]
    lines += [f"file: {name}" for name in _unfinished(hako)]
    return lines


def _descends_from(pid, ancestors):
    for _ in range(20):
        try:
            pid = int(stat_of(pid)[1])
        except (OSError, ValueError):
            return True  # it has ended meanwhile
        if pid in ancestors:
            return True
        if pid <= 1:
            return False
    return False


def open_descriptors(hako, role):
    """What a role holds open: descriptors by kind, as what they lead to has other numbers each
    time."""
    kinds = collections.Counter()
    folder = f"/proc/{hako.role(role)}/fd"
    for name in os.listdir(folder):
        try:
            target = os.readlink(os.path.join(folder, name))
        except OSError:
            continue
        kinds[target.split(":")[0] if not target.startswith("/") else target.split("/")[1]] += 1
    return kinds
