#!/bin/sh
# Make a base image of Debian's packages alone, for machines that reach no image hub:
#   deploy/base.sh && make container BASE=localhost/nanocxr-base:bookworm
# Needs root, mmdebstrap, and docker, podman or buildah (ENGINE names one).
set -eu
cd "$(dirname "$0")/.."
name=${1:-localhost/nanocxr-base:bookworm}
engine=$(python3 -c 'from deploy.engine import Engine; print(Engine.find().name)')
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# usr-is-merged and its hook spare the image perl; debconf's and man's files are of no use in it.
mmdebstrap --variant=minbase --include=python3,python3-venv,usr-is-merged \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    bookworm "$folder/base.tar"
printf 'FROM scratch\nADD base.tar /\n' > "$folder/Containerfile"
"$engine" build --tag "$name" --file "$folder/Containerfile" "$folder"
