package mm

import (
	"fmt"
	"strings"

	"kdx/analyze/kernel"
)

// vmaFlags are the names of vm_flags by bit, which kernels before 6.19 only have as macros. These bits have not moved since 5.10; 11 was
// DENYWRITE until 5.15. Bits from 32 on are given out anew by releases and architectures, and left unnamed.
var vmaFlags = [32]string{"READ", "WRITE", "EXEC", "SHARED", "MAYREAD", "MAYWRITE", "MAYEXEC", "MAYSHARE", "GROWSDOWN", "UFFD_MISSING", "PFNMAP", "DENYWRITE",
	"UFFD_WP", "LOCKED", "IO", "SEQ_READ", "RAND_READ", "DONTCOPY", "DONTEXPAND", "LOCKONFAULT", "ACCOUNT", "NORESERVE", "HUGETLB", "SYNC",
	"ARCH_1", "WIPEONFORK", "DONTDUMP", "SOFTDIRTY", "MIXEDMAP", "HUGEPAGE", "NOHUGEPAGE", "MERGEABLE"}

// VMAFlagNames are the names of the bits that are set in a mapping's flags; one without a name is "bit N".
func VMAFlagNames(v *kernel.View, flags uint64) []string {
	names := make([]string, 64)
	copy(names, vmaFlags[:])
	if _, t, err := v.Symbols().Enumerator("VMA_READ_BIT"); err == nil {
		clear(names)
		for _, e := range t.Enumerators() {
			name, ok := strings.CutPrefix(e.Name, "VMA_")
			name, bit := strings.CutSuffix(name, "_BIT")
			if ok && bit && e.Value >= 0 && e.Value < int64(len(names)) && names[e.Value] == "" {
				names[e.Value] = name
			}
		}
	}
	out := []string{}
	for i, name := range names {
		if flags>>i&1 == 0 {
			continue
		}
		if name == "" {
			name = fmt.Sprintf("bit %d", i)
		}
		out = append(out, name)
	}
	return out
}
