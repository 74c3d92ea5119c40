package identify_test

import (
	"testing"

	"kdx/analyze/identify"
	"kdx/analyze/kernel"
	"kdx/analyze/kerneltest"
	"kdx/analyze/task"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

const vmemmap = kerneltest.Base + 0x2000000

func newKernel(t *testing.T) *kerneltest.Machine {
	m := kerneltest.New(t, `
struct list_head { struct list_head *next, *prev; };
struct page { unsigned long flags; union { struct { struct list_head lru; void *mapping; unsigned long index; unsigned long private; };
	struct { unsigned long compound_head; }; }; unsigned int page_type; int _refcount; unsigned long memcg_data; };
struct task_struct { long state; char comm[4000]; };
struct vmap_area { unsigned long va_start, va_end; struct list_head list; void *vm; };`)
	base, head := m.Alloc(8), m.Alloc(16)
	m.Word(base, uint64(vmemmap))
	m.Var("vmemmap_base", base, "unsigned long")
	m.Word(head, uint64(head))
	m.Word(head+8, uint64(head))
	m.Var("vmap_area_list", head, "struct list_head")
	return m
}

func finder(t *testing.T, m *kerneltest.Machine) (*identify.Finder, *kernel.View) {
	v := m.View()
	f, err := identify.New(v)
	if err != nil {
		t.Fatal(err)
	}
	return f, v
}

func TestAt(t *testing.T) {
	m := newKernel(t)
	stack, data := m.AllocPage(), m.AllocPage()
	m.AllocPage()
	tsk := m.AllocPage()
	m.Symbol(symbols.Symbol{Name: "counter", Addr: uint64(data) + 16, Size: 8, Letter: 'b'})
	f, v := finder(t, m)
	x := &task.Task{Addr: tsk, PID: 7, Stack: stack}
	f.Tasks, f.StackSize = &task.Table{Tasks: []*task.Task{x}}, 4096

	r := f.At(uint64(data) + 20)
	if r.Symbol == nil || r.Symbol.Name != "counter" || r.Task != nil || r.Page == nil || uint64(r.Page.Phys) != uint64(data-kerneltest.Base) {
		t.Errorf("At(counter+4) = %+v; want the symbol and its page", r)
	}
	if r = f.At(uint64(stack) + 100); r.Task != x || !r.Stack {
		t.Errorf("At(stack) = %+v; want the task's stack", r)
	}
	if r = f.At(uint64(tsk)); r.Task != x || r.Stack {
		t.Errorf("At(task_struct) = %+v; want the task", r)
	}
	pfn := uint64(data-kerneltest.Base) / 4096
	if r = f.At(uint64(vmemmap) + pfn*64 + 8); r.Page == nil || r.Page.PFN != pfn || r.Phys == nil || uint64(*r.Phys) != pfn*4096 {
		t.Errorf("At(struct page) = %+v; want page %#x", r, pfn)
	}
	if r = f.At(pfn*4096 + 16); r.Symbol == nil || r.Addr != data+16 || r.Phys == nil {
		t.Errorf("At(physical) = %+v; want the symbol there", r)
	}
	if r = f.At(0x7fff00000000); r.Page != nil || r.Symbol != nil {
		t.Errorf("At(an address that is nothing) = %+v", r)
	}
	gaps, _ := v.Gaps()
	if len(gaps) != 1 { // there are no slab caches in this kernel's types
		t.Errorf("gaps %v; want that slab caches can't be read, and nothing else", gaps)
	}
}

func TestPageMissing(t *testing.T) {
	m := newKernel(t)
	data := m.AllocPage()
	m.Exclude(vmemmap + vmem.Addr(uint64(data-kerneltest.Base)/4096*64))
	f, v := finder(t, m)
	if r := f.At(uint64(data)); r.Page != nil {
		t.Errorf("At with its struct page excluded = %+v", r)
	}
	if gaps, _ := v.Gaps(); len(gaps) != 2 {
		t.Errorf("gaps %v; want one for the page", gaps)
	}
}
