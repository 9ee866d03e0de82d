# A bare machine (machine.sh) whose first process is systemd, in namespaces and control groups of its
# own. It has no network but loopback. Needs common.sh, machine.sh, and util-linux.

# hierarchies: where control groups are mounted on this machine, of which kind, and with what. In a
# namespace of control groups, the top of what the machine mounted is above the own one.
hierarchies() {
  awk '{ for (i = 7; $i != "-"; i++); }
    $4 ~ "^(/|(/\\.\\.)+)$" && $5 ~ "^/sys/fs/cgroup" && $(i + 1) ~ "^cgroup2?$" {
      with = ""
      count = split($(i + 3), options, ",")
      for (each = 1; each <= count; each++) {
        if (options[each] ~ "^name=") with = with ",none"
        if (options[each] ~ "^(name=.*|cpu|cpuacct|cpuset|memory|pids|blkio|devices|freezer)$")
          with = with "," options[each]
      }
      print $5, $(i + 1), with == "" ? "-" : substr(with, 2)
    }' /proc/self/mountinfo
}

# make_groups NAME: a group in each of them.
make_groups() {
  local mount kind with file
  while read -r mount kind with; do
    mkdir -- "$mount/$1"
    for file in cpuset.mems cpuset.cpus; do
      [[ ! -e $mount/$1/$file || $kind == cgroup2 ]] || cat -- "$mount/$file" >"$mount/$1/$file"
    done
  done < <(hierarchies)
}

# enter_groups NAME COMMAND...: this shell goes there, and becomes COMMAND, to which they are the top.
enter_groups() {
  local name=$1 mount kind with
  shift
  while read -r mount kind with; do
    echo "$BASHPID" >"$mount/$name/cgroup.procs"
  done < <(hierarchies)
  exec unshare --cgroup -- "$@"
}

# drop_groups NAME: them and all below. Fails if there are processes in one.
drop_groups() {
  local mount kind with try
  while read -r mount kind with; do
    # What has just ended may keep its group for a moment.
    for try in {1..50}; do
      [[ -e $mount/$1 ]] || break
      find "$mount/$1" -depth -type d -exec rmdir -- {} + 2>/dev/null || sleep 0.1
    done
    [[ ! -e $mount/$1 ]] || return 1
  done < <(hierarchies)
}

# become_first ROOT: in new namespaces, makes the machine there and becomes its systemd.
become_first() {
  local root=$1 mount kind with
  mount --bind -- "$root" "$root"
  mount_machine "$root"
  mount -t tmpfs -o mode=1777 tmp "$root/tmp"
  while read -r mount kind with; do
    if [[ $mount != /sys/fs/cgroup ]]; then
      mountpoint -q "$root/sys/fs/cgroup" ||
        mount -t tmpfs -o mode=0755 cgroup "$root/sys/fs/cgroup"
      mkdir -p -- "$root$mount"
    fi
    # What this process is in is the top of what is mounted.
    if [[ $kind == cgroup2 ]]; then
      mount -t cgroup2 cgroup2 "$root$mount"
    else
      mount -t cgroup -o "$with" cgroup "$root$mount"
    fi
  done < <(hierarchies)
  # Not a chroot: systemd gives services mounts of their own, which only a real root allows.
  cd -- "$root"
  mkdir -p mnt/host
  pivot_root . mnt/host
  umount --lazy mnt/host
  rmdir mnt/host
  mount --make-rshared /
  exec env -i container=hako-check PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --log-target=console --show-status=no
}

# start_machine ROOT NAME LOG COMMAND...: COMMAND calls enter_groups, and what it becomes become_first.
# Sets `keeper`, which is this shell's child and waits for the machine, and `first`, its first process.
# The machine ends with us. The keeper stays outside of its groups: on v2 those above others must be
# empty.
start_machine() {
  local root=$1 name=$2 log=$3 waited found
  shift 3
  make_groups "$name"
  setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child \
    --uts --ipc --net -- "$@" >>"$log" 2>&1 </dev/null &
  keeper=$!
  first=''
  for waited in {1..100}; do
    # Until then it is a shell on this machine's files.
    found=$(cat -- "/proc/$keeper/task/$keeper/children" 2>/dev/null | tr -d ' ') || true
    if [[ $(cat -- "/proc/${found:-0}/comm" 2>/dev/null || true) == systemd ]]; then
      first=$found
      return
    fi
    sleep 0.1
  done
  die "systemd does not start (what it says: $log)"
}

# machine_ended SECONDS: whether its first process ends in that time.
machine_ended() {
  local until=$((SECONDS + $1))
  while [[ -e /proc/$keeper && $(awk '{ print $3 }' "/proc/$keeper/stat" 2>/dev/null) != Z ]]; do
    ((SECONDS < until)) || return 1
    sleep 0.2
  done
  wait "$keeper" 2>/dev/null || true
}

# end_machine: at once, as by a power cut.
end_machine() {
  [[ -n ${keeper:-} && -e /proc/$keeper ]] || return 0
  # The keeper ends once all processes of the machine have; where that has not begun, they end with it.
  kill -KILL "${first:-$keeper}" 2>/dev/null || true
  wait "$keeper" 2>/dev/null || true
}
