#!/bin/sh
# /init of the kernel that will crash. The kernel command line says how: kdxlab.way=sysrq kdxlab.arm=kexec
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o size=64m run /run
mkdir -p /run/ready

way=sysrq arm=kexec
for word in $(cat /proc/cmdline); do
  case $word in kdxlab.way=*) way=${word#*=} ;; kdxlab.arm=*) arm=${word#*=} ;; esac
done
echo "kdx-lab: first kernel, way $way, armed by $arm"

while read -r m; do insmod "/modules/$m.ko" || echo "kdx-lab: module $m does not load"; done </modules/order
sysctl -q -w kernel.sysrq=1 kernel.kptr_restrict=0 kernel.printk="7 4 1 7"
# Disks are named in the order in which they answer; /dev/lab0, lab1, lab1p1 are what the machine has as its first and second.
for b in /sys/block/nvme*; do
  for p in "$b" "$b"/*p[0-9]; do
    name=${p##*/}
    if [ -e "$p/dev" ]; then ln -s "$name" "/dev/lab$(($(cat "$b/nsid") - 1))${name#"${b##*/}"}"; fi
  done
done
mount -t ext4 /dev/lab0 /mnt || echo "kdx-lab: no disk"

case $arm in
kexec) kdx-lab guest arm /boot/vmlinuz /boot/capture.img || echo "kdx-lab: not armed" ;;
kdx) . /arm.sh ;; # what kdx-lab capture wants to be tried
collect) . /collect.sh && poweroff -f ;;
size) . /size.sh ;; # how much kdx would reserve
esac

. /workload.sh

kdx-lab guest truth /mnt/truth.json && echo "kdx-lab: truth saved"
# What the host put onto the disk to be done on a machine that lives.
if [ -f /mnt/after-truth.sh ]; then . /mnt/after-truth.sh; fi
kdx-lab guest die "$way"
echo "kdx-lab: still alive"
sleep 1000
