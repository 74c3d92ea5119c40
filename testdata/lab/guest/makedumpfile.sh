#!/bin/sh
# /init of the capture kernel that kdx is timed against: makedumpfile, and what must be done around it. kdxlab.flag= is its codec, kdxlab.threads= how many threads help.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for word in $(cat /proc/cmdline); do
  case $word in kdxlab.flag=*) flag=${word#*=} ;; kdxlab.threads=*) threads="--num-threads ${word#*=}" ;; esac
done
n=0
while [ ! -b /dev/nvme0n1 ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
mount -t ext4 -o noatime /dev/nvme0n1 /mnt && mkdir -p /mnt/dumps/one &&
  makedumpfile --message-level 1 $threads "$flag" -d 31 /proc/vmcore /mnt/dumps/one/incomplete && mv /mnt/dumps/one/incomplete /mnt/dumps/one/vmcore && sync && umount /mnt
reboot -f
sleep 60
