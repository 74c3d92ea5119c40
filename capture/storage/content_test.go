package storage

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sparse is a device that holds bytes at some places and zeros elsewhere.
type sparse struct {
	size  int64
	parts map[int64][]byte
}

func (s sparse) ReadAt(p []byte, off int64) (int, error) {
	if off >= s.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), s.size-off))
	clear(p[:n])
	for at, data := range s.parts {
		for i := range data {
			if j := at + int64(i) - off; j >= 0 && j < int64(n) {
				p[j] = data[i]
			}
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// sample is what testdata holds of a device that mkfs, mdadm, lvm or sfdisk wrote: files named NAME@OFFSET.gz.
func sample(t testing.TB, name string, size int64) sparse {
	t.Helper()
	files, err := filepath.Glob("testdata/" + name + "@*.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sample %s: %v", name, err)
	}
	s := sparse{size, map[int64][]byte{}}
	for _, f := range files {
		_, off, _ := strings.Cut(strings.TrimSuffix(f, ".gz"), "@")
		at, err := strconv.ParseInt(off, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if s.parts[at], err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

const gib = 1 << 30

// TestContent's truth is what blkid 2.38 and mdadm 4.2 said of the same devices.
func TestContent(t *testing.T) {
	for _, c := range []struct {
		name string
		size int64
		want Content
	}{
		{"ext2", 64 << 20, Content{Type: "ext2", UUID: "ec9b68f2-9974-4966-977a-ad9bea86ab7f", Label: "lext2"}},
		{"ext3", 64 << 20, Content{Type: "ext3", UUID: "992bb280-f692-4332-9ac8-719fc84d217b", Label: "lext3"}},
		{"ext4", 64 << 20, Content{Type: "ext4", UUID: "94f6dda3-37e3-4be8-bcd7-e1c05366ee17", Label: "lext4"}},
		{"jbd", 10 << 20, Content{Type: "jbd", UUID: "fc364201-5d62-40e1-9023-e47b9a2d837e"}},
		{"xfs", 400 << 20, Content{Type: "xfs", UUID: "22cb366d-93e5-4e65-95fa-036285921f65", Label: "xfs one"}},
		{"btrfs", gib, Content{Type: "btrfs", UUID: "a1a62355-cf1d-47e4-9f0b-d7b4d0b3209b"}},
		{"swap", 10 << 20, Content{Type: "swap", UUID: "2e720f33-ca0f-4328-8db9-83413269849a", Label: "sw"}},
		{"lvm", 442499072, Content{Type: "LVM2_member", UUID: "BkR4Is-EKQq-ZlMq-O02y-rvGc-w0mV-MJSP4L"}},
		{"md090", gib, Content{Type: "linux_raid_member", UUID: "5358c289:6905a083:3d186b3c:53958f34:0", Array: "5358c289:6905a083:3d186b3c:53958f34"}},
		{"md10", gib, Content{Type: "linux_raid_member", UUID: "8d460959-9f94-67a2-dbd7-ee148eaa63db", Label: "lab:ten", Array: "5420206e:8ae7f367:d6fdcb5b:e84ad88a"}},
		{"md11", gib, Content{Type: "linux_raid_member", UUID: "6efd91d6-6690-c703-a2cc-9f7acb03e74b", Label: "lab:eleven", Array: "434f7683:0f0882e3:f5fabd70:09c860e9"}},
		{"md12", 629145600, Content{Type: "linux_raid_member", UUID: "b06ddd70-677d-14f8-7f84-da02b4e862c6", Label: "lab:lab", Array: "692b64ee:a7aea42e:c451b55c:678f92e8"}},
	} {
		s, err := readContent(sample(t, c.name, c.size), uint64(c.size))
		if err != nil || s == nil {
			t.Errorf("%s: %v, %v", c.name, s, err)
			continue
		}
		if d := cmp.Diff(c.want, s.Content); d != "" {
			t.Errorf("%s: -want +got:\n%s", c.name, d)
		}
	}
}

func TestMDSuper(t *testing.T) {
	for _, c := range []struct {
		name string
		size int64
		want Array
	}{
		{"md090", gib, Array{"5358c289:6905a083:3d186b3c:53958f34", "raid5", "0.90", 3, 2, 512 << 10}},
		{"md10", gib, Array{"5420206e:8ae7f367:d6fdcb5b:e84ad88a", "raid1", "1.0", 2, 0, 0}},
		{"md11", gib, Array{"434f7683:0f0882e3:f5fabd70:09c860e9", "raid10", "1.1", 2, 0x201, 64 << 10}},
		{"md12", 629145600, Array{"692b64ee:a7aea42e:c451b55c:678f92e8", "raid1", "1.2", 2, 0, 0}},
	} {
		s, err := readContent(sample(t, c.name, c.size), uint64(c.size))
		if err != nil || s == nil || s.md == nil {
			t.Errorf("%s: %v, %v", c.name, s, err)
			continue
		}
		if d := cmp.Diff(c.want, s.md.Array); d != "" {
			t.Errorf("%s: -want +got:\n%s", c.name, d)
		}
	}
}

// A superblock with a byte that flipped is none, where there is a checksum.
func TestDamaged(t *testing.T) {
	for _, name := range []string{"md090", "md10", "md11", "lvm"} {
		s := sample(t, name, gib)
		for at, data := range s.parts {
			if name == "md10" && at == 1024 {
				delete(s.parts, at)
				continue
			}
			for i := range data {
				if data[i] != 0 {
					data[min(i+40, len(data)-1)] ^= 0x10
					break
				}
			}
		}
		if got, err := readContent(s, gib); got != nil || err != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestPartitions(t *testing.T) {
	for _, c := range []struct {
		name string
		size int64
		want []Part
	}{
		{"gpt", gib, []Part{
			{1, 2048 * 512, "3ee2dd35-1978-094e-9690-1608f9d23670", ""}, {2, 1230848 * 512, "92ccaf20-a19a-5349-8606-1504b9457956", ""},
		}},
		{"mbr", 64 << 20, []Part{
			{1, 2048 * 512, "46384dfd-01", ""}, {2, 18432 * 512, "46384dfd-02", ""}, {3, 34816 * 512, "46384dfd-03", ""},
			{4, 51200 * 512, "46384dfd-04", ""}, {5, 20480 * 512, "46384dfd-05", ""},
		}},
	} {
		got, err := readPartitions(sample(t, c.name, c.size), uint64(c.size))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: -want +got:\n%s", c.name, d)
		}
	}
}

// An extended partition whose chain leads back to itself ends.
func TestCircularMBR(t *testing.T) {
	s := sample(t, "mbr", 64<<20)
	ebr := s.parts[9437184]
	copy(ebr[446+16:], []byte{0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0})
	got, err := readPartitions(s, 64<<20)
	if err != nil || len(got) != 5 {
		t.Errorf("%v, %v", got, err)
	}
}

type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errors.New("medium error") }

func TestUnreadable(t *testing.T) {
	if s, err := readContent(broken{}, gib); s != nil || err == nil || !strings.Contains(err.Error(), "medium error") {
		t.Errorf("content: %v, %v", s, err)
	}
	if p, err := readPartitions(broken{}, gib); p != nil || err == nil {
		t.Errorf("partitions: %v, %v", p, err)
	}
}

func seeds(f *testing.F) {
	files, err := filepath.Glob("testdata/*.gz")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		base, off, _ := strings.Cut(strings.TrimSuffix(filepath.Base(name), ".gz"), "@")
		at, err := strconv.ParseInt(off, 10, 64)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(sample(f, base, gib).parts[at], uint64(at), uint64(gib))
	}
}

func FuzzContent(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte, at, size uint64) {
		s, err := readContent(sparse{int64(size & (1<<62 - 1)), map[int64][]byte{int64(at & (1<<62 - 1)): data}}, size)
		if err != nil || s == nil {
			return
		}
		if s.Type == "" || len(s.UUID) > 64 || len(s.Label) > 1024 {
			t.Errorf("%+v", s)
		}
	})
}

func FuzzPartitions(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte, at, size uint64) {
		parts, err := readPartitions(sparse{int64(size & (1<<62 - 1)), map[int64][]byte{int64(at & (1<<62 - 1)): data}}, size)
		if err == nil && len(parts) > maxPartitions {
			t.Errorf("%d partitions", len(parts))
		}
	})
}

func FuzzDevice(f *testing.F) {
	f.Add([]byte(`{"kind":"partition","name":"vda1","size":1,"part":{"number":1,"start":0},"below":[{"kind":"disk","name":"vda","ids":[{"by":"serial","value":"A"}]}]}`))
	f.Add([]byte(`{"kind":"dm","map":{"name":"x","table":[{"start":0,"length":8,"type":"raid","params":"raid1 1 128 2 - {0} {1} {2}"}]},"below":[{"kind":"disk","ids":[{}]}]}`))
	f.Add([]byte(`{"kind":"md","array":{"uuid":"0","level":"raid5","metadata":"1.2","disks":3},"below":[null]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var d Device
		if json.Unmarshal(data, &d) != nil || d.Check() != nil {
			return
		}
		d.Modules()
		_ = d.String()
		d.walk(func(d *Device) {
			if d.Map != nil {
				concrete(d.Map.Table, []string{"1:2", "-"})
			}
		})
	})
}
