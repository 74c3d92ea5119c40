// Package symbols says what bytes mean: names, types and unwind rows of one kernel, whoever knows them.
//
// Knowledge comes from finders (kallsyms and BTF in the dump's own memory, the modules' tables, ORC, a vmlinux's ELF
// symbols), tried in order by a Chain. A finder answers, says ErrNotFound, or is broken: then the chain reports it once
// and goes on. Every answer knows who gave it. Types are neutral: Type is the same for BTF and for DWARF.
//
// The package reads target memory through Memory only and knows neither dump formats nor page tables.
package symbols
