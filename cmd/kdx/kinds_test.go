package main

import (
	"context"
	"testing"

	"kdx/analyze/mm"
	"kdx/analyze/module"
	"kdx/analyze/slab"
	"kdx/analyze/task"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
	"kdx/repl"
)

// lose excludes the pages of a range of addresses, where there are any.
func (w wreck) lose(from, to uint64) {
	for a := from &^ (w.k.PageSize() - 1); a < to; a += w.k.PageSize() {
		if f, err := w.k.Arch().Kernel().Translate(a); err == nil {
			w.d.missing[uint64(f.Phys)/w.k.PageSize()] = dumpfmt.Excluded
		}
	}
}

// loseSlabs excludes all objects of a slab cache.
func (w wreck) loseSlabs(name string) {
	w.t.Helper()
	v := w.k.View(context.Background())
	s, err := slab.New(v)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := s.Lookup(name, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	for at, err := range s.All(c) {
		if err != nil {
			continue // the distilled dump lacks some itself
		}
		if one, err := s.Detail(c, at); err == nil {
			w.lose(uint64(one.Memory), uint64(one.Memory)+c.SlabSize)
		}
	}
}

func (w wreck) size(tag string) uint64 {
	w.t.Helper()
	s, err := w.k.Struct(tag)
	if err != nil {
		w.t.Fatal(err)
	}
	return uint64(s.Size)
}

// loseCPU excludes the per-CPU area of a CPU, as far as the kernel itself reaches in it.
func (w wreck) loseCPU(cpu int) {
	w.t.Helper()
	off, err := w.k.PerCPUOffset(cpu)
	if err != nil {
		w.t.Fatal(err)
	}
	w.lose(off+w.symbol("__per_cpu_start"), off+w.symbol("__per_cpu_end"))
}

// loseTables excludes the last level of a process's page tables.
func (w wreck) loseTables(pid int32) {
	w.t.Helper()
	v, x := w.k.View(context.Background()), w.task(pid)
	space, err := task.UserSpace(v, x)
	if err != nil {
		w.t.Fatal(err)
	}
	for area, err := range mm.VMAs(v, x.MM) {
		if err != nil {
			w.t.Fatal(err)
		}
		for at := uint64(area.Start); at < uint64(area.End); at += w.k.PageSize() {
			walk, _ := space.Walk(at) // the distilled dump lacks some itself
			for _, step := range walk.Steps {
				if step.Level == "PTE" {
					w.d.missing[uint64(step.Addr)/w.k.PageSize()] = dumpfmt.Excluded
				}
			}
		}
	}
}

// TestContextLost: where the task that crashed can't be read, commands about the context say first that they are about another.
func TestContextLost(t *testing.T) {
	img, err := formats.Open(context.Background(), []string{"../../testdata/dumps/6.12-more/vmcore"}, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	k, err := openHostile(img.Source())
	if err != nil {
		t.Fatal(err)
	}
	d := &damaged{Source: img.Source(), missing: map[uint64]dumpfmt.PageState{}}
	wreck{t, k, d}.loseSlabs("task_struct")
	lacking, err := openHostile(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"bt", "set", "files", "task", "sys", "vm"} {
		_, doc, err := answerOf(lacking, line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		missing := doc["missing"].([]any)
		if len(missing) == 0 || missing[0].(map[string]any)["what"] != "context" {
			t.Errorf("%s: missing %.300v; want first that the context is not the task that crashed", line, missing)
		}
	}
}

// TestKinds: where all pages of one kind are missing, answers say so, and give what is left without making up the rest.
func TestKinds(t *testing.T) {
	img, err := formats.Open(context.Background(), []string{"../../testdata/dumps/6.12-more/vmcore"}, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	src := img.Source()
	k, err := openHostile(src)
	if err != nil {
		t.Fatal(err)
	}
	slabs := func(name string) func(w wreck) { return func(w wreck) { w.loseSlabs(name) } }
	type kind struct {
		name  string
		harm  func(w wreck)
		lines []string
		told  []string // where a name is "" or an address for want of it: that some are missing is said
	}
	for _, tc := range oneIn(8, []kind{
		{"open files", slabs("filp"), []string{"files 1", "files -c", "ipcs -M", "swap"}, nil},
		{"inodes in memory", slabs("shmem_inode_cache"), []string{"files 1", "files -d (init_task.fs->root.dentry)", "swap"}, nil},
		{"small objects", slabs("kmalloc-32"), []string{"kmem -s list", "foreach net -s", "mod -g"}, nil},
		{"modules", func(w wreck) {
			mods, err := module.Read(w.k.View(context.Background()))
			if err != nil {
				w.t.Fatal(err)
			}
			for _, m := range mods {
				for _, r := range m.Mem {
					w.lose(uint64(r.Base), uint64(r.Base)+r.Size)
				}
			}
		}, []string{"dev -i", "*list_head -aa modules", "whatis -m blk_mq_tags", "whatis -r 192"}, []string{"timer", "dev"}},
		{"what modules' types are found by", slabs("kmalloc-64"), []string{"whatis -m blk_mq_tags", "whatis -r 192", "kmem -S kmalloc-64"}, nil},
		{"page tables of init", func(w wreck) { w.loseTables(1) }, []string{"ps -a", "vtop -c 1 400000", "vm 1"}, []string{"vm -p 1", "ps -a 1"}},
		{"tables of devices", slabs("kmalloc-192"), []string{"dev"}, nil},
		{"descriptions of pages", func(w wreck) {
			at, err := w.k.View(context.Background()).Word(vmem.Addr(w.symbol("vmemmap_base")))
			if err != nil {
				w.t.Fatal(err)
			}
			w.lose(at, at+w.d.Info().MaxPFN*w.size("page"))
		}, []string{"kmem -f", "kmem -F", "bt -F", "rd -S init_task 64", "rd -SS init_task 64"}, nil},
		{"processor 1", func(w wreck) { w.loseCPU(1) }, []string{"timer", "timer -r", "ps -l", "ps -m -C a", "runq -t", "runq -T", "runq -m"}, nil},
	}) {
		t.Run(tc.name, func(t *testing.T) {
			d := &damaged{Source: src, missing: map[uint64]dumpfmt.PageState{}}
			tc.harm(wreck{t, k, d})
			if len(d.missing) == 0 {
				t.Fatal("no page of this kind was found")
			}
			lacking, err := openHostile(d)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range tc.told {
				if st, doc, err := answerOf(lacking, line); err != nil || st != repl.Gaps || len(doc["missing"].([]any)) == 0 {
					t.Errorf("%s: status %v, missing %v, error %v; want it to say what is missing", line, st, doc["missing"], err)
				}
			}
			for _, line := range tc.lines {
				st, doc, err := answerOf(k, line)
				if err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				w := whole{st: st, doc: doc}
				st, doc, err = answerOf(lacking, line)
				w.hold(t, line, st, doc, err)
			}
		})
	}
}
