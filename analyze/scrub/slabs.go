package scrub

import (
	"errors"
	"fmt"
	"strings"

	"kdx/analyze/expr"
	"kdx/analyze/slab"
	"kdx/analyze/vmem"
	"kdx/internal/nearest"
	"kdx/symbols"
)

// structCaches are the slab caches that hold one struct and nothing else, where they are not called like it.
var structCaches = map[string]string{
	"anon_vma_chain": "anon_vma_chain", "cred": "cred_jar", "file": "filp", "files_struct": "files_cache", "fs_struct": "fs_cache",
	"key": "key_jar", "signal_struct": "signal_cache", "sighand_struct": "sighand_cache", "user_struct": "uid_cache",
	"uts_namespace": "uts_namespace", "posix_timer": "posix_timers_cache", "k_itimer": "posix_timers_cache",
}

// structStatics are objects that lie in the kernel's image instead of a slab.
var structStatics = map[string][]string{
	"cred": {"init_cred"}, "files_struct": {"init_files"}, "fs_struct": {"init_fs"}, "mm_struct": {"init_mm"}, "nsproxy": {"init_nsproxy"},
	"pid": {"init_struct_pid"}, "sighand_struct": {"init_sighand"}, "signal_struct": {"init_signals"}, "task_struct": {"init_task"},
	"user_struct": {"root_user"}, "uts_namespace": {"init_uts_ns"},
}

// slabs are those of the kernel, made once: they remember the lists of free objects.
func (b *builder) slabs() (*slab.Slabs, error) {
	if b.slab == nil {
		s, err := slab.New(b.v)
		if err != nil {
			return nil, err
		}
		b.slab = s
	}
	return b.slab, nil
}

// cache applies a rule "cache:".
func (b *builder) cache(r Rule, d *Done) error {
	c, err := b.cacheNamed(r.Cache)
	if err != nil {
		return err
	}
	return b.objects(c, area{size: c.ObjectSize}, d)
}

// member applies a rule "member:".
func (b *builder) member(r Rule, d *Done) error {
	v, tag := b.v, r.Place.Name
	t, err := v.Debug().TypeNamed(symbols.Struct, tag)
	if err != nil {
		if !absent(err) {
			return err
		}
		return fmt.Errorf("there is no struct %s%s", tag, expr.SimilarType(v, tag, symbols.Struct))
	}
	path := strings.Join(r.Place.Members, ".")
	m, ok := t.Path(path)
	if !ok {
		return fmt.Errorf("struct %s has no member %s%s", tag, path, expr.SimilarMember(t, path))
	}
	if m.BitSize != 0 {
		return fmt.Errorf("%s is a bit-field: name the struct that holds it", path)
	}
	size := m.Type.Strip().Size
	if size == 0 {
		return fmt.Errorf("the size of %s (%s) is not known", path, m.Type)
	}
	name := r.Cache
	if name == "" {
		if name = structCaches[tag]; name == "" {
			name = tag
		}
	}
	c, err := b.cacheNamed(name)
	if err != nil {
		if r.Cache == "" {
			return fmt.Errorf("kdx does not know where all objects of struct %s are: %w. If they have a slab cache, name it: member:%s@CACHE", tag, err, r.Place)
		}
		return err
	}
	if c.ObjectSize < m.Offset()+size { // x86's task_struct is allocated without the end that the processor does not need
		return fmt.Errorf("slab cache %s has objects of %d bytes, but %s ends %d bytes into struct %s", c.Name, c.ObjectSize, path, m.Offset()+size, tag)
	}
	if n, err := v.ObjectOf("kmem_cache", c.Addr).Field("refcount").Int(); err == nil && n > 1 && r.Cache == "" {
		return fmt.Errorf("the kernel has put %d caches together in slab cache %s, which holds other objects too: erase all of it (cache:%s), or accept that "+
			"these bytes of all its objects go (member:%s@%s)", n, c.Name, c.Name, r.Place, c.Name)
	}
	for _, name := range structStatics[tag] {
		sym, err := v.Symbol(name)
		if absent(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		n := b.keepNUL(sym.Addr+m.Offset(), size, isText(m.Type))
		if err := b.marks.virt(v.Arch().Kernel(), sym.Addr+m.Offset(), n, Fill); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		d.Objects++
		d.Bytes += n
	}
	return b.objects(c, area{m.Offset(), size, isText(m.Type)}, d)
}

// area is what goes of each object.
type area struct {
	offset, size uint64
	text         bool // a string, whose last NUL stays
}

// isText reports whether t is an array of characters.
func isText(t *symbols.Type) bool {
	t = t.Strip()
	return t.Kind == symbols.Array && t.Elem().Strip().Kind == symbols.Int && t.Elem().Strip().Size == 1
}

// keepNUL is how much of size bytes goes: of a string all but a NUL at its end, which is no datum and without which readers
// of the dump run on into what follows (crash, over task_struct.comm, ends).
func (b *builder) keepNUL(addr, size uint64, text bool) uint64 {
	var last [1]byte
	if text && size > 1 && b.v.Read(last[:], vmem.Addr(addr+size-1)) == nil && last[0] == 0 {
		return size - 1
	}
	return size
}

func (b *builder) cacheNamed(name string) (*slab.Cache, error) {
	s, err := b.slabs()
	if err != nil {
		return nil, err
	}
	c, err := s.Lookup(name, 0)
	if err == nil || !errors.Is(err, symbols.ErrNotFound) {
		return c, err
	}
	all, err := s.Caches()
	if err != nil {
		return nil, err
	}
	near := nearest.New(name)
	for _, c := range all {
		near.Add(c.Name)
	}
	hint := ""
	if best := near.Best(3); len(best) > 0 {
		hint = "; did you mean " + strings.Join(best, " or ") + "?"
	}
	return nil, fmt.Errorf("there is no slab cache %s (the kernel may have put it together with another of the same size)%s", name, hint)
}

// objects marks an area of every object of the cache, allocated or free.
func (b *builder) objects(c *slab.Cache, a area, d *Done) error {
	s, err := b.slabs()
	if err != nil {
		return err
	}
	slabs := uint64(0)
	for at, err := range s.All(c) {
		if err != nil {
			return err
		}
		sl, err := s.Detail(c, at)
		if err != nil {
			return fmt.Errorf("slab cache %s: %w", c.Name, err)
		}
		if sl.Total == 1 && c.PerSlab > 1 {
			// KFENCE (5.12) gives some objects a page of their own, somewhere in which they lie.
			if err := b.wholePage(sl.Memory, d); err != nil {
				return err
			}
			continue
		}
		slabs++
		for _, o := range sl.Objects {
			size := b.keepNUL(uint64(o.Addr)+a.offset, a.size, a.text)
			if err := b.object(c, o, a.offset, size); err != nil {
				return fmt.Errorf("slab cache %s: object %#x: %w", c.Name, uint64(o.Addr), err)
			}
			d.Objects++
			d.Bytes += size
		}
	}
	u, err := s.Usage(c)
	switch {
	case err != nil:
		d.Notes = append(d.Notes, "the kernel does not count its slabs: that all were found can't be checked")
	case slabs < u.Slabs:
		return fmt.Errorf("slab cache %s: only %d of %d slabs were found: parts of the page array are not in the dump", c.Name, slabs, u.Slabs)
	}
	return nil
}

// object marks bytes of an object. The pointer to the next free object, which is no datum of anybody's, stays in those that
// are on a list of free objects, so that it can still be walked.
func (b *builder) object(c *slab.Cache, o slab.ObjectState, offset, size uint64) error {
	space, word := b.v.Arch().Kernel(), b.v.WordSize()
	from, to := offset, offset+size
	listed := o.Free && (o.Owner == nil || !o.Owner.Sheaf)
	if ptr := c.Offset; listed && ptr < to && ptr+word > from {
		if ptr > from {
			if err := b.marks.virt(space, uint64(o.Addr)+from, ptr-from, Fill); err != nil {
				return err
			}
		}
		if from = ptr + word; from >= to {
			return nil
		}
	}
	return b.marks.virt(space, uint64(o.Addr)+from, to-from, Fill)
}

func (b *builder) wholePage(addr vmem.Addr, d *Done) error {
	f, err := b.v.Arch().Kernel().Translate(uint64(addr))
	if err != nil {
		return err
	}
	if b.marks.page(uint64(f.Phys) / b.v.PageSize()) {
		d.Objects++
		d.Pages++
		d.Bytes += b.v.PageSize()
	}
	return nil
}
