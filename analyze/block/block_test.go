package block_test

import (
	"fmt"
	"strings"
	"testing"

	"kdx/analyze/block"
	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
)

const common = `
struct list_head { struct list_head *next, *prev; };
struct kobject { const char *name; struct list_head entry; };
struct kset { struct list_head list; unsigned int list_lock; struct kobject kobj; };
struct klist { unsigned int k_lock; struct list_head k_list; };
struct klist_node { void *n_klist; struct list_head n_node; };
struct device { struct kobject kobj; struct device *parent; void *p; unsigned int devt; };
struct device_private { struct klist_node knode_class; struct device *device; };
struct subsys_private { struct kset subsys; struct klist klist_devices; struct class *class; };
struct class { const char *name; struct subsys_private *p; };
struct disk_stats { u64 nsecs[4]; unsigned long sectors[4], ios[4], merges[4], io_ticks; struct { struct { long counter; } a; } in_flight[2]; };
struct blk_mq_tags { unsigned int nr_tags, nr_reserved_tags; void *bitmap_tags; struct request **rqs; };
struct blk_mq_tag_set { void *ops; unsigned int nr_hw_queues; struct blk_mq_tags **tags; };
struct request_queue { void *queuedata, *mq_ops; struct blk_mq_tag_set *tag_set; };
enum mq_rq_state { MQ_RQ_IDLE, MQ_RQ_IN_FLIGHT, MQ_RQ_COMPLETE };
`

var layouts = map[string]string{
	"5.10": `struct hd_struct { u64 start_sect, nr_sects; struct disk_stats *dkstats; struct device __dev; int partno; };
		struct gendisk { int major; struct hd_struct part0; void *fops; struct request_queue *queue; };
		struct request { struct request_queue *q; unsigned int cmd_flags; int tag; struct hd_struct *part; enum mq_rq_state state; };`,
	"6.1": `struct block_device { u64 bd_start_sect, bd_nr_sectors; struct disk_stats *bd_stats; unsigned int bd_dev; struct device bd_device; u8 bd_partno;
			struct gendisk *bd_disk; };
		struct gendisk { int major; struct block_device *part0; void *fops; struct request_queue *queue; };
		struct request { struct request_queue *q; unsigned int cmd_flags; int tag; struct block_device *part; enum mq_rq_state state; };`,
	"7.2": `struct block_device { u64 bd_start_sect, bd_nr_sectors; struct gendisk *bd_disk; struct disk_stats *bd_stats; struct { int counter; } __bd_flags; unsigned int bd_dev;
			struct device bd_device; };
		struct gendisk { int major; struct block_device *part0; void *fops; struct request_queue *queue; };
		struct request { struct request_queue *q; unsigned int cmd_flags; int tag; struct block_device *part; enum mq_rq_state state; };`,
}

// kern is a kernel with a disk of requests, a partition of it, and a disk of bare bios.
type kern struct {
	*kerneltest.Machine
	release string
	set     vmem.Addr
	rqs     vmem.Addr
	queue   vmem.Addr
	part    vmem.Addr
	stats   vmem.Addr
}

func newKern(t *testing.T, release string) *kern {
	k := &kern{Machine: kerneltest.New(t, common+layouts[release]), release: release}
	class, private := k.Alloc(32), k.Alloc(256)
	k.Var("block_class", class, "struct class")
	k.Set(class, "class", "p", uint64(private))
	list := []vmem.Addr{private + vmem.Addr(k.Offset("subsys_private", "klist_devices.k_list"))}
	disk, zram := k.Alloc(256), k.Alloc(256)
	queue, bios := k.Alloc(64), k.Alloc(64)
	add := func(disk, queue vmem.Addr, name string, minor, partno, sectors uint64) (part, stats vmem.Addr) {
		tag, dev, sect, stat := "block_device", "bd_device", "bd_nr_sectors", "bd_stats"
		part = k.Alloc(256)
		if release == "5.10" {
			tag, dev, sect, stat = "hd_struct", "__dev", "nr_sects", "dkstats"
			if partno == 0 {
				part = disk + vmem.Addr(k.Offset("gendisk", "part0"))
			} else {
				k.Set(part, tag, "__dev.parent", uint64(disk)+k.Offset("gendisk", "part0")+k.Offset(tag, "__dev"))
			}
			k.Set(part, tag, "partno", partno)
		} else {
			k.Set(part, tag, "bd_disk", uint64(disk))
			if release == "6.1" {
				k.Set(part, tag, "bd_partno", partno)
			} else {
				k.Set(part, tag, "__bd_flags.counter", partno|0x300)
			}
		}
		k.Set(disk, "gendisk", "queue", uint64(queue))
		k.Set(part, tag, sect, sectors)
		k.Set(part, tag, dev+".devt", 259<<20|minor)
		text, p := k.Alloc(16), k.Alloc(64)
		k.Write(text, append([]byte(name), 0))
		k.Set(part, tag, dev+".kobj.name", uint64(text))
		stats = k.Alloc(256)
		k.Set(part, tag, stat, uint64(stats))
		k.Set(p, "device_private", "device", uint64(part)+k.Offset(tag, dev))
		list = append(list, p+vmem.Addr(k.Offset("device_private", "knode_class.n_node")))
		return part, stats
	}
	_, k.stats = add(disk, queue, "nvme0n1", 0, 0, 2048)
	k.part, _ = add(disk, queue, "nvme0n1p1", 1, 1, 1024)
	_, flight := add(zram, bios, "zram0", 2, 0, 512)
	k.Word(flight+vmem.Addr(k.Offset("disk_stats", "in_flight"))+8, 3)
	for i, a := range list {
		b := list[(i+1)%len(list)]
		k.Word(a, uint64(b))
		k.Word(b+8, uint64(a))
	}
	k.set, k.rqs, k.queue = k.Alloc(64), k.Alloc(8*8), queue
	tags, table := k.Alloc(64), k.Alloc(16)
	k.Set(queue, "request_queue", "mq_ops", 1)
	k.Set(queue, "request_queue", "tag_set", uint64(k.set))
	k.Set(k.set, "blk_mq_tag_set", "nr_hw_queues", 2)
	k.Set(k.set, "blk_mq_tag_set", "tags", uint64(table))
	k.Word(table, uint64(tags))
	k.Word(table+8, uint64(tags)) // both queues share them
	k.Set(tags, "blk_mq_tags", "nr_tags", 8)
	k.Set(tags, "blk_mq_tags", "rqs", uint64(k.rqs))
	for i, r := range []struct {
		queue       vmem.Addr
		op, tag, st uint64
		part        vmem.Addr
	}{{queue, 0, 0, 1, k.part}, {queue, 1, 1, 1, 0}, {queue, 0x8801, 2, 1, k.part}, {queue, 0, 3, 0, 0}, {queue, 0, 9, 1, 0}, {bios, 0, 5, 1, 0}} {
		at := k.Alloc(64)
		k.Set(at, "request", "q", uint64(r.queue))
		k.Set(at, "request", "cmd_flags", r.op)
		k.Set(at, "request", "tag", r.tag)
		k.Set(at, "request", "state", r.st)
		k.Set(at, "request", "part", uint64(r.part))
		k.Word(k.rqs+vmem.Addr(8*i), uint64(at))
	}
	return k
}

func TestDevices(t *testing.T) {
	for release := range layouts {
		t.Run(release, func(t *testing.T) {
			k := newKern(t, release)
			k.Word(k.stats+vmem.Addr(k.Offset("disk_stats", "ios"))+8, 42)
			v := k.View()
			want := []string{"nvme0n1 259:0 part 0 sectors 2048 mq true: 1 2", "nvme0n1p1 259:1 part 1 sectors 1024 mq true: 1 1", "zram0 259:2 part 0 sectors 512 mq false: 0 3"}
			var got []string
			for d, err := range block.Devices(v) {
				if err != nil {
					t.Fatal(err)
				}
				f, err := block.InFlight(v, &d)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprintf("%s %d:%d part %d sectors %d mq %v: %d %d", d.Name, d.Major, d.Minor, d.Partition, d.Sectors, d.RequestBase, f.Reads, f.Writes))
				if s, err := block.ReadStats(v, &d); err != nil || d.Name == "nvme0n1" && s.IOs[1] != 42 {
					t.Errorf("ReadStats = %+v, %v; want 42 writes", s, err)
				}
			}
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("devices %q; want %q", got, want)
			}
		})
	}
}

// Queues, tags and requests that lie are said, and cost little.
func TestBadRequests(t *testing.T) {
	for what, damage := range map[string]func(*kern){
		"hardware queues": func(k *kern) { k.Set(k.set, "blk_mq_tag_set", "nr_hw_queues", 0xffffffff) },
		"tags":            func(k *kern) { k.Set(k.set, "blk_mq_tag_set", "tags", 0x4141414141414141) },
		"request":         func(k *kern) { k.Word(k.rqs, 0x4141414141414141) },
		"tag set":         func(k *kern) { k.Set(k.queue, "request_queue", "tag_set", 0) },
	} {
		k := newKern(t, "6.1")
		damage(k)
		v := k.View()
		for d, err := range block.Devices(v) {
			if err != nil {
				t.Fatal(err)
			}
			if _, err := block.InFlight(v, &d); d.RequestBase && err == nil {
				t.Errorf("%s: no error", what)
			}
		}
	}
}
