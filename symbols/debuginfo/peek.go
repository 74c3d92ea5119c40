package debuginfo

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"kdx/internal/elfnote"
	"kdx/internal/unpack"
)

// peek looks at the first part of a packed kernel that may well be another's: unpacking a whole vmlinux takes seconds.
func (s *search) peek(path string, c *Candidate) error {
	if s.module != "" || s.want.BuildID == "" || !s.want.Sure && s.want.Release != "" && strings.Contains(filepath.Base(path), s.want.Release) {
		return nil
	}
	f, fi, err := unpack.OpenRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	src, err := unpack.Stream(f, fi.Size(), 0)
	if err != nil {
		return err
	}
	defer src.Close()
	if src.Packing == "" {
		return nil
	}
	machine, id, err := peekID(src)
	if err != nil {
		return err
	}
	switch {
	case s.want.Machine != elf.EM_NONE && machine != elf.EM_NONE && machine != s.want.Machine:
		c.Found.Machine = machine
		c.Outcome, c.Why = OtherMachine, fmt.Sprintf("it is of %v, the dump of %v", machine, s.want.Machine)
	case id != "" && id != s.want.BuildID:
		c.Found.BuildID = id
		c.Outcome, c.Why = OtherBuild, fmt.Sprintf("it is %v; the dump has %v", c.Found, Identity{BuildID: s.want.BuildID, Release: s.want.Release})
	}
	return nil
}

// peekID reads machine and build-id of an ELF file from its beginning up to its notes. What is not there is left empty; the
// error is of reading.
func peekID(in io.Reader) (machine elf.Machine, id string, err error) {
	const headSize, progSize, maxProgs, farthest = 64, 56, 64, 256 << 20
	r := bufio.NewReaderSize(in, 64<<10)
	head := make([]byte, headSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, "", err
	}
	if !bytes.HasPrefix(head, []byte(elf.ELFMAG)) || head[elf.EI_CLASS] != byte(elf.ELFCLASS64) {
		return 0, "", nil
	}
	var order binary.ByteOrder = binary.LittleEndian
	if head[elf.EI_DATA] == byte(elf.ELFDATA2MSB) {
		order = binary.BigEndian
	}
	machine = elf.Machine(order.Uint16(head[18:]))
	phoff, size, count := order.Uint64(head[32:]), order.Uint16(head[54:]), order.Uint16(head[56:])
	if phoff != headSize || size != progSize || count > maxProgs {
		return machine, "", nil
	}
	progs := make([]byte, int(count)*progSize)
	if _, err := io.ReadFull(r, progs); err != nil {
		return machine, "", err
	}
	at := uint64(headSize + len(progs))
	for p := progs; len(p) > 0; p = p[progSize:] {
		offset, n := order.Uint64(p[8:]), order.Uint64(p[32:])
		if elf.ProgType(order.Uint32(p)) != elf.PT_NOTE || offset < at || offset > farthest || n > maxNotes {
			continue
		}
		if _, err := io.CopyN(io.Discard, r, int64(offset-at)); err != nil {
			return machine, "", err
		}
		notes := make([]byte, n)
		if _, err := io.ReadFull(r, notes); err != nil {
			return machine, "", err
		}
		return machine, elfnote.BuildID(notes, order), nil
	}
	return machine, "", nil
}
