package mm

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/task"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
	"kdx/symbols"
)

// Info is the state of memory as /proc/meminfo would have told it, in pages. A nil field could not be read.
type Info struct {
	PageSize uint64 // bytes

	Total, Free, Used, Shared, Buffers, Cached, SwapCached *uint64
	SlabReclaimable, SlabUnreclaimable, Slab               *uint64
	AnonPages, Mapped, PageTables, KernelStack             *uint64
	HugeTotal, HugeFree                                    *uint64 // of all sizes
	SwapTotal, SwapUsed, SwapFree                          *uint64
	CommitLimit, Committed                                 *uint64
}

// meminfo reads one value after the other; each failure is a gap and leaves its fields nil.
type meminfo struct {
	v    *kernel.View
	info *Info
}

// ReadInfo reads the totals. What can't be read is a gap of v.
func ReadInfo(v *kernel.View) *Info {
	m := meminfo{v: v, info: &Info{PageSize: v.PageSize()}}
	i := m.info
	i.Total = m.word("_totalram_pages", "totalram_pages") // renamed in 5.0
	i.Free = m.stat("vm_zone_stat", "NR_FREE_PAGES")
	i.Used = minus(i.Total, i.Free)
	file := m.stat("vm_node_stat", "NR_FILE_PAGES")
	i.Shared = m.stat("vm_node_stat", "NR_SHMEM")
	i.AnonPages = m.stat("vm_node_stat", "NR_ANON_MAPPED")
	i.Mapped = m.stat("vm_node_stat", "NR_FILE_MAPPED")
	i.PageTables = m.statAny([2]string{"vm_node_stat", "NR_PAGETABLE"}, [2]string{"vm_zone_stat", "NR_PAGETABLE"}) // a node's since 5.11
	i.KernelStack = m.kernelStack()
	i.SwapCached = m.swapCached()
	i.Buffers = m.try("buffers", m.buffers)
	i.Cached = minus(minus(file, i.SwapCached), i.Buffers)
	// Bytes to the outside and pages inside since 5.9, hence _B.
	i.SlabReclaimable = m.stat("vm_node_stat", "NR_SLAB_RECLAIMABLE_B|NR_SLAB_RECLAIMABLE")
	i.SlabUnreclaimable = m.stat("vm_node_stat", "NR_SLAB_UNRECLAIMABLE_B|NR_SLAB_UNRECLAIMABLE")
	i.Slab = plus(i.SlabReclaimable, i.SlabUnreclaimable)
	m.huge()
	i.SwapTotal = m.word("total_swap_pages")
	i.SwapFree = m.word("nr_swap_pages")
	i.SwapUsed = minus(i.SwapTotal, i.SwapFree)
	i.CommitLimit = m.try("commit limit", m.commitLimit)
	i.Committed = m.try("committed memory", m.committed)
	return i
}

func plus(a, b *uint64) *uint64 {
	if a == nil || b == nil {
		return nil
	}
	s := *a + *b
	return &s
}

// minus is a-b, and 0 where counters that were not read at one moment would make it negative.
func minus(a, b *uint64) *uint64 {
	if a == nil || b == nil {
		return nil
	}
	var d uint64
	if *a > *b {
		d = *a - *b
	}
	return &d
}

func (m *meminfo) try(what string, f func() (uint64, error)) *uint64 {
	u, err := f()
	if err != nil {
		m.v.Gap(what, err)
		return nil
	}
	return &u
}

// word reads the first of the named variables that the kernel has; kernels without swap have no swap counters.
func (m *meminfo) word(names ...string) *uint64 {
	var err error
	for _, n := range names {
		var u uint64
		if u, err = m.v.UintAt(n, m.v.WordSize()); err == nil {
			u = m.counter(u)
			return &u
		}
		if !errors.Is(err, symbols.ErrNotFound) {
			break
		}
	}
	m.v.Gap("", err) // it names the variable
	return nil
}

// counter: the kernel takes counters that are below zero for a moment as zero.
func (m *meminfo) counter(u uint64) uint64 {
	if u>>(m.v.WordSize()*8-1) != 0 {
		return 0
	}
	return u
}

// statIndex finds the place of a counter in vm_zone_stat or vm_node_stat.
func (m *meminfo) statIndex(enumerators string) (uint64, error) {
	var err error
	for _, name := range splitNames(enumerators) {
		var i int64
		if i, _, err = m.v.Symbols().Enumerator(name); err == nil {
			return uint64(i), nil
		}
	}
	return 0, err
}

func splitNames(s string) []string {
	for i := range s {
		if s[i] == '|' {
			return append([]string{s[:i]}, splitNames(s[i+1:])...)
		}
	}
	return []string{s}
}

func (m *meminfo) readStat(array, enumerators string) (uint64, error) {
	i, err := m.statIndex(enumerators)
	if err != nil {
		return 0, err
	}
	sym, err := m.v.Symbol(array)
	if err != nil {
		return 0, err
	}
	u, err := m.v.Word(vmem.Addr(sym.Addr + i*m.v.WordSize()))
	return m.counter(u), err
}

func (m *meminfo) stat(array, enumerators string) *uint64 {
	return m.try(enumerators, func() (uint64, error) { return m.readStat(array, enumerators) })
}

// statAny reads the counter from the array whose enum has it.
func (m *meminfo) statAny(places ...[2]string) *uint64 {
	for _, p := range places {
		_, t, err := m.v.Symbols().Enumerator(p[1])
		if err != nil {
			continue
		}
		if zone := t.Name == "zone_stat_item"; zone == (p[0] == "vm_zone_stat") {
			return m.stat(p[0], p[1])
		}
	}
	return m.stat(places[0][0], places[0][1])
}

// kernelStack is counted in KiB.
func (m *meminfo) kernelStack() *uint64 {
	kb := m.statAny([2]string{"vm_node_stat", "NR_KERNEL_STACK_KB"}, [2]string{"vm_zone_stat", "NR_KERNEL_STACK_KB"})
	if kb == nil {
		return nil
	}
	pages := *kb * 1024 / m.info.PageSize
	return &pages
}

// swapCached is a counter since 5.12. Before, it is the sum of the swap devices' address spaces.
func (m *meminfo) swapCached() *uint64 {
	if _, _, err := m.v.Symbols().Enumerator("NR_SWAPCACHE"); err == nil {
		return m.stat("vm_node_stat", "NR_SWAPCACHE")
	}
	return m.try("swap cache", func() (uint64, error) {
		spaces, err := m.v.Symbol("swapper_spaces") // struct address_space *[MAX_SWAPFILES]
		if err != nil {
			return 0, err
		}
		counts, err := m.v.Symbol("nr_swapper_spaces") // unsigned int [MAX_SWAPFILES]
		if err != nil {
			return 0, err
		}
		t, err := m.v.Struct("address_space")
		if err != nil {
			return 0, err
		}
		nrpages, ok := t.OffsetOf("nrpages")
		if !ok {
			return 0, fmt.Errorf("%s has no member nrpages", t)
		}
		return m.sumSpaces(spaces, counts, t.Size, nrpages)
	})
}

func (m *meminfo) sumSpaces(spaces, counts symbols.Symbol, size, nrpages uint64) (uint64, error) {
	const maxSwapFiles = 32 // MAX_SWAPFILES is 32 less those kept for migration and the like
	n := uint64(maxSwapFiles)
	if spaces.Size > 0 {
		n = min(n, spaces.Size/m.v.WordSize())
	}
	if counts.Size > 0 {
		n = min(n, counts.Size/4)
	}
	var sum uint64
	for i := range n {
		space, err := m.v.Word(vmem.Addr(spaces.Addr + i*m.v.WordSize()))
		if err != nil {
			return 0, err
		}
		var b [4]byte
		if err := m.v.Read(b[:], vmem.Addr(counts.Addr+i*4)); err != nil {
			return 0, err
		}
		if space == 0 {
			continue
		}
		for j := range uint64(m.v.ByteOrder().Uint32(b[:])) {
			if err := m.v.Step(); err != nil {
				return 0, err
			}
			u, err := m.v.Word(vmem.Addr(space + j*size + nrpages))
			if err != nil {
				return 0, err
			}
			sum += u
		}
	}
	return sum, nil
}

// buffers sums the page cache of block devices, which is what the kernel calls buffers.
func (m *meminfo) buffers() (uint64, error) {
	sb, err := m.v.UintAt("blockdev_superblock", m.v.WordSize())
	if err != nil {
		return 0, err
	}
	head, ok := m.v.OffsetOf("super_block", "s_inodes")
	if !ok {
		return 0, errors.New("struct super_block of this kernel has no member s_inodes")
	}
	link, ok := m.v.OffsetOf("inode", "i_sb_list")
	if !ok {
		return 0, errors.New("struct inode of this kernel has no member i_sb_list")
	}
	bind, err := kernel.Bind[struct {
		Mapping vmem.Addr `k:"i_mapping"`
	}](m.v.Kernel, "inode")
	if err != nil {
		return 0, err
	}
	space, err := kernel.Bind[struct {
		NRPages uint64 `k:"nrpages"`
	}](m.v.Kernel, "address_space")
	if err != nil {
		return 0, err
	}
	var sum uint64
	for inode, err := range walk.List(m.v, vmem.Addr(sb+head), link) {
		if err != nil {
			return 0, err
		}
		in, err := bind.Read(m.v, inode)
		if err != nil {
			return 0, err
		}
		s, err := space.Read(m.v, in.Mapping)
		if err != nil {
			return 0, err
		}
		sum += s.NRPages
	}
	return sum, nil
}

// Hstate is a size of huge pages.
type Hstate struct {
	Addr     vmem.Addr
	Name     string
	PageSize uint64 // bytes
	Total    uint64 // pages of that size
	Free     uint64
}

// Hstates are the sizes of huge pages; none if the kernel knows no hugetlbfs.
func Hstates(v *kernel.View) ([]Hstate, error) {
	sym, err := v.Symbol("hstates")
	if symbols.Absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	bind, err := kernel.Bind[struct {
		Order uint32 `k:"order"`
		Total uint64 `k:"nr_huge_pages"`
		Free  uint64 `k:"free_huge_pages"`
		Name  string `k:"name"`
	}](v.Kernel, "hstate")
	if symbols.Absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	n, err := v.UintAt("hugetlb_max_hstate", 4)
	if err != nil {
		return nil, err
	}
	const limit = 64 // HUGE_MAX_HSTATE is 2 on x86, 4 on arm64
	var out []Hstate
	for i := range min(n, limit) {
		addr := vmem.Addr(sym.Addr + i*bind.Size())
		h, err := bind.Read(v, addr)
		if err != nil {
			return out, err
		}
		out = append(out, Hstate{addr, h.Name, v.PageSize() << min(h.Order, 40), h.Total, h.Free})
	}
	return out, nil
}

func (m *meminfo) huge() {
	hs, err := Hstates(m.v)
	if err != nil {
		m.v.Gap("huge pages", err)
		return
	}
	var total, free uint64
	for _, h := range hs {
		total += h.Total * (h.PageSize / m.info.PageSize)
		free += h.Free * (h.PageSize / m.info.PageSize)
	}
	m.info.HugeTotal, m.info.HugeFree = &total, &free
}

// commitLimit is vm_commit_limit(): a share of RAM without huge pages, or a fixed amount, and swap.
func (m *meminfo) commitLimit() (uint64, error) {
	kbytes, err := m.v.UintAt("sysctl_overcommit_kbytes", m.v.WordSize())
	if err != nil {
		return 0, err
	}
	limit := kbytes * 1024 / m.info.PageSize
	if kbytes == 0 {
		ratio, err := m.v.UintAt("sysctl_overcommit_ratio", 4)
		if err != nil {
			return 0, err
		}
		ram := minus(m.info.Total, m.info.HugeTotal)
		if ram == nil {
			return 0, errors.New("the total of memory is missing")
		}
		limit = *ram * ratio / 100
	}
	if m.info.SwapTotal != nil {
		limit += *m.info.SwapTotal
	}
	return limit, nil
}

func (m *meminfo) committed() (uint64, error) {
	c, err := m.v.Symbol("vm_committed_as")
	if err != nil {
		return 0, err
	}
	n, err := task.PerCPUCounter(m.v, m.v.ObjectOf("percpu_counter", vmem.Addr(c.Addr)))
	return uint64(max(n, 0)), err
}
