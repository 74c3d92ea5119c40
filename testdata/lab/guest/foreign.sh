#!/bin/sh
# /init of a capture kernel as a distribution's initrd has it: a shell mounts what is needed, and a script calls kdx where makedumpfile would be called.
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
echo "kdx-lab: capture kernel"
n=0
while [ ! -b /dev/nvme0n1 ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
mount -t ext4 /dev/nvme0n1 /mnt
mkdir -p /mnt/dumps && chmod 700 /mnt/dumps
kdx capture save --target /mnt/dumps --level 31 --host localhost
echo "kdx-lab: kdx capture save ends with $?"
sync
umount /mnt
reboot -f
sleep 60
