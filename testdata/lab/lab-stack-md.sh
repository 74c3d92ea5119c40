#!/bin/sh
# lab-stack-md.sh DIRECTORY LEVEL DISK...: ext4 on an md array of the disks (or "missing"), mounted at the directory. For a guest without udev.
set -e
dir=$1 level=$2
shift 2
mdadm --create /dev/md7 --run --assume-clean --metadata=1.2 --name=lab --homehost=lab --level="$level" --raid-devices=$# "$@" </dev/null
mkfs.ext4 -q -F /dev/md7
mkdir -p "$dir"
mount -t ext4 /dev/md7 "$dir"
