package view

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"kdx/analyze/vmem"
)

// BPF is bpf: programs, maps, or both; null for what was not asked for.
type BPF struct {
	Programs []BPFProgram `json:"programs"`
	Maps     []BPFMap     `json:"maps"`
	Details  bool         `json:"-"` // the lines below each row
	Bytes    bool         `json:"-"` // bpf -T: the bytes of each instruction
}

// BPFProgram is a loaded program. What could not be read is null.
type BPFProgram struct {
	Addr     vmem.Addr        `json:"address"`
	Aux      vmem.Addr        `json:"aux"`
	ID       *uint32          `json:"id"`
	Type     *string          `json:"type"`
	Tag      *string          `json:"tag"`
	Name     *string          `json:"name"`
	UsedMaps []uint32         `json:"used_maps"`
	Xlated   *uint64          `json:"xlated_bytes"`
	Jited    *uint64          `json:"jited_bytes"`
	Memory   *uint64          `json:"memory_bytes"`
	Loaded   *time.Time       `json:"load_time"`
	GPL      *bool            `json:"gpl_compatible"`
	UID      *uint32          `json:"uid"`
	Text     []BPFInstruction `json:"instructions,omitempty"`
	Code     []Disassembly    `json:"code,omitempty"` // machine code, function by function
	Structs  []*Objects       `json:"-"`
}

// BPFInstruction is an instruction of a verified program.
type BPFInstruction struct {
	Index int    `json:"index"`
	Bytes string `json:"bytes"` // hexadecimal
	Text  string `json:"text"`
	Code  byte   `json:"-"`
}

// BPFMap is a map. What could not be read is null.
type BPFMap struct {
	Addr       vmem.Addr  `json:"address"`
	ID         *uint32    `json:"id"`
	Type       *string    `json:"type"`
	Flags      *uint32    `json:"flags"`
	Name       *string    `json:"name"`
	KeySize    *uint32    `json:"key_size"`   // bytes
	ValueSize  *uint32    `json:"value_size"` // bytes
	MaxEntries *uint32    `json:"max_entries"`
	Memory     *uint64    `json:"memory_bytes"`
	Structs    []*Objects `json:"-"`
}

// Text writes crash's tables.
func (b *BPF) Text(w io.Writer, o Options) error {
	bw := bufio.NewWriter(w)
	const programs = " ID      BPF_PROG       BPF_PROG_AUX   BPF_PROG_TYPE       TAG        USED_MAPS\n"
	const maps = " ID      BPF_MAP          BPF_MAP_TYPE     MAP_FLAGS\n"
	if len(b.Programs) > 0 && !b.Details {
		bw.WriteString(programs)
	}
	for i := range b.Programs {
		if b.Details {
			between(bw, i)
			bw.WriteString(programs)
		}
		if err := b.Programs[i].text(bw, o, b); err != nil {
			return err
		}
	}
	if len(b.Programs) > 0 && len(b.Maps) > 0 {
		bw.WriteByte('\n')
	}
	if len(b.Maps) > 0 && !b.Details {
		bw.WriteString(maps)
	}
	for i := range b.Maps {
		if b.Details {
			between(bw, i)
			bw.WriteString(maps)
		}
		if err := b.Maps[i].text(bw, o, b.Details); err != nil {
			return err
		}
	}
	return bw.Flush()
}

func between(bw *bufio.Writer, i int) {
	if i > 0 {
		bw.WriteByte('\n')
	}
}

func (p *BPFProgram) text(bw *bufio.Writer, o Options, b *BPF) error {
	var used []string
	for _, id := range p.UsedMaps {
		used = append(used, fmt.Sprint(id))
	}
	fmt.Fprintf(bw, " %-3s %016x %016x %s %s    %-6s \n", or(p.ID, "%d"), uint64(p.Addr), uint64(p.Aux), center(text(p.Type), 13), text(p.Tag), strings.Join(used, ","))
	if b.Details {
		loaded, gpl := "-", "-"
		if p.Loaded != nil {
			loaded = p.Loaded.Local().Format("Mon Jan _2 15:04:05 2006")
		}
		if p.GPL != nil {
			gpl = map[bool]string{true: "yes", false: "no"}[*p.GPL]
		}
		fmt.Fprintf(bw, "     XLATED: %s  JITED: %s  MEMLOCK: %s\n     LOAD_TIME: %s\n     GPL_COMPATIBLE: %s  NAME: %s  UID: %s\n",
			orDash(p.Xlated), orDash(p.Jited), orDash(p.Memory), loaded, gpl, quoted(p.Name), or(p.UID, "%d"))
	}
	if len(p.Text) > 0 {
		bw.WriteByte('\n')
	}
	for _, in := range p.Text {
		fmt.Fprintf(bw, "%4d: (%02x) %s\n", in.Index, in.Code, Printable(in.Text))
		if b.Bytes {
			fmt.Fprintf(bw, "       %s\n", spaced(in.Bytes))
		}
	}
	for _, f := range p.Code {
		bw.WriteByte('\n')
		for _, in := range f {
			fmt.Fprintf(bw, "   0x%x:\t%s\n", uint64(in.Addr), Printable(in.Text))
		}
	}
	return structs(bw, o, p.Structs)
}

// structs writes whole structs below a row.
func structs(bw *bufio.Writer, o Options, list []*Objects) error {
	for _, x := range list {
		bw.WriteByte('\n')
		if err := x.Text(bw, o); err != nil {
			return err
		}
	}
	return nil
}

// spaced is "62 0a fc" of "620afc".
func spaced(hex string) string {
	var b strings.Builder
	for i := 0; i+2 <= len(hex); i += 2 {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(hex[i : i+2])
	}
	return b.String()
}

// quoted is a name as crash shows it; programs and maps need none.
func quoted(s *string) string {
	if s == nil {
		return "-"
	}
	if *s == "" {
		return "(unused)"
	}
	return `"` + Printable(*s) + `"`
}

func (m *BPFMap) text(bw *bufio.Writer, o Options, details bool) error {
	fmt.Fprintf(bw, " %-3s %016x %s  %s \n", or(m.ID, "%d"), uint64(m.Addr), center(text(m.Type), 20), or(m.Flags, "%08x"))
	if details {
		fmt.Fprintf(bw, "     KEY_SIZE: %s  VALUE_SIZE: %s  MAX_ENTRIES: %s  MEMLOCK: %s\n     NAME: %s  UID: (unused)\n",
			or(m.KeySize, "%d"), or(m.ValueSize, "%d"), or(m.MaxEntries, "%d"), orDash(m.Memory), quoted(m.Name))
	}
	return structs(bw, o, m.Structs)
}
