package triage

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"kdx/analyze"
	"kdx/analyze/kernel"
	"kdx/dumpfmt/formats"
)

func open(t testing.TB, name string, opt analyze.Options) *kernel.Kernel {
	t.Helper()
	img, err := formats.Open(t.Context(), []string{"../../testdata/dumps/" + name + "/vmcore"}, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	k, err := analyze.Open(t.Context(), img, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		k.Close()
		img.Close()
	})
	return k
}

func text(t testing.TB, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestMake holds the page against what the guests said when the dumps were made (testdata/dumps/README.md).
func TestMake(t *testing.T) {
	for name, want := range map[string]struct{ panic, crashed string }{
		"5.10": {"sysrq", "sysrq_handle_crash"},
		"6.1":  {"sysrq", "sysrq_handle_crash"},
		"6.12": {"sysrq", "sysrq_handle_crash"},
		"7.2":  {"NMI", "unknown_nmi_error"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Make(t.Context(), open(t, name, analyze.Options{}))
			page := text(t, r)
			if !strings.Contains(r.Panic, want.panic) || r.System == nil || !strings.HasPrefix(r.System.Release, name+".") {
				t.Errorf("panic %q of %+v", r.Panic, r.System)
			}
			found := false
			if r.Crashed != nil {
				for _, f := range r.Crashed.Frames {
					found = found || f.Function == want.crashed
				}
			}
			if !found {
				t.Errorf("%s is not on the stack of the task that crashed: %+v", want.crashed, r.Crashed)
			}
			if len(r.CPUs) != *r.System.CPUs || r.Tasks == nil || r.Tasks.Total < 10 || r.Tasks.States["IN"] == 0 || len(r.Log) < 20 || r.Memory == nil || r.Memory.Total == nil {
				t.Errorf("%d CPUs, tasks %+v, %d lines of log, memory %+v", len(r.CPUs), r.Tasks, len(r.Log), r.Memory)
			}
			for _, s := range []string{"PANIC: ", "== The task that crashed", "== What each CPU was running", want.crashed, "== The end of the kernel's log", "== Memory"} {
				if !strings.Contains(page, s) {
					t.Errorf("the page lacks %q:\n%s", s, page)
				}
			}
			if _, err := json.Marshal(r); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBroken: what needs symbols or types is missing, and the rest is there.
func TestBroken(t *testing.T) {
	r := Make(t.Context(), open(t, "6.12", analyze.Options{NoBTF: true}))
	if r.Tasks != nil || r.Crashed != nil || len(r.Missing) == 0 || len(r.Log) == 0 || !strings.Contains(r.Panic, "sysrq") || r.System == nil || r.System.Uptime == nil {
		t.Errorf("without types: %+v", r)
	}
	r = Make(t.Context(), open(t, "6.12", analyze.Options{NoKallsyms: true}))
	if len(r.Missing) == 0 || len(r.Log) == 0 {
		t.Errorf("without symbols: %+v", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := Make(ctx, open(t, "6.12", analyze.Options{})); len(r.Missing) == 0 || text(t, r) == "" {
		t.Errorf("out of time: %+v", r)
	}
}

// TestMistake: a part that panics costs nothing but itself.
func TestMistake(t *testing.T) {
	m := &maker{k: open(t, "6.12", analyze.Options{}), seen: make(map[string]bool), rep: &Report{}}
	m.run(t.Context(), "a part", func(*kernel.View) error { panic("of no use") })
	if len(m.rep.Missing) != 1 || !strings.Contains(m.rep.Missing[0], "a part: a mistake in kdx") {
		t.Errorf("missing is %q", m.rep.Missing)
	}
	for range 2 * maxMissing {
		m.missing("same", context.Canceled)
	}
	if len(m.rep.Missing) != 2 {
		t.Errorf("the same is told %d times", len(m.rep.Missing))
	}
}
