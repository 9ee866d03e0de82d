# A bare Debian 12 in a chroot, to be used in a mount namespace of its own. Needs common.sh, apt.sh.

# mount_machine ROOT: the file systems that a machine's kernel provides, and a few device nodes.
mount_machine() {
  local root=$1 node name major minor
  mount -t proc proc "$root/proc"
  mount -t sysfs sysfs "$root/sys"
  mount -t tmpfs -o mode=0755 dev "$root/dev"
  mkdir -p -- "$root"/dev/{pts,shm,net}
  mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
  mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
  mount -t tmpfs -o mode=0755 run "$root/run"
  for node in 'null 1 3' 'zero 1 5' 'full 1 7' 'random 1 8' 'urandom 1 9' 'tty 5 0' \
    'net/tun 10 200'; do
    read -r name major minor <<<"$node"
    mknod -m 0666 "$root/dev/$name" c "$major" "$minor"
  done
  [[ ! -c /dev/kvm ]] || mknod -m 0666 "$root/dev/kvm" c 10 232
  ln -s pts/ptmx "$root/dev/ptmx"
  ln -s /proc/self/fd "$root/dev/fd"
  ln -s /proc/self/fd/0 "$root/dev/stdin"
  ln -s /proc/self/fd/1 "$root/dev/stdout"
  ln -s /proc/self/fd/2 "$root/dev/stderr"
}

# bare_machine FOLDER LOG PACKAGES: makes FOLDER/root, with these packages (commas between) and this
# machine's way to the archive.
bare_machine() {
  local folder=$1 log=$2 include=$3
  debian_sources >"$folder/sources.list"
  unshare --mount --propagation private -- mmdebstrap --quiet --mode=root --variant=minbase \
    --format=directory --skip=output/dev --include="$include" --dpkgopt=force-unsafe-io \
    bookworm "$folder/root" "$folder/sources.list" >>"$log" 2>&1 || {
    tail -n 20 -- "$log" >&2
    die "mmdebstrap failed"
  }
  [[ ! -e /etc/resolv.conf ]] || cp -L -- /etc/resolv.conf "$folder/root/etc/resolv.conf"
  # Where the network's owner vouches for what passes it, a new machine is told to trust him, too.
  if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
    cp -- /usr/local/share/ca-certificates/*.crt "$folder/root/usr/local/share/ca-certificates"
    chroot "$folder/root" update-ca-certificates >>"$log" 2>&1
  fi
}
