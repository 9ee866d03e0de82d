# The outer machine: a Debian guest that runs under emulation and has a working /dev/kvm inside, so
# that what needs KVM can be tested where there is none. Needs rootfs.sh, modules.sh, initramfs.sh.
#
# It boots vmlinux with outer.cpio, mounts outer.erofs (/dev/vda, under a tmpfs overlay) and the
# disk that the test made (/dev/vdb, erofs or ext4, read-only) at /payload, runs /payload/run as
# root on the serial console, prints "HAKO-OUTER-EXIT <status>" and reboots.

# build_outer DIRECTORY: makes vmlinux, outer.cpio and outer.erofs there.
build_outer() {
  local directory=$1 lib=$hako_root/scripts/lib file
  mkdir -p -- "$directory"
  directory=$(cd -- "$directory" && pwd)
  stage outer-rootfs \
    "$(hash_of "$lib/outer.sh" "$lib/rootfs.sh" "$lib/apt.sh" "$(packages outer)")" \
    make_outer_rootfs
  stage outer-initramfs \
    "$(hash_of "$lib/outer.sh" "$lib/modules.sh" "$lib/initramfs.sh" "$(<"$stages/kernel/sums")")" \
    make_outer_initramfs
  for file in kernel/vmlinux outer-rootfs/outer.erofs outer-initramfs/outer.cpio; do
    place "$stages/$file" "$directory/${file##*/}"
  done
  good "outer machine ready: $directory"
}

# place SOURCE TARGET: by a hard link where that is possible; atomically.
place() {
  [[ $1 -ef $2 ]] && return
  rm -f -- "$2.new"
  ln -- "$1" "$2.new" 2>/dev/null || cp --sparse=auto -- "$1" "$2.new"
  mv -- "$2.new" "$2"
}

make_outer_rootfs() {
  local list
  mapfile -t list < <(packages outer)
  tree_folder 2400
  step "outer machine: installing Debian 12 with ${#list[@]} packages"
  bootstrap_debian "$work/tree/root" "${list[@]}"
  neutral_system "$work/tree/root"
  mkdir -p -- "$work/tree/root/payload"
  outer_init >"$work/tree/root/sbin/hako-outer"
  chmod 0755 -- "$work/tree/root/sbin/hako-outer"
  step "outer machine: packing"
  pack_erofs "$work/tree/root" "$1/outer.erofs"
  drop_tree
}

make_outer_initramfs() {
  local out=$1 folder=$work/outer-tree deb
  mkdir -p -- "$folder"/{bin,dev,proc,sys,lib/modules,lower,upper,root}
  deb=$(download_package busybox-static "$work")
  dpkg-deb --fsys-tarfile "$deb" | tar -x -O ./bin/busybox \
    >"$folder/bin/busybox"
  chmod 0755 -- "$folder/bin/busybox"
  collect_modules "$stages/kernel/modules" "$folder/lib/modules" "${outer_modules[@]}"
  outer_early_init >"$folder/init"
  chmod 0755 -- "$folder/init"
  pack_initramfs "$folder" "$out/outer.cpio"
}

# Until the root file system is there, busybox.
outer_early_init() {
  cat <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
exec >/dev/console 2>&1 </dev/console
while read -r module; do
  $b insmod "/lib/modules/$module" || echo "hako-outer: module $module did not load"
done </lib/modules/order
$b mount -t erofs -o ro /dev/vda /lower && $b mount -t tmpfs -o mode=0755 upper /upper &&
  $b mkdir /upper/data /upper/work &&
  $b mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /root &&
  { $b mount -t erofs -o ro /dev/vdb /root/payload ||
    $b mount -t ext4 -o ro /dev/vdb /root/payload; } &&
  $b mount --move /dev /root/dev &&
  exec $b switch_root /root /sbin/hako-outer
echo "HAKO-OUTER-EXIT 125"
$b reboot -f
INIT
}

# From there on, Debian's own tools.
outer_init() {
  cat <<'INIT'
#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm /dev/net
mount -t devpts -o mode=0620,gid=5 devpts /dev/pts
for folder in /dev/shm /run /tmp; do mount -t tmpfs -o mode=1777 tmpfs "$folder"; done
chmod 0755 /run
ip link set lo up
cd /
/payload/run </dev/null >/dev/console 2>&1
printf '\nHAKO-OUTER-EXIT %d\n' $? >/dev/console
sync
# By the kernel itself: there is no init system to ask.
echo b >/proc/sysrq-trigger
INIT
}
