// Package sbitmap reads scalable bitmaps and the queues that wait for a bit of one: tags of block devices, commands of SCSI
// targets.
package sbitmap

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// Queue is a struct sbitmap_queue. Members that a kernel does not have are nil.
type Queue struct {
	Addr       vmem.Addr
	Depth      uint32 // bits
	Shift      uint32 // of the bits of a word
	Words      uint32
	RoundRobin bool
	Hints      []uint32 // where each CPU begins to search; nil where that can't be read
	WakeBatch  uint32
	WakeIndex  int32
	Active     *int32 // wait queues that someone waits in; 5.0
	MinDepth   *uint32
	Waits      []Wait
	Set        []bool // bits that are taken, those that are given back and not yet cleared apart
	Busy       int    // how many are taken
	Cleared    int    // given back and not yet cleared (4.20)
}

// Wait is one of the queue's wait queues.
type Wait struct {
	Count  *int32 // wakeups that are still to come; until 6.1
	Active bool   // someone waits
}

type sbitmap struct {
	Depth uint32    `k:"depth"`
	Shift uint32    `k:"shift"`
	Words uint32    `k:"map_nr"`
	RR    bool      `k:"round_robin,optional"` // 5.12
	Map   vmem.Addr `k:"map"`
	Hint  vmem.Addr `k:"alloc_hint,optional"` // 5.12
}

type queue struct {
	WakeBatch uint32    `k:"wake_batch"`
	WakeIndex int32     `k:"wake_index"`
	Ws        vmem.Addr `k:"ws"`
	Active    int32     `k:"ws_active,optional"`
	MinDepth  uint32    `k:"min_shallow_depth,optional"`
	RR        bool      `k:"round_robin,optional"` // until 5.12
	Hint      vmem.Addr `k:"alloc_hint,optional"`  // until 5.12
	Map       vmem.Addr `k:"&sb"`
}

const (
	waitQueues = 8       // SBQ_WAIT_QUEUES
	maxDepth   = 1 << 20 // a block device has at most 10240 tags
)

// Read reads the struct sbitmap_queue at addr. An error beside a Queue says what is missing in it.
func Read(v *kernel.View, addr vmem.Addr) (*Queue, error) {
	queues, err := kernel.Bind[queue](v.Kernel, "sbitmap_queue")
	if err != nil {
		return nil, err
	}
	maps, err := kernel.Bind[sbitmap](v.Kernel, "sbitmap")
	if err != nil {
		return nil, err
	}
	q, err := queues.Read(v, addr)
	if err != nil {
		return nil, err
	}
	m, err := maps.Read(v, q.Map)
	if err != nil {
		return nil, err
	}
	if m.Depth > maxDepth || m.Shift > 6 || uint64(m.Words)<<m.Shift < uint64(m.Depth) || uint64(m.Words) > uint64(m.Depth)+1 {
		return nil, fmt.Errorf("no sbitmap_queue lies at %#x: it would have %d bits in %d words of 2^%d", uint64(addr), m.Depth, m.Words, m.Shift)
	}
	out := &Queue{Addr: addr, Depth: m.Depth, Shift: m.Shift, Words: m.Words, RoundRobin: m.RR || q.RR, WakeBatch: q.WakeBatch, WakeIndex: q.WakeIndex}
	if queues.Has("Active") {
		out.Active = &q.Active
	}
	if queues.Has("MinDepth") {
		out.MinDepth = &q.MinDepth
	}
	if maps.Has("Hint") {
		q.Hint = m.Hint
	}
	return out, errors.Join(out.hints(v, q.Hint), out.waits(v, q.Ws), out.bits(v, m.Map))
}

func (q *Queue) hints(v *kernel.View, at vmem.Addr) error {
	if at == 0 {
		return nil
	}
	cpus, err := v.PossibleCPUs()
	if err != nil {
		return err
	}
	var hints []uint32
	for _, cpu := range cpus {
		off, err := v.PerCPUOffset(cpu)
		if err != nil {
			return err
		}
		var b [4]byte
		if err := v.Read(b[:], at+vmem.Addr(off)); err != nil {
			return fmt.Errorf("hint of CPU %d: %w", cpu, err)
		}
		hints = append(hints, v.ByteOrder().Uint32(b[:]))
	}
	q.Hints = hints
	return nil
}

func (q *Queue) waits(v *kernel.View, at vmem.Addr) error {
	t, err := v.Struct("sbq_wait_state")
	if err != nil {
		return err
	}
	for i := range uint64(waitQueues) {
		w := v.Object(t, at+vmem.Addr(i*t.Size))
		head := w.Field("wait").Field("head")
		next, err := head.Field("next").Pointer()
		if err != nil {
			return fmt.Errorf("wait queue %d: %w", i, err)
		}
		here, _ := head.Addr()
		out := Wait{Active: next != here}
		if w.Has("wait_cnt") {
			n, err := w.Field("wait_cnt.counter").Int()
			if err != nil {
				return fmt.Errorf("wait queue %d: %w", i, err)
			}
			count := int32(n)
			out.Count = &count
		}
		q.Waits = append(q.Waits, out)
	}
	return nil
}

func (q *Queue) bits(v *kernel.View, at vmem.Addr) error {
	t, err := v.Struct("sbitmap_word")
	if err != nil {
		return err
	}
	set := make([]bool, 0, q.Depth)
	for i := range uint64(q.Words) {
		w := v.Object(t, at+vmem.Addr(i*t.Size))
		word, err := w.Field("word").Uint()
		if err != nil {
			return fmt.Errorf("word %d of the bitmap: %w", i, err)
		}
		cleared := uint64(0)
		if w.Has("cleared") {
			if cleared, err = w.Field("cleared").Uint(); err != nil {
				return fmt.Errorf("word %d of the bitmap: %w", i, err)
			}
		}
		for b := range uint64(1) << q.Shift {
			if len(set) == int(q.Depth) {
				break
			}
			back := cleared>>b&1 != 0
			taken := word>>b&1 != 0 && !back
			if back {
				q.Cleared++
			}
			if taken {
				q.Busy++
			}
			set = append(set, taken)
		}
	}
	q.Set = set
	return nil
}
