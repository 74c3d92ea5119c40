package kdump

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync/atomic"

	"kdx/dumpfmt"
)

// bitmap is one of the file's bitmaps, least significant bit first. It is read once from end to end when the dump is
// opened, to count the bits of each block; after that a bounded number of blocks is kept, so that the 64 MiB of bitmaps of
// a machine with 1 TiB never stay in memory.
type bitmap struct {
	file  *dumpfmt.File
	off   int64
	bits  uint64 // pfns covered, of which the file has the bytes
	shift uint   // a block has 1<<shift bits
	// before[i] is the count of bits set in front of block i; the last one counts all.
	before []uint64
	slots  []atomic.Pointer[bitmapBlock]
}

type bitmapBlock struct {
	index uint64
	words []uint64
	// rank[i] is the count of bits set in front of word i of this block.
	rank []uint32
}

const (
	minBlockShift = 15 // 4 KiB of bitmap
	maxBlocks     = 1 << 20
	bitmapCache   = 4 << 20 // bytes of bitmap that stay in memory
)

func newBitmap(f *dumpfmt.File, off int64, pfns uint64) *bitmap {
	b := &bitmap{file: f, off: off, bits: pfns, shift: minBlockShift}
	if off >= f.Size {
		b.bits = 0
	} else if have := uint64(f.Size-off) * 8; have < pfns {
		b.bits = have
	}
	for b.bits>>b.shift >= maxBlocks {
		b.shift++
	}
	b.slots = make([]atomic.Pointer[bitmapBlock], max(4, bitmapCache>>(b.shift-3)))
	return b
}

func (b *bitmap) blocks() uint64 { return (b.bits + 1<<b.shift - 1) >> b.shift }

// count is the number of bits that are set.
func (b *bitmap) count() uint64 { return b.before[len(b.before)-1] }

// scan reads the whole bitmap and calls each with the words of every stretch and the pfn of its first bit.
// Bits behind the last pfn are cleared; stretches that are holes of the file are left out.
func (b *bitmap) scan(ctx context.Context, each func(pfn uint64, words []uint64)) error {
	const chunk = 1 << 20
	total := (b.bits + 7) / 8
	raw := make([]byte, min(chunk, (total+7)&^7))
	words := make([]uint64, len(raw)/8)
	for at := uint64(0); at < total; at += chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		if data := uint64(b.file.NextData(b.off+int64(at)) - b.off); data >= at+chunk {
			at = data/chunk*chunk - chunk
			continue
		}
		n := min(chunk, total-at)
		clear(raw[n:])
		if _, err := b.file.ReadFull(raw[:n], b.off+int64(at)); err != nil {
			return &dumpfmt.FormatError{File: b.file.Name, Offset: b.off + int64(at), Msg: "reading the bitmaps", Err: err}
		}
		w := words[:(n+7)/8]
		decodeWords(w, raw)
		trim(w, b.bits-at*8)
		each(at*8, w)
	}
	return nil
}

func decodeWords(dst []uint64, raw []byte) {
	for i := range dst {
		dst[i] = binary.LittleEndian.Uint64(raw[i*8:])
	}
}

// trim clears the bits from n on.
func trim(words []uint64, n uint64) {
	if n >= uint64(len(words))*64 {
		return
	}
	words[n/64] &= 1<<(n%64) - 1
	clear(words[n/64+1:])
}

// index counts the bits of each block.
func (b *bitmap) index(ctx context.Context, each func(pfn uint64, words []uint64)) error {
	b.before = make([]uint64, b.blocks()+1)
	perBlock := uint64(1) << (b.shift - 6)
	err := b.scan(ctx, func(pfn uint64, words []uint64) {
		for i := 0; i < len(words); {
			block := (pfn + uint64(i)*64) >> b.shift
			n := min(int(perBlock-(pfn/64+uint64(i))%perBlock), len(words)-i)
			sum := 0
			for _, w := range words[i : i+n] {
				sum += bits.OnesCount64(w)
			}
			b.before[block+1] += uint64(sum)
			i += n
		}
		if each != nil {
			each(pfn, words)
		}
	})
	if err != nil {
		return err
	}
	for i := 1; i < len(b.before); i++ {
		b.before[i] += b.before[i-1]
	}
	return nil
}

// block returns a block of the bitmap, from the cache if it is there.
func (b *bitmap) block(i uint64) (*bitmapBlock, error) {
	slot := &b.slots[i%uint64(len(b.slots))]
	if blk := slot.Load(); blk != nil && blk.index == i {
		return blk, nil
	}
	start := i << b.shift
	n := min(uint64(1)<<b.shift, b.bits-start)
	raw := make([]byte, (n+63)/64*8)
	at := b.off + int64(start/8)
	if _, err := b.file.ReadFull(raw[:(n+7)/8], at); err != nil {
		return nil, fmt.Errorf("reading %s's bitmap at byte %#x: %w", b.file.Name, at, err)
	}
	blk := &bitmapBlock{index: i, words: make([]uint64, len(raw)/8), rank: make([]uint32, len(raw)/8)}
	decodeWords(blk.words, raw)
	trim(blk.words, n)
	sum := uint32(0)
	for j, w := range blk.words {
		blk.rank[j] = sum
		sum += uint32(bits.OnesCount64(w))
	}
	slot.Store(blk)
	return blk, nil
}

// test reports whether the pfn's bit is set; pfns behind the bitmap's end are not.
func (b *bitmap) test(pfn uint64) (bool, error) {
	if pfn >= b.bits {
		return false, nil
	}
	blk, err := b.block(pfn >> b.shift)
	if err != nil {
		return false, err
	}
	in := pfn & (1<<b.shift - 1)
	return blk.words[in/64]>>(in%64)&1 != 0, nil
}

// rank counts the bits that are set in front of the pfn's.
func (b *bitmap) rank(pfn uint64) (uint64, error) {
	if pfn >= b.bits {
		return b.count(), nil
	}
	i := pfn >> b.shift
	blk, err := b.block(i)
	if err != nil {
		return 0, err
	}
	in := pfn & (1<<b.shift - 1)
	below := blk.words[in/64] & (1<<(in%64) - 1)
	return b.before[i] + uint64(blk.rank[in/64]) + uint64(bits.OnesCount64(below)), nil
}
