#!/bin/sh
# Run in a guest that has busybox, kdx, kdx-init and /boot/vmlinuz, and a disk lab0 with ext4 at /mnt. What loading says and leaves behind
# when all is well and when it is not. The kernel's command line decides which part: crashkernel=96M; none; crashkernel=64M; lockdown=integrity.
# /boot/other is a kernel of another release, /boot/foreign an initrd that kdx did not build.
bad=0
# want STATUS TEXT COMMAND…: that exit code, and that text in the output.
want() {
  status=$1 text=$2
  shift 2
  said=$("$@" 2>&1)
  got=$?
  case $got:$said in
  "$status:"*"$text"*) echo "kdx-lab: ok: $status, $text" ;;
  *)
    echo "kdx-lab: FAILED: $* exits $got (want $status, \"$text\"): $said"
    bad=1
    ;;
  esac
}
load() { kdx capture load --kernel "$1" --initrd "$2" --append console=ttyS0; }
armed() { kdx kexec -S; }

kdx capture initrd build --kernel /boot/vmlinuz --target ext4:/dev/lab0:/dumps -o /boot/initrd.kdx || bad=1
own=/boot/initrd.kdx

everything() {
  want 14 "armed         NO" kdx capture status
  want 0 "armed: a panic starts /boot/vmlinuz" load /boot/vmlinuz $own
  want 0 "armed         yes" kdx capture status
  want 1 "" armed # kexec-tools: 1 is loaded

  # Refused before the kernel is asked: what was loaded stays.
  head -c 5000000 /boot/vmlinuz >/run/cut
  want 1 "truncated" load /run/cut $own
  cp /boot/vmlinuz /run/flip && printf '\001' | dd of=/run/flip bs=1 seek=4000000 conv=notrunc 2>/dev/null
  want 1 "its contents have changed" load /run/flip $own
  cp $own /run/flip.kdx && printf '\001' | dd of=/run/flip.kdx bs=1 seek=2000000 conv=notrunc 2>/dev/null
  want 1 "its sum is not what its head says" load /boot/vmlinuz /run/flip.kdx
  [ -f /boot/other ] && want 1 "holds the modules of" load /boot/other $own
  [ -f /boot/foreign ] && want 1 "kdx did not build" load /boot/vmlinuz /boot/foreign
  want 1 "the image takes 2016" kdx capture load --kernel /boot/vmlinuz --initrd $own --append "$(printf '%02000d' 1)"
  want 1 "" armed

  # Refused by the kernel, which drops what was loaded: a map of memory that lies hides that there is no room.
  sed 's/^  *\(.*\)-.* : Crash kernel/  \1-7effffff : Crash kernel/' /proc/iomem >/run/iomem && mount -o bind /run/iomem /proc/iomem
  { printf 070701; dd if=/dev/zero bs=1M count=90 2>/dev/null; } >/mnt/big # the kernel looks into it when it boots, not before
  want 255 "the host is armed as before" kdx kexec -p /boot/vmlinuz --initrd=/mnt/big --append=console=ttyS0
  umount /proc/iomem
  rm -f /mnt/big /run/cut /run/flip
  want 1 "" armed

  # Two at once: the second waits and says for whom.
  load /boot/vmlinuz $own >/run/first 2>&1 &
  want 0 "armed:" load /boot/vmlinuz $own
  wait
  want 0 "armed:" cat /run/first

  want 0 "" kdx capture reload
  want 0 "" kdx capture reload --throttle 1s # nothing to do where the kernel follows hotplug, else a load
  mkdir -p /etc/kdx && echo "level = 99" >/etc/kdx/capture.conf
  want 12 "capture.conf:1:9" kdx capture load
  rm /etc/kdx/capture.conf
  want 0 "" kdx capture unload
  want 0 "" armed
  want 0 "no capture kernel is loaded" kdx capture reload --throttle 1s
  if [ -f /proc/sys/kernel/kexec_load_limit_panic ]; then
    load /boot/vmlinuz $own >/dev/null
    sysctl -q -w kernel.kexec_load_limit_panic=0
    want 1 "kexec_load_limit_panic is 0" load /boot/vmlinuz $own
    want 1 "" armed
  fi
  sysctl -q -w kernel.kexec_load_disabled=1
  want 1 "kexec_load_disabled is 1" kdx kexec -l /boot/vmlinuz
}

words=$(cat /proc/cmdline)
case $words in
*lockdown=integrity*) want 14 "takes trusted images only" load /boot/vmlinuz $own ;;
*crashkernel=64M*)
  want 13 "can't start in 64M" load /boot/vmlinuz $own
  want 0 "" armed
  ;;
*crashkernel=*) everything ;;
*) want 13 "no memory is reserved" load /boot/vmlinuz $own ;;
esac
[ $bad = 0 ] && echo "kdx-lab: loading is as it should be"
