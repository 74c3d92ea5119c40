// Package lines says from which lines of source the code of a kernel or module comes, inlined functions included: out of
// the line programs (.debug_line) and the trees of inlined subroutines of its DWARF.
//
// A unit's program is run when the first of its addresses is asked for. What it says is kept in a bounded cache.
//
// Sources: DWARF Debugging Information Format, versions 2 to 5, chapters "Line Number Information" and "Inlinable and Inlined
// Subroutines".
package lines
