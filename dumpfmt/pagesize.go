package dumpfmt

import "fmt"

// Bounds of a page's size: no Linux port has smaller or larger ones.
const (
	MinPageSize = 4 << 10
	MaxPageSize = 256 << 10
)

// ValidPageSize reports whether size is a power of two that a Linux port could use.
func ValidPageSize(size uint64) bool {
	return size >= MinPageSize && size <= MaxPageSize && size&(size-1) == 0
}

// SetPageSize fills PageSize for formats whose headers don't have it: from VMCOREINFO, otherwise the machine's usual one.
func (info *Info) SetPageSize() {
	if v, ok := info.VMCoreInfo.Decimal("PAGESIZE"); ok {
		if v > 0 && ValidPageSize(uint64(v)) {
			info.PageSize = uint64(v)
			return
		}
		info.Warn("VMCOREINFO says that a page has %d bytes, which can't be", v)
	}
	info.PageSize = usualPageSize(info.Machine)
	if !fixedPageSize(info.Machine) {
		info.Warn("no VMCOREINFO says how large a page is: %d bytes are assumed, as usual on %s", info.PageSize, info.Machine)
	}
}

func usualPageSize(m Machine) uint64 {
	switch m {
	case MachinePPC64, MachinePPC64LE:
		return 64 << 10
	case MachineLoongArch, MachineIA64:
		return 16 << 10
	case MachineAlpha:
		return 8 << 10
	}
	return 4 << 10
}

func fixedPageSize(m Machine) bool {
	switch m {
	case MachineX86_64, MachineI386, MachineARM, MachineS390X, MachineS390, MachineRISCV64, MachineAlpha:
		return true
	}
	return false
}

// Assume fills Machine, PageSize and WordSize for formats that say nothing of the machine: an empty Machine becomes x86_64, and
// pageSize 0 the machine's usual one.
func (info *Info) Assume(pageSize uint64) error {
	if info.Machine == MachineUnknown {
		info.Machine = MachineX86_64
	}
	if pageSize == 0 {
		pageSize = usualPageSize(info.Machine)
	}
	if !ValidPageSize(pageSize) {
		return fmt.Errorf("no machine has pages of %d bytes", pageSize)
	}
	info.PageSize = pageSize
	info.WordSize = 8
	switch info.Machine {
	case MachineI386, MachineARM, MachinePPC, MachineS390, MachineMIPS:
		info.WordSize = 4
	}
	return nil
}
