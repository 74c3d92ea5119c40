// Package dumpfmt says what a crash dump is: physical pages, notes, and what the headers tell of them.
//
// A format (package elfcore, kdump, flattened, …) implements Source, which is small. Image adds once, for all formats,
// what every reader wants: a bounded cache of decoded pages, reads that cross pages, and errors that say which page is
// missing and why. The table of formats and Open live in dumpfmt/formats.
//
// The package knows nothing of Linux beyond ELF notes and VMCOREINFO. A pfn counts pages of the target, whose size is
// Info.PageSize; all other sizes are bytes. Bytes of the dump are never interpreted in the host's byte order.
package dumpfmt
