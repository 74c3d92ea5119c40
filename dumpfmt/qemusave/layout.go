package qemusave

import (
	"cmp"
	"encoding/binary"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"kdx/dumpfmt"
)

// machineKind is what QEMU's name of a machine's memory says of it.
type machineKind struct {
	block   string
	machine dumpfmt.Machine
	order   binary.ByteOrder
	base    uint64 // where memory begins
}

var machineKinds = []machineKind{
	{"pc.ram", dumpfmt.MachineX86_64, binary.LittleEndian, 0},
	{"microvm.ram", dumpfmt.MachineX86_64, binary.LittleEndian, 0},
	{"mach-virt.ram", dumpfmt.MachineAArch64, binary.LittleEndian, 1 << 30},
	{"riscv_virt_board.ram", dumpfmt.MachineRISCV64, binary.LittleEndian, 2 << 30},
	{"s390.ram", dumpfmt.MachineS390X, binary.BigEndian, 0},
	{"ppc_spapr.ram", dumpfmt.MachinePPC64LE, binary.LittleEndian, 0},
}

// nodeName are memory backends of machines with several nodes; libvirt numbers them.
var nodeName = regexp.MustCompile(`^ram-node(\d+)$`)

// mainBlocks are the blocks that make the machine's memory, in the order in which they do.
func mainBlocks(blocks []*block) []*block {
	var nodes []*block
	for _, b := range blocks {
		name := strings.TrimPrefix(b.name, "/objects/")
		if slices.ContainsFunc(machineKinds, func(k machineKind) bool { return k.block == name }) {
			return []*block{b}
		}
		if nodeName.MatchString(name) {
			nodes = append(nodes, b)
		}
	}
	slices.SortFunc(nodes, func(a, b *block) int { return cmp.Compare(nodeNumber(a), nodeNumber(b)) })
	return nodes
}

func nodeNumber(b *block) int {
	m := nodeName.FindStringSubmatch(strings.TrimPrefix(b.name, "/objects/"))
	n, _ := strconv.Atoi(m[1])
	return n
}

// kind of the machine: by the name of its memory, for nodes by its own name.
func (s *stream) kind() machineKind {
	for _, b := range s.blocks {
		if !b.main {
			continue
		}
		for _, k := range machineKinds {
			if k.block == strings.TrimPrefix(b.name, "/objects/") {
				return k
			}
		}
	}
	for prefix, block := range map[string]string{"virt-": "mach-virt.ram", "s390-": "s390.ram", "pseries": "ppc_spapr.ram"} {
		if strings.HasPrefix(s.machine, prefix) {
			return machineKinds[slices.IndexFunc(machineKinds, func(k machineKind) bool { return k.block == block })]
		}
	}
	return machineKinds[0]
}

// piece is a stretch of the machine's memory: where it is, and its place in the index.
type piece struct {
	phys uint64
	page uint64
	size uint64
}

const (
	fourGiB = 4 << 30
	// below 4 GiB, in machines that have more memory than fits there:
	lowPC, maxLowPC   = 0xc0000000, 0xe0000000 // i440fx, since QEMU 2.0
	lowQ35, maxLowQ35 = 0x80000000, 0xb0000000
	lowMicro          = 0xe0000000
)

// layout places memory of the given size as QEMU's machines do. The stream doesn't say it.
func (s *stream) layout(k machineKind, size uint64) []piece {
	if k.machine != dumpfmt.MachineX86_64 {
		return []piece{{phys: k.base, size: size}}
	}
	low, limit := uint64(lowPC), uint64(maxLowPC)
	switch {
	case strings.Contains(s.machine, "q35"):
		low, limit = lowQ35, maxLowQ35
	case strings.Contains(s.machine, "microvm"):
		low, limit = lowMicro, lowMicro
	case s.machine == "" && size >= maxLowQ35:
		s.info.Warn("the stream does not name the machine: memory is placed as that of QEMU's type pc, with the second type, q35, it would be elsewhere")
	}
	if size < limit {
		return []piece{{size: size}}
	}
	s.info.Warn("the stream does not say where memory is: as QEMU's machine %q does it, %d MiB of %d are assumed at 0 and the rest at 4 GiB",
		cmp.Or(s.machine, "pc"), low>>20, size>>20)
	return []piece{{size: low}, {phys: fourGiB, page: low / s.pageSize, size: size - low}}
}
