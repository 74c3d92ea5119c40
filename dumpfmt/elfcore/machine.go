package elfcore

import "kdx/dumpfmt"

// machines and their numbers in e_machine, as files are written. ppc64 and ppc64le share one.
var machines = map[dumpfmt.Machine]uint16{
	dumpfmt.MachineX86_64: 62, dumpfmt.MachineI386: 3, dumpfmt.MachineAArch64: 183, dumpfmt.MachineARM: 40,
	dumpfmt.MachinePPC64: 21, dumpfmt.MachinePPC64LE: 21, dumpfmt.MachinePPC: 20, dumpfmt.MachineS390X: 22, dumpfmt.MachineS390: 22,
	dumpfmt.MachineRISCV64: 243, dumpfmt.MachineLoongArch: 258, dumpfmt.MachineMIPS: 8, dumpfmt.MachineIA64: 50,
	dumpfmt.MachineAlpha: 0x9026,
}

// wideFileOf32 reports whether a 64-bit file can be told to be of this 32-bit machine: of others, the file's class says which
// of two machines it is.
func wideFileOf32(m dumpfmt.Machine) bool {
	return m == dumpfmt.MachineI386 || m == dumpfmt.MachineARM || m == dumpfmt.MachinePPC
}
