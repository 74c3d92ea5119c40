package dumpfmt

import "fmt"

// Phys is a physical address of the target, in bytes.
type Phys uint64

// PageState says what a dump knows of one page.
type PageState uint8

const (
	// Absent: no RAM there, as far as the dump says.
	Absent PageState = iota
	// Present: the bytes of the page are in the dump.
	Present
	// Zero: the dump says that the page holds only zero bytes.
	Zero
	// Excluded: RAM that was left out when the dump was filtered. Its bytes are lost.
	Excluded
	// ZeroOrExcluded: a hole of a filtered ELF file (p_memsz beyond p_filesz), which was a page of zeros or a page that
	// was left out: the file can't say. It reads as zeros and Image counts such reads, see Image.UnsureReads.
	ZeroOrExcluded
	// Unreadable: the dump should hold the page, but the file ends before it or its bytes are damaged.
	Unreadable
)

var pageStateNames = [...]string{"absent", "present", "zero", "excluded", "zero or excluded", "unreadable"}

func (s PageState) String() string {
	if int(s) < len(pageStateNames) {
		return pageStateNames[s]
	}
	return fmt.Sprintf("PageState(%d)", uint8(s))
}

// Readable reports whether reading a page in this state gives bytes (zeros for Zero and ZeroOrExcluded).
func (s PageState) Readable() bool { return s == Present || s == Zero || s == ZeroOrExcluded }

// RAM reports whether the machine has memory there, be it in the dump or not.
func (s PageState) RAM() bool { return s != Absent }

// Source is all that a dump format implements. Its methods may be called by many goroutines at once.
type Source interface {
	// Info is what the headers say. It is the same pointer on each call and isn't changed after Open.
	Info() *Info
	// State of one page; cheap, reads at most a table entry.
	State(pfn uint64) PageState
	// ReadPage decodes the page into dst, which has Info().PageSize bytes. For a page that is not Readable it returns a
	// *PageError; so it does for one that can't be read or does not decompress (State Unreadable, Err set).
	ReadPage(dst []byte, pfn uint64) error
	// Close releases the files behind the source.
	Close() error
}

// PageError says which page could not be read, and why. Zero is data; a missing page is always a PageError.
type PageError struct {
	Addr  Phys      // physical address of the first byte that is missing
	PFN   uint64    // its page
	State PageState // Excluded, Absent or Unreadable
	Level int       // the dump level that the dump was filtered with; -1 if unknown
	Err   error     // for Unreadable, what went wrong; may be nil
}

func (e *PageError) Error() string {
	s := fmt.Sprintf("page %#x %s", e.PFN, e.State)
	if e.State == Absent {
		s = fmt.Sprintf("page %#x is not in the dump's memory map", e.PFN)
	}
	if e.State == Excluded && e.Level > 0 {
		s += fmt.Sprintf(" (dump level %d)", e.Level)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *PageError) Unwrap() error { return e.Err }
