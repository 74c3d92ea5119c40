package commands

import (
	"fmt"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/mm"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// kmemPages lists every page that has a struct page, also those that the firmware or a crash kernel keeps, which are not in the
// dump; or the pages of addresses.
func kmemPages(c *Call) (view.Result, error) {
	pages, err := mm.NewPages(c.View)
	if err != nil {
		return nil, err
	}
	if len(c.Args) > 0 {
		chosen, err := c.pagesAt(pages)
		if err != nil {
			return nil, err
		}
		return view.PageMap(func(yield func([]view.PageLine) bool) {
			var out []view.PageLine
			for i := range chosen {
				out = append(out, *pageLine(pages, &chosen[i]))
			}
			yield(out)
		}), nil
	}
	return view.PageMap(mm.Scan(c.View, pages, func(_ *kernel.View, k mm.Chunk) []view.PageLine {
		names := make(map[uint64]string) // pages have few sets of flags
		out := make([]view.PageLine, k.Len())
		for i := range out {
			p := k.Page(uint64(i))
			text, ok := names[p.Flags]
			if !ok {
				text = pages.FlagText(p.Flags)
				names[p.Flags] = text
			}
			out[i] = view.PageLine{Addr: p.Addr, Phys: vmem.Addr(p.Phys), Mapping: p.Mapping, Index: p.Index, Count: p.RefCount,
				Flags: vmem.Addr(p.Flags), Names: text}
		}
		return out
	})), nil
}

// pageNumber is the page that an address means: a struct page's, a physical one, or what a kernel address is mapped to.
func (c *Call) pageNumber(pages *mm.Pages, word string) (uint64, error) {
	addr, err := c.address(word)
	if err != nil {
		return 0, err
	}
	if !c.View.Arch().IsKernel(uint64(addr)) {
		return uint64(addr) / c.View.PageSize(), nil
	}
	if c.Flags.Has("P") {
		return 0, &UsageError{c.Cmd.Name, word + " is no physical address"}
	}
	if pfn, ok := pages.PFN(addr); ok {
		return pfn, nil
	}
	f, err := c.View.Arch().Kernel().Translate(uint64(addr))
	if err != nil {
		return 0, err
	}
	return uint64(f.Phys) / c.View.PageSize(), nil
}

// pagesAt are the pages that the arguments mean.
func (c *Call) pagesAt(pages *mm.Pages) ([]mm.Page, error) {
	var out []mm.Page
	for _, a := range c.Args {
		pfn, err := c.pageNumber(pages, a)
		if err != nil {
			return nil, err
		}
		p, err := pages.Read(c.View, pfn)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// pageMember is a member of struct page that was asked for.
type pageMember struct {
	name    string
	off     uint64 // bytes
	word    uint64 // bytes of a word
	n       int    // words
	bit     uint32
	bits    uint32 // of a bit-field; 0 for none
	decimal bool
}

// kmemMembers shows chosen members of every page, or of the pages of addresses.
func kmemMembers(c *Call) (view.Result, error) {
	pages, err := mm.NewPages(c.View)
	if err != nil {
		return nil, err
	}
	var members []pageMember
	out := &view.PageMembers{}
	for _, list := range c.Flags.Values("m") {
		for _, name := range strings.Split(list, ",") {
			m, err := c.pageMember(pages.Type(), strings.TrimSpace(name))
			if err != nil {
				return nil, err
			}
			members = append(members, m)
			width := m.n*int(2*m.word) + m.n - 1
			if m.decimal {
				width = 0
			}
			out.Columns = append(out.Columns, view.PageColumn{Name: m.name, Width: max(width, len(m.name)), Words: m.n, Decimal: m.decimal})
		}
	}
	if len(c.Args) > 0 {
		var rows []view.PageMember
		raw := make([]byte, pages.Size())
		for _, a := range c.Args {
			pfn, err := c.pageNumber(pages, a)
			if err != nil {
				return nil, err
			}
			if err := c.View.Read(raw, pages.Of(pfn)); err != nil {
				return nil, err
			}
			rows = append(rows, c.memberRow(uint64(pages.Of(pfn)), raw, members))
		}
		out.Rows = func(yield func([]view.PageMember) bool) { yield(rows) }
		return out, nil
	}
	out.Rows = mm.Scan(c.View, pages, func(_ *kernel.View, k mm.Chunk) []view.PageMember {
		rows := make([]view.PageMember, k.Len())
		for i := range rows {
			rows[i] = c.memberRow(uint64(pages.Of(k.First+uint64(i))), k.Raw(uint64(i)), members)
		}
		return rows
	})
	return out, nil
}

func (c *Call) pageMember(page *symbols.Type, name string) (pageMember, error) {
	m, ok := page.Path(name)
	if !ok || name == "" {
		return pageMember{}, &UsageError{c.Cmd.Name, fmt.Sprintf("struct page of this kernel has no member %q (whatis struct page shows them)", name)}
	}
	t := m.Type.Strip()
	p := pageMember{name: name, off: m.Offset(), word: t.Size, n: 1, bit: uint32(m.BitOffset % 8), bits: m.BitSize}
	switch t.Kind {
	case symbols.Struct, symbols.Union, symbols.Array:
		p.word = min(c.View.WordSize(), max(t.Size, 1))
		p.n = int(t.Size / p.word)
	}
	if p.bits != 0 {
		p.word = (uint64(p.bit+p.bits) + 7) / 8
	}
	if p.n < 1 || p.word < 1 || p.word > 8 || p.off > page.Size || uint64(p.n)*p.word > page.Size-p.off {
		return p, fmt.Errorf("member %s of struct page has %d bytes at %d: it can't be shown", name, t.Size, p.off)
	}
	switch name {
	case "_count", "_refcount", "_mapcount":
		p.decimal = true
	default:
		p.decimal = !c.State.Hex && t.Kind == symbols.Int && t.Signed && p.bits == 0
	}
	return p, nil
}

func (c *Call) memberRow(page uint64, raw []byte, members []pageMember) view.PageMember {
	r := view.PageMember{Page: vmem.Addr(page), Values: make([]view.MemberValue, len(members))}
	big := c.View.ByteOrder().Uint16([]byte{1, 0}) != 1
	for i, m := range members {
		words := make([]uint64, m.n)
		for j := range words {
			p := raw[m.off+uint64(j)*m.word:][:m.word]
			switch {
			case m.bits != 0:
				words[j] = kernel.ExtractBits(p, m.bit, m.bits, big)
			default:
				words[j] = kernel.ExtractBits(p, 0, uint32(8*m.word), big)
			}
			if m.decimal && m.word == 4 {
				words[j] = uint64(int64(int32(words[j])))
			}
		}
		r.Values[i] = view.MemberValue{Words: words, Digits: int(2 * m.word), Decimal: m.decimal}
	}
	return r
}
