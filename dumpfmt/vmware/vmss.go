// Package vmware reads what VMware writes of a machine that is suspended (.vmss), of which a snapshot was taken (.vmsn) or that ESXi
// dumped for debugging (.guest). The memory is in the same file or, page by page as it was, in a .vmem beside it.
//
//	.vmss, .vmsn: header | groups: name, place | items of group "cpu": registers … | items of group "memory": regions, maybe the memory
//	.guest: version, number of CPUs | size and holes of memory | CPUs
package vmware

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kdx/dumpfmt"
	"kdx/dumpfmt/internal/linear"
	"kdx/dumpfmt/internal/x86cpu"
)

// Magic numbers of state files.
const (
	magicOld       = 0xbed0bed0 // items have other sizes; last written by products of before 2006
	magicState     = 0xbed2bed2
	magicPartial   = 0xbed3bed3
	magicRestored  = 0xbad1bad1
	magicNoRestore = 0xbad2bad2
)

const (
	headerSize = 12
	groupSize  = 64 + 8 + 8
	groupName  = 64
	maxGroups  = 4096
	maxRegions = 4096 // VMware uses 3
	pageSize   = 4096
	pageShift  = 12
)

// Probe reports whether a file that begins with head is a state file of VMware.
func Probe(head []byte) bool {
	if len(head) < headerSize {
		return false
	}
	le := binary.LittleEndian
	switch le.Uint32(head) {
	case magicOld, magicState, magicPartial, magicRestored, magicNoRestore:
		return le.Uint32(head[8:]) <= maxGroups
	}
	return false
}

// Open opens a state file. Its memory is read from a second file, if one is given, otherwise from the state file itself or
// the .vmem beside it. It takes over the files only if it succeeds. The error is a *dumpfmt.FormatError or what the system said.
func Open(files []*dumpfmt.File) (dumpfmt.Source, error) {
	f := files[0]
	info := newInfo(files[0])
	s := state{file: f, info: info}
	if err := s.read(); err != nil {
		return nil, err
	}
	x86cpu.Add(info, s.cpus)
	return s.source(files)
}

func newInfo(f *dumpfmt.File) *dumpfmt.Info {
	return &dumpfmt.Info{Format: "vmware", Files: []string{f.Name}, PageSize: pageSize, ByteOrder: binary.LittleEndian, WordSize: 8,
		Machine: dumpfmt.MachineX86_64, DumpLevel: -1, Warnings: f.Warnings, Flattened: f.Flattened, Incomplete: f.Incomplete}
}

// state is what a state file says.
type state struct {
	file    *dumpfmt.File
	info    *dumpfmt.Info
	cpus    cpus
	nCPUs   uint64
	regions []region
	count   uint64 // of regions that the file says it has; those behind are left over
	counted bool
	memory  *item // the block that holds the memory; nil if a .vmem does
}

// region is a stretch of memory: its place in memory and in the block or .vmem, in pages.
type region struct{ ppn, filePage, size uint32 }

func (s *state) read() error {
	le := binary.LittleEndian
	var head [headerSize]byte
	if _, err := s.file.ReadFull(head[:], 0); err != nil {
		return s.fail(0, err, "reading the header of VMware's state file")
	}
	if le.Uint32(head[:]) == magicOld {
		return s.fail(0, nil, "this state file is in the 32-bit layout of VMware's products of before 2006, which kdx does not read")
	}
	s.info.HeaderVersion = int(le.Uint32(head[4:]))
	n := int64(le.Uint32(head[8:]))
	if n > maxGroups {
		return s.fail(8, nil, "%d groups are more than any state file has", n)
	}
	groups := make([]byte, n*groupSize)
	got, err := s.file.ReadFull(groups, headerSize)
	if err != nil {
		s.info.Truncated, s.info.Incomplete = true, true
		s.info.Warn("the state file ends inside its table of groups: %d of %d could be read", got/groupSize, n)
	}
	for g := range slices.Chunk(groups[:got/groupSize*groupSize], groupSize) {
		name, _, _ := bytes.Cut(g[:groupName], []byte{0})
		pos := le.Uint64(g[groupName:])
		add := map[string]func(*item){"cpu": s.cpuItem, "memory": s.memoryItem}[string(name)]
		if add == nil {
			continue
		}
		if pos > uint64(s.file.Size) {
			s.info.Warn("group %q should be at byte %#x, but %s ends at %#x", name, pos, s.file.Name, s.file.Size)
			continue
		}
		if err := items(s.file, int64(pos), add); err != nil {
			s.info.Warn("group %q of the state file: %v", name, err)
		}
	}
	return s.check()
}

func (s *state) fail(off int64, err error, format string, args ...any) error {
	return &dumpfmt.FormatError{File: s.file.Name, Offset: off, Msg: fmt.Sprintf(format, args...), Err: err}
}

func (s *state) cpuItem(it *item) {
	if it.name == "cpu:numVCPUs" {
		s.nCPUs = it.uint()
		return
	}
	s.cpus.add(it)
}

func (s *state) memoryItem(it *item) {
	if it.name == "Memory" && it.block {
		s.memory = it
		return
	}
	if it.name == "regionsCount" {
		s.count, s.counted = it.uint(), true
		return
	}
	i := it.index[0]
	if i >= maxRegions {
		return
	}
	field := func(r *region) *uint32 {
		return map[string]*uint32{"regionPPN": &r.ppn, "regionPageNum": &r.filePage, "regionSize": &r.size}[it.name]
	}
	if field(&region{}) == nil {
		return
	}
	for uint32(len(s.regions)) <= i {
		s.regions = append(s.regions, region{})
	}
	*field(&s.regions[i]) = uint32(it.uint())
}

// check holds what was read together.
func (s *state) check() error {
	if m := s.memory; m != nil && m.compressed {
		return s.fail(m.offset, nil, "the memory in this state file is compressed, in a way that VMware has not published; "+
			"a snapshot with a .vmem beside it, or one taken with mainMem.useNamedFile = \"TRUE\", is not")
	}
	if s.nCPUs > 0 && s.nCPUs < uint64(len(s.cpus)) {
		s.cpus = s.cpus[:s.nCPUs]
	}
	if !s.counted || s.count >= uint64(len(s.regions)) {
		if s.count > uint64(len(s.regions)) {
			s.info.Warn("the state file says that memory has %d regions, but describes %d", s.count, len(s.regions))
		}
		return nil
	}
	s.regions = s.regions[:s.count]
	return nil
}

// source finds the memory and lays the regions over it.
func (s *state) source(files []*dumpfmt.File) (dumpfmt.Source, error) {
	size, base, opened := uint64(0), int64(0), (*dumpfmt.File)(nil)
	switch {
	case len(files) > 2:
		return nil, s.fail(0, nil, "a state file has one file of memory, but %d files were named", len(files))
	case len(files) == 2:
	case s.memory != nil:
		size, base = s.memory.memory, s.memory.offset
		if s.memory.size != s.memory.memory {
			s.info.Warn("the block of memory has %#x bytes in the file, but should fill %#x", s.memory.size, s.memory.memory)
			size = min(s.memory.size, s.memory.memory)
		}
	default:
		f, err := memoryFile(s.file.Name)
		if err != nil {
			return nil, err
		}
		files, opened = append(slices.Clone(files), f), f
	}
	if len(files) > 1 {
		size = uint64(files[1].Size)
		s.info.Files = append(s.info.Files, files[1].Name)
	}
	src, err := linear.New(s.info, files, s.runs(size, base, len(files)-1))
	if err == nil && len(s.info.Ranges) == 0 {
		err = s.fail(0, nil, "no memory of the machine is in this file or beside it")
	}
	if err != nil {
		if opened != nil {
			opened.Close()
		}
		return nil, err
	}
	return src, nil
}

// runs: without regions memory is in one piece.
func (s *state) runs(size uint64, base int64, file int) []linear.Run {
	var runs []linear.Run
	if len(s.regions) == 0 {
		return []linear.Run{{Size: size >> pageShift << pageShift, Offset: base, File: file}}
	}
	described := uint64(0)
	for _, r := range s.regions {
		at := uint64(r.filePage) << pageShift
		if at > math.MaxInt64-uint64(base) {
			continue
		}
		runs = append(runs, linear.Run{Start: uint64(r.ppn) << pageShift, Size: uint64(r.size) << pageShift, Offset: base + int64(at), File: file})
		described = max(described, at+uint64(r.size)<<pageShift)
	}
	if described < size {
		s.info.Warn("the regions take %#x bytes of memory, but %#x are there", described, size)
	}
	return runs
}

// memoryFile opens the .vmem that belongs to a state file. VMware names them alike.
func memoryFile(state string) (*dumpfmt.File, error) {
	base := strings.TrimSuffix(state, filepath.Ext(state))
	f, err := dumpfmt.OpenFile(base + ".vmem")
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no memory of the machine, and there is no %s; name the file of its memory behind it: %w", state, base+".vmem", err)
	}
	return f, err
}

// IsMemory reports whether a file that no format recognises can be the memory of a state file, by its name.
func IsMemory(name string) bool { return strings.EqualFold(filepath.Ext(name), ".vmem") }
