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
mount -t ext4 /dev/nvme0n1 /mnt || echo "kdx-lab: no disk"

case $arm in
kexec) kdx-lab guest arm /boot/vmlinuz /boot/capture.img || echo "kdx-lab: not armed" ;;
kdx) . /arm.sh ;; # what kdx-lab capture wants to be tried
collect) . /collect.sh && poweroff -f ;;
esac

. /workload.sh

kdx-lab guest truth /mnt/truth.json && echo "kdx-lab: truth saved"
# What the host put onto the disk to be done on a machine that lives.
if [ -f /mnt/after-truth.sh ]; then . /mnt/after-truth.sh; fi
kdx-lab guest die "$way"
echo "kdx-lab: still alive"
sleep 1000
