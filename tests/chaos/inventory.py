"""What a hako has made on this machine, and which of it has no owner.

Judged from outside: from the kernel, the disk and the database, not from what hako says of itself.
"""

import json
import os
import sqlite3
import subprocess

SPARE_SLOTS = 4  # namespaces that the node keeps ready (kSlotsReady in src/node/node.cpp)
ROLES = ("node", "gate", "api")


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


def _sandbox_rows(hako):
    with sqlite3.connect(f"file:{hako.state}/api/hako.db?mode=ro", uri=True) as database:
        rows = list(database.execute("SELECT id, state FROM sandboxes"))
    database.close()
    return dict(rows)


def _unfinished(hako):
    """Files and folders of a making that was cut short."""
    found = []
    for folder in ("snapshots", "templates", "roots", "layers"):
        path = os.path.join(hako.state, "node", folder)
        found += [os.path.join(folder, n) for n in os.listdir(path) if n.startswith(".")]
    for path, _, names in os.walk(hako.state):
        found += [os.path.join(path, n) for n in names if n.endswith(".tmp") or ".tmp." in n]
    return found


def _cgroups(hako):
    """Control groups of this hako that hold no process and are no one's, over all hierarchies."""
    marks = {os.path.basename(hako.run_dir)}
    found = []
    for root, folders, _ in os.walk("/sys/fs/cgroup"):
        for folder in list(folders):
            path = os.path.join(root, folder)
            if not any(mark in path for mark in marks):
                continue
            if folder.startswith("box-") and not _holds_processes(path):
                found.append(path)
    return found


def _holds_processes(path):
    try:
        with open(os.path.join(path, "cgroup.procs")) as file:
            return bool(file.read().strip())
    except OSError:
        return False


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
    lines += [f"cgroup: {path}" for path in _cgroups(hako)]
    pooled = [f for f, r in records.items() if r and r["state"] == "pooled"]
    if len(pooled) > hako.pool:
        lines.append(f"clone: {len(pooled)} are pooled, and the pool has {hako.pool} places")
    boxes = {r["box"] for r in records.values() if r and r["state"] == "box"}
    for row, state in _sandbox_rows(hako).items():
        if row not in boxes:
            lines.append(f"row: sandbox {row} ({state}) has no machine")
        elif state != "running":
            lines.append(f"row: sandbox {row} is {state} for ever")
    lines += [f"box: {box} has no row" for box in boxes - set(_sandbox_rows(hako))]
    return lines


def _descends_from(pid, ancestors):
    for _ in range(20):
        try:
            with open(f"/proc/{pid}/stat") as file:
                pid = int(file.read().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError):
            return True  # it has ended meanwhile
        if pid in ancestors:
            return True
        if pid <= 1:
            return False
    return False


def open_descriptors(hako, role):
    """How many descriptors a role holds."""
    return len(os.listdir(f"/proc/{hako.role(role)}/fd"))
