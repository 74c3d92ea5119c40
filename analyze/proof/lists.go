package proof

import (
	"kdx/analyze/backtrace"
	"kdx/analyze/kernel"
	"kdx/analyze/mm"
	"kdx/analyze/module"
	"kdx/analyze/slab"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// ofTask are structures that each task points to. They come from slabs, full ones too, which are on no list.
var ofTask = []struct{ member, tag string }{{"mm", "mm_struct"}, {"signal", "signal_struct"}, {"sighand", "sighand_struct"},
	{"files", "files_struct"}, {"fs", "fs_struct"}, {"cred", "cred"}, {"nsproxy", "nsproxy"}, {"thread_pid", "pid"}, {"cgroups", "css_set"}}

func (p *pass) tasks() error {
	table, err := p.tasksOf()
	if err != nil {
		return err
	}
	typ, err := p.v.Struct("task_struct")
	if err != nil {
		return err
	}
	size := backtrace.New(p.v, table).StackSize()
	room := typ.Size
	if n, err := p.v.UintAt("arch_task_struct_size", 4); err == nil && n != 0 {
		room = min(room, n) // its end, registers of the FPU, has what this processor needs of it
	}
	for _, x := range table.Tasks {
		if err := p.object(x.Addr, room); err != nil {
			return err
		}
		if x.Stack != 0 && size <= 1<<20 {
			if err := p.span(uint64(x.Stack), uint64(x.Stack)+size, p.c.opt.Every, byPointer); err != nil {
				return err
			}
		}
	}
	for _, x := range table.Tasks {
		o := p.v.Object(typ, x.Addr)
		for _, m := range ofTask {
			to, err := o.Field(m.member).Pointer()
			if err != nil {
				continue // not a member of this kernel, or not in the input
			}
			t, err := p.v.Struct(m.tag)
			if err != nil {
				continue
			}
			if err := p.object(to, t.Size); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *pass) modules() error {
	mods, err := module.Read(p.v)
	if err != nil {
		return err
	}
	for _, m := range mods {
		for _, r := range m.Mem {
			if r.Size > 1<<30 {
				continue
			}
			if err := p.span(uint64(r.Base), uint64(r.Base)+r.Size, p.c.opt.Every, byPlace); err != nil {
				return err
			}
		}
		if _, err := module.Sections(p.v, m); err != nil {
			p.v.Gap("sections of "+m.Name, err)
		}
	}
	return nil
}

type slabStruct struct {
	Objects uint32 `k:"objects"`
}

// slabs follows the lists of each cache: the slabs that CPUs have taken, and those of nodes that are neither full nor empty.
// One of each list is looked at object by object. Full slabs are on no list; objects that others point to stand for them.
func (p *pass) slabs() error {
	s, err := slab.New(p.v)
	if err != nil {
		return err
	}
	tag := "slab" // since 5.17
	if !p.v.HasMember(tag, "objects") {
		tag = "page"
	}
	bind, err := kernel.Bind[slabStruct](p.v.Kernel, tag)
	if err != nil {
		return err
	}
	caches, err := s.Caches()
	if err != nil {
		return err
	}
	for _, c := range caches {
		var lists [][]vmem.Addr
		cpus, err := s.CPULists(c)
		if err != nil {
			p.v.Gap("slab cache "+c.Name, err)
		}
		for _, l := range cpus {
			if l.Active != 0 {
				lists = append(lists, []vmem.Addr{l.Active})
			}
			lists = append(lists, l.Partial)
		}
		nodes, err := s.NodeLists(c)
		if err != nil {
			p.v.Gap("slab cache "+c.Name, err)
		}
		for _, l := range nodes {
			lists = append(lists, l.Partial)
		}
		for _, list := range lists {
			for i, at := range list {
				if err := p.slab(s, c, bind, at, i == 0); err != nil {
					return err
				}
			}
		}
	}
	return p.v.Context().Err()
}

// slab needs as many pages as the slab's objects fill: an allocation may have got fewer than its cache likes best.
func (p *pass) slab(s *slab.Slabs, c *slab.Cache, bind kernel.Binding[slabStruct], at vmem.Addr, closely bool) error {
	b, err := bind.Read(p.v, at)
	if err != nil {
		p.v.Gap("slab cache "+c.Name, err)
		return nil
	}
	pfn, ok := s.Pages().PFN(at)
	if !ok {
		return nil
	}
	page := p.v.PageSize()
	for i := range (min(uint64(b.Objects&0x7fff)*c.Size, c.SlabSize) + page - 1) / page {
		if err := p.need(pfn+i, p.n%p.c.opt.Every == 0, byPointer); err != nil {
			return err
		}
	}
	if closely {
		if _, err := s.Detail(c, at); err != nil {
			p.v.Gap("slab cache "+c.Name, err)
		}
	}
	return p.v.Context().Err()
}

// spaces: page tables and mappings of each process, not what they map.
func (p *pass) spaces() error {
	table, err := p.tasksOf()
	if err != nil {
		return err
	}
	seen := make(map[vmem.Addr]bool)
	for _, x := range table.Tasks {
		if x.MM == 0 || seen[x.MM] {
			continue
		}
		seen[x.MM] = true
		pgd, err := p.v.ObjectOf("mm_struct", x.MM).Field("pgd").Uint()
		if err != nil {
			p.v.Gap("mm of "+x.Comm, err)
			continue
		}
		if err := p.userTables(pgd); err != nil {
			return err
		}
	}
	for addr := range seen {
		for _, err := range mm.VMAs(p.v, addr) {
			if err != nil {
				p.v.Gap("mappings", err)
				break
			}
		}
		if err := p.v.Context().Err(); err != nil {
			return err
		}
	}
	return nil
}

// inodesOfEach is how many inodes of a file system are looked at: the point is the slabs in which they lie.
const inodesOfEach = 512

// fileSystems follows mounted file systems to their inodes, which fill the most slabs of most machines.
func (p *pass) fileSystems() error {
	head, err := p.v.Symbol("super_blocks")
	if err != nil {
		return err
	}
	sb, err := p.v.Struct("super_block")
	if err != nil {
		return err
	}
	inode, err := p.v.Struct("inode")
	if err != nil {
		return err
	}
	link, ok1 := sb.OffsetOf("s_list")
	inodes, ok2 := sb.OffsetOf("s_inodes")
	ilink, ok3 := inode.OffsetOf("i_sb_list")
	for at, err := range walk.List(p.v, vmem.Addr(head.Addr), link) {
		if !ok1 || err != nil {
			p.v.Gap("file systems", err)
			break
		}
		if err := p.object(at, sb.Size); err != nil {
			return err
		}
		n := 0
		for i, err := range walk.List(p.v, at+vmem.Addr(inodes), ilink) {
			if !ok2 || !ok3 || err != nil {
				p.v.Gap("inodes", err)
				break
			}
			if err := p.object(i, inode.Size); err != nil {
				return err
			}
			if n++; n >= inodesOfEach {
				break
			}
		}
	}
	return p.v.Context().Err()
}
