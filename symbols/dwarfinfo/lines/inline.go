package lines

import (
	"debug/dwarf"
	"errors"
	"slices"
	"sort"

	"kdx/symbols/dwarfinfo"
)

// function is a range of a function's code and where its entry lies.
type function struct {
	lo, hi uint64
	entry  uint64 // offset in .debug_info
}

// functions lists the ranges of the functions of u, sorted by address.
func functions(u *dwarfinfo.Unit) ([]function, error) {
	s := scanner{r: u.Data.Reader()}
	if err := s.r.Seek(u.First); err != nil {
		return nil, err
	}
	root, err := s.r.Next()
	if err != nil || root == nil || !root.Children {
		return nil, err
	}
	err = s.siblings()
	sort.SliceStable(s.out, func(i, j int) bool { return s.out[i].lo < s.out[j].lo })
	return s.out, err
}

type scanner struct {
	r   *dwarfinfo.Reader
	out []function
}

// siblings collects from the entries of a unit, and from those of namespaces, which Rust and C++ put functions into.
func (s *scanner) siblings() error {
	for depth := 0; depth >= 0; {
		e, err := s.r.Next()
		if err != nil {
			return err
		}
		if e == nil {
			depth--
			continue
		}
		switch e.Tag {
		case dwarf.TagNamespace, dwarf.TagModule:
			if e.Children {
				depth++
			}
			continue
		case dwarf.TagSubprogram:
			if err := s.add(e); err != nil {
				return err
			}
		}
		if err := s.r.Skip(e); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) add(e *dwarfinfo.Entry) error {
	pcs, err := e.PCs()
	if err != nil {
		return err
	}
	for _, p := range pcs {
		s.out = append(s.out, function{p[0], p[1], e.Off})
	}
	return nil
}

// findFunction is the function whose code holds pc, nil if there is none.
func findFunction(fs []function, pc uint64) *function {
	i := sort.Search(len(fs), func(i int) bool { return fs[i].lo > pc })
	const steps = 8 // ranges don't overlap but in damaged tables
	for n := 0; i > 0 && n < steps; n++ {
		if i--; pc < fs[i].hi {
			return &fs[i]
		}
	}
	return nil
}

// call is an inlined function, and where it was called in the function around it.
type call struct {
	name               string
	file, line, column uint64
}

// maxDepth bounds how deep functions are inlined into each other; compilers stop at some thirty.
const maxDepth = 256

var errTooDeep = errors.New("functions are inlined into each other without end")

// inlined are the functions inlined at pc into the function at entry, the innermost first.
func (f *Finder) inlined(u *dwarfinfo.Unit, entry, pc uint64) (name string, calls []call, err error) {
	r := u.Data.Reader()
	if err := r.Seek(entry); err != nil {
		return "", nil, err
	}
	e, err := r.Next()
	if err != nil || e == nil {
		return "", nil, err
	}
	name = f.nameOf(e)
	if !e.Children {
		return name, nil, nil
	}
	for open := 1; open > 0; { // open counts the entries whose children are being read
		if e, err = r.Next(); err != nil {
			return name, nil, err
		}
		if e == nil {
			open--
			continue
		}
		inside, known := false, false
		switch e.Tag {
		case dwarf.TagInlinedSubroutine, dwarf.TagLexDwarfBlock:
			pcs, err := e.PCs()
			if err != nil {
				return name, nil, err
			}
			known = pcs != nil
			inside = slices.ContainsFunc(pcs, func(p [2]uint64) bool { return p[0] <= pc && pc < p[1] })
		}
		switch {
		case inside && e.Tag == dwarf.TagInlinedSubroutine:
			if len(calls) >= maxDepth {
				return name, nil, errTooDeep
			}
			c := call{name: f.nameOf(e)}
			c.file, _ = e.Uint(dwarf.AttrCallFile)
			c.line, _ = e.Uint(dwarf.AttrCallLine)
			c.column, _ = e.Uint(dwarf.AttrCallColumn)
			calls = append(calls, c)
			fallthrough
		case inside: // what follows beside it does not hold pc
			if open = 1; !e.Children {
				open = 0
			}
		case e.Tag == dwarf.TagLexDwarfBlock && !known: // without code of its own, but what is below it may have some
			if e.Children {
				open++
			}
		default:
			if err := r.Skip(e); err != nil {
				return name, nil, err
			}
		}
	}
	slices.Reverse(calls)
	return name, calls, nil
}

// maxHops bounds the references from an entry to the one with its name; real ones have two.
const maxHops = 16

// nameOf is the name of a function's entry, found through the entries that it completes or was made from.
func (f *Finder) nameOf(e *dwarfinfo.Entry) string {
	first := e.Ref()
	if name := e.Str(dwarf.AttrName); name != "" {
		return name
	}
	if name, ok := f.names.get(first); ok {
		return name
	}
	name := ""
	for range maxHops {
		ref, ok := e.RefTo(dwarf.AttrAbstractOrigin)
		if !ok {
			if ref, ok = e.RefTo(dwarf.AttrSpecification); !ok {
				break
			}
		}
		next, err := ref.Data.Entry(ref.Off)
		if err != nil { // the function has no name then
			break
		}
		e = next
		if name = e.Str(dwarf.AttrName); name != "" {
			break
		}
	}
	f.names.put(first, name)
	return name
}
