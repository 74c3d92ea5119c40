package proof

// area is a part of what a dump must have.
type area struct {
	name  string
	check func(p *pass) error
}

// areas in their order: that without which nothing can be read first.
var areas = []area{
	{"headers and notes", (*pass).headers},
	{"what VMCOREINFO points to", (*pass).vmcoreinfo},
	{"kernel page tables", (*pass).kernelTables},
	{"symbols, types, unwind tables", (*pass).tables},
	{"kernel log", (*pass).log},
	{"tasks and their stacks", (*pass).tasks},
	{"processors and their stacks", (*pass).processors},
	{"kernel image", (*pass).image},
	{"modules", (*pass).modules},
	{"per-CPU memory", (*pass).perCPU},
	{"slab caches", (*pass).slabs},
	{"address spaces of processes", (*pass).spaces},
	{"mapped kernel memory", (*pass).mapped},
	{"map of pages", (*pass).mapOfPages},
	{"file systems", (*pass).fileSystems},
}
