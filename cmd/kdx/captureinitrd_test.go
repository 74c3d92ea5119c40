package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kdx/capture/kmod/kmodtest"
	"kdx/internal/treetest"
	"kdx/repl"
)

// initrdHost is a host made of files: a disk, a kernel and its modules, and a program that becomes init.
func initrdHost(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	const release = "6.12.1-test"
	le := binary.LittleEndian
	image := make([]byte, 2048)
	image[0x1f1] = 3
	le.PutUint16(image[0x1fe:], 0xaa55)
	image[0x201] = 0x6a
	copy(image[0x202:], "HdrS")
	le.PutUint16(image[0x206:], 0x20f)
	le.PutUint16(image[0x20e:], 0x400)
	copy(image[0x600:], release+" (me@here) #1 SMP\x00")
	kernel := []byte("\x7fELF XZ-compressed data is corrupt ")
	le.PutUint32(image[0x24c:], uint32(len(kernel)))
	disk := make([]byte, 1<<20)
	treetest.PutAll(t, root, map[string][]byte{
		"boot/vmlinuz":   append(image, kernel...),
		"boot/" + "init": kmodtest.Module("program"),
		"lib/modules/" + release + "/modules.builtin":      []byte("kernel/fs/ext4/ext4.ko\n"),
		"lib/modules/" + release + "/kernel/virtio_blk.ko": kmodtest.Module("name=virtio_blk", "vermagic="+release+" SMP"),
		"proc/sys/kernel/hostname":                         []byte("box\n"),
		"proc/cmdline":                                     []byte("console=ttyS0\n"),
		"sys/devices/pci0/virtio0/block/vda/dev":           []byte("254:1\n"),
		"sys/devices/pci0/virtio0/block/vda/size":          []byte("2048\n"),
		"sys/devices/pci0/virtio0/block/vda/serial":        []byte("disk1\n"),
		"sys/module/virtio_blk/refcnt":                     []byte("1\n"),
		"dev/vda":                                          disk,
	})
	for name, to := range map[string]string{
		"sys/class/block/vda":                       "../../devices/pci0/virtio0/block/vda",
		"sys/dev/block/254:1":                       "../../devices/pci0/virtio0/block/vda",
		"sys/devices/pci0/virtio0/block/vda/device": "../..",
		"sys/devices/pci0/virtio0/driver":           "../../../bus/virtio/drivers/virtio_blk",
		"sys/bus/virtio/drivers/virtio_blk/module":  "../../../../module/virtio_blk",
	} {
		treetest.Link(t, root, name, to)
	}
	return root
}

func buildArgs(root string, more ...string) []string {
	return append([]string{"capture", "initrd", "build", "--root", root, "--kernel", root + "/boot/vmlinuz", "--init", root + "/boot/init", "--target", "raw:/dev/vda", "-o", root + "/boot/initrd"}, more...)
}

func TestCaptureInitrd(t *testing.T) {
	root := initrdHost(t)
	initrd := root + "/boot/initrd"
	change := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(root, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		before func()
		args   []string
		status repl.Status
		said   string
	}{
		{nil, []string{"capture", "initrd", "show", initrd}, repl.Failed, "no such file"},
		{nil, buildArgs(root), repl.OK, "built, because there was none"},
		{nil, buildArgs(root), repl.OK, "nothing changed"},
		{nil, buildArgs(root, "--force", "--level", "1"), repl.OK, "it was asked for in other words"},
		{nil, []string{"capture", "initrd", "verify", "--root", root, initrd}, repl.OK, "whole and up to date, for kernel 6.12.1-test"},
		{nil, []string{"capture", "initrd", "show", initrd}, repl.OK, "saves     level 1"},
		{nil, buildArgs(root, "--level", "32"), repl.Usage, "0 to 31"},
		{nil, buildArgs(root, "--target", "ftp://x/y"), repl.Usage, "does not save over ftp"},
		{nil, buildArgs(root, "--codec", "rar"), repl.NotUsable, "rar"},
		{nil, buildArgs(root, "--module", "nosuch"), repl.Failed, "no module nosuch"},
		{nil, []string{"capture", "initrd", "open"}, repl.Usage, "has no command"},
		{func() {
			change("lib/modules/6.12.1-test/kernel/virtio_blk.ko", kmodtest.Module("name=virtio_blk", "x=y"))
		},
			[]string{"capture", "initrd", "verify", "--root", root, initrd}, repl.Doubtful, "virtio_blk.ko changed (module)"},
		{func() { change("boot/initrd", []byte("070701 and no more")) }, []string{"capture", "initrd", "show", initrd}, repl.Failed, "truncated"},
	} {
		if c.before != nil {
			c.before()
		}
		var out bytes.Buffer
		if st := runKdx(c.args, stdio{in: strings.NewReader(""), out: &out, err: &out}); st != c.status || !strings.Contains(out.String(), c.said) {
			t.Errorf("%v: exit %d; want %d with %q: %s", c.args[2:], st, c.status, c.said, out.String())
		}
	}
}
