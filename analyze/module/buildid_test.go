package module_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/module"
	"kdx/analyze/vmem"
	"kdx/internal/elfnote"
)

const attributes = `struct attribute { const char *name; unsigned short mode; };
	struct bin_attribute { struct attribute attr; unsigned long size; void *private; };`

// Layouts of what leads to a module's notes: up to 6.13, and since.
var noteLayouts = map[string]string{
	"6.12": attributes + `struct module_notes_attrs { void *dir; unsigned int notes; struct bin_attribute attrs[]; };
		struct module { int state; struct module_notes_attrs *notes_attrs; };`,
	"6.14": attributes + `struct attribute_group { const char *name; struct bin_attribute **bin_attrs; };
		struct module_notes_attrs { struct attribute_group grp; struct bin_attribute attrs[]; };
		struct module { int state; struct module_notes_attrs *notes_attrs; };`,
}

func TestBuildID(t *testing.T) {
	const id = "0102030405060708090a0b0c0d0e0f1011121314"
	desc := make([]byte, 20)
	for i := range desc {
		desc[i] = byte(i + 1)
	}
	le := binary.LittleEndian
	sections := []struct {
		name  string
		notes []byte
	}{{".note.Linux", elfnote.Append(nil, le, "Linux", 1, []byte{1})}, {".note.gnu.build-id", elfnote.Append(nil, le, "GNU", 3, desc)}}
	for name, layout := range noteLayouts {
		for _, excluded := range []int{-1, 0, 1} {
			m := kerneltest.New(t, layout)
			mod := m.Alloc(64)
			attrs := m.AllocPage()
			m.Set(mod, "module", "notes_attrs", uint64(attrs))
			if name == "6.14" {
				list := m.Alloc(64)
				m.Set(attrs, "module_notes_attrs", "grp.bin_attrs", uint64(list))
				for i := range sections {
					m.Word(list+vmem.Addr(8*i), 0x1000) // where it points does not matter
				}
			} else {
				m.Set(attrs, "module_notes_attrs", "notes", uint64(len(sections)))
			}
			for i, s := range sections {
				at := attrs + vmem.Addr(m.Offset("module_notes_attrs", "attrs")) + vmem.Addr(i*32)
				text := m.Alloc(64)
				m.Write(text, append([]byte(s.name), 0))
				notes := m.AllocPage()
				m.Write(notes, s.notes)
				if i == excluded {
					m.Exclude(notes)
				}
				m.Set(at, "bin_attribute", "attr.name", uint64(text))
				m.Set(at, "bin_attribute", "size", uint64(len(s.notes)))
				m.Set(at, "bin_attribute", "private", uint64(notes))
			}
			got, err := module.BuildID(m.View(), &module.Module{Name: "m", Addr: mod})
			if excluded == 1 {
				if err == nil || errors.Is(err, module.ErrNoBuildID) || !strings.Contains(err.Error(), ".note.gnu.build-id") {
					t.Errorf("%s without the page: %q, %v", name, got, err)
				}
				continue
			}
			if got != id || err != nil {
				t.Errorf("%s, section %d excluded: %q, %v", name, excluded, got, err)
			}
		}
		m := kerneltest.New(t, layout)
		if _, err := module.BuildID(m.View(), &module.Module{Addr: m.Alloc(64)}); !errors.Is(err, module.ErrNoBuildID) {
			t.Errorf("%s without notes: %v", name, err)
		}
	}
	m := kerneltest.New(t, `struct module { int state; unsigned char build_id[20]; };`)
	mod := m.Alloc(64)
	m.Write(mod+vmem.Addr(m.Offset("module", "build_id")), desc)
	if got, err := module.BuildID(m.View(), &module.Module{Addr: mod}); got != id || err != nil {
		t.Errorf("struct module's own: %q, %v", got, err)
	}
	if _, err := module.BuildID(m.View(), &module.Module{Addr: m.Alloc(64)}); !errors.Is(err, module.ErrNoBuildID) {
		t.Errorf("zeros: %v", err)
	}
}
