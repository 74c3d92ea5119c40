package dumpfmt

import (
	"bytes"
	"fmt"
	"io"

	"kdx/dumpfmt/vmcoreinfo"
	"kdx/internal/elfnote"
)

// Types of notes in the namespace CORE or LINUX.
const (
	noteVMCoreDD = 0x700
	notePRStatus = 1
)

// DistilledNote and DistilledType are the name and type of the note that marks a distilled dump. Its descriptor is text.
// The type is none that readers who don't look at the name know: crash takes each note of type 1 for a CPU's registers.
const (
	DistilledNote = "KDX"
	DistilledType = 0x6b6478
)

// Limits against headers that lie. A VMCOREINFO is at most a page; 8,192 CPUs have 3 MB of registers.
const (
	maxNoteDesc = 1 << 20
	// MaxNotes bounds the notes, in bytes.
	MaxNotes = 64 << 20
)

// vmcoreDDName is the size of the name that begins a device dump (VMCOREDD_MAX_NAME_BYTES).
const vmcoreDDName = 44

// ReadNotes adds the notes in [off, off+size) of f: Notes, VMCoreInfo, CPUs, EraseInfo and Devices. Machine, WordSize and
// ByteOrder must be set. What is damaged becomes a warning.
func (info *Info) ReadNotes(f *File, off, size int64) {
	if off < 0 || size < 0 || off > f.Size {
		info.Warn("the notes should be at byte %#x, but %s ends at %#x", off, f.Name, f.Size)
		return
	}
	if size > f.Size-off {
		info.Warn("the notes at byte %#x should have %d bytes, but %s ends at %#x", off, size, f.Name, f.Size)
		size = f.Size - off
	}
	if came := f.NextLost(off) - off; came < size {
		info.Warn("the notes at byte %#x should have %d bytes, of which %d came before the flattened stream ended", off, size, came)
		size = came
	}
	qemu := 0
	scan := func(rec elfnote.Record) bool {
		if rec.Name == "LINUX" && rec.Type == noteVMCoreDD {
			info.addDevice(f, off+rec.Offset, rec.Size)
			return true
		}
		if rec.Size > maxNoteDesc {
			info.Warn("note %q, type %#x, of %d bytes is too long and was left out", rec.Name, rec.Type, rec.Size)
			return true
		}
		info.noteBytes += rec.Size + 64
		if info.noteBytes > MaxNotes {
			info.Warn("more than %d MiB of notes: the rest was left out", MaxNotes>>20)
			return false
		}
		desc := make([]byte, rec.Size)
		if n, err := f.ReadFull(desc, off+rec.Offset); err != nil {
			info.Warn("note %q, type %#x: only %d of %d bytes could be read: %v", rec.Name, rec.Type, n, rec.Size, err)
			return false
		}
		note := Note{Name: rec.Name, Type: rec.Type, Desc: desc}
		info.Notes = append(info.Notes, note)
		if note.Name == "QEMU" && note.Type == 0 {
			info.addQEMU(qemu, desc)
			qemu++
			return true
		}
		info.addNote(note)
		return true
	}
	if err := elfnote.Scan(io.NewSectionReader(f.ReaderAt, off, size), size, info.ByteOrder, scan); err != nil {
		info.Warn("%v", err)
	}
}

// maxWarnings is more than anybody reads.
const maxWarnings = 100

// Warn adds a sentence to Warnings.
func (info *Info) Warn(format string, args ...any) {
	w := fmt.Sprintf(format, args...)
	if n := len(info.Warnings); n >= maxWarnings || n > 0 && info.Warnings[n-1] == w {
		return
	}
	info.Warnings = append(info.Warnings, w)
}

func (info *Info) addNote(note Note) {
	switch {
	case note.Name == "VMCOREINFO" && len(note.Desc) > 0:
		info.VMCoreInfo = vmcoreinfo.Parse(note.Desc)
	case note.Name == "ERASEINFO":
		info.EraseInfo += string(bytes.TrimRight(note.Desc, "\x00"))
	case note.Name == DistilledNote && note.Type == DistilledType:
		text := string(bytes.TrimRight(note.Desc, "\x00"))
		info.Distilled = &text
	case note.Name == "CORE" && note.Type == notePRStatus:
		info.addCPU(note.Desc)
	}
}

func (info *Info) addCPU(desc []byte) {
	cpu := CPU{Index: len(info.CPUs)}
	if cpu.Index == maxCPUs {
		info.Warn("registers of more than %d CPUs: the rest was left out", maxCPUs)
		return
	}
	pid, regs, err := elfnote.PRStatus(string(info.Machine), info.WordSize, info.ByteOrder, desc)
	if err != nil {
		info.Warn("registers of CPU note %d: %v", cpu.Index, err)
	}
	cpu.PID = pid
	cpu.Regs = registers(regs)
	info.CPUs = append(info.CPUs, cpu)
}

func registers(regs []elfnote.Register) []Register {
	if regs == nil {
		return nil
	}
	out := make([]Register, len(regs))
	for i, r := range regs {
		out[i] = Register(r)
	}
	return out
}

// addQEMU gives the nth QEMU note to the nth CPU: QEMU writes all NT_PRSTATUS notes first, then its own in the same order.
func (info *Info) addQEMU(n int, desc []byte) {
	state, err := elfnote.ParseQEMU(desc)
	if err != nil {
		info.Warn("CPU %d: %v", n, err)
		return
	}
	if n >= maxCPUs {
		return
	}
	for len(info.CPUs) <= n {
		info.CPUs = append(info.CPUs, CPU{Index: len(info.CPUs)})
	}
	info.CPUs[n].QEMU = &QEMUCPU{
		Regs: registers(state.Regs),
		CR0:  state.CR[0], CR2: state.CR[2], CR3: state.CR[3], CR4: state.CR[4],
		IDTBase: state.IDT.Base, GDTBase: state.GDT.Base, GSBase: state.GS.Base, FSBase: state.FS.Base,
		TRBase: state.TR.Base, LDTBase: state.LDT.Base,
		KernelGSBase: state.KernelGSBase, HasKernelGSBase: state.HasKernelGSBase,
		CSSelector: state.CS.Selector, SSSelector: state.SS.Selector,
	}
}

func (info *Info) addDevice(f *File, off, size int64) {
	if size < vmcoreDDName {
		info.Warn("device dump note of %d bytes is too short for its name", size)
		return
	}
	var name [vmcoreDDName]byte
	if _, err := f.ReadFull(name[:], off); err != nil {
		info.Warn("device dump at byte %#x: %v", off, err)
		return
	}
	if len(info.Devices) == maxDevices {
		info.Warn("more than %d device dumps: the rest was left out", maxDevices)
		return
	}
	text, _, _ := bytes.Cut(name[:], []byte{0})
	info.Devices = append(info.Devices, DeviceDump{
		Name: string(text),
		Size: size - vmcoreDDName,
		Data: io.NewSectionReader(f.ReaderAt, off+vmcoreDDName, size-vmcoreDDName),
	})
}

const (
	maxDevices = 4096
	maxCPUs    = 1 << 16 // eight times what x86-64 kernels can be built for
)
