# Initramfs archives: a folder in, a newc cpio out, the same bytes every time.

# pack_initramfs FOLDER OUT
pack_initramfs() {
  find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
  (cd -- "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort -z |
    cpio --quiet --null --create --format=newc --reproducible --owner=0:0 --file="$2") ||
    die "cannot write $2 (is the disk full?)"
}

# guest_initramfs GUEST MODULES OUT SCRATCH: what a box starts from.
guest_initramfs() {
  local guest=$1 modules=$2 out=$3 folder=$4/initramfs-tree
  rm -rf -- "$folder"
  # The mount points are made here so that /init can rely on them.
  mkdir -p -- "$folder"/{dev,proc,sys,run,lib/modules,lower,upper,root}
  # It stays in every box's memory: symbols have no place there.
  strip --strip-all -o "$folder/init" "$guest"
  chmod 0755 -- "$folder/init"
  cp -- "$modules"/* "$folder/lib/modules/"
  pack_initramfs "$folder" "$out"
}
