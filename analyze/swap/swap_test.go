package swap_test

import (
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/swap"
	"kdx/analyze/vmem"

	"github.com/google/go-cmp/cmp"
)

const fileDecls = `
struct inode { unsigned short i_mode; };
struct file { struct inode *f_inode; };
`

// Layouts of struct swap_info_struct: with a map of slots, and as 7.2 has it, with tables in clusters.
const (
	withMap = `struct atomic_long { s64 counter; };
		struct swap_cluster_info { unsigned int data; };
		struct swap_info_struct { unsigned long flags; short prio; unsigned int max; unsigned char *swap_map; struct swap_cluster_info *cluster_info;
		unsigned int pages; unsigned int inuse_pages; struct file *swap_file; };`
	withTables = `struct atomic_long { s64 counter; };
		struct swap_table { unsigned long entries[512]; };
		struct swap_cluster_info { unsigned int lock; unsigned short count; unsigned long *table; };
		struct swap_info_struct { unsigned long flags; short prio; unsigned int max; struct swap_cluster_info *cluster_info;
		unsigned int pages; struct atomic_long inuse_pages; struct file *swap_file; };`
)

// machine has one device of 600 slots, of which the first is its header, on a file of that mode.
func machine(t *testing.T, layout string, mode uint64) (*kerneltest.Machine, vmem.Addr) {
	m := kerneltest.New(t, fileDecls+layout)
	si, file, inode := m.Alloc(256), m.Alloc(64), m.Alloc(64)
	m.Set(si, "swap_info_struct", "flags", 3)
	m.Set(si, "swap_info_struct", "prio", 0xfffe)
	m.Set(si, "swap_info_struct", "max", 600)
	m.Set(si, "swap_info_struct", "pages", 599)
	m.Set(si, "swap_info_struct", "swap_file", uint64(file))
	m.Set(file, "file", "f_inode", uint64(inode))
	m.Set(inode, "inode", "i_mode", mode)
	infos, n := m.Alloc(8*24), m.Alloc(4)
	m.Word(infos+8, uint64(si)) // the first was switched off and given back
	m.Put(n, 4, 2)
	m.Var("swap_info", infos, "")
	m.Var("nr_swapfiles", n, "")
	return m, si
}

func TestDevices(t *testing.T) {
	for name, layout := range map[string]string{"map": withMap, "tables": withTables} {
		t.Run(name, func(t *testing.T) {
			m, si := machine(t, layout, 0o100600)
			if name == "map" {
				slots := m.Alloc(600)
				m.Put(slots, 1, 0x3f) // the header
				for i := range vmem.Addr(7) {
					m.Put(slots+10+i, 1, 1+uint64(i)%2*0x40)
				}
				m.Set(si, "swap_info_struct", "swap_map", uint64(slots))
				m.Set(si, "swap_info_struct", "inuse_pages", 7)
			} else {
				size := m.Offset("swap_cluster_info", "table") + 8
				clusters := m.Alloc(2 * size)
				m.Set(clusters, "swap_cluster_info", "count", 1+7)
				m.Set(clusters+vmem.Addr(size), "swap_cluster_info", "count", 2*512-600)
				m.Set(si, "swap_info_struct", "cluster_info", uint64(clusters))
				m.Set(si, "swap_info_struct", "inuse_pages", 7|1<<30)
			}
			v := m.View()
			got, err := swap.Devices(v)
			if err != nil {
				t.Fatal(err)
			}
			if gaps, _ := v.Gaps(); len(gaps) > 0 {
				t.Errorf("gaps: %v", gaps)
			}
			counted, block := uint64(7), false
			want := []swap.Device{{Index: 1, Addr: si, File: got[0].File, Block: &block, Pages: 599, InUse: 7, Counted: &counted, Priority: -2, Flags: 3}}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// TestDamaged: what can't be read is named, and the rest is told.
func TestDamaged(t *testing.T) {
	m, si := machine(t, withMap, 0o060600)
	m.Set(si, "swap_info_struct", "swap_map", 0xffff888fff000000)
	infos := m.Alloc(16)
	m.Word(infos, 0xdead0000dead0000)
	m.Word(infos+8, uint64(si))
	n := m.Alloc(4)
	m.Put(n, 4, 2)
	m.Var("swap_info", infos, "")
	m.Var("nr_swapfiles", n, "")
	v := m.View()
	got, err := swap.Devices(v)
	if err != nil {
		t.Fatal(err)
	}
	var wild int
	gaps, _ := v.Gaps()
	for _, g := range gaps {
		if strings.Contains(g.String(), "swap device") {
			wild++
		}
	}
	for _, d := range got {
		if d.Block == nil || !*d.Block || d.Counted != nil {
			t.Errorf("device %+v; want a block device without a count", d)
		}
	}
	if wild == 0 {
		t.Errorf("gaps %v; want the slots that can't be read", gaps)
	}
	if name := swap.NewNames(v).Of(1 << 40); name != "" {
		t.Errorf("device 1<<40 is called %q", name)
	}
}

func TestNone(t *testing.T) {
	if got, err := swap.Devices(kerneltest.New(t, withMap+fileDecls).View()); err != nil || got != nil {
		t.Errorf("a kernel without swap: %v, %v", got, err)
	}
}
