#!/bin/sh
# A release of the image: `image/release.sh REPOSITORY VERSION`, from a clean clone at the tag vVERSION, with Docker's
# buildx and cosign. What a tag of the base means today is asked once, and its digest is what all is built on. The image
# is put with a provenance and a bill of materials, and signed by its digest, which is what a chart should name.
set -eu

[ $# = 2 ] || { echo "usage: image/release.sh REPOSITORY VERSION" >&2; exit 2; }
repository=$1 version=$2
cd "$(dirname "$0")/.."

refuse() {
  echo "release: $1" >&2
  exit 1
}

for program in git docker cosign; do
  command -v "$program" > /dev/null || refuse "$program is not there: install it"
done
[ -z "$(git status --porcelain)" ] || refuse "there are changes that are not committed: commit or stash them"
[ "$(git describe --exact-match --tags HEAD 2> /dev/null || true)" = "v$version" ] \
  || refuse "this commit is not tagged v$version: check it out, or tag it"
grep -q "^ARG VERSION=$version\$" image/Dockerfile || refuse "image/Dockerfile has another version than $version"

base=$(sed -n 's/^ARG BASE=//p' image/Dockerfile)
digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$base")
case $digest in
  sha256:????????????????????????????????????????????????????????????????) ;;
  *) refuse "the registry tells no digest of $base, but: $digest" ;;
esac
echo "base $base@$digest"

facts=$(mktemp)
trap 'rm -f "$facts"' EXIT
docker buildx build --platform linux/amd64,linux/arm64 --file image/Dockerfile \
  --build-arg "BASE=$base@$digest" --build-arg "VERSION=$version" \
  --provenance=mode=max --sbom=true --metadata-file "$facts" --tag "$repository:$version" --push .
made=$(sed -n 's/.*"containerimage\.digest": *"\(sha256:[0-9a-f]*\)".*/\1/p' "$facts" | head -n 1)
[ -n "$made" ] || refuse "the builder tells no digest of what it made"
cosign sign --yes "$repository@$made"
echo "image $repository@$made"
