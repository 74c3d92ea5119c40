package types

import "iter"

// Kind says what an index lists.
type Kind uint8

// Kinds of what has a name.
const (
	Struct Kind = iota
	Union
	Enum
	Typedef
	Base
	Function
	Variable
	Enumerator
)

// Hit is an entry that an Index knows.
type Hit struct{ Off, Parent, Size uint64 }

// Index knows where the definitions of a name are.
type Index interface {
	Find(kind Kind, name string) []Hit
	Names(kind Kind) iter.Seq[string]
}
