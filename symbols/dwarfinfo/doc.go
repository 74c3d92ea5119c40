// Package dwarfinfo reads the DWARF of one file, versions 2 to 5: units, entries (DIEs), attributes, address ranges. It
// knows no meaning; packages below it do: index (names), types, lines (source places), cfi (unwind rows), vars (variables in
// frames).
//
// Addresses are as linked. Whoever answers for a running kernel adds the KASLR offset. Sections may be mapped files, so what
// reads them runs within mapfile.Guard; those packages' exported methods do that themselves.
//
// Sources: DWARF Debugging Information Format, versions 4 and 5, and GCC's extensions as its documentation names them.
package dwarfinfo
