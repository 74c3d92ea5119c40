package flattened

import (
	"math"
	"sort"
)

// places says where in the file the bytes of records are. The bytes are counted through from the first record on, without
// the records' headers, so that records that follow one another in the file and in the dump are one piece. A record takes
// five bytes here: a file of 100 GB has millions.
type places struct {
	blocks  []placeBlock
	records int
	total   int64 // bytes of all records
}

// placeBlock is some records in a row.
type placeBlock struct {
	data   int64 // count of the bytes in front of the first one
	first  int   // its number
	starts []uint32
}

const perBlock = 64

// add counts the next record and returns how many bytes are in front of it.
func (p *places) add(size int64) int64 {
	if n := len(p.blocks); n == 0 || len(p.blocks[n-1].starts) == perBlock || p.total-p.blocks[n-1].data > math.MaxUint32 {
		p.blocks = append(p.blocks, placeBlock{data: p.total, first: p.records, starts: make([]uint32, 0, perBlock)})
	}
	b := &p.blocks[len(p.blocks)-1]
	start := p.total
	b.starts = append(b.starts, uint32(start-b.data))
	p.records++
	p.total += size
	return start
}

// find returns where in the file a byte is, and how many of its record there are from it on.
func (p *places) find(data int64) (pos, left int64) {
	i := sort.Search(len(p.blocks), func(i int) bool { return p.blocks[i].data > data }) - 1
	b := &p.blocks[i]
	j := sort.Search(len(b.starts), func(j int) bool { return int64(b.starts[j]) > data-b.data }) - 1
	end := p.total
	switch {
	case j+1 < len(b.starts):
		end = b.data + int64(b.starts[j+1])
	case i+1 < len(p.blocks):
		end = p.blocks[i+1].data
	}
	return headerSize + recordSize*int64(b.first+j+1) + data, end - data
}
