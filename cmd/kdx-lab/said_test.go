package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSaidTask(t *testing.T) {
	task := truthTask{
		TID:    7,
		Stat:   "7 (odd ) (name) D 1 7 7 0 -1 2129984 0 0",
		Status: "Name:\todd\nTgid:\t5\nPPid:\t1\nUid:\t65534\t0\t0\t0\nvoluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n",
		Stack:  []string{"do_wait+0x5e/0xe0", "fuse_dev_do_read+0x1/0x2 [fuse]", "0xffffffffc0001234"},
		Quiet:  true,
	}
	got, err := task.said()
	want := saidTask{TID: 7, TGID: 5, PPID: 1, Comm: "odd ) (name", State: "D", Kernel: true, UID: 65534, Quiet: true, Switches: 42,
		Stack: []saidFrame{{"do_wait", 0x5e}, {"fuse_dev_do_read", 1}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("said = %v, diff %s", err, diff)
	}
	for _, bad := range []string{"", "7 name S 1", "7 (x) S 1"} {
		if _, err := (truthTask{Stat: bad}).said(); err == nil {
			t.Errorf("said of stat %q: no error", bad)
		}
	}
}

func TestParseModules(t *testing.T) {
	got, err := parseModules("fuse 176128 1 - Live 0xffffffffc0a00000 (E)\nloop 32768 0 - Live 0xffffffffc0900000\n")
	want := []saidModule{{"fuse", 176128, 0xffffffffc0a00000}, {"loop", 32768, 0xffffffffc0900000}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("parseModules = %v, %v; want %v", got, err, want)
	}
	if _, err := parseModules("fuse 1 2\n"); err == nil {
		t.Error("parseModules of a short line: no error")
	}
}

func TestParseSlabinfo(t *testing.T) {
	got, err := parseSlabinfo("slabinfo - version: 2.1\n# name ...\n" +
		"dentry             9912   9954    192   21    1 : tunables    0    0    0 : slabdata    474    475      0\n")
	want := []saidSlab{{Name: "dentry", Active: 9912, Total: 9954, Size: 192, PerSlab: 21, Pages: 1, Slabs: 475}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("parseSlabinfo = %v, %v; want %v", got, err, want)
	}
}

func TestParseMeminfo(t *testing.T) {
	got := parseMeminfo("MemTotal:         311888 kB\nHugePages_Total:       6\n")
	want := map[string]uint64{"MemTotal": 311888 << 10, "HugePages_Total": 6}
	if !cmp.Equal(got, want) {
		t.Errorf("parseMeminfo = %v; want %v", got, want)
	}
}

func TestParseKmsg(t *testing.T) {
	got, err := parseKmsg("6,339,5140900,-;a \\x1b; \\ b\n SUBSYSTEM=acpi\n DEVICE=+acpi:x")
	want := saidRecord{339, 5140900, "a \x1b; \\ b"}
	if err != nil || got != want {
		t.Errorf("parseKmsg = %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "6,339;x", "6,x,1,-;x"} {
		if _, err := parseKmsg(bad); err == nil {
			t.Errorf("parseKmsg(%q): no error", bad)
		}
	}
}

func TestSameStack(t *testing.T) {
	frames := func(names ...string) (out []kdxFrame) {
		for _, n := range names {
			pc := "0x2000"
			if n == "__schedule" || n == "schedule" {
				pc = "0x1000"
			}
			out = append(out, kdxFrame{Function: n, Offset: 1, PC: pc})
		}
		return out
	}
	said := func(names ...string) (out []saidFrame) {
		for _, n := range names {
			out = append(out, saidFrame{n, 1})
		}
		return out
	}
	sched := func(a uint64) bool { return a == 0x1000 }
	tests := []struct {
		name string
		got  []kdxFrame
		want []saidFrame
		same bool
	}{
		{"scheduler left out", frames("__schedule", "schedule", "do_wait", "entry"), said("do_wait", "entry"), true},
		{"frame missing", frames("__schedule", "do_wait"), said("do_wait", "entry"), false},
		{"frame too many", frames("__schedule", "odd", "do_wait", "entry"), said("do_wait", "entry"), false},
		{"one behind the last", frames("do_wait", "entry", "odd"), said("do_wait", "entry"), false},
	}
	for _, tt := range tests {
		if why := sameStack(tt.got, tt.want, sched); (why == "") != tt.same {
			t.Errorf("%s: sameStack = %q", tt.name, why)
		}
	}
}

func TestPanicTrace(t *testing.T) {
	got := panicTrace(strings.Split(`Call Trace:
 before+0x1/0x2
Kernel panic - not syncing: sysrq triggered crash
CPU: 0 PID: 0 Comm: swapper/0
Call Trace:
 <IRQ>
 dump_stack+0x6b/0x83
 panic+0x344/0x3a0
 ? _printk+0x64/0x80
 sysrq_handle_crash+0x1a/0x20
 trace_clock_x86_tsc+0x20/0x20
 serial8250_interrupt+0x66/0x100 [8250]
 </IRQ>
 <TASK>
 asm_common_interrupt+0x26/0x40
RIP: 0010:pv_native_safe_halt+0xf/0x20
RSP: 0018:ffffffff8e603e88 EFLAGS: 00000216
 default_idle+0x9/0x20
 </TASK>
 after+0x1/0x2`, "\n"))
	want := []saidFrame{{"sysrq_handle_crash", 0x1a}, {"serial8250_interrupt", 0x66}, {"asm_common_interrupt", 0x26}, {"pv_native_safe_halt", 0xf}, {"default_idle", 9}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	frames := []kdxFrame{{Function: "a", Offset: 1}, {Function: "b", Offset: 2}, {Function: "c", Offset: 3}}
	if why := inOrder(frames, []saidFrame{{"a", 1}, {"c", 3}}); why != "" {
		t.Error(why)
	}
	for _, want := range [][]saidFrame{{{"c", 3}, {"a", 1}}, {{"b", 1}}, {{"a", 1}, {"a", 1}}} {
		if why := inOrder(frames, want); why == "" {
			t.Errorf("inOrder(%v) = \"\"", want)
		}
	}
}

func TestParseSmaps(t *testing.T) {
	got, err := parseSmaps("00400000-00404000 r-xp 00001000 fe:00 7 /bin/odd name\nSize:                 16 kB\nRss:                   8 kB\nSwap:                  4 kB\n" +
		"00404000-00405000 rw-p 00005000 fe:00 7 /bin/odd name\nSize:                  4 kB\n" +
		"7f0000000000-7f0000400000 rw-s 00000000 00:10 9 /anon_hugepage (deleted)\nSize:               4096 kB\nRss:                   0 kB\nShared_Hugetlb:     2048 kB\nPrivate_Hugetlb:    1024 kB\n")
	want := []saidUsage{
		{Start: 0x400000, End: 0x404000, Size: 16, Rss: 8, Swap: 4, shared: true, path: "/bin/odd name"},
		{Start: 0x404000, End: 0x405000, Size: 4, path: "/bin/odd name"},
		{Start: 0x7f0000000000, End: 0x7f0000400000, Size: 4096, Huge: 3072, shared: true, path: "/anon_hugepage (deleted)"},
	}
	if err != nil || !cmp.Equal(got, want, cmp.AllowUnexported(saidUsage{})) {
		t.Errorf("parseSmaps = %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"Size: 16 kB\n", "00400000-00404000 r-xp 0 fe:00 7\nRss: many kB\n", "00400000-00404000 r-xp 0 fe:00 7\nRss:\n", "no mapping\n"} {
		if got, err := parseSmaps(bad); err == nil {
			t.Errorf("parseSmaps(%q) = %+v; want an error", bad, got)
		}
	}
}

func TestParseNumbers(t *testing.T) {
	got, err := parseNumbers("0-2,5\n")
	if err != nil || !cmp.Equal(got, []int{0, 1, 2, 5}) {
		t.Errorf("parseNumbers = %v, %v", got, err)
	}
	if got, err := parseNumbers("\n"); err != nil || got != nil {
		t.Errorf("parseNumbers of no number = %v, %v", got, err)
	}
	for _, bad := range []string{"x", "1-", "3-1", "0-99999999"} {
		if got, err := parseNumbers(bad); err == nil {
			t.Errorf("parseNumbers(%q) = %v; want an error", bad, got)
		}
	}
}

func TestSaidPlaces(t *testing.T) {
	got, err := saidPlaces("00400000 bind:1 file=/bin/x anon=3 dirty=3 N0=2 N12=1 kernelpagesize_kB=4\n7f00 default huge N1=2 kernelpagesize_kB=2048\n8000 default\n")
	want := map[uint64]map[int]uint64{0x400000: {0: 2, 12: 1}, 0x7f00: {1: 1024}, 0x8000: {}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("saidPlaces = %v, %v; want %v", got, err, want)
	}
	if _, err := saidPlaces("here default\n"); err == nil {
		t.Error("saidPlaces of no address: no error")
	}
}
