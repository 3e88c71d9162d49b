#!/bin/sh
# The steps by which the image is made, on a Debian that has nothing but apt. `image/Dockerfile` runs them, and so does
# `npm run image:check` in a chroot.
#
#   install.sh application SOURCE TARGET   what is shipped of a clone, with the npm packages it needs and no others;
#                                          brings npm, so it is done in a place of its own
#   install.sh system TARGET               the programs that Holdfast runs on a host, `holdfast` on the PATH, licences,
#                                          a bill of materials and compiled sources; its end is a doctor who has to be
#                                          content
set -eu

# Folders and files that run. No tests, no benches, no charts.
SHIPPED='bin cli cluster csi dataplane engine proto holdfast package.json package-lock.json LICENSE docs/licences.md'
# mkfs.ext4 e2fsck resize2fs | mkfs.xfs xfs_growfs | blkid blockdev | mount umount losetup | modprobe
PROGRAMS='e2fsprogs xfsprogs util-linux mount kmod'

# Of the chart (`_names.tpl`).
USER_WITHOUT_RIGHTS=65532

export DEBIAN_FRONTEND=noninteractive

# The base image says in a comment of its sources of which day's archive it was made: packages come from the same one.
from_snapshot() {
  for sources in /etc/apt/sources.list.d/*.sources; do
    [ -f "$sources" ] || continue
    awk '
      /^# http[^ ]*\/[0-9]+T[0-9]+Z$/ { snapshot = $2; print; next }
      /^URIs:/ && snapshot != "" { print "URIs: " snapshot; snapshot = ""; next }
      { print }
    ' "$sources" > "$sources.new"
    mv "$sources.new" "$sources"
  done
}

apt() {
  apt-get -q -y -o Acquire::Check-Valid-Until=false "$@"
}

application() {
  source=$1 target=$2
  from_snapshot
  apt update
  apt install --no-install-recommends npm ca-certificates
  mkdir -p "$target"
  for part in $SHIPPED; do
    mkdir -p "$target/$(dirname "$part")"
    cp -R "$source/$part" "$target/$(dirname "$part")/"
  done
  cd "$target"
  npm ci --omit=dev --no-audit --no-fund --loglevel=error
  # Node 24 is there twice, and what others' machines would load is not loaded here.
  rm -rf node_modules/node/node_modules node_modules/.cache
  here=linux-$(node -p process.arch)
  find node_modules -path '*/prebuilds/*' -prune -type d ! -name "$here" -exec rm -rf {} +
  cp package-lock.json node_modules/.holdfast-packages-production
  chmod -R a+rX,go-w "$target"
}

system() {
  target=$1
  from_snapshot
  apt update
  # shellcheck disable=SC2086
  apt install --no-install-recommends $PROGRAMS
  apt clean
  rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log /var/cache/debconf
  ln -s "$target/holdfast" /usr/local/bin/holdfast
  documents=/usr/share/doc/holdfast
  mkdir -p "$documents"
  cp "$target/LICENSE" "$target/docs/licences.md" "$documents/"
  "$target/bin/node24" "$target/bin/sbom.ts" --dpkg-status /var/lib/dpkg/status > "$documents/sbom.json"
  compiled "$target"
  holdfast doctor
}

# Node's cache of compiled sources, for root and for the user without rights of the chart. Whoever runs it cannot write
# there, and a process without it has a compiler in its memory for as long as it runs.
compiled() {
  cache=$1/node_modules/.cache/holdfast
  "$1/bin/node24" --input-type=module --eval "
    const { warmCompileCache } = await import('$1/dataplane/compile-cache.ts')
    process.exit(warmCompileCache() ? 0 : 1)"
  for of_root in "$cache"/v*-0; do
    ln -s "$(basename "$of_root")" "${of_root%-0}-$USER_WITHOUT_RIGHTS"
  done
  chmod -R a+rX,go-w "$cache"
}

step=${1-}
case $step in
  application | system)
    shift
    "$step" "$@"
    ;;
  *)
    echo 'usage: install.sh application SOURCE TARGET | system TARGET' >&2
    exit 2
    ;;
esac
