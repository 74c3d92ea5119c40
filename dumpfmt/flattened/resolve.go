package flattened

import (
	"cmp"
	"container/heap"
	"slices"
)

// resolve sorts pieces, which come in the order of the file, and cuts away what later ones wrote over.
func resolve(records []piece) []piece {
	if inOrder(records) {
		return records
	}
	order := make([]int32, len(records))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(records[a].at, records[b].at), cmp.Compare(a, b))
	})
	s := sweep{records: records, out: make([]piece, 0, len(records))}
	for _, i := range order {
		s.advance(records[i].at)
		heap.Push(&s.open, i)
		s.at = records[i].at
	}
	s.advance(maxEnd * 2)
	return s.out
}

func inOrder(records []piece) bool {
	for i := 1; i < len(records); i++ {
		if records[i].at < records[i-1].at+records[i-1].size {
			return false
		}
	}
	return true
}

// sweep goes over the unfolded file from its start. open holds the records that cover the place at, the latest on top,
// and some that ended before.
type sweep struct {
	records []piece
	open    latest
	at      int64
	out     []piece
}

// advance writes what the open records say of [at, to).
func (s *sweep) advance(to int64) {
	for len(s.open) > 0 && s.at < to {
		top := s.records[s.open[0]]
		end := top.at + top.size
		if end <= s.at {
			heap.Pop(&s.open)
			continue
		}
		stop := min(end, to)
		s.emit(piece{at: s.at, size: stop - s.at, data: top.data + s.at - top.at})
		s.at = stop
	}
}

func (s *sweep) emit(p piece) {
	if n := len(s.out); n > 0 {
		last := &s.out[n-1]
		if last.at+last.size == p.at && last.data+last.size == p.data {
			last.size += p.size
			return
		}
	}
	s.out = append(s.out, p)
}

// latest is a heap of indexes of records, the highest on top.
type latest []int32

func (h latest) Len() int           { return len(h) }
func (h latest) Less(i, j int) bool { return h[i] > h[j] }
func (h latest) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *latest) Push(x any)        { *h = append(*h, x.(int32)) }
func (h *latest) Pop() any {
	old := *h
	n := len(old)
	x := old[n-1]
	*h = old[:n-1]
	return x
}
