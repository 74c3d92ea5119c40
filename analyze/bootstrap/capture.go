package bootstrap

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
)

// crashed takes the kernel that crashed before c, its capture kernel. The capture kernel knows the crashed one through an ELF
// header in memory, whose place is in elfcorehdr_addr and on its command line. If that leads nowhere, c is kept for the case
// that nothing else is found.
func (f *finder) crashed(c *candidate, header dumpfmt.Phys) bool {
	info, err := f.firstKernel(header)
	if err == nil {
		err = f.fits(info)
	}
	if err != nil {
		if f.capture == nil {
			f.capture, f.captureErr = c, err
		}
		return false
	}
	release, _ := info.Get("OSRELEASE")
	f.res.VMCoreInfo = info.From(fmt.Sprintf("found in memory through the capture kernel's elfcorehdr=%#x", uint64(header)))
	f.warn("%s. The kernel that crashed before, %s, is shown; --capture-kernel shows the capture kernel", c.inside(), release)
	f.Log.Info("VMCOREINFO " + f.res.VMCoreInfo.Origin())
	return true
}

// inside says that the dump was made in this capture kernel.
func (c *candidate) inside() string {
	return fmt.Sprintf("the guest was in its capture kernel (%s at %#x) when the dump was made", c.release, uint64(c.image.Phys))
}

// captureFirst puts a capture kernel before the one that crashed. Of a single kernel it need not be known here.
func captureFirst(all []*candidate) []*candidate {
	if len(all) < 2 {
		return all
	}
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(a, b *candidate) int {
		switch x, y := a.isCapture(), b.isCapture(); {
		case x && !y:
			return -1
		case y && !x:
			return 1
		}
		return 0
	})
	return out
}

func (c *candidate) isCapture() bool {
	if !c.verify() {
		return false
	}
	_, ok := c.elfcorehdr()
	return ok
}

// elfcorehdr is where the header of the crashed kernel's dump lies; ok is false if c is no capture kernel.
func (c *candidate) elfcorehdr() (dumpfmt.Phys, bool) {
	// ELFCORE_ADDR_MAX stands for a kernel that is none, ELFCORE_ADDR_ERR for one that has read the header.
	const none, used = ^uint64(0), ^uint64(1)
	at, ok := c.names.address("elfcorehdr_addr")
	if !ok {
		return 0, false
	}
	var b [8]byte
	if _, err := c.ReadMemory(b[:], at); err != nil {
		return 0, false
	}
	switch addr := binary.LittleEndian.Uint64(b[:]); addr {
	case none:
		return 0, false
	case used:
		return elfcorehdrOf(c.commandLine())
	default:
		return dumpfmt.Phys(addr), true
	}
}

// commandLine is what the kernel was booted with; "" if it can't be read.
func (c *candidate) commandLine() string {
	at, ok := c.names.address("saved_command_line")
	if !ok || c.space == nil {
		return ""
	}
	var b [8]byte
	if _, err := c.ReadMemory(b[:], at); err != nil {
		return ""
	}
	const limit = 4096 // COMMAND_LINE_SIZE is 2048
	line := make([]byte, limit)
	n, _ := vmem.Read(c.f.img, c.space, line, binary.LittleEndian.Uint64(b[:]))
	text, _, _ := bytes.Cut(line[:n], []byte{0})
	return string(text)
}

// elfcorehdrOf finds elfcorehdr=[SIZE@]ADDRESS on a command line.
func elfcorehdrOf(line string) (dumpfmt.Phys, bool) {
	for word := range strings.FieldsSeq(line) {
		v, ok := strings.CutPrefix(word, "elfcorehdr=")
		if !ok {
			continue
		}
		if _, after, ok := strings.Cut(v, "@"); ok {
			v = after
		}
		shift := 0
		for i, unit := range "KMG" {
			if cut, ok := strings.CutSuffix(strings.ToUpper(v), string(unit)); ok {
				v, shift = cut, 10*(i+1)
			}
		}
		n, err := strconv.ParseUint(strings.ToLower(v), 0, 64)
		return dumpfmt.Phys(n << shift), err == nil
	}
	return 0, false
}

// firstKernel reads the VMCOREINFO to which an ELF header in memory leads. Offsets of its notes are physical addresses.
func (f *finder) firstKernel(header dumpfmt.Phys) (*vmcoreinfo.Info, error) {
	const (
		ehdrSize, phdrSize = 64, 56
		maxHeaders         = 1 << 16
		maxNote            = 64 << 10
	)
	var h [ehdrSize]byte
	if _, err := f.img.ReadPhys(h[:], header); err != nil {
		return nil, fmt.Errorf("its ELF header at physical address %#x: %w", uint64(header), err)
	}
	le := binary.LittleEndian
	count, size, at := uint64(le.Uint16(h[56:])), uint64(le.Uint16(h[54:])), le.Uint64(h[32:])
	if string(h[:4]) != elf.ELFMAG || h[4] != byte(elf.ELFCLASS64) || size < phdrSize || count > maxHeaders {
		return nil, fmt.Errorf("at physical address %#x is no ELF header (it is reused once the dump is saved)", uint64(header))
	}
	for i := range count {
		var p [phdrSize]byte
		if _, err := f.img.ReadPhys(p[:], header+dumpfmt.Phys(at+i*size)); err != nil {
			return nil, fmt.Errorf("a program header of its dump: %w", err)
		}
		if elf.ProgType(le.Uint32(p[:])) != elf.PT_NOTE {
			continue
		}
		note := make([]byte, min(le.Uint64(p[32:]), maxNote))
		n, _ := f.img.ReadPhys(note, dumpfmt.Phys(le.Uint64(p[8:])))
		if info, err := vmcoreinfo.Decode(note[:n]); err == nil {
			return info, nil
		}
	}
	return nil, fmt.Errorf("the ELF header at physical address %#x leads to no VMCOREINFO", uint64(header))
}
