# The package where systemd runs: what scripts/package-check --systemd does in a machine of systemd.sh.
# Uses what package-check has: in_machine, must, expect, vmms, daemons, leftovers.

services=(hako-node hako-gate hako-api)

# boot: the machine, from its files alone.
boot() {
  boots=$((${boots:-0} + 1))
  groups=${folder##*/}-$boots
  start_machine "$folder/root" "$groups" "$folder/console" "$0" --inside "$folder/root" first \
    --groups "$groups"
  enter=(nsenter --target "$first" --mount --uts --ipc --net --pid --cgroup --)
  inside=/proc/$first/root mountinfo=/proc/$first/mountinfo place=''
  within 60 sh -c 'case $(systemctl is-system-running) in running | degraded) ;; *) false ;; esac'
}

# power_off: as its owner would; nothing may hold it up.
power_off() {
  must systemctl poweroff
  machine_ended 45 || die "the machine does not power off (its last words: $folder/console)"
  drop_groups "$groups" || die "control groups are left after the power has gone"
  first='' groups=''
}

# clear_machine: whatever state it is in.
clear_machine() {
  end_machine
  [[ -z ${groups:-} ]] || drop_groups "$groups" || warn "control groups are left: $groups"
}

# within SECONDS COMMAND...: tries until it succeeds.
within() {
  local until=$((SECONDS + $1))
  shift
  until in_machine "$@"; do
    ((SECONDS < until)) || {
      explain
      die "not in time: $*"
    }
    sleep 0.5
  done
}

# explain: what the services say, too.
explain() {
  in_machine journalctl --no-pager -n 40 -u 'hako*' || true
  tail -n 40 -- "$log" >&2
}

# property SERVICE NAME: what systemd says of it.
property() {
  must systemctl show --property "$2" --value "$1"
  printf '%s\n' "$said"
}

# main_pid SERVICE: as the machine counts.
main_pid() { property "$1" MainPID; }

# active [SERVICE...]: they are up, and did not need a second try for it.
active() {
  local service
  (($#)) || set -- "${services[@]}"
  for service in "$@"; do
    within 30 systemctl is-active --quiet "$service"
    [[ $(property "$service" NRestarts) == 0 ]] || {
      explain
      die "$service was started again"
    }
  done
}

# inactive: they are down, and ended by themselves. Stopping the target does not wait for them.
inactive() {
  local service
  for service in "${services[@]}"; do
    within 30 sh -c "test \$(systemctl is-active $service) = inactive"
    [[ $(property "$service" Result) == success ]] || die "$service did not end well"
  done
}

# Threads of the kernel's that work for a machine under KVM are there as well, as 0.
box_processes='find /sys/fs/cgroup -path "*/hako/*/tenant-*/box-*/cgroup.procs" -exec cat {} + |
  grep -vx 0'

# new_box: makes one, and leaves something on its disk and something in its memory.
new_box() {
  # The node may have to boot a template first.
  within 240 hako create
  box=$said
  must hako exec "$box" -- sh -c 'echo on-disk >/home/user/file; echo in-memory >/dev/shm/file'
  # It comes to its tenant's group in its own time.
  within 10 sh -c "$box_processes"
  vmm=$(box_vmm)
  [[ $vmm =~ ^[0-9]+$ ]] || die "which process is the box? \"$vmm\""
}

# box_vmm: the pid of the one box's virtual machine, by the control group that its tenant has.
box_vmm() {
  must sh -c "$box_processes | sort -u"
  printf '%s\n' "$said"
}

# same_box: it was not touched.
same_box() {
  within 60 hako exec "$box" -- cat /home/user/file /dev/shm/file
  expect on-disk
  expect in-memory
  [[ $(box_vmm) == "$vmm" ]] || die "the box has another virtual machine"
}

# groups_left: control groups of hako's, whose services' are systemd's.
groups_left() { must find /sys/fs/cgroup -type d -name '*hako*'; }

nothing_left() {
  leftovers
  groups_left
  [[ -z $said ]] || die "control groups are left: $said"
}

# The walls that units put up, tried from inside: prints what was not held back. API and gate put
# themselves behind walls of their own afterwards, which would hide a missing one.
probe() {
  cat <<'PROBE'
#!/bin/sh
# probe UNIT GROUPS
unit=$1 groups=$2
try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name"; fi; }
{
  try usr touch /usr/hako-probe
  try etc touch /etc/hako-probe
  try home test -e /root/hako-probe
  try tmp test -e /tmp/hako-probe
  try devices test -e /dev/net/tun
  try process-namespace unshare --pid --fork true
  try hostname sh -c 'name=$(uname -n); hostname "$name"'
  try tunables sh -c 'value=$(cat /proc/sys/vm/swappiness) && echo "$value" >/proc/sys/vm/swappiness'
  try groups mkdir "$groups/hako-probe"
  try kernel-log dmesg
  try set-user-id sh -c 'touch /tmp/hako-suid && chmod u+s /tmp/hako-suid'
  try realtime chrt --fifo 1 true
  case $unit in
    gate)
      try run touch /run/hako-probe
      try state touch /var/lib/hako-probe
      try user-namespace unshare --user true
      try network-namespace unshare --net true
      ;;
    api)
      try netlink ip link
      unshare --user true && unshare --net true || echo "too much: namespaces to pull images in"
      ;;
  esac
  # A probe that is held back from everything would prove nothing.
  unshare --mount --ipc --uts true || echo "too much: namespaces of their own"
} >/tmp/hako-probe-result
rm -f /tmp/hako-suid
cat /tmp/hako-probe-result
! [ -s /tmp/hako-probe-result ]
PROBE
}

walls() {
  local unit group=/sys/fs/cgroup expected
  [[ ! -d $inside/sys/fs/cgroup/pids ]] || group=/sys/fs/cgroup/pids
  step "the units' walls, from inside"
  probe >"$inside/srv/probe"
  chmod 0755 -- "$inside/srv/probe"
  must touch /root/hako-probe /tmp/hako-probe
  for unit in gate api; do
    # Without them nothing is held back: the probe sees what it looks for.
    ! in_machine /srv/probe "$unit" "$group" || die "the probe finds nothing where there are no walls"
    expected=13
    [[ $unit == api ]] || expected=16
    [[ $(wc -l <<<"$said") == "$expected" ]] || die "the probe does not see all: $said"
    must rm -f /usr/hako-probe /etc/hako-probe /run/hako-probe /var/lib/hako-probe
    must rmdir "$group/hako-probe"
    mkdir -p -- "$inside/run/systemd/system/hako-$unit.service.d"
    printf '[Service]\nExecStartPre=/srv/probe %s %s\n' "$unit" "$group" \
      >"$inside/run/systemd/system/hako-$unit.service.d/probe.conf"
  done
  must rm -f /tmp/hako-probe-result
  must systemctl daemon-reload
  in_machine systemctl restart hako-gate hako-api || {
    explain
    die "a unit holds back too much or too little (see what the probe says)"
  }
  active hako-gate hako-api
  for unit in gate api; do
    rm -r -- "$inside/run/systemd/system/hako-$unit.service.d"
  done
  must rm -f /root/hako-probe /tmp/hako-probe
  must systemctl daemon-reload
}

# confined: what the kernel says of the running services.
confined() {
  local service uid pid space
  for service in hako-gate hako-api; do
    uid=640001
    [[ $service == hako-api ]] || uid=640002
    pid=$(main_pid "$service")
    must grep -E '^(NoNewPrivs|Seccomp):' "/proc/$pid/status"
    [[ $(tr -d '[:blank:]' <<<"$said") == $'NoNewPrivs:1\nSeccomp:2' ]] ||
      die "$service: $said"
    must awk '/^Uid:/ { print $2, $3, $4, $5 }' "/proc/$pid/status"
    [[ $said == "$uid $uid $uid $uid" ]] || die "$service has the uids $said"
    space=$(in_machine readlink "/proc/$pid/ns/mnt"; echo "$said")
    [[ $space != "$(in_machine readlink /proc/1/ns/mnt; echo "$said")" ]] ||
      die "$service has the machine's mounts"
  done
  # The boxes' namespaces are mounts, and would end with any that the node had for itself.
  pid=$(main_pid hako-node)
  [[ $(in_machine readlink "/proc/$pid/ns/mnt"; echo "$said") == \
    "$(in_machine readlink /proc/1/ns/mnt; echo "$said")" ]] || die "the node has mounts of its own"
}

service_install() {
  step "install, where systemd runs"
  must dpkg -i /srv/first.deb
  expect "hako-build-image"
  must systemctl is-enabled hako.target
  inactive
  sed -i 's|^#images = .*|images = "/srv/images"|; s|^#size = 4|size = 1|' \
    "$inside/etc/hako/hako.toml"
  step "start"
  must systemctl start hako.target
  active
  # Who listens has put on all it wears.
  within 60 bash -c "$(answers 3000 /health) | grep '200 OK'"
  within 60 bash -c "$(answers 3002 /) | grep 'HTTP/1.1 4'"
  active
  confined
  walls
  new_box
  # What must not be there later is seen now.
  ! (leftovers) 2>/dev/null || die "what is left behind would not be seen"
  groups_left
  grep -q '/hako$' <<<"$said" || die "control groups of boxes would not be seen"
}

service_restart() {
  step "the node is restarted, and killed, with a box"
  local old
  old=$(main_pid hako-node)
  must systemctl restart hako-node
  active
  [[ $(main_pid hako-node) != "$old" ]] || die "the node was not restarted"
  same_box
  old=$(main_pid hako-node)
  must systemctl kill --kill-whom=main --signal=KILL hako-node
  within 30 sh -c "test \$(systemctl show -p MainPID --value hako-node) != $old &&
    systemctl is-active --quiet hako-node"
  [[ $(property hako-node NRestarts) == 1 ]] || die "the node was not killed once"
  same_box
  must systemctl restart hako-gate hako-api
  active hako-gate hako-api
  same_box
}

service_upgrade() {
  step "upgrade, with a box"
  local service old=''
  for service in "${services[@]}"; do old+=" $(main_pid "$service")"; done
  must dpkg -i /srv/second.deb
  must dpkg-query -W -f '${Version}' hako
  expect "+next"
  active
  for service in "${services[@]}"; do
    [[ " $old " != *" $(main_pid "$service") "* ]] || die "the old $service still runs"
  done
  same_box
  grep -q '^images = "/srv/images"' "$inside/etc/hako/hako.toml" || die "settings were lost"
}

service_stop() {
  step "stop and start, with a box"
  must systemctl stop hako.target
  inactive
  [[ -z $(daemons) ]] || die "daemons still run"
  [[ $(box_vmm) == "$vmm" ]] || die "the box has ended"
  must systemctl start hako.target
  active
  same_box
  must systemctl restart hako.target
  active
  same_box
}

# The gate finds the folder of sockets that nobody has made yet.
service_order() {
  step "power off, with a box; the gate is first after the next boot"
  must systemctl disable hako.target
  power_off
  boot
  must sh -c 'test ! -e /run/hako'
  must systemctl start hako-gate
  active hako-gate
  must stat -c '%a %u' /run/hako
  [[ $said == "711 0" ]] || die "/run/hako: $said"
  must systemctl start hako-api
  sleep 5
  active hako-gate hako-api
  must systemctl start hako-node
  active
  new_box
  step "power off; at the next boot all of them come by themselves"
  must systemctl enable hako.target
  power_off
  boot
  active
  new_box
}

service_remove() {
  step "remove, with a box"
  must dpkg -r hako
  nothing_left
  must sh -c 'test -e /etc/hako/hako.toml && test ! -e /usr/bin/hako && test -e /var/lib/hako/api-key'
  # What says that it is enabled stays until purge, as that of any package does.
  must systemctl list-units --all --no-legend --state=loaded 'hako*'
  [[ -z $said ]] || die "units are left: $said"
  step "install again, with state on a file system of its own and the image in its place; purge"
  must rm -rf /var/lib/hako
  must mkdir -p /var/lib/hako /var/cache/hako
  must mount -t tmpfs -o mode=0700 state /var/lib/hako
  must cp -a /srv/images /var/cache/hako/images
  sed -i 's|^images = .*|#images = "/var/cache/hako/images"|' "$inside/etc/hako/hako.toml"
  must dpkg -i /srv/second.deb
  # An image is there: nothing more is needed.
  active
  new_box
  must dpkg -P hako
  nothing_left
  must find /var/lib/hako
  [[ $said == /var/lib/hako ]] || die "purge left: $said"
  must umount /var/lib/hako
  must rmdir /var/lib/hako
  must find / -xdev -path /proc -prune -o -path /srv -prune -o -name '*hako*' -print
  said=$(grep -vE '^/var/(cache/apt|log)/' <<<"$said" || true)
  [[ -z $said ]] || die "files are left: $said"
  must find /run /tmp -name '*hako*'
  [[ -z $said ]] || die "files are left: $said"
  must systemctl list-units --all --no-legend 'hako*'
  [[ -z $said ]] || die "units are left: $said"
  must systemctl --failed --no-legend
  [[ -z $said ]] || die "units have failed: $said"
  power_off
}

check_services() {
  step "systemd, as the first process"
  boot
  service_install
  service_restart
  service_upgrade
  service_stop
  service_order
  service_remove
}
