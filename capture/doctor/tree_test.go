package doctor

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"kdx/capture/config"
	"kdx/capture/initrd"
	"kdx/capture/load"
	"kdx/capture/storage"
	"kdx/internal/treetest"
)

var loadedAt = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// tree is a host's files, made in a directory, and what is asked of the machine.
type tree struct {
	t    *testing.T
	root string
	opt  Options
}

func (x *tree) put(name, text string) {
	x.t.Helper()
	path := treetest.Put(x.t, x.root, name, text)
	if err := os.Chmod(path, 0o600); err != nil { // as sshd wants it of keys
		x.t.Fatal(err)
	}
	if err := os.Chtimes(path, loadedAt.Add(-time.Hour), loadedAt.Add(-time.Hour)); err != nil {
		x.t.Fatal(err)
	}
}

func (x *tree) remove(name string) {
	if err := os.RemoveAll(filepath.Join(x.root, name)); err != nil {
		x.t.Fatal(err)
	}
}

func (x *tree) link(name, target string) {
	x.t.Helper()
	x.remove(name)
	treetest.Link(x.t, x.root, name, target)
}

// conf writes the configuration, older than what is loaded.
func (x *tree) conf(lines ...string) { x.put("etc/kdx/capture.conf", strings.Join(lines, "\n")+"\n") }

// bootImage is a boot image with the header's fields that count.
func bootImage(name string, xload uint16) string {
	b := make([]byte, 0x4000)
	le := binary.LittleEndian
	copy(b[0x202:], "HdrS")
	le.PutUint16(b[0x1fe:], 0xaa55)
	b[0x201] = 0x66
	b[0x1f1] = 3
	le.PutUint16(b[0x206:], 0x20f)
	le.PutUint16(b[0x20e:], 0x200)
	copy(b[0x400:], name+" (who@where) #1 SMP\x00")
	b[0x211] = 1
	le.PutUint32(b[0x230:], 0x200000)
	b[0x234] = 1
	le.PutUint16(b[0x236:], xload)
	le.PutUint32(b[0x238:], 2047)
	le.PutUint32(b[0x260:], 56<<20)
	le.PutUint32(b[0x1f4:], 0x3000/16)
	le.PutUint32(b[0x248:], 0x100) // a payload, by its magic one of gzip
	le.PutUint32(b[0x24c:], 0x400)
	copy(b[0x900:], "\x1f\x8b\x08\x00")
	return string(b)
}

// healthy is a host where nothing is wrong: NVMe, ext4, systemd, a capture kernel that kdx loaded.
func healthy(t *testing.T) *tree {
	x := &tree{t: t, root: t.TempDir()}
	x.put("proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz root=/dev/nvme0n1p2 ro console=ttyS0 crashkernel=256M")
	x.put("proc/iomem", "00001000-0009ffff : System RAM\n00100000-7fffffff : System RAM\n  6f000000-7effffff : Crash kernel\n")
	x.put("proc/meminfo", "MemTotal: 2000000 kB\nMemFree: 1500000 kB\nCached: 100000 kB\nAnonPages: 100000 kB\n")
	x.put("proc/cpuinfo", "processor : 0\nflags : fpu sse\n\n")
	for name, v := range map[string]string{"osrelease": release, "panic_on_oops": "1", "panic": "10", "sysrq": "1", "kexec_load_disabled": "0", "kexec_load_limit_panic": "-1", "hardlockup_panic": "1",
		"softlockup_panic": "0", "panic_on_warn": "0", "hostname": "web1", "random/boot_id": boot} {
		x.put("proc/sys/kernel/"+name, v+"\n")
	}
	x.put("sys/kernel/kexec_crash_loaded", "1\n")
	x.put("sys/kernel/kexec_crash_size", "268435456\n")
	x.put("sys/kernel/crash_elfcorehdr_size", "917616\n")
	x.put("sys/kernel/btf/vmlinux", "BTF")
	x.put("sys/devices/system/memory/crash_hotplug", "1\n")
	x.put("sys/devices/system/cpu/crash_hotplug", "1\n")
	x.put("sys/devices/system/memory/memory0/state", "online\n")
	x.put("sys/devices/system/cpu/possible", "0-3\n")
	x.put("sys/class/watchdog/watchdog0/state", "inactive\n")
	x.put("boot/vmlinuz-"+release, bootImage(release, 0x7f))
	x.put("boot/config-"+release, "CONFIG_MODULES=y\nCONFIG_CRASH_DUMP=y\nCONFIG_PROC_VMCORE=y\nCONFIG_KEXEC_FILE=y\nCONFIG_BLK_DEV_INITRD=y\nCONFIG_DEVTMPFS=y\nCONFIG_TMPFS=y\n")
	x.put("boot/grub/grub.cfg", "linux /boot/vmlinuz crashkernel=256M\n")
	x.put("boot/initrd.kdx", "initrd")
	x.put("usr/lib/modules/"+release+"/modules.dep", "")
	x.put("run/systemd/system/x", "")
	for _, u := range []string{"kdx-capture.service", "kdx-collect.service"} {
		x.link("etc/systemd/system/multi-user.target.wants/"+u, "/etc/systemd/system/"+u)
	}
	// One disk, NVMe, with two partitions; the second is the root, the first holds the dumps.
	const pci = "../../devices/pci0000:00/nvme/nvme0/nvme0n1"
	for i, p := range []string{"nvme0n1p1", "nvme0n1p2"} {
		dir := "sys/devices/pci0000:00/nvme/nvme0/nvme0n1/" + p
		x.put(dir+"/partition", fmt.Sprint(i+1))
		x.put(dir+"/dev", fmt.Sprintf("259:%d\n", i+1))
		x.put(dir+"/size", "8388608\n")
		x.link("sys/class/block/"+p, pci+"/"+p)
		x.link(fmt.Sprintf("sys/dev/block/259:%d", i+1), pci+"/"+p)
	}
	x.put("sys/devices/pci0000:00/nvme/nvme0/nvme0n1/removable", "0\n")
	x.link("sys/class/block/nvme0n1", pci)
	x.mounts()
	x.put("var/crash/.keep", "")
	x.conf("target = /var/crash", "target = ext4:/dev/nvme0n1p1:/dumps", "sysctl = kernel.panic_on_oops=1")
	x.record(func(*load.Record) {})
	x.put("var/lib/kdx/test.json", fmt.Sprintf(`{"version":1,"boot_id":"x","release":%q,"begun":"2026-11-01T00:00:00Z","outcome":"a whole dump arrived","arrived":true}`, release))
	x.opt = Options{Root: x.root, Arch: "amd64", Now: loadedAt.Add(time.Hour), Version: "1",
		Free: func(string) (uint64, error) { return 10 << 30, nil },
		Storage: func(string, string) (*storage.Device, error) {
			return &storage.Device{Kind: storage.Partition, Name: "nvme0n1p1"}, nil
		},
		admin: func() bool { return true },
		show: func(context.Context, string) (*initrd.Contents, error) {
			return &initrd.Contents{Size: 4 << 20, Unpacked: 11 << 20, Maker: "kdx", Manifest: &initrd.Manifest{Release: release}}, nil
		},
		verify: func(context.Context, string, string, initrd.Options) (*initrd.Verdict, error) {
			return &initrd.Verdict{}, nil
		},
	}
	return x
}

// mounts writes mountinfo; extra lines follow.
func (x *tree) mounts(extra ...string) {
	x.put("proc/self/mountinfo", strings.Join(append([]string{
		"20 1 259:2 / / rw,relatime - ext4 /dev/nvme0n1p2 rw",
		"21 20 259:1 / /var/crash rw,relatime - ext4 /dev/nvme0n1p1 rw",
	}, extra...), "\n")+"\n")
}

func (x *tree) record(change func(*load.Record)) {
	x.t.Helper()
	size := func(name string) int64 {
		fi, err := os.Stat(filepath.Join(x.root, name))
		if err != nil {
			return 0
		}
		return fi.Size()
	}
	r := &load.Record{Version: 1, Kdx: "1", By: "kdx capture load", BootID: boot, Loaded: loadedAt, Armed: true, Release: release, RAM: 0x9f000 + 0x7ff00000,
		Kernel: load.File{Path: "/boot/vmlinuz-" + release, Size: size("boot/vmlinuz-" + release)}, Initrd: load.File{Path: "/boot/initrd.kdx", Size: size("boot/initrd.kdx")},
		Cmdline: "console=ttyS0 nr_cpus=1 reset_devices panic=10"}
	change(r)
	b, err := json.Marshal(r)
	if err != nil {
		x.t.Fatal(err)
	}
	x.put("run/kdx/loaded.json", string(b))
}

// remote configures a target on the network, with a key and a pinned host key.
func (x *tree) remote() {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		x.t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		x.t.Fatal(err)
	}
	x.put("etc/kdx/id_ed25519", string(pem.EncodeToMemory(block)))
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		x.t.Fatal(err)
	}
	x.put("etc/kdx/known_hosts", "vault.example.com "+string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	x.put("etc/hosts", "192.0.2.9 vault.example.com\n")
	x.put("proc/net/route", "Iface\tDestination\tGateway\tFlags\neth0\t00000000\t010200C0\t0003\n")
	x.put("sys/class/net/eth0/uevent", "INTERFACE=eth0\n")
	x.link("etc/systemd/system/kdx-capture.service.wants/network-online.target", "/usr/lib/systemd/system/network-online.target")
	x.conf("target = sftp://dumps@vault.example.com/srv/dumps", "target = /var/crash")
	x.opt.Login = func(context.Context, config.Target, *config.Config) error { return nil }
}

func (x *tree) run() *Report {
	x.t.Helper()
	r, err := Run(context.Background(), x.opt)
	if err != nil {
		x.t.Fatal(err)
	}
	return r
}

func find(r *Report, id string) Finding {
	for _, f := range r.Findings {
		if f.ID == id {
			return f
		}
	}
	return Finding{}
}

// dm puts a device-mapper device over the partition and mounts it for dumps.
func (x *tree) dm(uuid string) {
	x.put("sys/devices/virtual/block/dm-0/dm/uuid", uuid+"\n")
	x.put("sys/devices/virtual/block/dm-0/dm/name", "data\n")
	x.put("sys/devices/virtual/block/dm-0/dev", "254:0\n")
	x.put("sys/devices/virtual/block/dm-0/slaves/nvme0n1p1/x", "")
	x.link("sys/class/block/dm-0", "../../devices/virtual/block/dm-0")
	x.link("sys/dev/block/254:0", "../../devices/virtual/block/dm-0")
	x.conf("target = ext4:/dev/mapper/data:/dumps")
}
