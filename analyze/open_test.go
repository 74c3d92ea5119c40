package analyze

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kdx/analyze/backtrace"
	"kdx/analyze/kernel"
	"kdx/analyze/module"
	"kdx/analyze/printk"
	"kdx/analyze/task"
	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
	"kdx/dumpfmt/vmcoreinfo"
	"kdx/symbols"
)

func openDump(t testing.TB, release string, opt Options) *kernel.Kernel {
	t.Helper()
	img, err := formats.Open(context.Background(), []string{filepath.Join("../testdata/dumps", release, "vmcore")}, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	k, err := Open(context.Background(), img, opt)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestDumps: what the guests said of themselves before they died, see testdata/dumps.
func TestDumps(t *testing.T) {
	for _, tc := range []struct {
		release                  string
		tasks, modules           int
		moduleStruct, panicStack string
	}{
		{"5.10", 269, 24, "", "task"},
		{"6.1", 274, 26, "ovl_fs", "IRQ"},
		{"6.12", 285, 26, "ovl_fs", "task"},
		{"7.2", 292, 24, "ovl_fs", "NMI"},
	} {
		t.Run(tc.release, func(t *testing.T) {
			k := openDump(t, tc.release, Options{})
			v := k.View(context.Background())
			tasks, err := task.Read(v)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(tasks.Tasks); n != tc.tasks {
				t.Errorf("%d tasks; want %d", n, tc.tasks)
			}
			if mods, err := module.Read(v); err != nil || len(mods) != tc.modules {
				t.Errorf("%d modules, %v; want %d", len(mods), err, tc.modules)
			}
			if tc.moduleStruct != "" { // from a module's own BTF
				if _, err := k.Struct(tc.moduleStruct); err != nil {
					t.Errorf("Struct(%s) = %v", tc.moduleStruct, err)
				}
			}
			tr := backtrace.New(v, tasks)
			for _, x := range tasks.Tasks {
				trace, err := tr.Trace(v, x)
				if errors.Is(err, backtrace.ErrExited) {
					continue
				}
				if err != nil || trace.End != nil {
					t.Errorf("PID %d (%s): %v, %v", x.PID, x.Comm, err, trace)
				}
				if x == tasks.Panic() && trace.Frames[0].Stack != tc.panicStack {
					t.Errorf("the panic is on the %s stack; want %s", trace.Frames[0].Stack, tc.panicStack)
				}
			}
			if gaps, _ := v.Gaps(); len(gaps) != 0 {
				t.Errorf("gaps: %v", gaps)
			}
			if broken := k.Symbols().Broken(); len(broken) != 0 {
				t.Errorf("broken finders: %v", broken)
			}
		})
	}
}

// TestWithout: each source of knowledge can be left out, and what then can't be known is said.
func TestWithout(t *testing.T) {
	k := openDump(t, "6.12", Options{NoBTF: true})
	if _, err := k.Struct("task_struct"); !errors.Is(err, symbols.ErrNotFound) {
		t.Errorf("Struct without BTF = %v; want ErrNotFound", err)
	}
	if _, err := k.Symbol("init_task"); err != nil {
		t.Errorf("Symbol without BTF = %v", err)
	}
	k = openDump(t, "6.12", Options{NoKallsyms: true})
	if _, err := k.Symbol("init_task"); !errors.Is(err, symbols.ErrNotFound) {
		t.Errorf("Symbol without kallsyms = %v; want ErrNotFound", err)
	}
	if s, err := k.Symbol("init_uts_ns"); err != nil || s.Addr == 0 {
		t.Errorf("Symbol(init_uts_ns) = %v, %v; want VMCOREINFO's", s, err)
	}
	if _, err := task.Read(k.View(context.Background())); err == nil {
		t.Error("task.Read without kallsyms = nil; want an error")
	}
}

// TestVmlinux: a file of another kernel is refused with both identities, unless it is forced.
func TestVmlinux(t *testing.T) {
	other := filepath.Join(t.TempDir(), "vmlinux")
	if err := os.WriteFile(other, []byte("no ELF file"), 0o600); err != nil {
		t.Fatal(err)
	}
	img, err := formats.Open(context.Background(), []string{"../testdata/dumps/6.12/vmcore"}, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if _, err := Open(context.Background(), img, Options{Vmlinux: other}); err == nil {
		t.Error("Open with a text file as vmlinux = nil; want an error")
	}
	self, err := os.Executable() // an ELF file, but of no kernel
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), img, Options{Vmlinux: self}); err == nil {
		t.Error("Open with another program as vmlinux = nil; want an error")
	}
}

// headless is a source without VMCOREINFO.
type headless struct {
	dumpfmt.Source
	info dumpfmt.Info
}

func (h *headless) Info() *dumpfmt.Info { return &h.info }

// TestNoVMCoreInfo: a kernel is found without the note, by its page tables, and is the one that the note describes.
func TestNoVMCoreInfo(t *testing.T) {
	for _, release := range []string{"5.10", "6.1", "6.12", "7.2"} {
		t.Run(release, func(t *testing.T) {
			img, err := formats.Open(context.Background(), []string{filepath.Join("../testdata/dumps", release, "vmcore")}, formats.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			h := &headless{Source: img.Source(), info: *img.Info()}
			h.info.VMCoreInfo = nil
			k, err := Open(context.Background(), dumpfmt.NewImage(h, dumpfmt.Options{}), Options{})
			if err != nil {
				t.Fatal(err)
			}
			note, found := img.Info().VMCoreInfo, k.VMCoreInfo()
			for _, key := range []string{"OSRELEASE", "PAGESIZE", "BUILD-ID", "KERNELOFFSET", "NUMBER(phys_base)", "NUMBER(pgtable_l5_enabled)", "SYMBOL(_stext)"} {
				want, _ := note.Get(key)
				if got, ok := found.Get(key); got != want && ok {
					t.Errorf("%s = %s; want %s", key, got, want)
				}
			}
			if found.Origin() == "" {
				t.Error("Origin is empty; want how it was found")
			}
			v := k.View(context.Background())
			with, err := task.Read(openDump(t, release, Options{}).View(context.Background()))
			if err != nil {
				t.Fatal(err)
			}
			tasks, err := task.Read(v)
			if err != nil || len(tasks.Tasks) != len(with.Tasks) {
				t.Fatalf("%d tasks, %v; want %d", len(tasks.Tasks), err, len(with.Tasks))
			}
			n := 0
			for _, err := range printk.Records(v) {
				if err != nil {
					t.Fatal(err)
				}
				n++
			}
			if n < 300 {
				t.Errorf("%d log records; want hundreds", n)
			}
		})
	}
}

// empty is a source whose memory holds nothing.
type empty struct{ headless }

func (empty) State(uint64) dumpfmt.PageState { return dumpfmt.Zero }
func (empty) ReadPage(dst []byte, _ uint64) error {
	clear(dst)
	return nil
}

func TestNoKernel(t *testing.T) {
	img, err := formats.Open(context.Background(), []string{"../testdata/dumps/6.12/vmcore"}, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	for name, vci := range map[string]*vmcoreinfo.Info{"none": nil, "empty": vmcoreinfo.Parse(nil)} {
		h := &empty{headless{Source: img.Source(), info: *img.Info()}}
		h.info.VMCoreInfo = vci
		_, err := Open(context.Background(), dumpfmt.NewImage(h, dumpfmt.Options{}), Options{})
		if err == nil || !strings.Contains(err.Error(), "VMCOREINFO") {
			t.Errorf("%s: Open = %v; want an error that names VMCOREINFO", name, err)
		}
		if vci == nil && !errors.Is(err, ErrNoVMCoreInfo) {
			t.Errorf("Open = %v; want ErrNoVMCoreInfo", err)
		}
	}
}

func BenchmarkForeachBacktrace(b *testing.B) {
	k := openDump(b, "6.12", Options{})
	v := k.View(context.Background())
	tasks, err := task.Read(v)
	if err != nil {
		b.Fatal(err)
	}
	tr := backtrace.New(v, tasks)
	b.ReportAllocs()
	for b.Loop() {
		for _, x := range tasks.Tasks {
			tr.Trace(v, x)
		}
	}
	b.ReportMetric(float64(len(tasks.Tasks)), "stacks/op")
}
