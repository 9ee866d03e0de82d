# The npm packages that tests pin in a folder of their own: tests/sdk has the clients that hako is judged
# by, and a Node new enough to run them (Debian 12 has 18); tests/agents has whole agents. Sourced after
# common.sh, never run.

# npm_packages_dir [FOLDER]: where those of tests/sdk, or of that folder, are once fetched. Named after
# the lockfile, so that two trees with different ones do not disturb each other.
npm_packages_dir() {
  local hash
  hash=$(sha256sum <"$hako_root/${1:-tests/sdk}/package-lock.json")
  printf '%s/%s\n' "${HAKO_NPM_DIR:-/var/cache/hako/npm}" "${hash:0:16}"
}

# fetch_npm_packages [FOLDER [MIB]]: exactly what the lockfile lists, each checked against its hash there,
# from the registry that npm is configured with. No package gets to run an install script. Complete or
# not there at all. MIB: the space it takes.
fetch_npm_packages() {
  local folder=${1:-tests/sdk} target staging
  target=$(npm_packages_dir "$folder")
  [[ ! -d $target ]] || return 0
  need_tools npm=npm
  mkdir -p -- "${target%/*}"
  need_space "${target%/*}" "${2:-600}"
  step "fetching the npm packages of $folder"
  staging=$(mktemp -d "${target%/*}/.new-XXXXXX")
  cp -- "$hako_root/$folder"/package{,-lock}.json "$staging"
  (cd -- "$staging" && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier \
    --cache "$staging/.cache" </dev/null >"$staging/.log" 2>&1) || {
    tail -n 20 -- "$staging/.log" >&2
    rm -rf -- "$staging"
    die "npm could not fetch them (the end of its output is above)"
  }
  # Headers and manuals of Node; what npm keeps for another time.
  rm -rf -- "$staging"/{.cache,.log} "$staging"/node_modules/node-linux-*/{include,share}
  chmod 0755 -- "$staging"
  # Somebody else may have been quicker; theirs is the same.
  mv -T --no-clobber -- "$staging" "$target" || true
  rm -rf -- "$staging"
  [[ -d $target/node_modules ]] || die "$target cannot be made"
  good "npm packages fetched into $target"
}
