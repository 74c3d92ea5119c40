package debugfiles

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/internal/elfnote"
	"kdx/symbols"
	"kdx/symbols/debuginfo"
)

const (
	own   = "0102030405060708090a0b0c0d0e0f1011121314"
	other = "ff02030405060708090a0b0c0d0e0f1011121314"
)

// machine is a kernel with its notes and banner.
func machine(t *testing.T, version, vmcoreinfoID string) (m *kerneltest.Machine, excludeNotes func()) {
	m = kerneltest.New(t, "struct x { int y; };")
	m.VMCoreInfo("OSRELEASE=" + version + "\nBUILD-ID=" + vmcoreinfoID + "\n")
	desc := make([]byte, 20)
	for i := range desc {
		desc[i] = byte(i + 1)
	}
	notes := m.AllocPage()
	b := elfnote.Append(nil, binary.LittleEndian, "GNU", 3, desc)
	m.Write(notes, b)
	banner := m.AllocPage()
	m.Write(banner, []byte("Linux version "+version+" (a@b) #1\n\x00"))
	m.Symbol(symbols.Symbol{Name: "__start_notes", Addr: uint64(notes)})
	m.Symbol(symbols.Symbol{Name: "__stop_notes", Addr: uint64(notes) + uint64(len(b))})
	m.Symbol(symbols.Symbol{Name: "linux_banner", Addr: uint64(banner)})
	return m, func() { m.Exclude(notes) }
}

func TestWant(t *testing.T) {
	for name, test := range map[string]struct {
		version, vmcoreinfo string
		noNotes             bool
		want                BuildID
	}{
		"equal":         {"6.1.100", own, false, BuildID{ID: own, FromNotes: true, VMCoreInfo: own}},
		"garbage":       {"6.1.115", other, false, BuildID{ID: own, FromNotes: true, VMCoreInfo: other, Why: "kernels of release 6.1.115 put garbage in its place"}},
		"a good one":    {"6.1.115", own, false, BuildID{ID: own, FromNotes: true, VMCoreInfo: own}},
		"another":       {"6.1.100", other, false, BuildID{ID: own, FromNotes: true, VMCoreInfo: other, Why: "the kernel's own notes have another"}},
		"without notes": {"6.1.100", own, true, BuildID{ID: own, VMCoreInfo: own}},
		"neither":       {"6.1.115", own, true, BuildID{VMCoreInfo: own, Why: "kernels of release 6.1.115 put garbage in its place"}},
	} {
		m, exclude := machine(t, test.version, test.vmcoreinfo)
		if test.noNotes {
			exclude()
		}
		w, id := Want(context.Background(), m.Kernel(), []string{"/case/vmcore"})
		if (id.NotesErr != nil) != test.noNotes {
			t.Errorf("%s: %v", name, id.NotesErr)
		}
		id.NotesErr = nil
		if id != test.want {
			t.Errorf("%s: %+v; want %+v", name, id, test.want)
		}
		if w.Release != test.version || w.BuildID != id.ID || w.Sure != id.FromNotes || !strings.HasPrefix(w.Banner, "Linux version "+test.version) || len(w.Dumps) != 1 {
			t.Errorf("%s: %+v", name, w)
		}
	}
}

func TestFind(t *testing.T) {
	m, _ := machine(t, "6.1.115", other)
	k := m.Kernel()
	root := t.TempDir()
	r, err := Find(context.Background(), k.Image(), k, []string{root + "/vmcore"}, debuginfo.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	if r.Complete() || *r.BuildID != own || *r.VMCoreInfoID != other || len(r.Kernel.Looked) < 20 || len(r.Hints) == 0 || r.ModulesError == nil || len(r.Missing) == 0 {
		t.Errorf("%+v", r)
	}
	var b bytes.Buffer
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"RELEASE: 6.1.115\n", "BUILD-ID: " + own + " (of the kernel's notes); VMCOREINFO's " + other + " is not believed: kernels of release 6.1.115 put garbage",
		"  absent            " + root + "/vmlinux\n", "KERNEL: nothing found\n", "MODULES: can't be listed", "linux-image-6.1.115-dbg", "kdx debuginfo --download"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, b.String())
		}
	}
	// A dump whose kernel can't be opened.
	if r, err = Find(context.Background(), k.Image(), nil, []string{root + "/vmcore"}, debuginfo.Options{Root: root}); err != nil || r.Complete() || r.BuildID != nil || *r.Machine != "x86_64" {
		t.Errorf("%+v, %v", r, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Find(ctx, k.Image(), k, nil, debuginfo.Options{Root: root}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestDocs: docs/debuginfo.md names each member of the JSON.
func TestDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/debuginfo.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []any{Report{}, Module{}, Search{}, Found{}, Place{}, debuginfo.Hint{}} {
		for f := range reflect.TypeOf(x).Fields() {
			name := f.Tag.Get("json")
			if name == "" || name == "-" {
				continue
			}
			if !regexp.MustCompile("[`.]" + name + "[`.\\[]").Match(doc) {
				t.Errorf("docs/debuginfo.md does not name %s", name)
			}
		}
	}
}
