package storage

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const gptPart1, gptPart2, gptSize1, gptSize2 = 2048 * 512, 1230848 * 512, 1228800 * 512, 864256 * 512

// machine has a disk with two partitions, the second a physical volume, and a second disk with a filesystem.
func machine(t *testing.T, names ...string) *tree {
	tr := newTree(t)
	tr.disk(names[0], 3, gib, "ALPHA", "gpt")
	tr.part(names[0], 1, gptPart1, gptSize1, "xfs")
	tr.part(names[0], 2, gptPart2, gptSize2, "lvm")
	tr.disk(names[1], 4, 64<<20, "BETA", "ext4")
	return tr
}

const ext4UUID = "94f6dda3-37e3-4be8-bcd7-e1c05366ee17"

func TestFind(t *testing.T) {
	tr := machine(t, "vda", "vdb")
	tr.link("dev/disk/by-label/with\\x20space", "../../vdb")
	tr.dm("dm-0", "vg-my--lv", 1<<20, "", "vda2")
	tr.link("dev/vg/linked", "../dm-0")
	for device, want := range map[string]string{
		"/dev/vda": "vda", "/dev/vda2": "vda2", "/dev/mapper/vg-my--lv": "dm-0", "/dev/vg/my-lv": "dm-0", "/dev/vg/linked": "dm-0",
		"UUID=" + ext4UUID: "vdb", "UUID=" + strings.ToUpper(ext4UUID): "vdb", "LABEL=lext4": "vdb", "LABEL=with space": "vdb",
		"PARTUUID=3ee2dd35-1978-094e-9690-1608f9d23670": "vda1", "PARTUUID=92CCAF20-A19A-5349-8606-1504B9457956": "vda2",
	} {
		b, err := newHost(tr.root).find(device)
		if err != nil || b.name != want {
			t.Errorf("%s: %q, %v; want %q", device, b.name, err, want)
		}
	}
	for device, want := range map[string]string{
		"/dev/sdz":      "/dev/sdz is no block device here. There are dm-0 (1 MiB, vg-my--lv), vda (1 GiB, serial ALPHA)",
		"UUID=nowhere":  "no device has UUID=nowhere",
		"ID=1":          "is no device",
		"LABEL=":        "is no device",
		"/dev/../x/vda": "is no block device here",
	} {
		if _, err := newHost(tr.root).find(device); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", device, err, want)
		}
	}
}

func TestTwins(t *testing.T) {
	tr := machine(t, "vda", "vdb")
	tr.disk("vdc", 5, 64<<20, "GAMMA", "ext4")
	if _, err := newHost(tr.root).find("UUID=" + ext4UUID); err == nil || !strings.Contains(err.Error(), "on more than one device: vdb") {
		t.Errorf("%v", err)
	}
}

// TestLVM holds a volume against a machine on which the disks have changed places.
func TestLVM(t *testing.T) {
	tr := machine(t, "vda", "vdb")
	tr.dm("dm-0", "vg-lv", 1<<20, "xfs", "vda2")
	d, err := tr.discover("/dev/mapper/vg-lv", map[string][]Target{"dm-0": {{0, 2048, "linear", tr.number("vda2") + " 2048"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := &Device{
		Kind: DM, Name: "dm-0", Size: 1 << 20,
		Content: &Content{Type: "xfs", UUID: "22cb366d-93e5-4e65-95fa-036285921f65", Label: "xfs one"},
		Map:     &Map{Name: "vg-lv", UUID: "LVM-vg-lv", Table: []Target{{0, 2048, "linear", "{0} 2048"}}},
		Below: []*Device{{
			Kind: Partition, Name: "vda2", Size: gptSize2,
			Content: &Content{Type: "LVM2_member", UUID: "BkR4Is-EKQq-ZlMq-O02y-rvGc-w0mV-MJSP4L"},
			Part:    &Part{Number: 2, Start: gptPart2, UUID: "92ccaf20-a19a-5349-8606-1504b9457956"},
			Below: []*Device{{
				Kind: Disk, Name: "vda", Size: gib, IDs: []ID{{bySerial, "ALPHA"}, {byPath, "pci0000:00/0000:00:03.0"}},
				Drivers: []string{"virtio_blk", "pci:v00001AF4d00001042"},
			}},
		}},
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := d.Modules(); !slices.Equal(got, []string{"virtio_blk", "pci:v00001AF4d00001042", "dm-mod"}) {
		t.Errorf("modules %q", got)
	}
	var back Device
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if err := back.Check(); err != nil {
		t.Error(err)
	}

	later := machine(t, "vdx", "vda")
	a := &activation{h: newHost(later.root), open: func(b blk, _ int) (*os.File, error) { return newHost(later.root).open(b) }}
	if err := a.look(); err != nil {
		t.Fatal(err)
	}
	numbers, err := a.numbers(&back)
	if err != nil {
		t.Fatal(err)
	}
	if got := concrete(back.Map.Table, numbers)[0].Params; got != later.number("vdx2")+" 2048" {
		t.Errorf("table %q", got)
	}
}

func TestActivate(t *testing.T) {
	tr := machine(t, "vda", "vdb")
	for device, want := range map[string]string{"/dev/vda1": "/dev/vdx1", "/dev/vdb": "/dev/vda", "/dev/vda2": "/dev/vdx2"} {
		d, err := tr.discover(device, nil)
		if err != nil {
			t.Fatal(err)
		}
		later := machine(t, "vdx", "vda")
		if got, log, err := later.activate(d, time.Second); got != want || err != nil || log != "" {
			t.Errorf("%s: %q, %v, %q; want %q", device, got, err, log, want)
		}
	}
}

// A disk without a name of its own is known by its place, if what was on it is still there, and by that alone elsewhere.
func TestWeak(t *testing.T) {
	tr := newTree(t)
	tr.disk("vda", 3, 64<<20, "", "ext4")
	d, err := tr.discover("/dev/vda", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		slot            int
		content, wanted string
	}{{3, "ext4", "/dev/vdq"}, {7, "ext4", "/dev/vdq"}, {3, "ext3", ""}, {3, "", ""}} {
		later := newTree(t)
		later.disk("vdq", c.slot, 64<<20, "", c.content)
		got, _, err := later.activate(d, 300*time.Millisecond)
		if got != c.wanted || (err == nil) != (c.wanted != "") {
			t.Errorf("slot %d with %s: %q, %v; want %q", c.slot, c.content, got, err, c.wanted)
		}
	}
}

// A volume group that was made anew is not written to through the old table.
func TestOtherVolumeGroup(t *testing.T) {
	tr := machine(t, "vda", "vdb")
	d, err := tr.discover("/dev/vda2", nil)
	if err != nil {
		t.Fatal(err)
	}
	later := machine(t, "vda", "vdb")
	later.fill("vda2", gptSize2, "swap")
	if got, _, err := later.activate(d, 300*time.Millisecond); err == nil {
		t.Errorf("took %s", got)
	}
}

func TestMissing(t *testing.T) {
	tr := machine(t, "vda", "vdb")
	d, err := tr.discover("/dev/vda1", nil)
	if err != nil {
		t.Fatal(err)
	}
	later := newTree(t)
	later.disk("vda", 4, 64<<20, "BETA", "ext4")
	_, log, err := later.activate(d, 300*time.Millisecond)
	want := "waited 300ms for disk serial ALPHA, once vda, 1 GiB. There are vda (64 MiB, serial BETA, ext4 " + ext4UUID + ")"
	if err == nil || err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
	if log != "waiting for disk serial ALPHA, once vda, 1 GiB\n" {
		t.Errorf("log %q", log)
	}
}

// A disk that appears late is waited for.
func TestLate(t *testing.T) {
	tr := machine(t, "vda", "vdb")
	d, err := tr.discover("/dev/vdb", nil)
	if err != nil {
		t.Fatal(err)
	}
	later := newTree(t)
	done := make(chan string)
	go func() {
		got, _, err := later.activate(d, 20*time.Second)
		if err != nil {
			got = err.Error()
		}
		done <- got
	}()
	time.Sleep(300 * time.Millisecond)
	later.disk("vdz", 4, 64<<20, "BETA", "ext4")
	if got := <-done; got != "/dev/vdz" {
		t.Error(got)
	}
}

func TestMDArray(t *testing.T) {
	tr := newTree(t)
	tr.disk("vda", 3, gib, "A", "md10")
	tr.disk("vdb", 4, gib, "B", "md11")
	tr.md("md7", 900<<20, "ext4", "1.0", "vda")
	tr.md("md8", 900<<20, "ext4", "external:imsm", "vdb")
	d, err := tr.discover("/dev/md7", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &Array{"5420206e:8ae7f367:d6fdcb5b:e84ad88a", "raid1", "1.0", 2, 0, 0}
	if diff := cmp.Diff(want, d.Array); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := d.Modules(); !slices.Equal(got[len(got)-2:], []string{"md-mod", "raid1"}) {
		t.Errorf("modules %q", got)
	}
	if _, err := tr.discover("/dev/md8", nil); err == nil || !strings.Contains(err.Error(), "firmware RAID") {
		t.Errorf("%v", err)
	}
	// It is up already: nothing is made.
	if got, _, err := tr.activate(d, time.Second); got != "/dev/md7" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	// Only what was not in it is there.
	later := newTree(t)
	later.disk("vda", 3, gib, "B", "md11")
	if _, _, err := later.activate(d, 300*time.Millisecond); err == nil || !strings.Contains(err.Error(), "1 of its 1 members") {
		t.Errorf("%v", err)
	}
}

func TestRefused(t *testing.T) {
	tr := machine(t, "vda", "vdb")
	tr.dm("dm-0", "secret", 1<<20, "", "vdb")
	tr.dm("dm-1", "vg-lv", 1<<20, "xfs", "dm-0")
	tr.dm("dm-2", "odd", 1<<20, "xfs", "vdb")
	tr.disk("vdc", 6, gib, "", "")
	tr.block("virtual/block/loop0", gib, "ext4")
	tr.write("sys/devices/virtual/block/loop0/loop/backing_file", "/x")
	tr.block("platform/host3/session1/target3:0:0/3:0:0:0/block/sda", gib, "ext4")
	tr.link("sys/devices/platform/host3/session1/target3:0:0/3:0:0:0/block/sda/device", "../..")
	tr.block("virtual/nvme-fabrics/ctl/nvme0/nvme0n1", gib, "ext4")
	tr.link("sys/devices/virtual/nvme-fabrics/ctl/nvme0/nvme0n1/device", "../../nvme0")
	tr.write("sys/devices/virtual/nvme-fabrics/ctl/nvme0/transport", "tcp\n")
	tr.disk("vdd", 7, 10<<20, "D", "jbd")
	tables := map[string][]Target{
		"dm-0": {{0, 2048, "crypt", "aes-xts-plain64 :64:logon:cryptsetup:x 0 " + tr.number("vdb") + " 32768"}},
		"dm-1": {{0, 2048, "linear", tr.number("dm-0") + " 0"}},
		"dm-2": {{0, 2048, "strange", ""}},
	}
	for device, want := range map[string]string{
		"/dev/mapper/secret": "encrypted (dm-crypt)", "/dev/mapper/vg-lv": "dm-1 stands on dm-0 (secret): it is encrypted",
		"/dev/mapper/odd": `target "strange"`, "/dev/loop0": "loop device", "/dev/sda": "iSCSI", "/dev/nvme0n1": "NVMe over tcp",
	} {
		d, err := tr.discover(device, tables)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %q", device, d, err, want)
		}
	}
}

func TestMultipath(t *testing.T) {
	tr := newTree(t)
	for i, name := range []string{"sda", "sdb"} {
		dir := "pci0000:00/0000:00:05.0/host" + string(rune('2'+i)) + "/target0:0:1/0:0:1:7"
		tr.block(dir+"/block/"+name, gib, "lvm")
		tr.link("sys/devices/"+dir+"/block/"+name+"/device", "../..")
		tr.write("sys/devices/"+dir+"/wwid", "naa.5000c50012345678\n")
		tr.write("sys/devices/"+dir+"/vendor", "ACME    \n")
		tr.write("sys/devices/"+dir+"/model", "LUN             \n")
		tr.write("sys/devices/"+dir+"/vpd_pg80", "\x00\x80\x00\x04S123")
	}
	tr.dm("dm-0", "mpatha", gib, "lvm", "sda", "sdb")
	table := "0 0 1 1 service-time 0 2 2 " + tr.number("sda") + " 1 1 " + tr.number("sdb") + " 1 1"
	d, err := tr.discover("/dev/mapper/mpatha", map[string][]Target{"dm-0": {{0, gib / 512, "multipath", table}}})
	if err != nil {
		t.Fatal(err)
	}
	ids := []ID{{byWWID, "naa.5000c50012345678"}, {bySerial, "ACME LUN S123"}, {byPath, "pci0000:00/0000:00:05.0/:0:1:7"}}
	if d.Kind != Multipath || len(d.Below) != 2 || !slices.Equal(d.Below[1].IDs, ids) {
		t.Errorf("%+v, %+v", d, d.Below[1])
	}
	if got, log, err := tr.activate(d, time.Second); got != "/dev/sda" || err != nil || !strings.Contains(log, "by the path sda") {
		t.Errorf("%q, %v, %q", got, err, log)
	}
}

func TestCheck(t *testing.T) {
	disk := func() *Device { return &Device{Kind: Disk, Name: "a", IDs: []ID{{bySerial, "A"}}} }
	deep := disk()
	for range maxDepth + 1 {
		deep = &Device{Kind: Multipath, Below: []*Device{deep}}
	}
	wide := &Device{Kind: Multipath}
	for range maxDevices {
		wide.Below = append(wide.Below, disk())
	}
	table := func(rows ...Target) *Device {
		return &Device{Kind: DM, Map: &Map{Name: "x", Table: rows}, Below: []*Device{disk()}}
	}
	for want, d := range map[string]*Device{
		"layers":                   deep,
		"devices":                  wide,
		"no kind":                  {Kind: "x"},
		"recognise":                {Kind: Disk},
		"its disk is missing":      {Kind: Partition, Part: &Part{Number: 1}},
		"a device is missing":      {Kind: Multipath, Below: []*Device{nil}},
		"no name of a device":      {Kind: Disk, Name: "../x", IDs: []ID{{bySerial, "A"}}},
		"gap":                      table(Target{8, 8, "linear", "{0} 0"}),
		"no target that kdx makes": table(Target{0, 8, "crypt", "{0} 0"}),
		"device {1} of 1":          table(Target{0, 8, "linear", "{1} 0"}),
		"members are missing":      {Kind: MD, Array: &Array{UUID: "x", Level: "raid9", Metadata: "1.2", Disks: 1}, Below: []*Device{disk()}},
	} {
		if err := d.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

func TestRaidHalves(t *testing.T) {
	for _, c := range []struct{ params, numbers, want string }{
		{"raid1 3 0 region_size 1024 2 {0} {1} {2} {3}", "1:0 1:1 1:2 1:3", "raid1 3 0 region_size 1024 2 1:0 1:1 1:2 1:3"},
		{"raid1 3 0 region_size 1024 2 {0} {1} {2} {3}", "1:0 1:1 - 1:3", "raid1 3 0 region_size 1024 2 1:0 1:1 - -"},
		{"raid1 3 0 region_size 1024 2 {0} {1} {2} {3}", "1:0 - 1:2 1:3", "raid1 3 0 region_size 1024 2 - - 1:2 1:3"},
		{"raid5_ls 1 128 3 - {0} - {1} - {2}", "1:0 - 1:2", "raid5_ls 1 128 3 - 1:0 - - - 1:2"},
		{"raid5_ls 99999 128 3", "", "raid5_ls 99999 128 3"},
	} {
		got := concrete([]Target{{0, 8, "raid", c.params}}, strings.Fields(c.numbers))[0].Params
		if got != c.want {
			t.Errorf("%s with %s: %q; want %q", c.params, c.numbers, got, c.want)
		}
	}
}

func TestTableBytes(t *testing.T) {
	table := []Target{{0, 8, "linear", "8:1 0"}, {8, 16, "striped", "2 128 8:1 8 8:2 0"}}
	data := encodeTable(table)
	// What the kernel answers counts from the beginning, what it is told from each target.
	first := int(data[20])
	data[first+20] = byte(len(data))
	got, err := decodeTable(data, 2)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(table, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	for n := range data {
		if _, err := decodeTable(data[:n], 3); err == nil {
			t.Errorf("%d bytes: no error", n)
		}
	}
	data[20] = 0
	if _, err := decodeTable(data, 2); err == nil {
		t.Error("a circle: no error")
	}
}

func TestDevNumbers(t *testing.T) {
	for _, c := range [][2]uint32{{8, 1}, {254, 300}, {259, 0}, {4095, 0xfffff}} {
		major, minor := fromKernelDev(kernelDev(c[0], c[1]))
		if major != c[0] || minor != c[1] {
			t.Errorf("%d:%d became %d:%d", c[0], c[1], major, minor)
		}
	}
}
