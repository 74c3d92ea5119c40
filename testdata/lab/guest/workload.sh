# Sourced by init.sh: one workload with something of everything that a dump can show. What a shell can do stands here; sockets,
# IPC, memory, scheduling classes, BPF and tracing are started by the helper. Each part says when it is ready.

# wait_ready NAME…: wait for parts to have set up everything.
wait_ready() {
  for part in "$@"; do
    n=0
    while [ ! -e "/run/ready/$part" ]; do
      sleep 0.1
      n=$((n + 1))
      if [ $n -gt 600 ]; then echo "kdx-lab: part $part is not ready"; break; fi
    done
  done
}
part() { kdx-lab guest "$1" & wait_ready "$1"; }

# Mounts: file systems in memory, bind, read-only bind, overlay, loop, the kernel's own.
mkdir -p /tmp/t1 /tmp/bind /tmp/ro /tmp/lower /tmp/upper /tmp/merged /tmp/loop /tmp/frozen /dev/pts /dev/mqueue /dev/hugepages /sys/fs/cgroup /sys/fs/bpf
mount -t devpts devpts /dev/pts
mount -t mqueue mqueue /dev/mqueue
mount -t hugetlbfs hugetlbfs /dev/hugepages
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t tmpfs -o size=30m t1 /tmp/t1
mkdir -p /tmp/t1/dir /tmp/t1/upper /tmp/t1/work
mount -o bind /tmp/t1/dir /tmp/bind
mount -o bind /tmp/t1 /tmp/ro && mount -o remount,ro,bind /tmp/ro
echo below >/tmp/lower/file
mount -t overlay -o lowerdir=/tmp/lower,upperdir=/tmp/t1/upper,workdir=/tmp/t1/work overlay /tmp/merged && echo above >/tmp/merged/file

# Memory that is not in use yet goes offline: where the kernel put nothing of its own.
if [ -e /sys/devices/system/node/node1 ]; then
  for block in /sys/devices/system/node/node2/memory*; do
    if [ "$(cat "$block/valid_zones")" = Movable ]; then echo offline >"$block/state" && break; fi
  done
fi

# Tracing goes first, so that every task that sleeps later sleeps below traced functions.
if [ "$way" = traced ]; then part trace; fi

# Files of every type, open and not.
dd if=/dev/urandom of=/tmp/t1/blob bs=1M count=5 2>/dev/null
dd if=/tmp/t1/blob of=/mnt/blob bs=1M 2>/dev/null
ln -s blob /tmp/t1/link
ln /tmp/t1/blob /tmp/t1/hard
mkfifo /tmp/t1/fifo
mknod /tmp/t1/null c 1 3
echo "deleted but open" >/tmp/t1/deleted
exec 7</tmp/t1/deleted 8>/tmp/t1/open-file 9</tmp/t1/blob
rm /tmp/t1/deleted

# A loop device with a file system in a file in memory.
dd if=/dev/zero of=/tmp/t1/loop.img bs=1M count=8 2>/dev/null
mke2fs -F /tmp/t1/loop.img >/dev/null 2>&1
losetup /dev/loop0 /tmp/t1/loop.img && mount -t ext4 /dev/loop0 /tmp/loop && echo inside >/tmp/loop/file

# Swap on a file and on compressed memory.
dd if=/dev/zero of=/mnt/swapfile bs=1M count=48 2>/dev/null
chmod 600 /mnt/swapfile
mkswap /mnt/swapfile >/dev/null && kdx-lab guest swapon /mnt/swapfile 5
if [ -e /sys/block/zram0/disksize ]; then
  echo 24M >/sys/block/zram0/disksize
  mkswap /dev/zram0 >/dev/null && kdx-lab guest swapon /dev/zram0 10
fi

# Network: loopback, a dummy, a pair with one end in a bridge.
ip link set lo up
ip link show dummy0 >/dev/null 2>&1 || ip link add dummy0 type dummy # the module makes one itself
ip addr add 192.0.2.1/24 dev dummy0 && ip link set dummy0 up
ip -6 addr add 2001:db8::1/64 dev dummy0
ip link add vetha type veth && ip link set vetha up && ip link set veth0 up
ip link add br0 type bridge && ip link set veth0 master br0 && ip addr add 198.51.100.1/24 dev br0 && ip link set br0 up

# Tainted by its user: a letter that the dump must show.
sysctl -q -w kernel.tainted=64
sysctl -q -w vm.nr_hugepages=6
# The kernel turns transparent huge pages off on small machines.
echo madvise >/sys/kernel/mm/transparent_hugepage/enabled

# Plain programs.
nc -l -p 7777 >/dev/null &
httpd -p 127.0.0.1:8080 -h /tmp
sleep 1000 &
(sleep 2000 | cat >/tmp/t1/pipe.out) &
cat /tmp/t1/fifo >/dev/null &
top -b -d 1000 >/dev/null &
sh -c 'while :; do sleep 500; done' &

# The helper's parts.
part ipc
part memory
part files
part threads
part states
part sched
part cgroups
part bpf
part sockets # late: what closed first is in TIME-WAIT for a minute only
part neighbours
if [ -e /sys/devices/system/node/node1 ]; then part links; part nodes; fi
if [ "$way" = sysrq ]; then part block; fi
if [ "$way" != oom ] && [ -b /dev/ram0 ]; then
  mke2fs -F /dev/ram0 4096 >/dev/null 2>&1
  mount -t ext4 /dev/ram0 /tmp/frozen && part frozen
fi
case $way in usermode | nmi) part spin ;; esac
echo "kdx-lab: workload ready" >/dev/kmsg
