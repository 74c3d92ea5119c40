package exclude

import "fmt"

// Class is what a page of memory is to a filter. A page has one class, whatever the level; the level says which classes go.
type Class uint8

const (
	// Kernel pages stay at every level: nothing says that they may go.
	Kernel Class = iota
	// Free pages lie in the buddy allocator.
	Free
	// Unaccepted pages are free, and a confidential guest has not even taken them from its host (6.16). makedumpfile counts them
	// as free.
	Unaccepted
	// Cache pages are of the page cache, without private data.
	Cache
	// PrivateCache pages are of the page cache and have private data, buffer heads mostly.
	PrivateCache
	// User pages are anonymous memory of processes, KSM's and hugetlbfs's.
	User
	// HWPoison pages have failed: reading them can stop the machine.
	HWPoison
	// Offline pages belong to a balloon or to unplugged memory.
	Offline
	// Protected pages would go by their flags, but the kernel uses them where they lie.
	Protected
	// Unknown pages stay because their struct page can't be read, or says what kdx does not understand.
	Unknown
	// Missing pages are RAM that the input was filtered of.
	Missing
	// Hole pages are no RAM.
	Hole

	// NumClasses is how many there are.
	NumClasses = int(Hole) + 1
)

var classNames = [NumClasses]string{"kernel data", "free", "unaccepted", "cache", "cache with private data", "user data", "hwpoison", "offline",
	"protected by place", "not understood", "missing in the input", "hole"}

func (c Class) String() string {
	if int(c) < NumClasses {
		return classNames[c]
	}
	return fmt.Sprintf("Class(%d)", uint8(c))
}

// The bits of a dump level.
const (
	LevelZero    = 1  // pages of zeros; found when pages are read, not here
	LevelCache   = 2  // cache without private data
	LevelPrivate = 4  // all cache
	LevelUser    = 8  // user data
	LevelFree    = 16 // free pages

	// MaxLevel is all bits.
	MaxLevel = 31
)

// Goes reports whether pages of the class are left out at a level, 0 to MaxLevel.
func (c Class) Goes(level int) bool {
	switch c {
	case Free, Unaccepted:
		return level&LevelFree != 0
	case Cache:
		return level&(LevelCache|LevelPrivate) != 0
	case PrivateCache:
		return level&LevelPrivate != 0
	case User:
		return level&LevelUser != 0
	case HWPoison, Offline, Missing, Hole:
		return true
	}
	return false
}

// Stats counts pages by class. The zero value is empty.
type Stats struct {
	// Pages that were found, whatever the level.
	Pages [NumClasses]uint64
	// Left counts those of them that were left out.
	Left [NumClasses]uint64
	// Vmemmap counts the pages of the kernel's page descriptors that DropVmemmap took; they are counted by class before.
	Vmemmap uint64
}

// Add adds another's counts.
func (s *Stats) Add(o *Stats) {
	for c := range NumClasses {
		s.Pages[c] += o.Pages[c]
		s.Left[c] += o.Left[c]
	}
	s.Vmemmap += o.Vmemmap
}

// RAM is how many pages of memory were found: all but holes.
func (s *Stats) RAM() uint64 {
	n := uint64(0)
	for c, p := range s.Pages {
		if Class(c) != Hole {
			n += p
		}
	}
	return n
}

// Kept is how many pages stay.
func (s *Stats) Kept() uint64 {
	n := uint64(0)
	for c := range NumClasses {
		n += s.Pages[c] - s.Left[c]
	}
	return n - min(n, s.Vmemmap)
}
