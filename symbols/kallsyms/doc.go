// Package kallsyms reads the kernel's own symbol table out of its memory.
//
// The table exists for /proc/kallsyms and for oops messages: names compressed with 256 tokens, in address order, and
// their addresses in one of several layouts. Nothing in the table says which; Read decides by what decodes, and by the
// one address that is known from elsewhere, that of _stext.
//
// VMCOREINFO gives the table's place since Linux 6.0. For older kernels, Scan finds it.
package kallsyms
