package view

import (
	"bufio"
	"fmt"
	"io"

	"kdx/analyze/vmem"
)

// Sbitmap is sbitmapq. What could not be read, or is not there in this kernel, is null.
type Sbitmap struct {
	Addr       vmem.Addr     `json:"address"`
	Depth      uint32        `json:"depth"`
	Busy       *int          `json:"busy"`
	Cleared    *int          `json:"cleared"`
	WordBits   uint32        `json:"bits_per_word"`
	Words      uint32        `json:"map_nr"`
	Hints      []uint32      `json:"alloc_hint"` // by CPU
	WakeBatch  uint32        `json:"wake_batch"`
	WakeIndex  int32         `json:"wake_index"`
	Active     *int32        `json:"ws_active"`
	Waits      []SbitmapWait `json:"ws"`
	RoundRobin bool          `json:"round_robin"`
	MinDepth   *uint32       `json:"min_shallow_depth"`
	Set        []int         `json:"set"` // the bits that are taken
	Bytes      []byte        `json:"-"`   // the bitmap, first bit lowest
	Hex        bool          `json:"-"`   // integers in hexadecimal
}

// SbitmapWait is one of the queue's wait queues.
type SbitmapWait struct {
	Count  *int32 `json:"wait_cnt"`
	Active bool   `json:"active"`
}

// Text writes what crash does.
func (s *Sbitmap) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	num := "%d"
	if s.Hex {
		num = "%#x"
	}
	line := func(name, value string) { fmt.Fprintf(bw, "%s = %s\n", name, value) }
	line("depth", fmt.Sprintf(num, s.Depth))
	line("busy", or(s.Busy, num))
	line("cleared", or(s.Cleared, num))
	line("bits_per_word", fmt.Sprintf(num, s.WordBits))
	line("map_nr", fmt.Sprintf(num, s.Words))
	hints := "-"
	if s.Hints != nil {
		hints = "{"
		for i, h := range s.Hints {
			if i > 0 {
				hints += ", "
			}
			hints += fmt.Sprintf(num, h)
		}
		hints += "}"
	}
	line("alloc_hint", hints)
	line("wake_batch", fmt.Sprintf(num, s.WakeBatch))
	line("wake_index", fmt.Sprintf(num, s.WakeIndex))
	line("ws_active", or(s.Active, num))
	bw.WriteString("ws = {\n")
	for _, x := range s.Waits {
		state := "inactive"
		if x.Active {
			state = "active"
		}
		if x.Count != nil {
			state = fmt.Sprintf(".wait_cnt = "+num+", .wait = %s", *x.Count, state)
		} else {
			state = ".wait = " + state
		}
		fmt.Fprintf(bw, "        { %s },\n", state)
	}
	bw.WriteString("}\n")
	robin := 0
	if s.RoundRobin {
		robin = 1
	}
	line("round_robin", fmt.Sprintf(num, robin))
	line("min_shallow_depth", or(s.MinDepth, num))
	for i, c := range s.Bytes {
		switch {
		case i%16 == 0:
			fmt.Fprintf(bw, "\n%08x: ", i)
		case i%2 == 0:
			bw.WriteByte(' ')
		}
		fmt.Fprintf(bw, "%02x", c)
	}
	bw.WriteByte('\n')
	return bw.Flush()
}

// SbitmapEntries are the structs that belong to the bits that are taken (sbitmapq -s). Its JSON is an array.
type SbitmapEntries []SbitmapEntry

// SbitmapEntry is the struct of a bit.
type SbitmapEntry struct {
	Bit    int       `json:"bit"`
	Addr   vmem.Addr `json:"address"`
	Object *Objects  `json:"-"` // with -v
}

// Text writes number and address, with -v the struct below.
func (l SbitmapEntries) Text(w io.Writer, o Options) error {
	bw := bufio.NewWriter(w)
	for _, e := range l {
		if e.Object == nil {
			fmt.Fprintf(bw, "%d: 0x%x\n", e.Bit, uint64(e.Addr))
			continue
		}
		fmt.Fprintf(bw, "%d (0x%x):\n", e.Bit, uint64(e.Addr))
		if err := e.Object.Text(bw, o); err != nil {
			return err
		}
	}
	return bw.Flush()
}
