package dumpfmt

import (
	"encoding/binary"
	"io"
	"time"

	"kdx/dumpfmt/vmcoreinfo"
)

// Machine is the target's architecture, spelled as uname -m spells it.
type Machine string

// The machines that dumps come from. MachineUnknown is a header that names none that kdx knows.
const (
	MachineUnknown   Machine = ""
	MachineX86_64    Machine = "x86_64"
	MachineI386      Machine = "i386"
	MachineAArch64   Machine = "aarch64"
	MachineARM       Machine = "arm"
	MachinePPC64     Machine = "ppc64"
	MachinePPC64LE   Machine = "ppc64le"
	MachinePPC       Machine = "ppc"
	MachineS390X     Machine = "s390x"
	MachineS390      Machine = "s390"
	MachineRISCV64   Machine = "riscv64"
	MachineLoongArch Machine = "loongarch64"
	MachineMIPS      Machine = "mips"
	MachineIA64      Machine = "ia64"
	MachineAlpha     Machine = "alpha"
)

// Machines are all that kdx knows.
var Machines = []Machine{MachineX86_64, MachineI386, MachineAArch64, MachineARM, MachinePPC64, MachinePPC64LE, MachinePPC, MachineS390X, MachineS390,
	MachineRISCV64, MachineLoongArch, MachineMIPS, MachineIA64, MachineAlpha}

// Info is what a dump says of itself in headers and notes. What the headers don't say is left at the documented
// "unknown" value; nothing in it was guessed.
type Info struct {
	Format    string           // "elf", "kdump", "vmware", …: see docs/formats.md
	Live      bool             // the memory of the running kernel: it changes while it is read
	Flattened bool             // wrapped in makedumpfile's flattened format
	Files     []string         // the files given, in the order of their pages
	PageSize  uint64           // bytes
	ByteOrder binary.ByteOrder // of the target
	WordSize  int              // bytes of a long of the target: 4 or 8
	Machine   Machine

	// MaxPFN is one more than the last pfn that the dump's memory map covers.
	MaxPFN uint64
	// Ranges is the RAM that the dump describes, sorted and not overlapping.
	Ranges []PhysRange
	// Segments are an ELF file's program headers of type PT_LOAD, in file order; nil for other formats.
	Segments []Segment

	HeaderVersion int       // kdump header version; 0 for ELF
	DumpLevel     int       // -1 if unknown (ELF does not record it)
	Filtered      bool      // the dump shows that pages were left out
	Incomplete    bool      // the dump says that it was cut short (no space), or the file is truncated
	Truncated     bool      // the file ends before what its tables point to
	Codecs        []string  // codecs named by the header: "zlib", "lzo", "snappy", "zstd"; see formats.Statistics for pages
	Timestamp     time.Time // when the dump was written; zero if unknown
	UTS           UTS
	PhysBase      *int64 // x86: physical minus virtual offset of the kernel image as the header says; nil if it doesn't

	// Distilled is what kdx distill recorded of how it made the dump (which commands); nil for other dumps. Such a dump
	// holds only the pages that those commands read, and Excluded then means "not in this distilled dump".
	Distilled *string

	Split *Split // nil if not part of a split set

	Notes      []Note
	VMCoreInfo *vmcoreinfo.Info // nil if the dump has none
	CPUs       []CPU            // in the order of the notes
	EraseInfo  string           // makedumpfile's record of what it erased
	Devices    []DeviceDump     // NT_VMCOREDD notes

	// Warnings are one sentence each: what was odd in the headers and how kdx took it.
	Warnings []string

	noteBytes int64 // that Notes take
}

// PhysRange is a range of physical memory [Start, End), in bytes.
type PhysRange struct{ Start, End Phys }

// Segment is one PT_LOAD program header. Phys is valid if HasPhys.
type Segment struct {
	Offset, FileSize, MemSize uint64 // bytes
	Virt                      uint64
	Phys                      Phys
	HasPhys                   bool
}

// UTS is the dumped kernel's uname, empty strings where the dump has none.
type UTS struct{ Sysname, Nodename, Release, Version, Machine, Domainname string }

// Split says which part of a split set the given files hold.
type Split struct {
	Parts    int    // files given
	StartPFN uint64 // first pfn covered by them
	EndPFN   uint64 // one more than the last
	Missing  []PhysRange
}

// Note is an ELF note as it stands in the dump. Device dumps are not among Info.Notes, see Info.Devices.
type Note struct {
	Name string
	Type uint32
	Desc []byte
}

// DeviceDump is a driver's own dump (NT_VMCOREDD). Its data stay in the file: they can be many MB.
type DeviceDump struct {
	Name string
	Size int64 // bytes of data
	Data *io.SectionReader
}

// CPU is what the notes hold of one CPU at the time of the crash.
type CPU struct {
	Index int        // rank among the notes; on kdump dumps that is the rank among CPUs that answered, not always the CPU's number
	PID   int32      // pr_pid; QEMU writes a CPU number here
	Regs  []Register // general registers in the order of the architecture's elf_gregset; nil if there was no NT_PRSTATUS
	QEMU  *QEMUCPU   // control registers from QEMU's note, or from what other hypervisors and firmware write; nil without
}

// Register is a named register of the target.
type Register struct {
	Name  string
	Value uint64
}

// Reg returns the value of the named register ("rip", "rsp", "x29", "nip", …).
func (c *CPU) Reg(name string) (uint64, bool) {
	for i := range c.Regs {
		if c.Regs[i].Name == name {
			return c.Regs[i].Value, true
		}
	}
	return 0, false
}

// QEMUCPU is the part of QEMU's CPU state note (x86) that address translation needs.
type QEMUCPU struct {
	Regs                    []Register
	CR0, CR2, CR3, CR4      uint64
	IDTBase, GDTBase        uint64
	GSBase, KernelGSBase    uint64
	HasKernelGSBase         bool
	CSSelector, SSSelector  uint32
	FSBase, TRBase, LDTBase uint64
}
