package kmod

import (
	"bytes"
	"compress/gzip"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"kdx/capture/kmod/kmodtest"
	"kdx/internal/treetest"
)

func packed(t testing.TB, end string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w interface {
		Write([]byte) (int, error)
		Close() error
	}
	var err error
	switch end {
	case ".xz":
		w, err = xz.NewWriter(&b)
	case ".zst":
		w, err = zstd.NewWriter(&b)
	case ".gz":
		w = gzip.NewWriter(&b)
	default:
		return data
	}
	if err != nil {
		t.Fatal(err)
	}
	w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadInfo(t *testing.T) {
	want := &Info{Name: "nvme_core", Vermagic: "6.12.1 SMP mod_unload ", Depends: []string{"t10_pi", "configfs"}, Aliases: []string{"a-b", "pci:v*[0-9]"}, Pre: []string{"crc32c", "x-y"},
		Post: []string{"p"}, Weak: []string{"w1", "w2"}, Firmware: []string{"a/b.bin"}, Params: []string{"depth"}}
	data := kmodtest.Module("name=nvme-core", "vermagic=6.12.1 SMP mod_unload ", "depends=t10-pi,configfs", "alias=a-b", "alias=pci:v*[0-9]", "softdep=pre: crc32c x-y post: p", "weakdep=w1 w2",
		"firmware=a/b.bin", "firmware=a/b.bin", "parmtype=depth:int", "license=GPL", "nothing")
	want.Size = int64(len(data))
	for _, end := range []string{"", ".xz", ".zst", ".gz"} {
		got, err := ReadInfo(treetest.Put(t, t.TempDir(), "nvme-core.ko"+end, packed(t, end, data)))
		if err != nil {
			t.Fatalf("%q: %v", end, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: %s", end, d)
		}
	}
	if r := want.Release(); r != "6.12.1" {
		t.Errorf("release %q", r)
	}
	old, err := ReadInfo(treetest.Put(t, t.TempDir(), "snd-pcm.ko", kmodtest.Module("license=GPL"))) // before 4.13 no name
	if err != nil || old.Name != "snd_pcm" {
		t.Errorf("%+v, %v", old, err)
	}
}

func TestReadInfoBroken(t *testing.T) {
	good := kmodtest.Module("name=a")
	far := slices.Clone(good)
	far[0x28+7] = 0x7f // section headers at the end of the world
	for what, data := range map[string][]byte{"no ELF file": []byte("hello, I am no module at all, and that for 64 bytes and some more."), "outside": far, "truncated": good[:100]} {
		if _, err := ReadInfo(treetest.Put(t, t.TempDir(), "a.ko", data)); err == nil || !strings.Contains(err.Error(), what) && !strings.Contains(err.Error(), "outside") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := ReadInfo(treetest.Put(t, t.TempDir(), "a.ko.xz", []byte("\xfd7zXZ\x00 and then nothing of sense"))); err == nil {
		t.Error("damaged xz")
	}
}

func TestNameOf(t *testing.T) {
	for path, want := range map[string]string{"/x/nvme-core.ko": "nvme_core", "a.ko.xz": "a", "a.ko.zst": "a", "a.ko.gz": "a", "a.ko.sig": "", "a.o": "", ".ko": "", "modules.dep": ""} {
		if got := NameOf(path); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
}

func TestMatchAlias(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"fs-xfs", "fs-xfs", true},
		{"fs-xfs", "fs_xfs", true},
		{"fs-xfs", "fs-xfs2", false},
		{"pci:v00001AF4d*sv*sd*bc*sc*i*", "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00", true},
		{"pci:v00001AF5d*sv*sd*bc*sc*i*", "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00", false},
		{"virtio:d00000002v*", "virtio:d00000002v00001AF4", true},
		{"usb:v*p*d000[0-2]dc?", "usb:v1p2d0001dcX", true},
		{"usb:v*p*d000[0-2]dc?", "usb:v1p2d0003dcX", false},
		{"a[!b]c", "adc", true},
		{"a[!b]c", "abc", false},
		{"a[-]c", "a-c", true},
		{"a[-]c", "a_c", false},
		{"a[b", "a[b", true},
		{"*", "", true},
		{"", "", true},
		{"", "a", false},
		{"a*b*c", "axxbyyc", true},
		{"a*b*c", "axxbyy", false},
	} {
		if got := MatchAlias(c.pattern, c.name); got != c.want {
			t.Errorf("%q, %q: %v", c.pattern, c.name, got)
		}
	}
	if MatchAlias(strings.Repeat("*a", 5000)+"b", strings.Repeat("a", 20000)) {
		t.Error("hostile pattern matched")
	}
}

// tree is a tree of modules as distributions have it: no modules.dep.
func tree(t *testing.T) string {
	dir := filepath.Join(t.TempDir(), "6.1.0")
	treetest.Put(t, dir, "kernel/fs/xfs/xfs.ko.xz", packed(t, ".xz", kmodtest.Module("name=xfs", "depends=libcrc32c", "alias=fs-xfs", "softdep=pre: crypto-crc32c nosuch")))
	treetest.Put(t, dir, "kernel/lib/libcrc32c.ko", kmodtest.Module("name=libcrc32c", "depends=", "softdep=pre: crypto-crc32c"))
	treetest.Put(t, dir, "kernel/crypto/crc32c-fast.ko", kmodtest.Module("name=crc32c_fast", "alias=crypto-crc32c"))
	treetest.Put(t, dir, "kernel/drivers/md/raid1.ko.zst", packed(t, ".zst", kmodtest.Module("name=raid1", "depends=md-mod", "alias=md-raid1")))
	treetest.Put(t, dir, "kernel/drivers/md/md-mod.ko", kmodtest.Module("name=md_mod"))
	treetest.Put(t, dir, "kernel/drivers/block/virtio_blk.ko", kmodtest.Module("name=virtio_blk", "alias=virtio:d00000002v*", "depends=virtio"))
	treetest.Put(t, dir, "kernel/drivers/net/broken.ko", kmodtest.Module("name=broken", "depends=gone"))
	treetest.Put(t, dir, "kernel/a/one.ko", kmodtest.Module("name=one", "softdep=post: two"))
	treetest.Put(t, dir, "kernel/a/two.ko", kmodtest.Module("name=two", "depends=one"))
	treetest.Put(t, dir, "kernel/same.ko", kmodtest.Module("name=same", "version=1"))
	treetest.Put(t, dir, "updates/same.ko", kmodtest.Module("name=same", "version=2"))
	treetest.Put(t, dir, "build/fake.ko", kmodtest.Module("name=fake"))
	treetest.Put(t, dir, "modules.builtin", []byte("kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio/virtio.ko\n"))
	treetest.Put(t, dir, "modules.builtin.modinfo", []byte("ext4.alias=ext3\x00ext4.alias=fs-ext4\x00nvme.alias=nvme-x\x00"))
	return dir
}

func names(mods []Module) string {
	var out []string
	for _, m := range mods {
		n := m.Name
		if m.Optional {
			n += "?"
		}
		out = append(out, n)
	}
	return strings.Join(out, " ")
}

func TestClosure(t *testing.T) {
	dir := tree(t)
	for _, c := range []struct {
		ask  []string
		want string
	}{
		{[]string{"xfs"}, "crc32c_fast? libcrc32c xfs"},
		{[]string{"fs-xfs"}, "crc32c_fast? libcrc32c xfs"},
		{[]string{"xfs", "crypto-crc32c"}, "crc32c_fast libcrc32c xfs"},
		{[]string{"ext4", "fs-ext4", "ext3", "nvme"}, ""},
		{[]string{"raid1", "md-mod"}, "md_mod raid1"},
		{[]string{"md-raid1"}, "md_mod raid1"},
		{[]string{"virtio:d00000002v00001AF4"}, "virtio_blk"},
		{[]string{"two"}, "one two"}, // a loop of soft and hard
		{[]string{"same"}, "same"},
	} {
		x, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		got, err := x.Closure(c.ask...)
		if err != nil || names(got) != c.want {
			t.Errorf("%v: %q, %v", c.ask, names(got), err)
		}
	}
	x, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := x.File("same"); !strings.HasSuffix(got, "updates/same.ko") {
		t.Errorf("same is %s", got)
	}
	if x.File("fake") != "" {
		t.Error("a module of the kernel's sources is taken")
	}
	var missing *MissingError
	if _, err := x.Closure("broken"); !errors.As(err, &missing) || missing.Name != "gone" || missing.Of != "broken" {
		t.Errorf("%v", err)
	}
	if _, err := x.Closure("xsf"); !errors.As(err, &missing) || missing.Near != "xfs" {
		t.Errorf("%v", err)
	}
}

func TestAliasFile(t *testing.T) {
	dir := tree(t)
	// One line is true, one is not, one names what is not there.
	treetest.Put(t, dir, "modules.alias", []byte("# Aliases\nalias virtio:d00000002v* virtio_blk\nalias virtio:d* raid1\nalias virtio:d* never\n"))
	x, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, builtin, err := x.Resolve("virtio:d00000002v00001AF4")
	if err != nil || builtin || !slices.Equal(got, []string{"virtio_blk"}) {
		t.Errorf("%v %v %v", got, builtin, err)
	}
}

func TestTreeOf(t *testing.T) {
	root := t.TempDir()
	treetest.Put(t, root, "usr/lib/modules/6.1/modules.builtin", "")
	if dir, err := TreeOf(root, "6.1"); err != nil || dir != filepath.Join(root, "usr/lib/modules/6.1") {
		t.Errorf("%s, %v", dir, err)
	}
	for _, r := range []string{"6.2", "", "..", "a/b"} {
		if dir, err := TreeOf(root, r); err == nil {
			t.Errorf("%q: %s", r, dir)
		}
	}
}

func TestCmdlineParams(t *testing.T) {
	line := `quiet hpwdt.kdumptimeout=0 nvme-core.io_timeout=9 nvme_core.name="a b" nvme_core. x=nvme_core.y=1 nvme_core.flag -- nvme_core.late=1`
	for module, want := range map[string]string{"nvme_core": `io_timeout=9 name="a b" flag`, "nvme-core": `io_timeout=9 name="a b" flag`, "hpwdt": "kdumptimeout=0", "x": ""} {
		if got := CmdlineParams(line, module); got != want {
			t.Errorf("%s: %q", module, got)
		}
	}
}

func FuzzModinfo(f *testing.F) {
	f.Add(kmodtest.Module("name=a", "depends=b,c", "softdep=pre: x", "alias=fs-[a-z]*"))
	f.Add([]byte("\x7fELF\x02\x01"))
	big := kmodtest.Module("alias=x")
	big[5] = 2
	f.Add(big)
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := modinfoSection(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			b = data
		}
		info := ParseModinfo(b)
		for _, a := range info.Aliases {
			MatchAlias(a, info.Name)
			MatchAlias(info.Name, a)
		}
	})
}
