package sysinfo

import (
	"fmt"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// MemoryRange is a range of physical addresses, as the firmware described it at boot.
type MemoryRange struct {
	Start, End uint64 // End is behind the last byte
	Type       string // "E820_RAM"
}

// maxE820 is the number of entries that the kernel has room for (E820_MAX_ENTRIES with 1024 NUMA nodes is 3200).
const maxE820 = 8192

// MemoryMap reads e820_table (4.12) of x86: the firmware's map as the kernel uses it.
func MemoryMap(v *kernel.View) ([]MemoryRange, error) {
	table := v.Global("e820_table")
	n, err := table.Field("nr_entries").Uint()
	if err != nil {
		return nil, fmt.Errorf("memory map: %w", err)
	}
	if n > maxE820 {
		return nil, fmt.Errorf("memory map: %d entries: damaged", n)
	}
	bind, err := kernel.Bind[struct {
		Addr uint64 `k:"addr"`
		Size uint64 `k:"size"`
		Type uint32 `k:"type"`
	}](v.Kernel, "e820_entry")
	if err != nil {
		return nil, err
	}
	names := make(map[uint32]string)
	if _, t, err := v.Symbols().Enumerator("E820_TYPE_RAM"); err == nil {
		for _, e := range t.Strip().Enumerators() {
			names[uint32(e.Value)] = strings.Replace(e.Name, "_TYPE_", "_", 1)
		}
	}
	first, ok := table.Field("entries").Addr()
	if !ok {
		return nil, fmt.Errorf("memory map: struct e820_table of this kernel has no entries")
	}
	var out []MemoryRange
	for i := range n {
		e, err := bind.Read(v, first+vmem.Addr(i*bind.Size()))
		if err != nil {
			return out, fmt.Errorf("memory map: %w", err)
		}
		name, known := names[e.Type]
		if !known {
			name = fmt.Sprintf("type %d", e.Type)
		}
		out = append(out, MemoryRange{e.Addr, e.Addr + e.Size, name})
	}
	return out, nil
}

// Hypervisor is what x86's kernel found itself to run on ("KVM"), "" on bare metal and where it does not know.
func Hypervisor(v *kernel.View) (string, error) {
	n, err := v.UintAt("x86_hyper_type", 4) // 4.15
	if err != nil || n == 0 {
		return "", err
	}
	_, t, err := v.Symbols().Enumerator("X86_HYPER_NATIVE")
	if err != nil {
		return "", err
	}
	for _, e := range t.Strip().Enumerators() {
		if uint64(e.Value) == n {
			return strings.TrimPrefix(e.Name, "X86_HYPER_"), nil
		}
	}
	return fmt.Sprint(n), nil
}
