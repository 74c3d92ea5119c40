// Package locexpr says where values are: it evaluates DWARF's location expressions, versions 2 to 5 and GNU's extensions,
// and reads lists of locations. An expression is a program that a damaged file may have written: its steps, stack and nesting are
// bounded.
package locexpr
