package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"strings"
	"testing"

	"kdx/analyze/kernel"
	"kdx/analyze/task"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/repl"
	"kdx/repl/commands"
)

// wreck damages chosen places of a dump, which it finds with a kernel of the whole dump.
type wreck struct {
	t testing.TB
	k *kernel.Kernel
	d *damaged
}

func (w wreck) symbol(name string) uint64 {
	w.t.Helper()
	s, err := w.k.Symbol(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Addr
}

func (w wreck) place(addr uint64) (pfn, off uint64) {
	w.t.Helper()
	f, err := w.k.Arch().Kernel().Translate(addr)
	if err != nil {
		w.t.Fatal(err)
	}
	return uint64(f.Phys) / w.k.PageSize(), uint64(f.Phys) % w.k.PageSize()
}

// put changes a word.
func (w wreck) put(addr, value uint64) {
	pfn, off := w.place(addr)
	before := w.d.change[pfn]
	w.d.change[pfn] = func(pfn uint64, page []byte) {
		if before != nil {
			before(pfn, page)
		}
		binary.LittleEndian.PutUint64(page[off:], value)
	}
}

// drop excludes pages.
func (w wreck) drop(from, to uint64) {
	for a := from &^ (w.k.PageSize() - 1); a < to; a += w.k.PageSize() {
		pfn, _ := w.place(a)
		w.d.missing[pfn] = dumpfmt.Excluded
	}
}

func (w wreck) task(pid int32) *task.Task {
	w.t.Helper()
	t, err := task.Read(w.k.View(context.Background()))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, x := range t.Tasks {
		if x.PID == pid {
			return x
		}
	}
	w.t.Fatalf("no task has PID %d", pid)
	return nil
}

func (w wreck) offset(tag, member string) uint64 {
	w.t.Helper()
	off, ok := w.k.OffsetOf(tag, member)
	if !ok {
		w.t.Fatalf("struct %s has no %s", tag, member)
	}
	return off
}

// TestDamage: what is said, and what is still answered, when one thing is wrong.
func TestDamage(t *testing.T) {
	type ask struct {
		line   string
		status repl.Status
		want   []string
	}
	type damage struct {
		name string
		harm func(w wreck)
		asks []ask
	}
	for _, tc := range oneIn(8, []damage{
		{"the list of tasks loops", func(w wreck) {
			at := uint64(w.task(2).Addr) + w.offset("task_struct", "tasks")
			w.put(at, at)
		}, []ask{{"ps", repl.Gaps, []string{"kthreadd", "kdx-lab", "comes back"}}, {"list -H init_task.tasks", repl.Gaps, []string{"comes back"}}}},
		{"the list of modules loops", func(w wreck) {
			at := w.symbol("modules")
			first, err := w.k.View(context.Background()).Word(vmem.Addr(at))
			if err != nil {
				w.t.Fatal(err)
			}
			w.put(first, first)
		}, []ask{{"mod", repl.Gaps, []string{"comes back"}}, {"ps", repl.OK, []string{"kthreadd"}}}},
		{"a stack is overwritten", func(w wreck) {
			x := w.task(2)
			for a := uint64(x.SP) + 0x80; a < uint64(x.Stack)+16<<10; a += 8 {
				w.put(a, 0x4141414141414141)
			}
		}, []ask{{"bt 2", repl.Gaps, []string{"#0 [", "__schedule", "the trace ends here", "4141414141414141"}}, {"bt 1", repl.OK, []string{"__schedule"}}}},
		{"a stack is excluded", func(w wreck) {
			x := w.task(2)
			w.drop(uint64(x.Stack), uint64(x.Stack)+16<<10)
		}, []ask{{"bt 2", repl.Failed, []string{"PID 2", "excluded"}}, {"bt 1", repl.OK, []string{"__schedule"}}, {"foreach bt", repl.Gaps, []string{"excluded", "ret_from_fork"}}, {"bt 1", repl.OK, []string{"__schedule"}}, {"ps 2", repl.OK, []string{"kthreadd"}}}},
		{"unwind tables are excluded", func(w wreck) {
			w.drop(w.symbol("__start_orc_unwind_ip"), w.symbol("__stop_orc_unwind_ip"))
		}, []ask{{"bt 2", repl.Gaps, []string{"orc", "excluded"}}, {"ps", repl.OK, []string{"kthreadd"}}, {"log", repl.OK, []string{"Linux version"}}}},
		{"types are excluded", func(w wreck) {
			w.drop(w.symbol("__start_BTF"), w.symbol("__stop_BTF"))
		}, []ask{{"ps", repl.Failed, []string{"btf", "excluded"}}, {"sym panic", repl.OK, []string{"(T) panic"}}}},
		{"types are cut short", func(w wreck) {
			lo, hi := w.symbol("__start_BTF"), w.symbol("__stop_BTF")
			w.drop(lo+(hi-lo)/2, hi)
		}, []ask{{"ps", repl.Failed, []string{"btf", "excluded"}}, {"sym panic", repl.OK, []string{"(T) panic"}}}},
		{"names are excluded", func(w wreck) {
			at, _ := w.k.VMCoreInfo().Symbol("kallsyms_names")
			w.drop(at, at+64<<10)
		}, []ask{{"sym -l | tail -1", repl.Failed, []string{"kallsyms", "excluded"}}, {"sym no_such_symbol", repl.Failed, []string{"kallsyms", "excluded"}}}},
	}) {
		t.Run(tc.name, func(t *testing.T) {
			img := smallDump(t)
			d := &damaged{Source: img.Source(), missing: make(map[uint64]dumpfmt.PageState), change: make(map[uint64]func(uint64, []byte))}
			k, err := openHostile(img.Source())
			if err != nil {
				t.Fatal(err)
			}
			tc.harm(wreck{t, k, d})
			for _, a := range tc.asks {
				k, err := openHostile(d)
				if err != nil {
					t.Fatal(err)
				}
				var out bytes.Buffer
				s := repl.New(repl.Config{Kernel: k, Commands: commands.All(), In: strings.NewReader(""), Out: &out, Err: &out})
				st, _ := s.Line(context.Background(), a.line)
				if st != a.status {
					t.Errorf("%s = status %v; want %v: %.2000s", a.line, st, a.status, out.String())
				}
				for _, want := range a.want {
					if !strings.Contains(out.String(), want) {
						t.Errorf("%s does not say %q: %.2000s", a.line, want, out.String())
					}
				}
			}
		})
	}
}
