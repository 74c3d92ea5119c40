#!/bin/sh
# /init of the capture kernel: save /proc/vmcore, whole, beside what the first kernel left on the disk.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo "kdx-lab: capture kernel"
n=0
while [ ! -b /dev/nvme0n1 ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
mount -t ext4 /dev/nvme0n1 /mnt && dd if=/proc/vmcore of=/mnt/vmcore bs=1M && sync && umount /mnt && echo "kdx-lab: saved"
poweroff -f
sleep 60
