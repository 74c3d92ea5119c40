package initrd

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdx/capture/config"
	"kdx/capture/kmod/kmodtest"
	"kdx/capture/network"
	"kdx/capture/plan"
	"kdx/capture/storage"
	"kdx/internal/treetest"
	"kdx/internal/unpack"
)

// release is the kernel's of the tests.
const release = "6.12.1-test"

// image is a boot image of that kernel: a setup header, and a packed ELF file that holds some words.
func image(t testing.TB, words string) []byte {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	body := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 4096)...)
	body = append(body, words...)
	w.Write(body)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	const setup = 2048
	b := make([]byte, setup, setup+z.Len())
	le := binary.LittleEndian
	b[0x1f1] = setup/512 - 1
	le.PutUint16(b[0x1fe:], 0xaa55)
	b[0x201] = 0x6a
	copy(b[0x202:], "HdrS")
	le.PutUint16(b[0x206:], 0x20f)
	le.PutUint16(b[0x20e:], 0x400)
	copy(b[0x600:], release+" (me@here) #1 SMP\x00")
	le.PutUint32(b[0x1f4:], uint32(z.Len()/16))
	le.PutUint16(b[0x236:], 0x7f)
	le.PutUint32(b[0x248:], 0)
	le.PutUint32(b[0x24c:], uint32(z.Len()))
	return append(b, z.Bytes()...)
}

// bench is a host made of files.
type bench struct {
	*testing.T
	root string
	spec Spec
	opt  Options
	disk *storage.Device
}

func (b *bench) put(name string, data []byte, perm os.FileMode) {
	b.Helper()
	if err := os.Chmod(treetest.Put(b, b.root, name, data), perm); err != nil {
		b.Fatal(err)
	}
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, root: t.TempDir()}
	b.disk = &storage.Device{Kind: storage.Disk, Name: "nvme0n1", Size: 1 << 30, IDs: []storage.ID{{By: "wwid", Value: "eui.1"}}, Content: &storage.Content{Type: "xfs", UUID: "u"}, Drivers: []string{"nvme", "pci:v1d2"}}
	b.opt = Options{
		Root: b.root, Kdx: "test", Output: filepath.Join(b.root, "boot/initrd.kdx"),
		device: func(string, string) (*storage.Device, error) { return b.disk, nil },
		mountOf: func(_, dir string) (storage.Mount, error) {
			return storage.Mount{Device: "/dev/nvme0n1", FS: "xfs", Path: dir, Point: "/", Options: []string{"rw", "nouuid"}}, nil
		},
		discover: func(string, string) ([]network.Link, error) {
			return []network.Link{{Kind: network.Physical, Name: "eth0", MAC: "52:54:00:12:34:56", Mode: network.DHCP, Drivers: []string{"virtio_net"}}}, nil
		},
		fromConfig: func(_ string, n config.Network) (network.Link, error) {
			return network.Link{Kind: network.Physical, Name: n.NIC, Mode: network.DHCP, Drivers: []string{"virtio_net"}}, nil
		},
	}
	b.put("boot/vmlinuz", image(t, "XZ-compressed data is corrupt, ZSTD-compressed data is corrupt"), 0o644)
	mod := func(dir, name string, said ...string) {
		b.put("lib/modules/"+release+"/kernel/"+dir+"/"+name+".ko", kmodtest.Module(append(said, "name="+name, "vermagic="+release+" SMP")...), 0o644)
	}
	mod("fs/xfs", "xfs", "depends=libcrc32c")
	mod("lib", "libcrc32c", "depends=")
	mod("drivers/nvme", "nvme", "firmware=nv/me.bin", "firmware=nv/pat*.bin")
	mod("drivers/net", "virtio_net", "depends=")
	mod("drivers/watchdog", "i6300esb", "depends=")
	mod("extra", "wanted", "depends=")
	b.put("lib/modules/"+release+"/modules.builtin", []byte("kernel/net/packet/af_packet.ko\nkernel/fs/ext4/ext4.ko\n"), 0o644)
	b.put("lib/firmware/nv/me.bin.xz", []byte("firmware"), 0o644)
	b.put("lib/firmware/"+release+"/nv/pat1.bin", []byte("pattern"), 0o644)
	b.put("proc/sys/kernel/hostname", []byte("box\n"), 0o644)
	b.put("proc/cmdline", []byte("console=ttyS0 quiet\n"), 0o644)
	b.put("etc/modprobe.d/a.conf", []byte("# x\noptions nvme a=1 \\\n b=2\noptions other c=3\n"), 0o644)
	b.put("init", program(t), 0o755)
	b.spec = Spec{Kernel: filepath.Join(b.root, "boot/vmlinuz"), Init: filepath.Join(b.root, "init"), Targets: []string{"xfs:/dev/nvme0n1:/dumps"}}
	return b
}

// program is a static ELF file without code.
func program(t testing.TB) []byte { return kmodtest.Module("program") }

func (b *bench) build() *Result {
	b.Helper()
	r, err := Build(b.Context(), b.spec, b.opt)
	if err != nil {
		b.Fatal(err)
	}
	return r
}

func (b *bench) show() *Contents {
	b.Helper()
	c, err := Show(b.Context(), b.opt.Output)
	if err != nil {
		b.Fatal(err)
	}
	if c.Manifest == nil || c.Plan == nil || c.Damaged != "" || c.Maker != "kdx" {
		b.Fatalf("%+v", c)
	}
	return c
}

func TestBuild(t *testing.T) {
	b := newBench(t)
	b.spec.Modules = []string{"wanted"}
	b.spec.Level, b.spec.Codec = "17", "zstd:3"
	r := b.build()
	if !r.Built || r.Release != release || r.Packing != unpack.Zstd {
		t.Fatalf("%+v", r)
	}
	var mods []string
	for _, m := range b.show().Plan.Modules {
		mods = append(mods, strings.TrimSpace(m.Name+" "+m.Params))
	}
	if got := strings.Join(mods, ", "); got != "nvme a=1 b=2, libcrc32c, xfs, wanted" {
		t.Errorf("modules %s", got)
	}
	c := b.show()
	var paths []string
	for _, e := range c.Entries {
		paths = append(paths, modeText(e.Mode)+" "+e.Path)
	}
	want := []string{"drwx------ /kdx", "-rw------- /kdx/head.json", "drwxr-xr-x /dev", "crw------- /dev/console", "crw-rw-rw- /dev/null", "drwxr-xr-x /etc", "-rwxr-xr-x /init", "drwx------ /kdx", "-rw------- /kdx/manifest.json", "drwxr-xr-x /kdx/modules",
		"-rw-r--r-- /kdx/modules/libcrc32c.ko", "-rw-r--r-- /kdx/modules/nvme.ko", "-rw-r--r-- /kdx/modules/wanted.ko", "-rw-r--r-- /kdx/modules/xfs.ko", "-rw------- /kdx/plan.json",
		"drwxr-xr-x /lib", "drwxr-xr-x /lib/firmware", "drwxr-xr-x /lib/firmware/" + release, "drwxr-xr-x /lib/firmware/" + release + "/nv", "-rw-r--r-- /lib/firmware/" + release + "/nv/pat1.bin",
		"drwxr-xr-x /lib/firmware/nv", "-rw-r--r-- /lib/firmware/nv/me.bin.xz", "dr-xr-xr-x /proc", "drwx------ /root", "drwx------ /run", "dr-xr-xr-x /sys", "drwxrwxrwx /tmp"}
	if !slices.Equal(paths, want) {
		t.Errorf("%s", strings.Join(paths, "\n"))
	}
	p := c.Plan
	if p.Host != "box" || p.Release != release || p.Config.Level != 17 || p.Config.Codec != "zstd" || p.Config.CodecLevel != 3 || p.Targets[0].Device.Name != "nvme0n1" || p.Targets[0].FS != "xfs" {
		t.Errorf("%+v", p)
	}
	st, err := os.Stat(b.opt.Output)
	if err != nil || st.Mode().Perm() != 0o600 || st.Size() != r.Packed {
		t.Errorf("%v %v", st, err)
	}
}

func TestSameTwice(t *testing.T) {
	b := newBench(t)
	b.build()
	first, err := os.ReadFile(b.opt.Output)
	if err != nil {
		t.Fatal(err)
	}
	if r := b.build(); r.Built || r.Packed != int64(len(first)) {
		t.Errorf("built again: %+v", r)
	}
	b.opt.Force = true
	if r := b.build(); !r.Built {
		t.Errorf("not built though forced: %+v", r)
	}
	second, err := os.ReadFile(b.opt.Output)
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("another file the second time, %v", err)
	}
}

func TestRebuilt(t *testing.T) {
	for what, change := range map[string]func(b *bench){
		"kernel": func(b *bench) { b.put("boot/vmlinuz", image(t, "XZ-compressed data is corrupt"), 0o644) },
		"module": func(b *bench) {
			b.put("lib/modules/"+release+"/kernel/lib/libcrc32c.ko", kmodtest.Module("name=libcrc32c", "x=y"), 0o644)
		},
		"init":       func(b *bench) { b.put("init", kmodtest.Module("other program"), 0o755) },
		"firmware":   func(b *bench) { b.put("lib/firmware/nv/me.bin.xz", []byte("newer"), 0o644) },
		"new":        func(b *bench) { b.put("lib/firmware/"+release+"/nv/pat2.bin", []byte("more"), 0o644) },
		"gone":       func(b *bench) { os.Remove(filepath.Join(b.root, "lib/firmware/nv/me.bin.xz")) },
		"stand on":   func(b *bench) { b.disk.IDs[0].Value = "eui.2" },
		"configura":  func(b *bench) { b.put("etc/kdx/capture.conf", []byte("keep = 3\n"), 0o644) },
		"words":      func(b *bench) { b.spec.Level = "0" },
		"name":       func(b *bench) { b.put("proc/sys/kernel/hostname", []byte("other"), 0o644) },
		"modules":    func(b *bench) { b.put("etc/modprobe.d/a.conf", nil, 0o644) },
		"test built": func(b *bench) { b.opt.Kdx = "newer" },
		"read":       func(b *bench) { b.put("boot/initrd.kdx", []byte("nothing of sense"), 0o644) },
		"not kdx's":  func(b *bench) { b.put("boot/initrd.kdx", initramfsTools(t), 0o644) },
		"damaged":    func(b *bench) { b.put("boot/initrd.kdx", b.damaged(), 0o644) },
	} {
		b := newBench(t)
		b.build()
		change(b)
		if r := b.build(); !r.Built || !strings.Contains(r.Why, what) {
			t.Errorf("%s: %+v", what, r)
		}
	}
}

// initramfsTools is an initrd of somebody else.
func initramfsTools(t testing.TB) []byte {
	s := fileset{}
	if err := s.add("scripts/init-top", 0o755, []byte("x")); err != nil {
		t.Fatal(err)
	}
	b, err := s.archive()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// damaged is the initrd with one byte of a module changed.
func (b *bench) damaged() []byte {
	b.Helper()
	data, err := os.ReadFile(b.opt.Output)
	if err != nil {
		b.Fatal(err)
	}
	_, begin, err := ReadHead(bytes.NewReader(data), int64(len(data)))
	if err != nil || begin == 0 {
		b.Fatal(begin, err)
	}
	z, err := unpack.NewReader(bytes.NewReader(data[begin:]), unpack.Zstd, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer z.Close()
	archive, err := io.ReadAll(z)
	if err != nil {
		b.Fatal(err)
	}
	i := bytes.Index(archive, []byte("depends=libcrc32c"))
	archive[i]++
	return archive
}

func TestVerify(t *testing.T) {
	b := newBench(t)
	b.build()
	v, err := Verify(t.Context(), b.opt.Output, "", b.opt)
	if err != nil || !v.Good() || v.Files == 0 {
		t.Fatalf("%+v, %v", v, err)
	}
	other := bytes.Replace(image(t, "x"), []byte(release), []byte("6.12.2-test"), 1)
	b.put("boot/other", other, 0o644)
	for _, c := range []struct {
		what   string
		change func()
		kernel string
		want   string
	}{
		{"another kernel", func() {}, filepath.Join(b.root, "boot/other"), "it is for kernel " + release},
		{"a changed input", func() { b.put("lib/firmware/nv/me.bin.xz", []byte("newer"), 0o644) }, "", "me.bin.xz changed (firmware)"},
		{"what can't be built", func() { b.disk.Drivers = []string{"nosuch"} }, "", "could not be built anew"},
		{"damage", func() { b.put("boot/initrd.kdx", b.damaged(), 0o600) }, "", "/kdx/modules/xfs.ko differs"},
	} {
		c.change()
		v, err := Verify(t.Context(), b.opt.Output, c.kernel, b.opt)
		if err != nil || v.Good() || !strings.Contains(strings.Join(append(v.Problems, v.Changes...), "\n"), c.want) {
			t.Errorf("%s: %+v, %v", c.what, v, err)
		}
	}
	b.put("boot/foreign", initramfsTools(t), 0o600)
	v, err = Verify(t.Context(), filepath.Join(b.root, "boot/foreign"), "", b.opt)
	if err != nil || len(v.Problems) != 1 || !strings.Contains(v.Problems[0], "initramfs-tools") {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestLacks(t *testing.T) {
	b := newBench(t)
	b.build()
	c := b.show()
	delete(c.sums, "/kdx/modules/xfs.ko")
	delete(c.sums, "/init")
	c.Plan.Config.PreHooks = []string{"/usr/bin/gone now"}
	if got := strings.Join(c.lacks(), "; "); got != "/init is missing in it: nothing would run; /kdx/modules/xfs.ko is missing in it: module xfs; /usr/bin/gone is missing in it: hook" {
		t.Error(got)
	}
}

func TestRefusedBuild(t *testing.T) {
	for what, change := range map[string]func(b *bench){
		`target "xfs:/dev/nvme0n1:/dumps" needs a driver: no module nosuch`: func(b *bench) { b.disk.Drivers = []string{"nosuch"} },
		"configuration (modules) needs a driver: no module xsf":             func(b *bench) { b.spec.Modules = []string{"xsf"} },
		"there is ext4 on /dev/nvme0n1, not xfs":                            func(b *bench) { b.disk.Content.Type = "ext4" },
		"was built for kernel 5.1": func(b *bench) {
			b.put("lib/modules/"+release+"/kernel/lib/libcrc32c.ko", kmodtest.Module("name=libcrc32c", "vermagic=5.1 SMP"), 0o644)
		},
		"kdx capture propagate": func(b *bench) { b.spec.Targets = []string{"sftp://u@192.0.2.1/d"} },
		"unknown key":           func(b *bench) { b.put("etc/kdx/capture.conf", []byte("nonsense = 1\n"), 0o644) },
		"not a boot image":      func(b *bench) { b.put("boot/vmlinuz", []byte("hello"), 0o644) },
		"it is no program":      func(b *bench) { b.put("init", []byte("#!/bin/sh"), 0o755) },
		"hook-file":             func(b *bench) { b.put("etc/kdx/capture.conf", []byte("hook-file = /no/such\n"), 0o644) },
		"erase-config":          func(b *bench) { b.put("etc/kdx/capture.conf", []byte("erase-config = /no/such\n"), 0o644) },
		"disk is encrypted": func(b *bench) {
			b.opt.device = func(string, string) (*storage.Device, error) { return nil, errors.New("disk is encrypted") }
		},
	} {
		b := newBench(t)
		change(b)
		if r, err := Build(t.Context(), b.spec, b.opt); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
		if _, err := os.Stat(b.opt.Output); err == nil {
			t.Errorf("%s: a file is there", what)
		}
	}
}

func TestRemote(t *testing.T) {
	b := newBench(t)
	b.spec.Targets = []string{"sftp://u@192.0.2.1/d", "ssh://u@192.0.2.1/e", "/var/crash"}
	b.put("etc/kdx/id_ed25519", []byte("key"), 0o600)
	b.put("etc/kdx/known_hosts", []byte("192.0.2.1 k"), 0o644)
	b.put("etc/kdx/capture.conf", []byte("erase-config = /etc/kdx/erase\nnetwork = eth7 dhcp\n"), 0o644)
	b.put("etc/kdx/erase", []byte("erase x"), 0o644)
	b.build()
	c := b.show()
	p := c.Plan
	if p.Config.SSHKey != "/kdx/ssh-key" || p.Config.KnownHosts != "/kdx/known_hosts" || p.Config.EraseConfig != "/kdx/erase.conf" {
		t.Errorf("%+v", p.Config)
	}
	if len(p.Links) != 1 || p.Links[0].Name != "eth7" || !slices.Equal(p.Targets[0].Addresses, []string{"192.0.2.1"}) {
		t.Errorf("%+v", p)
	}
	if last := p.Targets[2]; last.Kind != config.FS || last.Path != "/var/crash" || last.MountOptions != "nouuid" || last.Configured != "/var/crash" {
		t.Errorf("%+v", last)
	}
	for _, e := range c.Entries {
		if strings.HasPrefix(e.Path, "/kdx/ssh") && e.Mode != modeFile|0o600 {
			t.Errorf("%s has mode %o", e.Path, e.Mode)
		}
	}
	if got, err := Data(t.Context(), b.opt.Output, "/kdx/ssh-key"); err != nil || string(got) != "key" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestWatchdog(t *testing.T) {
	b := newBench(t)
	for from, to := range map[string]string{"class/watchdog/watchdog0/device": "../../../devices/pci0/wd", "devices/pci0/wd/driver": "../../../bus/pci/drivers/i6300esb", "bus/pci/drivers/i6300esb/module": "../../../../module/i6300esb"} {
		from = filepath.Join(b.root, "sys", from)
		for _, d := range []string{filepath.Dir(from), filepath.Join(filepath.Dir(from), to)} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(to, from); err != nil {
			t.Fatal(err)
		}
	}
	b.build()
	p := b.show().Plan
	i := slices.IndexFunc(p.Modules, func(m plan.Module) bool { return m.Name == "i6300esb" })
	if i < 0 || !p.Modules[i].Optional {
		t.Errorf("%+v", p)
	}
	b.put("etc/kdx/capture.conf", []byte("watchdog = off\n"), 0o644)
	if b.build(); len(b.show().Plan.Modules) != 3 {
		t.Errorf("%+v", b.show().Plan)
	}
}

func TestHooks(t *testing.T) {
	b := newBench(t)
	// This machine's own echo with its libraries, below another root.
	echo, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	real := &programs{host: newHost(""), files: fileset{}, loaders: map[string]bool{}}
	if err := real.add("hook", echo); err != nil {
		t.Fatal(err)
	}
	if len(real.files) < 2 {
		t.Fatalf("%s alone", echo)
	}
	for name, f := range real.files {
		if f.Mode&modeType == modeFile {
			b.put(name, f.data, os.FileMode(f.Mode&0o777))
		}
	}
	b.put("etc/kdx/pre.sh", []byte("#!/usr/bin/env tool -x\n"), 0o755)
	b.put("usr/bin/env", []byte("env"), 0o755)
	b.put("etc/alternatives/tool", []byte("#!"+echo+"\n"), 0o755)
	if err := os.Symlink("/etc/alternatives/tool", filepath.Join(b.root, "usr/bin/tool")); err != nil {
		t.Fatal(err)
	}
	b.put("opt/data/a/b.txt", []byte("b"), 0o644)
	b.put("etc/kdx/capture.conf", []byte("pre-hook = /etc/kdx/pre.sh one two\nhook-file = /opt/data\n"), 0o644)
	b.build()
	c := b.show()
	for _, want := range append(slices.Collect(func(yield func(string) bool) {
		for name, f := range real.files {
			if f.Mode&modeType == modeFile && !yield("/"+name) {
				return
			}
		}
	}), "/etc/kdx/pre.sh", "/usr/bin/env", "/usr/bin/tool", "/opt/data/a/b.txt") {
		if c.sums[want] == "" {
			t.Errorf("%s is not in it", want)
		}
	}
	b.put("etc/kdx/pre.sh", []byte("#!/bin/sh\n"), 0o644)
	if _, err := Build(t.Context(), b.spec, b.opt); err == nil || !strings.Contains(err.Error(), "not executable") {
		t.Error(err)
	}
	b.put("etc/kdx/capture.conf", []byte("hook-file = /init\n"), 0o644)
	if _, err := Build(t.Context(), b.spec, b.opt); err == nil || !strings.Contains(err.Error(), "taken") {
		t.Error(err)
	}
}

func TestPackings(t *testing.T) {
	archive := bytes.Repeat([]byte("some text that packs well. "), 10_000)
	for _, f := range choice {
		b, err := pack(f, archive)
		if err != nil {
			t.Fatal(err)
		}
		head := b
		if got := unpack.Detect(head); got != f {
			t.Errorf("%s looks like %s", f, got)
		}
		z, err := unpack.NewReader(bytes.NewReader(b), f, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, archive) {
			t.Errorf("%s: %d bytes, %v", f, len(got), err)
		}
	}
}

func TestFacts(t *testing.T) {
	var ik bytes.Buffer
	w := gzip.NewWriter(&ik)
	w.Write([]byte("CONFIG_BLK_DEV_INITRD=y\nCONFIG_RD_XZ=y\nCONFIG_RD_ZSTD=n\n# CONFIG_RD_GZIP is not set\n"))
	w.Close()
	for _, c := range []struct {
		what  string
		image []byte
		conf  string
		want  unpack.Format
	}{
		{"its words", image(t, "ZSTD-compressed data is corrupt"), "", unpack.Zstd},
		{"its words", image(t, "XZ-compressed data is corrupt"), "", unpack.XZ},
		{"IKCONFIG", image(t, "IKCFG_ST"+ik.String()+"IKCFG_ED ZSTD-compressed data is corrupt"), "", unpack.XZ},
		{"nothing", image(t, ""), "", unpack.Gzip},
		{"a configuration", image(t, "ZSTD-compressed data is corrupt"), "CONFIG_BLK_DEV_INITRD=y\nCONFIG_RD_GZIP=y\n", unpack.Gzip},
		{"one without any", image(t, ""), "CONFIG_BLK_DEV_INITRD=y\n", unpack.None},
	} {
		dir := t.TempDir()
		name := filepath.Join(dir, "vmlinuz")
		if err := os.WriteFile(name, c.image, 0o644); err != nil {
			t.Fatal(err)
		}
		if c.conf != "" {
			if err := os.WriteFile(filepath.Join(dir, "config-"+release), []byte(c.conf), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		k, err := factsOf(t.Context(), dir, name, release, dir)
		if err != nil || k.best() != c.want {
			t.Errorf("%s: %+v, %v", c.what, k, err)
		}
	}
	b := newBench(t)
	b.put("proc/sys/kernel/osrelease", []byte(release+"\n"), 0o644)
	b.put("proc/kallsyms", []byte("0000 T gunzip\n0000 t unzstd\t[module]\nffff T unxz\nffff\n"), 0o444)
	if r := b.build(); r.Packing != unpack.XZ || b.show().Manifest.PackingBy != symbolsPath {
		t.Errorf("%+v", r)
	}
	if r := b.build(); r.Built {
		t.Errorf("%+v", r)
	}
}

func TestRunningImage(t *testing.T) {
	b := newBench(t)
	b.put("proc/sys/kernel/osrelease", []byte(release+"\n"), 0o644)
	if got, err := RunningImage(b.root); err != nil || got != filepath.Join(b.root, "boot/vmlinuz") {
		t.Errorf("%s, %v", got, err)
	}
	b.put("boot/deep/kernel", image(t, ""), 0o644)
	b.put("boot/vmlinuz", bytes.Replace(image(t, ""), []byte(release), []byte("9.9.9-other"), 1), 0o644)
	b.put("proc/cmdline", []byte("BOOT_IMAGE=(hd0,gpt2)/deep/kernel quiet"), 0o644)
	if got, err := RunningImage(b.root); err != nil || got != filepath.Join(b.root, "boot/deep/kernel") {
		t.Errorf("%s, %v", got, err)
	}
	b.put("proc/cmdline", []byte("quiet"), 0o644)
	if got, err := RunningImage(b.root); err == nil || !strings.Contains(err.Error(), "is of 9.9.9-other") {
		t.Errorf("%s, %v", got, err)
	}
}

func TestStopped(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Build(ctx, b.spec, b.opt); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
