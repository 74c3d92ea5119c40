#!/bin/sh
# lab-stack-lvm.sh DIRECTORY DISK...: xfs on a logical volume that lies on all of the disks, mounted at the directory. For a guest without udev.
set -e
dir=$1
shift
lvm() {
  command lvm "$@" --config 'activation { udev_sync=0 udev_rules=0 verify_udev_operations=1 monitoring=0 } devices { obtain_device_list_from_udev=0 external_device_info_source="none" }'
}
lvm pvcreate -qq -ff -y "$@"
lvm vgcreate -qq lab "$@"
lvm lvcreate -qq -y -Wn -Zn -n target -l 100%FREE lab
mkfs.xfs -q -f /dev/mapper/lab-target
mkdir -p "$dir"
mount -t xfs /dev/mapper/lab-target "$dir"
