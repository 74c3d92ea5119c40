// Package types makes neutral types of DWARF's entries, when they are asked for: Builder of one entry, Finder by name with an
// index. Where BTF has a type too, the two are equal.
package types
