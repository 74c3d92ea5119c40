// Package walk goes through the kernel's containers: lists, hash lists, red-black trees, xarrays and radix trees, IDRs
// and maple trees.
//
// Walkers are iter.Seq2[T, error]: an item with an error is a gap, and the walk goes on where the structure allows. Each
// is bounded and free of loops whatever the memory says. To tell a loop without remembering each entry, walkers check
// the link back that the structure has (prev, pprev, parent): an entry that is entered by the way it points back to can
// be entered once only. Only from the first entry that disagrees do they remember addresses.
package walk

import (
	"encoding/binary"
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// ErrLoop ends a walk that came back to where it had been.
var ErrLoop = errors.New("comes back to an entry that was already seen")

// reader reads words of the target.
type reader struct {
	v   *kernel.View
	bo  binary.ByteOrder
	ws  uint64
	buf [24]byte // here and not on the stack, from where it would escape at each read
}

func newReader(v *kernel.View) reader { return reader{v: v, bo: v.ByteOrder(), ws: v.WordSize()} }

func (r *reader) word(p []byte) uint64 {
	if r.ws == 4 {
		return uint64(r.bo.Uint32(p))
	}
	return r.bo.Uint64(p)
}

// at reads the word at addr.
func (r *reader) at(addr vmem.Addr) (uint64, error) {
	if err := r.v.Read(r.buf[:r.ws], addr); err != nil {
		return 0, err
	}
	return r.word(r.buf[:]), nil
}

// pair reads two words at addr.
func (r *reader) pair(addr vmem.Addr) (a, b uint64, err error) {
	p := r.buf[:2*r.ws]
	if err := r.v.Read(p, addr); err != nil {
		return 0, 0, err
	}
	return r.word(p), r.word(p[r.ws:]), nil
}

// stop reports whether err ends all work: the command was cancelled or has spent its budget.
func (r *reader) stop(err error) bool {
	return errors.Is(err, kernel.ErrBudget) || r.v.Context().Err() != nil
}

// noMember is why a structure has no member that every such one has: types may be missing altogether.
func noMember(v *kernel.View, tag, member string) error {
	if _, err := v.Struct(tag); err != nil && !symbols.Absent(err) {
		return err
	}
	return fmt.Errorf("struct %s of this kernel has no member %s", tag, member)
}
