package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kdx/internal/sysfs"
	"kdx/internal/treetest"
)

// tree is a machine made of files.
type tree struct {
	*testing.T
	root  string
	minor int
}

func newTree(t *testing.T) *tree {
	tr := &tree{T: t, root: t.TempDir()}
	for _, d := range []string{"sys/class/block", "sys/dev/block", "dev/mapper", "proc/self"} {
		if err := os.MkdirAll(filepath.Join(tr.root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func (t *tree) write(name, text string) {
	t.Helper()
	treetest.Put(t, t.root, name, text)
}

func (t *tree) link(name, target string) {
	t.Helper()
	treetest.Link(t, t.root, name, target)
}

// block adds a block device whose directory is dir below sys/devices, and fills its node with a sample.
func (t *tree) block(dir string, size int64, content string) string {
	t.Helper()
	name := filepath.Base(dir)
	t.minor++
	t.write("sys/devices/"+dir+"/dev", fmt.Sprintf("254:%d\n", t.minor))
	t.write("sys/devices/"+dir+"/size", fmt.Sprintf("%d\n", size/512))
	t.link("sys/class/block/"+name, "../../devices/"+dir)
	t.link(fmt.Sprintf("sys/dev/block/254:%d", t.minor), "../../devices/"+dir)
	t.fill(name, size, content)
	return name
}

func (t *tree) fill(name string, size int64, content string) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.root, "dev", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if content == "" {
		return
	}
	for at, data := range sample(t.T, content, size).parts {
		if _, err := f.WriteAt(data, at); err != nil {
			t.Fatal(err)
		}
	}
}

// disk adds a virtio disk in a PCI slot.
func (t *tree) disk(name string, slot int, size int64, serial, content string) {
	t.Helper()
	pci := fmt.Sprintf("pci0000:00/0000:00:%02x.0", slot)
	dir := fmt.Sprintf("%s/virtio%d/block/%s", pci, t.minor, name)
	t.block(dir, size, content)
	t.write("sys/devices/"+dir+"/serial", serial)
	t.link("sys/devices/"+dir+"/device", "../..")
	t.write("sys/devices/"+pci+"/modalias", "pci:v00001AF4d00001042\n")
	driver := "sys/bus/virtio/drivers/virtio_blk"
	if !exists(filepath.Join(t.root, driver)) {
		t.write("sys/module/virtio_blk/refcnt", "1\n")
		t.link(driver+"/module", "../../../../module/virtio_blk")
	}
	t.link(fmt.Sprintf("sys/devices/%s/virtio%d/driver", pci, t.minor-1), "../../../../bus/virtio/drivers/virtio_blk")
}

// part adds a partition to a disk.
func (t *tree) part(disk string, number int, start, size int64, content string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(filepath.Join(t.root, "sys/class/block", disk))
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.EvalSymlinks(filepath.Join(t.root, "sys/devices"))
	if err != nil {
		t.Fatal(err)
	}
	rel, err := filepath.Rel(root, dir)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprint(disk, number)
	t.block(rel+"/"+name, size, content)
	t.write("sys/devices/"+rel+"/"+name+"/partition", fmt.Sprint(number))
	t.write("sys/devices/"+rel+"/"+name+"/start", fmt.Sprint(start/512))
	return name
}

// stacked adds an md or dm device that stands on others.
func (t *tree) stacked(name string, size int64, content string, below ...string) {
	t.Helper()
	t.block("virtual/block/"+name, size, content)
	for _, b := range below {
		t.link("sys/devices/virtual/block/"+name+"/slaves/"+b, "../../../../../class/block/"+b)
		dir, err := filepath.EvalSymlinks(filepath.Join(t.root, "sys/class/block", b))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, "holders"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../../../../class/block/"+name, filepath.Join(dir, "holders", name)); err != nil {
			t.Fatal(err)
		}
		// Links into class/block from anywhere: what counts is their name.
	}
}

func (t *tree) dm(name, mapped string, size int64, content string, below ...string) {
	t.Helper()
	t.stacked(name, size, content, below...)
	t.write("sys/devices/virtual/block/"+name+"/dm/name", mapped)
	t.write("sys/devices/virtual/block/"+name+"/dm/uuid", "LVM-"+mapped)
}

func (t *tree) md(name string, size int64, content, version string, below ...string) {
	t.Helper()
	t.stacked(name, size, content, below...)
	t.write("sys/devices/virtual/block/"+name+"/md/metadata_version", version)
	t.write("sys/devices/virtual/block/"+name+"/md/array_state", "clean")
}

// number is a device's, as tables name it.
func (t *tree) number(name string) string {
	return sysfs.Text(t.root, "sys/class/block", name, "dev")
}

// discover discovers with tables by the name of the device.
func (t *tree) discover(device string, tables map[string][]Target) (*Device, error) {
	h := newHost(t.root)
	h.tables = func(major, minor uint32) ([]Target, error) {
		for name, table := range tables {
			if t.number(name) == fmt.Sprintf("%d:%d", major, minor) {
				return table, nil
			}
		}
		return nil, errors.New("no such table")
	}
	b, err := h.find(device)
	if err != nil {
		return nil, err
	}
	return h.build(b, 0, new(int))
}

// activate brings a device up on the machine, as far as that takes no kernel.
func (t *tree) activate(d *Device, limit time.Duration) (string, string, error) {
	var log strings.Builder
	begin := time.Now()
	h := newHost(t.root)
	a := &activation{
		h: h, opt: Options{Limit: limit, Log: func(s string) { log.WriteString(s + "\n") }},
		until: begin.Add(limit), degraded: begin.Add(limit / 2),
		open: func(b blk, flags int) (*os.File, error) { return os.OpenFile(h.node(b), flags, 0) },
	}
	p, err := a.run(context.Background(), d)
	return strings.TrimPrefix(p, t.root), log.String(), err
}
