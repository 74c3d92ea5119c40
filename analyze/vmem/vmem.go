// Package vmem turns virtual addresses of the target into physical ones. The page tables of each architecture are in
// package arch; here are what they have in common: the kinds of addresses, what a walk found, and reads through a Space.
package vmem

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"kdx/dumpfmt"
)

// Addr is a kernel-virtual address.
type Addr uint64

// UserAddr is a virtual address of one task's user space.
type UserAddr uint64

// MarshalText is the address as 0x and hexadecimal digits, its form in JSON.
func (a Addr) MarshalText() ([]byte, error) {
	return strconv.AppendUint([]byte("0x"), uint64(a), 16), nil
}

// MarshalText is the address as 0x and hexadecimal digits, its form in JSON.
func (a UserAddr) MarshalText() ([]byte, error) {
	return strconv.AppendUint([]byte("0x"), uint64(a), 16), nil
}

// Frame is the page behind a virtual address.
type Frame struct {
	Phys dumpfmt.Phys // of the address itself, not of the page's start
	Left uint64       // bytes from there to the end of the (huge) page
}

// Step is one level of a page-table walk.
type Step struct {
	Level string       // "PGD", "P4D", "PUD", "PMD", "PTE"
	Addr  dumpfmt.Phys // where the entry lies
	Entry uint64
}

// Walk is all of a page-table walk, for vtop.
type Walk struct {
	Steps    []Step
	Frame    Frame
	PageSize uint64 // bytes; if not Present, what the entry that stopped the walk would map
	Present  bool   // false: Steps ends with the entry that stopped the walk
}

// Space is an address space: the kernel's or a task's.
type Space interface {
	// Translate finds the physical address behind va, or a *FaultError.
	Translate(va uint64) (Frame, error)
	// Walk shows each level. An entry that is not present ends the walk and is no error; a missing table page is.
	Walk(va uint64) (Walk, error)
}

// FaultError: the address is not mapped, or the page tables that would say so can't be read (Err).
type FaultError struct {
	VA    uint64
	Level string // the level at which the walk ended; "" if the address is outside every map
	Entry uint64
	Left  uint64 // bytes from VA on that this entry leaves unmapped; 0 if that is not known
	Err   error
}

func (e *FaultError) Error() string {
	switch {
	case e.Err != nil:
		return fmt.Sprintf("address %#x: %s table: %v", e.VA, e.Level, e.Err)
	case e.Level == "":
		return fmt.Sprintf("address %#x is no address of the kernel", e.VA)
	}
	return fmt.Sprintf("address %#x is not mapped (%s entry %#x)", e.VA, e.Level, e.Entry)
}

func (e *FaultError) Unwrap() error { return e.Err }

// Mapper is a Space that can tell all that it maps.
type Mapper interface {
	// Mappings goes through the kernel's page tables in ascending order of addresses. The error is the context's.
	Mappings(ctx context.Context, v MappingVisitor) error
}

// MappingVisitor is told what a Mapper finds. Tables may be shared, and in a damaged dump point to each other: who goes down into each but
// once bounds the way.
type MappingVisitor interface {
	// Table is a page table that maps size bytes from va on, 0 for all; the answer is whether to go down into it.
	Table(va, size uint64, at dumpfmt.Phys) bool
	// Leaf is a page of size bytes that is mapped at va.
	Leaf(va, size uint64, at dumpfmt.Phys)
	// Broken says that the table that maps va can't be read.
	Broken(va uint64, err error)
}

// ReadError is a virtual read that met a missing page: which virtual address, and why.
type ReadError struct {
	VA  uint64 // of the first byte that is missing
	Err error  // a *dumpfmt.PageError or *FaultError
}

func (e *ReadError) Error() string {
	var fault *FaultError
	if errors.As(e.Err, &fault) {
		return e.Err.Error()
	}
	return fmt.Sprintf("address %#x: %v", e.VA, e.Err)
}

func (e *ReadError) Unwrap() error { return e.Err }

// Read fills p from va. It returns the bytes before the first missing one and a *ReadError naming it.
func Read(img *dumpfmt.Image, s Space, p []byte, va uint64) (int, error) {
	n := 0
	for n < len(p) {
		at := va + uint64(n)
		if n > 0 && at < va {
			return n, &ReadError{VA: at, Err: &FaultError{VA: at}}
		}
		f, err := s.Translate(at)
		if err != nil {
			return n, &ReadError{VA: at, Err: err}
		}
		want := len(p) - n
		if uint64(want) > f.Left {
			want = int(f.Left)
		}
		got, err := img.ReadPhys(p[n:n+want], f.Phys)
		n += got
		if err != nil {
			return n, &ReadError{VA: va + uint64(n), Err: err}
		}
	}
	return n, nil
}
