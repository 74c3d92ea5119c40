// Package linkedinfo makes the text of a VMCOREINFO out of a kernel's file: what the kernel would say of itself if it ran where
// it is linked to run. makedumpfile -g writes the same, for dumps that carry no such note.
package linkedinfo

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"strings"

	"kdx/symbols"
	"kdx/symbols/btf"
	"kdx/symbols/dwarfinfo"
	"kdx/symbols/dwarfinfo/index"
	"kdx/symbols/dwarfinfo/types"
	"kdx/symbols/elfsym"
	"kdx/symbols/objfile"
)

// Of is the VMCOREINFO of a kernel's file, which needs a symbol table, and types as BTF or DWARF. Addresses are those that it is
// linked to; what the kernel does not have is left out.
func Of(ctx context.Context, path string) (string, error) {
	syms, err := elfsym.Open(path)
	if err != nil {
		return "", err
	}
	defer syms.Close()
	obj, err := objfile.Open(path)
	if err != nil {
		return "", err
	}
	defer obj.Close()
	t, err := typesOf(ctx, obj, path)
	if err != nil {
		return "", err
	}
	return text(syms, t)
}

// typesOf takes BTF if the file has it: it is read in a moment.
func typesOf(ctx context.Context, obj *objfile.File, path string) (symbols.TypeFinder, error) {
	if b, err := obj.Section(".BTF"); err == nil && len(b) > 0 {
		// A copy: the types are asked outside the guard around what is mapped.
		return btf.Parse(append([]byte(nil), b...), nil, path, btf.Options{})
	}
	data, err := dwarfinfo.Open(obj, nil)
	if err != nil {
		return nil, fmt.Errorf("%s has no types: neither BTF nor debug information: %w", path, err)
	}
	return types.New(data, func() (types.Index, error) { return index.Open(ctx, data, index.Options{BuildID: obj.BuildID()}) }, path), nil
}

// file is what text asks of a kernel's file.
type file interface {
	Arch() elf.Machine
	Release() string
	BuildID() string
	Address(symbol string) (uint64, bool)
}

// Names that readers of dumps ask for; each kernel has those of its time.
var (
	symbolNames = []string{"init_uts_ns", "node_online_map", "swapper_pg_dir", "_stext", "vmlist", "mem_map", "contig_page_data", "mem_section", "node_data", "node_states",
		"init_top_pgt", "init_level4_pgt", "level4_kernel_pgt", "prb", "printk_rb_static", "clear_seq", "log_buf", "log_buf_len", "log_first_idx", "log_next_idx", "clear_idx",
		"max_pfn", "high_memory", "kallsyms_names", "kallsyms_num_syms", "kallsyms_token_table", "kallsyms_token_index", "kallsyms_offsets", "kallsyms_relative_base"}
	sizeNames = []string{"page", "mem_section", "pglist_data", "zone", "free_area", "list_head", "nodemask_t", "printk_ringbuffer", "prb_desc_ring", "prb_desc", "prb_data_blk_lpos",
		"printk_info", "dev_printk_info", "prb_data_ring", "atomic_long_t", "latched_seq", "printk_log"}
	offsetNames = []string{"uts_namespace.name", "page.flags", "page._refcount", "page.mapping", "page.lru", "page._mapcount", "page.private", "page.compound_dtor", "page.compound_order",
		"page.compound_head", "page.compound_info", "folio._folio_dtor", "folio._folio_order", "mem_section.section_mem_map", "pglist_data.node_zones", "pglist_data.nr_zones",
		"pglist_data.node_mem_map", "pglist_data.node_start_pfn", "pglist_data.node_spanned_pages", "pglist_data.node_id", "zone.free_area", "zone.vm_stat", "zone.spanned_pages",
		"free_area.free_list", "list_head.next", "list_head.prev", "vm_struct.addr", "vmap_area.va_start", "vmap_area.list", "printk_ringbuffer.desc_ring",
		"printk_ringbuffer.text_data_ring", "printk_ringbuffer.fail", "prb_desc_ring.count_bits", "prb_desc_ring.descs", "prb_desc_ring.infos", "prb_desc_ring.head_id",
		"prb_desc_ring.tail_id", "prb_desc.state_var", "prb_desc.text_blk_lpos", "prb_data_blk_lpos.begin", "prb_data_blk_lpos.next", "printk_info.seq", "printk_info.ts_nsec",
		"printk_info.text_len", "printk_info.caller_id", "printk_info.dev_info", "dev_printk_info.subsystem", "dev_printk_info.device", "prb_data_ring.size_bits", "prb_data_ring.data",
		"prb_data_ring.head_lpos", "prb_data_ring.tail_lpos", "atomic_long_t.counter", "latched_seq.val", "printk_log.ts_nsec", "printk_log.len", "printk_log.text_len"}
	// lengthNames are arrays, as members.
	lengthNames = []string{"zone.free_area", "free_area.free_list"}
	// numberNames are enumerators. Page types are whole words: see pageTypes.
	numberNames = []string{"NR_FREE_PAGES", "N_ONLINE", "PG_lru", "PG_private", "PG_swapcache", "PG_swapbacked", "PG_slab", "PG_hwpoison", "PG_head", "PG_hugetlb", "HUGETLB_PAGE_DTOR"}
	// pageTypes are the types of struct page since 6.12: the enumerator is the top byte of a word.
	pageTypes = []struct{ number, enumerator string }{{"PAGE_BUDDY_MAPCOUNT_VALUE", "PGTY_buddy"}, {"PAGE_OFFLINE_MAPCOUNT_VALUE", "PGTY_offline"},
		{"PAGE_HUGETLB_MAPCOUNT_VALUE", "PGTY_hugetlb"}, {"PAGE_SLAB_MAPCOUNT_VALUE", "PGTY_slab"}, {"PAGE_UNACCEPTED_MAPCOUNT_VALUE", "PGTY_unaccepted"}}
)

func text(f file, t symbols.TypeFinder) (string, error) {
	release := f.Release()
	if release == "" {
		return "", errors.New("the file does not say its release: it is no kernel, or was stripped of its data")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "OSRELEASE=%s\n", release)
	if id := f.BuildID(); id != "" {
		fmt.Fprintf(&b, "BUILD-ID=%s\n", id)
	}
	switch f.Arch() {
	case elf.EM_X86_64, elf.EM_386, elf.EM_S390, elf.EM_RISCV: // other machines' kernels choose
		b.WriteString("PAGESIZE=4096\n")
	}
	for _, name := range symbolNames {
		if addr, ok := f.Address(name); ok {
			fmt.Fprintf(&b, "SYMBOL(%s)=%x\n", name, addr)
		}
	}
	for _, name := range sizeNames {
		if s := structure(t, name); s != nil && s.Size > 0 {
			fmt.Fprintf(&b, "SIZE(%s)=%d\n", name, s.Size)
		}
	}
	for _, name := range offsetNames {
		tag, member, _ := strings.Cut(name, ".")
		if s := structure(t, tag); s != nil {
			if off, ok := s.OffsetOf(member); ok {
				fmt.Fprintf(&b, "OFFSET(%s)=%d\n", name, off)
			}
		}
	}
	for _, name := range lengthNames {
		if n, ok := length(t, name); ok {
			fmt.Fprintf(&b, "LENGTH(%s)=%d\n", name, n)
		}
	}
	numbers(&b, t)
	return b.String(), nil
}

func numbers(b *strings.Builder, t symbols.TypeFinder) {
	for _, name := range numberNames {
		if n, _, err := t.Enumerator(name); err == nil {
			fmt.Fprintf(b, "NUMBER(%s)=%d\n", name, n)
		}
	}
	if n, _, err := t.Enumerator("PG_head"); err == nil && n >= 0 && n < 63 {
		fmt.Fprintf(b, "NUMBER(PG_head_mask)=%d\n", int64(1)<<n)
	}
	for _, p := range pageTypes {
		if n, _, err := t.Enumerator(p.enumerator); err == nil {
			fmt.Fprintf(b, "NUMBER(%s)=%d\n", p.number, int32(uint32(n)<<24))
		}
	}
}

// structure finds a struct by its tag or its typedef; nil if there is none.
func structure(t symbols.TypeFinder, name string) *symbols.Type {
	if s, err := t.TypeNamed(symbols.Struct, name); err == nil {
		return s
	}
	td, err := t.TypeNamed(symbols.Typedef, name)
	if err != nil {
		return nil
	}
	return td.Strip()
}

func length(t symbols.TypeFinder, name string) (int64, bool) {
	tag, member, _ := strings.Cut(name, ".")
	s := structure(t, tag)
	if s == nil {
		return 0, false
	}
	for _, m := range s.Members() {
		if m.Name == member && m.Type.Kind == symbols.Array {
			return m.Type.Len, true
		}
	}
	return 0, false
}
