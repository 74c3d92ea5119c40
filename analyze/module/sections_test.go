package module

import (
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
)

// TestSections: since 6.14 nothing but an array of pointers with a NULL at its end says how many sections there are; what lies behind the
// attributes is somebody else's.
func TestSections(t *testing.T) {
	m := kerneltest.New(t, `
		struct attribute { const char *name; };
		struct bin_attribute { struct attribute attr; void *private; };
		struct attribute_group { struct bin_attribute **bin_attrs; };
		struct module_sect_attrs { struct attribute_group grp; struct bin_attribute attrs[]; };
		struct module { struct module_sect_attrs *sect_attrs; };`)
	mod, attrs, list, name := m.Alloc(8), m.Alloc(8+4*16), m.Alloc(3*8), m.Alloc(16)
	m.Write(name, []byte(".text\x00"))
	m.Word(mod, uint64(attrs))
	m.Word(attrs, uint64(list))
	for i := range uint64(4) { // two are the module's
		m.Word(attrs+8+vmem.Addr(i*16), uint64(name))
		m.Word(attrs+8+vmem.Addr(i*16+8), 0xffffffffc0000000+i)
		if i < 2 {
			m.Word(list+vmem.Addr(i*8), uint64(attrs)+8+i*16)
		}
	}
	secs, err := Sections(m.View(), &Module{Addr: mod})
	if err != nil || len(secs) != 2 || *secs[1].Name != ".text" || secs[1].Addr != 0xffffffffc0000001 {
		t.Errorf("Sections = %v, %v; want two", secs, err)
	}
}
