package lines

import (
	"fmt"

	"kdx/symbols/dwarfinfo"
	"kdx/symbols/dwarfinfo/internal/numbers"
)

// header is what precedes a line program: how it is encoded, and its tables of directories and files. Names are bytes of
// sections, which may be mapped.
type header struct {
	version    int
	minInst    uint64
	maxOps     uint64
	lineBase   int64
	lineRange  uint64
	opcodeBase uint8
	operands   []byte // of standard opcodes, from 1
	dirs       [][]byte
	files      []file
	program    cursor
}

// file is an entry of a table of files; dir is an index of the table of directories.
type file struct {
	dir  uint64
	name []byte
}

const (
	maxFiles = 1 << 16 // entries of a table; the kernel's largest have some 2,000
	maxForms = 64      // columns of a table
)

// readHeader reads the header of u's line program.
func readHeader(u *dwarfinfo.Unit) (*header, error) {
	d := u.Data
	off, ok := u.LineOffset()
	if !ok {
		return nil, errNoProgram
	}
	if off >= uint64(len(d.Line)) {
		return nil, fmt.Errorf("it would begin at %#x of .debug_line, which has %#x bytes", off, len(d.Line))
	}
	c := cursor{numbers.Reader{Order: d.Order, Data: d.Line[off:]}}
	length := c.Uint(4)
	if length == 0xffffffff {
		c.DWARF64, length = true, c.Uint(8)
	}
	if c.Err != nil || length > uint64(len(c.Data)-c.Off) {
		return nil, fmt.Errorf("at %#x of .debug_line it claims %#x bytes, and the section ends before", off, length)
	}
	c.Data = c.Data[:c.Off+int(length)]
	h := &header{version: int(c.Uint(2)), maxOps: 1}
	if h.version < 2 || h.version > 5 {
		return nil, fmt.Errorf("at %#x of .debug_line: version %d; kdx reads 2 to 5", off, h.version)
	}
	if h.version >= 5 {
		c.Take(2) // sizes of addresses, which the opcodes repeat, and of segment selectors
	}
	headerLength := c.Offset()
	if c.Err == nil && headerLength > uint64(len(c.Data)-c.Off) {
		c.Err = fmt.Errorf("a header of %#x bytes", headerLength)
	}
	h.program = c
	h.program.Off += int(min(headerLength, uint64(len(c.Data)-c.Off)))
	h.minInst = uint64(c.U8())
	if h.version >= 4 {
		h.maxOps = max(1, uint64(c.U8()))
	}
	c.U8() // whether lines begin as statements, which only breakpoints ask
	h.lineBase = int64(int8(c.U8()))
	h.lineRange = uint64(c.U8())
	h.opcodeBase = c.U8()
	if h.opcodeBase > 0 {
		h.operands = c.Take(uint64(h.opcodeBase) - 1)
	}
	if c.Err == nil && (h.lineRange == 0 || h.opcodeBase == 0) {
		c.Err = fmt.Errorf("a line range of %d and %d opcodes", h.lineRange, h.opcodeBase)
	}
	if h.version >= 5 {
		h.tables5(&c, d)
	} else {
		h.tables4(&c)
	}
	if c.Err != nil {
		return nil, fmt.Errorf("its header at %#x of .debug_line: %w", off, c.Err)
	}
	return h, nil
}

// tables4 reads the tables of versions 2 to 4. Entry 0 stands for the unit's own directory and file.
func (h *header) tables4(c *cursor) {
	h.dirs = append(h.dirs, nil)
	for c.Err == nil && len(h.dirs) <= maxFiles {
		name := c.CString()
		if len(name) == 0 {
			break
		}
		h.dirs = append(h.dirs, name)
	}
	h.files = append(h.files, file{})
	for c.Err == nil {
		name := c.CString()
		if len(name) == 0 {
			return
		}
		h.addFile(c, name)
	}
}

// addFile reads the rest of an entry of the older tables.
func (h *header) addFile(c *cursor, name []byte) {
	f := file{dir: c.ULEB(), name: name}
	c.ULEB() // time
	c.ULEB() // size
	if h.files = append(h.files, f); len(h.files) > maxFiles && c.Err == nil {
		c.Err = fmt.Errorf("more than %d files", maxFiles)
	}
}

// What columns of version 5's tables hold, DW_LNCT_*.
const (
	columnPath = 1
	columnDir  = 2
)

type column struct{ content, form uint64 }

func (h *header) tables5(c *cursor, d *dwarfinfo.Data) {
	for _, f := range table5(c, d) {
		h.dirs = append(h.dirs, f.name)
	}
	h.files = table5(c, d)
}

func table5(c *cursor, d *dwarfinfo.Data) []file {
	columns := make([]column, c.U8())
	if len(columns) > maxForms {
		c.Err = fmt.Errorf("entries with %d columns", len(columns))
	}
	for i := range columns {
		columns[i] = column{c.ULEB(), c.ULEB()}
	}
	n := c.ULEB()
	if c.Err == nil && (n > maxFiles || n > 0 && len(columns) == 0) {
		c.Err = fmt.Errorf("%d entries with %d columns", n, len(columns))
	}
	if c.Err != nil {
		return nil
	}
	out := make([]file, 0, min(n, uint64(len(c.Data)-c.Off)))
	for range n {
		var f file
		for _, col := range columns {
			v, s := c.field(col.form, d)
			switch col.content {
			case columnPath:
				f.name = s
			case columnDir:
				f.dir = v
			}
		}
		if c.Err != nil {
			return nil
		}
		out = append(out, f)
	}
	return out
}

// field reads a value of one of the forms that the tables may use.
func (c *cursor) field(form uint64, d *dwarfinfo.Data) (v uint64, s []byte) {
	switch dwarfinfo.Form(form) {
	case dwarfinfo.FormString:
		return 0, c.CString()
	case dwarfinfo.FormLineStrp:
		s = c.stringOf(d.LineStr)
	case dwarfinfo.FormStrp:
		s = c.stringOf(d.Str)
	case dwarfinfo.FormStrpSup, dwarfinfo.FormGNUStrpAlt:
		if d.Alt == nil {
			c.Offset()
			return 0, nil
		}
		s = c.stringOf(d.Alt.Str)
	case dwarfinfo.FormData1:
		v = c.Uint(1)
	case dwarfinfo.FormData2:
		v = c.Uint(2)
	case dwarfinfo.FormData4:
		v = c.Uint(4)
	case dwarfinfo.FormData8:
		v = c.Uint(8)
	case dwarfinfo.FormUdata:
		v = c.ULEB()
	case dwarfinfo.FormData16: // an MD5 of the file
		c.Take(16)
	case dwarfinfo.FormBlock:
		c.Take(c.ULEB())
	case dwarfinfo.FormBlock1:
		c.Take(c.Uint(1))
	case dwarfinfo.FormBlock2:
		c.Take(c.Uint(2))
	case dwarfinfo.FormBlock4:
		c.Take(c.Uint(4))
	default:
		if c.Err == nil {
			c.Err = fmt.Errorf("form %#x in a table of files", form)
		}
	}
	return v, s
}

func (c *cursor) stringOf(section []byte) []byte {
	off := c.Offset()
	if c.Err != nil {
		return nil
	}
	s, err := numbers.StringAt(section, off)
	c.Err = err
	return s
}
