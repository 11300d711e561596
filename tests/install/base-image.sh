#!/bin/bash
# Makes a stand-in for the public base images out of Debian's packages, where no registry is within reach:
#   make base-image && make images IMAGE_ARGS="--build-arg BASE_IMAGE=localhost/debian-python"
# Packages come from debootstrap's own mirror, or from the one in the second argument.
# What pip must know to reach its index from here (PIP_CERT) and the certificates of this machine go with it.
set -euo pipefail
name=${1:?name of the image}
folder=$(mktemp -d)
container=
trap '[ -z "$container" ] || buildah rm "$container" > /dev/null; rm -rf "$folder"' EXIT
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$folder" ${2:+"$2"} > "$folder.log" 2>&1 ||
  { cat "$folder.log" >&2; exit 1; }
rm -rf "$folder.log" "$folder"/var/cache/apt/*.bin "$folder"/var/cache/apt/archives/*.deb "$folder"/var/lib/apt/lists/*
cp /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/"
container=$(buildah from scratch)
buildah copy --quiet "$container" "$folder" / > /dev/null
buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  --env PIP_CERT=/etc/ssl/certs/ca-certificates.crt "$container"
buildah commit --quiet "$container" "$name" > /dev/null
echo "$name"
