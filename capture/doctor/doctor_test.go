package doctor

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"kdx/capture/bzimage"
	"kdx/capture/config"
	"kdx/capture/initrd"
	"kdx/capture/load"
	"kdx/capture/plan"
	"kdx/capture/storage"
)

const (
	release = "6.12.0-test"
	boot    = "0b54a4a1-9f3e-4c0e-9d5a-0c8f0c6ff0aa"
)

// TestHealthy: nothing is said of a host where all is well, with a target on a disk and with one on the network.
func TestHealthy(t *testing.T) {
	for name, change := range map[string]func(*tree){"disk": func(*tree) {}, "network": (*tree).remote} {
		x := healthy(t)
		change(x)
		r := x.run()
		for _, f := range r.Findings {
			if f.State == Bad || f.State == Unknown {
				t.Errorf("%s: %s is %s: %s", name, f.ID, f.State, f.Evidence)
			}
			if f.State != Skipped && f.Evidence == "" {
				t.Errorf("%s: %s has no evidence", name, f.ID)
			}
		}
		var b bytes.Buffer
		if err := r.Text(&b, false, 0); err != nil || strings.Count(b.String(), "\n") != 1 || !strings.Contains(b.String(), "0 faults, 0 warnings, 0 notes") {
			t.Errorf("%s: %v %s", name, err, b.String())
		}
	}
}

// faults makes each check fail.
var faults = map[string]func(*tree){
	"config":        func(x *tree) { x.conf("tarhet = /var/crash") },
	"config-import": func(x *tree) { x.remove("etc/kdx/capture.conf"); x.put("etc/kdump.conf", "nfs vault:/srv\n") },
	"config-files":  func(x *tree) { x.conf("target = /var/crash", "pre-hook = /etc/kdx/gone.sh") },
	"root":          func(x *tree) { x.opt.admin = func() bool { return false } },

	"reserve-asked": func(x *tree) {
		x.put("proc/cmdline", "ro")
		x.put("proc/iomem", "00100000-7fffffff : System RAM\n")
		x.put("sys/kernel/kexec_crash_size", "0\n")
	},
	"reserve-made": func(x *tree) {
		x.put("proc/iomem", "00100000-7fffffff : System RAM\n")
		x.put("sys/kernel/kexec_crash_size", "0\n")
	},
	"reserve-whole": func(x *tree) {
		x.put("proc/iomem", "00100000-7fffffff : System RAM\n  6f000000-76ffffff : Crash kernel\n")
		x.put("sys/kernel/kexec_crash_size", "134217728\n")
	},
	"reserve-size": func(x *tree) {
		x.put("proc/iomem", "00100000-7fffffff : System RAM\n  6f000000-72ffffff : Crash kernel\n")
	},
	"reserve-margin": func(x *tree) {
		x.put("proc/iomem", "00100000-7fffffff : System RAM\n  6f000000-74ffffff : Crash kernel\n")
	},
	"reserve-waste": func(x *tree) {
		x.put("proc/iomem", "00100000-7fffffff : System RAM\n  4f000000-6effffff : Crash kernel\n")
	},
	"reserve-low": func(x *tree) {
		x.put("proc/iomem", "00100000-7fffffff : System RAM\n  6f000000-6fffffff : Crash kernel\n100000000-13fffffff : System RAM\n  120000000-12fffffff : Crash kernel\n")
	},
	"reserve-next": func(x *tree) { x.put("boot/grub/grub.cfg", "linux /boot/vmlinuz\n# crashkernel=256M\n") },

	"kernel-image":  func(x *tree) { x.remove("boot/vmlinuz-" + release) },
	"kernel-format": func(x *tree) { x.put("boot/vmlinuz-"+release, bootImage(release, 1)) },
	"kernel-config": func(x *tree) {
		x.put("boot/config-"+release, "CONFIG_PROC_VMCORE=y\nCONFIG_KEXEC_FILE=y\nCONFIG_BLK_DEV_INITRD=y\nCONFIG_DEVTMPFS=y\n")
	},
	"kernel-initrd": func(x *tree) { x.put("boot/config-"+release, "CONFIG_CRASH_DUMP=y\nCONFIG_PROC_VMCORE=y\n") },
	"kernel-modules": func(x *tree) {
		x.remove("usr/lib/modules")
		x.opt.show = func(context.Context, string) (*initrd.Contents, error) { return nil, fs.ErrNotExist }
	},
	"kernel-same": func(x *tree) { x.put("boot/other", bootImage("6.1.0-other", 0x7f)); x.conf("kernel = /boot/other") },
	"kernel-realtime": func(x *tree) {
		x.put("sys/kernel/realtime", "1\n")
		x.put("boot/config-"+release, "CONFIG_PREEMPT_RT=y\n")
	},
	"kexec": func(x *tree) { x.remove("sys/kernel/kexec_crash_loaded") },
	"kexec-disabled": func(x *tree) {
		x.put("proc/sys/kernel/kexec_load_disabled", "1\n")
		x.put("sys/kernel/kexec_crash_loaded", "0\n")
	},
	"kexec-frozen": func(x *tree) { x.put("proc/sys/kernel/kexec_load_disabled", "1\n") },
	"kexec-limit": func(x *tree) {
		x.put("proc/sys/kernel/kexec_load_limit_panic", "0\n")
		x.put("sys/kernel/kexec_crash_loaded", "0\n")
	},
	"kernel-signed": func(x *tree) { x.put("sys/kernel/security/lockdown", "none [integrity] confidentiality\n") },
	"kernel-types":  func(x *tree) { x.remove("sys/kernel/btf/vmlinux") },
	"hypervisor":    func(x *tree) { x.put("sys/hypervisor/type", "xen\n"); x.put("proc/xen/capabilities", "control_d\n") },
	"encrypted":     func(x *tree) { x.put("sys/class/misc/sev-guest/dev", "10:1\n") },

	"initrd": func(x *tree) {
		x.opt.show = func(context.Context, string) (*initrd.Contents, error) { return nil, fs.ErrNotExist }
	},
	"initrd-whole": func(x *tree) {
		x.opt.verify = func(context.Context, string, string, initrd.Options) (*initrd.Verdict, error) {
			return &initrd.Verdict{Problems: []string{"/init is missing in it"}}, nil
		}
	},
	"initrd-kernel": func(x *tree) {
		x.opt.show = func(context.Context, string) (*initrd.Contents, error) {
			return &initrd.Contents{Manifest: &initrd.Manifest{Release: "5.10"}}, nil
		}
	},
	"initrd-fresh": func(x *tree) {
		x.opt.verify = func(context.Context, string, string, initrd.Options) (*initrd.Verdict, error) {
			return &initrd.Verdict{Changes: []string{"/boot/vmlinuz changed"}}, nil
		}
	},
	"initrd-mode": func(x *tree) {
		x.opt.show = func(context.Context, string) (*initrd.Contents, error) {
			return &initrd.Contents{Manifest: &initrd.Manifest{Release: release}, Entries: []initrd.Entry{{Path: "/kdx/ssh-key"}}}, nil
		}
		os.Chmod(filepath.Join(x.root, "boot/initrd.kdx"), 0o644)
	},
	"initrd-unpacks": func(x *tree) {
		x.opt.show = func(context.Context, string) (*initrd.Contents, error) {
			return &initrd.Contents{Unpacked: 150 << 20, Manifest: &initrd.Manifest{Release: release}}, nil
		}
	},

	"loaded":       func(x *tree) { x.put("sys/kernel/kexec_crash_loaded", "0\n") },
	"loaded-by":    func(x *tree) { x.remove("run/kdx") },
	"loaded-fresh": func(x *tree) { x.put("boot/initrd.kdx", "another initrd") },
	"loaded-config": func(x *tree) {
		os.Chtimes(filepath.Join(x.root, "etc/kdx/capture.conf"), time.Time{}, loadedAt.Add(time.Minute))
	},
	"unit":         func(x *tree) { x.remove("etc/systemd/system/multi-user.target.wants/kdx-capture.service") },
	"unit-collect": func(x *tree) { x.remove("etc/systemd/system/multi-user.target.wants/kdx-collect.service") },
	"unit-network": func(x *tree) {
		x.remote()
		x.remove("etc/systemd/system/kdx-capture.service.wants/network-online.target")
		x.put("usr/lib/systemd/system/kdx-capture.service", "[Unit]\nAfter=network-online.target\n")
	},
	"unit-masked": func(x *tree) { x.link("etc/systemd/system/kdx-capture.service", "/dev/null") },
	"other-tools": func(x *tree) {
		x.link("etc/systemd/system/multi-user.target.wants/kdump.service", "/usr/lib/systemd/system/kdump.service")
	},
	"cmdline-console": func(x *tree) { x.record(func(r *load.Record) { r.Cmdline = "nr_cpus=1" }) },
	"cmdline-hazards": func(x *tree) {
		x.record(func(r *load.Record) { r.Cmdline = "console=ttyS0 nr_cpus=1 log-buf-len=64M" })
	},
	"cmdline-length": func(x *tree) { x.record(func(r *load.Record) { r.Cmdline = strings.Repeat("word ", 500) }) },
	"cmdline-cpus":   func(x *tree) { x.record(func(r *load.Record) { r.Cmdline = "console=ttyS0" }) },

	"hotplug": func(x *tree) { x.put("sys/devices/system/memory/crash_hotplug", "0\n") },
	"hotplug-stale": func(x *tree) {
		x.put("sys/devices/system/memory/crash_hotplug", "0\n")
		x.record(func(r *load.Record) { r.RAM = 1 << 30 })
	},
	"hotplug-room": func(x *tree) { x.put("sys/kernel/crash_elfcorehdr_size", "112\n") },

	"panic-oops":      func(x *tree) { x.put("proc/sys/kernel/panic_on_oops", "0\n") },
	"panic-sysctls":   func(x *tree) { x.conf("target = /var/crash", "sysctl = kernel.hung_task_panic=1") },
	"panic-reboot":    func(x *tree) { x.put("proc/sys/kernel/panic", "0\n") },
	"panic-hangs":     func(x *tree) { x.put("proc/sys/kernel/hardlockup_panic", "0\n") },
	"panic-warn":      func(x *tree) { x.put("proc/sys/kernel/panic_on_warn", "1\n") },
	"panic-notifiers": func(x *tree) { x.put("sys/module/kernel/parameters/crash_kexec_post_notifiers", "Y\n") },
	"sysrq":           func(x *tree) { x.put("proc/sys/kernel/sysrq", "438\n") },

	"target-device": func(x *tree) { x.conf("target = ext4:/dev/sdz1:/dumps") },
	"target-stack": func(x *tree) {
		x.opt.Storage = func(string, string) (*storage.Device, error) { return nil, errors.New("a bcache device") }
	},
	"target-filesystem": func(x *tree) { x.mounts("22 20 259:1 / /var/crash rw - vfat /dev/nvme0n1p1 rw") },
	"target-directory":  func(x *tree) { x.remove("var/crash") },
	"target-writable":   func(x *tree) { x.mounts("22 20 259:1 / /var/crash ro - ext4 /dev/nvme0n1p1 ro") },
	"target-space":      func(x *tree) { x.opt.Free = func(string) (uint64, error) { return 100 << 20, nil } },
	"target-root":       func(x *tree) { x.conf("target = /srv/crash") },
	"target-volatile":   func(x *tree) { x.mounts("22 20 0:22 / /var/crash rw - tmpfs tmpfs rw") },
	"target-crypt": func(x *tree) {
		x.dm("CRYPT-LUKS2-0b54-data")
	},
	"target-multipath": func(x *tree) { x.dm("mpath-3600") },
	"target-remote-disk": func(x *tree) {
		x.put("sys/devices/platform/host3/session1/target3:0:0/block/sda/dev", "8:0\n")
		x.link("sys/class/block/sda", "../../devices/platform/host3/session1/target3:0:0/block/sda")
		x.conf("target = ext4:/dev/sda:/dumps")
	},
	"target-removable": func(x *tree) { x.put("sys/devices/pci0000:00/nvme/nvme0/nvme0n1/removable", "1\n") },
	"target-raw":       func(x *tree) { x.conf("target = raw:/dev/nvme0n1p1") },
	"target-second":    func(x *tree) { x.conf("target = /var/crash") },

	"network-route": func(x *tree) { x.remote(); x.put("proc/net/route", "Iface\n") },
	"network-name": func(x *tree) {
		x.remote()
		x.put("etc/hosts", "")
		x.opt.Lookup = func(context.Context, string) ([]string, error) { return nil, errors.New("no such host") }
	},
	"network-interface": func(x *tree) {
		x.remote()
		x.put("sys/class/net/eth0/uevent", "DEVTYPE=wlan\nINTERFACE=eth0\n")
	},
	"ssh-key":      func(x *tree) { x.remote(); x.remove("etc/kdx/id_ed25519") },
	"ssh-key-mode": func(x *tree) { x.remote(); os.Chmod(filepath.Join(x.root, "etc/kdx/id_ed25519"), 0o644) },
	"ssh-host-key": func(x *tree) { x.remote(); x.put("etc/kdx/known_hosts", "") },
	"ssh-login": func(x *tree) {
		x.remote()
		x.opt.Login = func(context.Context, config.Target, *config.Config) error { return errors.New("refused") }
	},

	"watchdog": func(x *tree) {
		x.put("sys/class/watchdog/watchdog0/state", "active\n")
		x.conf("target = /var/crash", "watchdog = off")
	},
	"watchdog-pretimeout": func(x *tree) {
		x.put("sys/class/watchdog/watchdog0/pretimeout", "10\n")
		x.put("sys/class/watchdog/watchdog0/pretimeout_governor", "panic\n")
	},
	"cluster": func(x *tree) {
		x.link("etc/systemd/system/multi-user.target.wants/pacemaker.service", "/usr/lib/systemd/system/pacemaker.service")
	},
	"clock":  func(x *tree) { x.opt.Now = time.Unix(3600, 0) },
	"dumps":  func(x *tree) { x.put("var/crash/web1-2026-11-01T00-00-00Z-0b54a4a1/vmcore.incomplete", "half") },
	"tested": func(x *tree) { x.remove("var/lib/kdx/test.json") },
}

// byHand are checks whose failure needs more than files, tested below.
var byHand = map[string]bool{"kernel-trusted": true}

// TestEach makes every check fail, and looks that the report says so with evidence and what to do.
func TestEach(t *testing.T) {
	for i := range checks {
		c := &checks[i]
		change := faults[c.id]
		if change == nil {
			if !byHand[c.id] {
				t.Errorf("%s: no test makes it fail", c.id)
			}
			continue
		}
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			x := healthy(t)
			change(x)
			r := x.run()
			f := find(r, c.id)
			if f.State != Bad || f.Evidence == "" || f.Todo == "" {
				t.Fatalf("%+v; want it bad, with evidence and something to do", f)
			}
			var b bytes.Buffer
			if err := r.Text(&b, false, 0); err != nil || !strings.Contains(b.String(), c.id+": ") {
				t.Errorf("the text does not say so: %v\n%s", err, b.String())
			}
			if c.severity == Fault && (r.Faults == 0 || len(r.Blocking()) != r.Faults || !strings.Contains(b.String(), "WOULD LEAVE NO DUMP")) {
				t.Errorf("%d faults: %s", r.Faults, b.String())
			}
		})
	}
	all := healthy(t).run()
	for id := range faults {
		if find(all, id).ID == "" {
			t.Errorf("there is no check %s", id)
		}
	}
}

// TestTrusted: an image signed by a key that the kernel does not have, under lockdown.
func TestTrusted(t *testing.T) {
	x := healthy(t)
	x.put("sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
	x.put("proc/keys", "0a1b I------ 1 perm 1f030000 0 0 asymmetri A: key: 11223344: X509.rsa 11223344 []\n")
	h, err := newHost(context.Background(), withDefaults(x.opt))
	if err != nil {
		t.Fatal(err)
	}
	h.image.header.Signed, h.image.header.Signers = true, []bzimage.Signer{{Subject: "Somebody", KeyID: "aabbccdd", IssuerKeyID: "00000000"}}
	if o := kernelTrusted(h); o.state != Bad || !strings.Contains(o.evidence, "Somebody") {
		t.Errorf("a key that the kernel lacks: %+v", o)
	}
	h.image.header.Signers[0].KeyID = "11223344"
	if o := kernelTrusted(h); o.state != OK {
		t.Errorf("a key that the kernel has: %+v", o)
	}
}

// TestTable: ids are unique and no check is silent.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range checks {
		if seen[c.id] || c.id == "" || c.title == "" || c.todo == "" || c.area == "" || c.run == nil {
			t.Errorf("check %q: twice, or something is missing", c.id)
		}
		seen[c.id] = true
		if !strings.Contains(Doc(), "| `"+c.id+"` |") {
			t.Errorf("the docs lack %s", c.id)
		}
	}
	if len(checks) < 40 {
		t.Errorf("%d checks", len(checks))
	}
}

// TestEmpty: of a host of which next to nothing is known nothing is claimed to be well.
func TestEmpty(t *testing.T) {
	x := &tree{t: t, root: t.TempDir()}
	x.put("proc/cmdline", "ro")
	x.opt = Options{Root: x.root, Arch: "amd64", Now: loadedAt}
	r := x.run()
	if r.Faults == 0 {
		t.Errorf("%+v", r)
	}
	if _, err := Run(context.Background(), Options{Root: t.TempDir()}); err == nil {
		t.Error("a directory without /proc is taken for a host")
	}
}

// TestPlanCounts: an initrd that was built for other targets than the configuration names is what will save the dump.
func TestPlanCounts(t *testing.T) {
	x := healthy(t)
	x.conf("target = ext4:/dev/sdz9:/dumps")
	x.record(func(*load.Record) {})
	x.opt.show = func(_ context.Context, path string) (*initrd.Contents, error) {
		if want := filepath.Join(x.root, "boot/initrd.kdx"); path != want {
			t.Errorf("looked at %s; want %s", path, want)
		}
		return &initrd.Contents{Maker: "kdx", Manifest: &initrd.Manifest{Release: release}, Plan: &plan.Plan{Targets: []plan.Target{{Configured: "ext4:/dev/nvme0n1p1:/dumps"}}}}, nil
	}
	if f := find(x.run(), "target-device"); f.State != OK || !strings.Contains(f.Evidence, "nvme0n1p1") {
		t.Errorf("%+v", f)
	}
	for _, targets := range []*plan.Plan{nil, {}, {Targets: []plan.Target{{Configured: "nfs:/x"}}}} {
		c := config.Default()
		if got := withPlan(c, "/i", &initrd.Contents{Plan: targets}); len(got.Targets) != 1 || got.Targets[0] != c.Targets[0] || got.Initrd != "/i" {
			t.Errorf("%+v: %+v", targets, got)
		}
	}
}

// TestSymbols: without a configuration the names that the running kernel knows say what it was built with.
func TestSymbols(t *testing.T) {
	x := healthy(t)
	x.remove("boot/config-" + release)
	if f := find(x.run(), "kernel-config"); f.State != Unknown {
		t.Errorf("nothing to look at: %+v", f)
	}
	x.put("proc/kallsyms", "0000000000000000 T _text\n0000000000000000 D elfcorehdr_addr\n0000000000000000 t read_vmcore\n0000000000000000 t kimage_file_post_load_cleanup\n")
	if f := find(x.run(), "kernel-config"); f.State != OK || !strings.Contains(f.Evidence, "kallsyms") {
		t.Errorf("%+v", f)
	}
	if f := find(x.run(), "kernel-initrd"); f.State != Bad {
		t.Errorf("%+v", f)
	}
}

// TestWrap: on a terminal lines end before its edge, and what is to be copied stays in one piece.
func TestWrap(t *testing.T) {
	long := "/" + strings.Repeat("x", 60)
	r := &Report{Findings: []Finding{{ID: "an-id", Title: "It is so", State: Bad, Severity: Fault, Evidence: strings.Repeat("wörd ", 30) + long, Todo: "do it"}}, Faults: 1}
	var wide, narrow strings.Builder
	if err := errors.Join(r.Text(&wide, false, 0), r.Text(&narrow, false, 50)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(narrow.String(), "\n")
	for _, l := range lines {
		if utf8.RuneCountInString(l) > 50 && strings.TrimSpace(l) != long {
			t.Errorf("too long: %q", l)
		}
	}
	if lines[0] != "FAULT    an-id: It is so" || !strings.HasPrefix(lines[2], "                wörd") || !strings.Contains(wide.String(), "wörd "+long) {
		t.Errorf("%s\n%s", narrow.String(), wide.String())
	}
	if strings.Join(strings.Fields(narrow.String()), " ") != strings.Join(strings.Fields(wide.String()), " ") {
		t.Error("words were lost")
	}
}

// TestUnitNetwork: a unit may want the network in a drop-in of somebody's.
func TestUnitNetwork(t *testing.T) {
	x := healthy(t)
	faults["unit-network"](x)
	x.put("etc/systemd/system/kdx-capture.service.d/mine.conf", "[Unit]\nWants = a.service network-online.target\n")
	if f := find(x.run(), "unit-network"); f.State != OK {
		t.Errorf("%+v", f)
	}
}

// TestNoModules: a host without modules whose initrd could be built needs none.
func TestNoModules(t *testing.T) {
	x := healthy(t)
	x.remove("usr/lib/modules")
	if f := find(x.run(), "kernel-modules"); f.State != OK {
		t.Errorf("%+v", f)
	}
}

// TestRoomOfParent: a directory that is made only when a dump is saved has the room of the filesystem above it.
func TestRoomOfParent(t *testing.T) {
	x := healthy(t)
	x.conf("target = ext4:/dev/nvme0n1p1:/not/yet")
	asked := ""
	x.opt.Free = func(path string) (uint64, error) { asked = path; return 1 << 40, nil }
	if f := find(x.run(), "target-space"); f.State != OK || asked != filepath.Join(x.root, "var/crash") {
		t.Errorf("%+v, asked for %s", f, asked)
	}
}

// TestDumps: a dump counts as whole by its manifest.
func TestDumps(t *testing.T) {
	x := healthy(t)
	const dir = "var/crash/web1-2026-11-01T00-00-00Z-0b54a4a1"
	for text, want := range map[string]State{
		`{"version":1,"kdx":"1","complete":true,"begun":"2026-11-01T00:00:00Z"}`:            OK,
		`{"version":1,"kdx":"1","complete":false,"why":"x","begun":"2026-11-01T00:00:00Z"}`: Bad,
		`{`: Bad,
	} {
		x.put(dir+"/manifest.json", text)
		if f := find(x.run(), "dumps"); f.State != want {
			t.Errorf("%s: %+v", text, f)
		}
	}
}
