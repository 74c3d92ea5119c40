package sbitmap

import (
	"testing"

	"kdx/analyze/kerneltest"
)

// FuzzRead reads bitmaps whose structures hold anything: reading ends, and tells of no bit behind the end.
func FuzzRead(f *testing.F) {
	f.Add(false, uint32(10), uint32(3), uint32(2), int64(0), int64(64), []byte{0b1010, 0, 0, 0, 0, 0, 0, 0, 0b1000})
	f.Add(true, uint32(1<<20), uint32(0), uint32(1<<20), int64(-1<<40), int64(1<<60), []byte{})
	f.Add(true, ^uint32(0), uint32(63), uint32(1), int64(0), int64(0), []byte{255, 255})
	f.Fuzz(func(t *testing.T, isOld bool, depth, shift, words uint32, at, ws int64, memory []byte) {
		layout := recent
		if isOld {
			layout = old
		}
		m := kerneltest.New(t, layout)
		q, area := m.Alloc(256), m.AllocPage()
		m.AllocPage()
		m.Write(area, memory[:min(len(memory), 4096)])
		for path, x := range map[string]uint64{"sb.depth": uint64(depth), "sb.shift": uint64(shift), "sb.map_nr": uint64(words),
			"sb.map": uint64(int64(area) + at), "ws": uint64(int64(area) + ws)} {
			m.Set(q, "sbitmap_queue", path, x)
		}
		x, err := Read(m.View(), q)
		if x == nil && err == nil {
			t.Fatal("neither bits nor an error")
		}
		if x == nil {
			return
		}
		busy := 0
		for _, taken := range x.Set {
			if taken {
				busy++
			}
		}
		if err == nil && busy != x.Busy || len(x.Set) > int(depth) || x.Busy+x.Cleared > int(depth) {
			t.Fatalf("%d bits of %d are taken, %d given back; %d are set", x.Busy, depth, x.Cleared, busy)
		}
	})
}
