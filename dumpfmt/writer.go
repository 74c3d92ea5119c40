package dumpfmt

import (
	"context"
	"iter"

	"kdx/internal/codec"
)

// Pages are the pages that an output will hold, known before the first of them is written. A *PageSet is one; where memory
// is short, one that decides anew for each stretch of memory is another.
type Pages interface {
	// Len is how many there are.
	Len() uint64
	// All yields them in ascending order; it may be called again.
	All() iter.Seq[uint64]
}

// PagesErr is why the last All of these pages ended before the last page; nil if it didn't. Pages that are decided anew each
// time say so with a method Err.
func PagesErr(p Pages) error {
	if f, ok := p.(interface{ Err() error }); ok {
		return f.Err()
	}
	return nil
}

// Stored is a page in the form in which an output holds it.
type Stored struct {
	PFN uint64
	// Zero: the page holds only zero bytes, and the output shares such pages (ZeroSharer) or was told to leave them out. Data is nil.
	Zero bool
	// Missing: the page belongs to the output, but the input could not give it (damaged, cut short). Data is nil.
	Missing bool
	Codec   codec.Codec
	Data    []byte // encoded; valid until Put returns
}

// PageWriter is what an output format implements. Encode may be called by many goroutines at once, everything else by one.
type PageWriter interface {
	// Takes reports whether a page that is encoded with this codec can be stored as it is.
	Takes(codec.Codec) bool
	// Encode appends the page in the form that Put takes to dst.
	Encode(dst, page []byte) ([]byte, codec.Codec, error)
	// Put stores the next page; pages come in ascending order of pfn, each of Pages once.
	Put(Stored) error
	// Close writes what is left: the dump is whole afterwards. It does not close the output.
	Close() error
	// Abort writes what makes the part that was written readable and marks it as incomplete, where the format can say so;
	// its error says that it cannot, or what went wrong. It does not close the output.
	Abort() error
}

// RawPages is what a PageWriter embeds whose format has no compression.
type RawPages struct{}

// Takes reports whether pages can come in this form.
func (RawPages) Takes(c codec.Codec) bool { return c == codec.Raw }

// Encode appends the page as it is.
func (RawPages) Encode(dst, page []byte) ([]byte, codec.Codec, error) {
	return append(dst, page...), codec.Raw, nil
}

// Plain says that Encode only copies.
func (RawPages) Plain() bool { return true }

// PlainWriter is implemented by outputs that may hold pages as they are.
type PlainWriter interface {
	// Plain reports whether all pages are stored as they are: Encode need not be asked, a copy will do.
	Plain() bool
}

// ZeroSharer is implemented by outputs that store pages of zeros once for all, whether or not the dump's level leaves them out: such
// pages are in the dump, and Put takes them with the mark Zero.
type ZeroSharer interface {
	SharesZeros() bool
}

// EncodedSource is implemented by formats whose pages can be handed on without being decoded.
type EncodedSource interface {
	// EncodedPage reads the page's stored bytes, appended to dst. ok is false if the page is not Present, or is not
	// stored as one block of its own; the caller then uses ReadPage.
	EncodedPage(dst []byte, pfn uint64) (data []byte, c codec.Codec, ok bool, err error)
}

// EncodedFunc is called with one page as it is stored. data is nil unless the state is Present, and valid only during the
// call; err is the *PageError of an Unreadable one.
type EncodedFunc func(pfn uint64, st PageState, data []byte, c codec.Codec, err error) error

// EncodedRangeReader is implemented by formats that can hand on neighbours faster than EncodedPage does one by one.
type EncodedRangeReader interface {
	// ReadEncodedRange is RangeReader's ReadRange, but pages are not decoded.
	ReadEncodedRange(ctx context.Context, from, to uint64, each EncodedFunc) error
}

// BatchWriter is implemented by outputs that can store pages with less copying if they come together.
type BatchWriter interface {
	// PutBatch is Put of each of the pages. data is their Data, one behind the other, and valid until PutBatch returns.
	PutBatch(pages []Stored, data []byte) error
}
