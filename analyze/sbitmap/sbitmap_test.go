package sbitmap

import (
	"fmt"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
)

const common = `
struct list_head { struct list_head *next, *prev; };
struct wait_queue_head { int lock; struct list_head head; };
`

// The layouts of 5.10 and of 6.12.
const (
	old = common + `struct atomic { int counter; };
struct sbitmap_word { unsigned long depth; unsigned long word; unsigned long cleared; };
struct sbitmap { unsigned int depth; unsigned int shift; unsigned int map_nr; struct sbitmap_word *map; };
struct sbq_wait_state { struct atomic wait_cnt; struct wait_queue_head wait; };
struct sbitmap_queue { struct sbitmap sb; unsigned int *alloc_hint; unsigned int wake_batch; int wake_index; struct sbq_wait_state *ws; int ws_active; bool round_robin;
  unsigned int min_shallow_depth; };`
	recent = common + `
struct sbitmap_word { unsigned long word; unsigned long cleared; };
struct sbitmap { unsigned int depth; unsigned int shift; unsigned int map_nr; bool round_robin; struct sbitmap_word *map; unsigned int *alloc_hint; };
struct sbq_wait_state { struct wait_queue_head wait; };
struct sbitmap_queue { struct sbitmap sb; unsigned int wake_batch; int wake_index; struct sbq_wait_state *ws; int ws_active; unsigned int min_shallow_depth; };`
)

// TestRead: bits, counts and wait queues of both layouts, and what is damaged.
func TestRead(t *testing.T) {
	for _, layout := range []string{old, recent} {
		for damage, want := range map[string]string{
			"":      "10 bits, 2 busy [1 9], 1 cleared, 1 of 8 wait, robin true",
			"map":   "10 bits, 0 busy [], 0 cleared, 1 of 8 wait, robin true error",
			"ws":    "10 bits, 2 busy [1 9], 1 cleared, 0 of 0 wait, robin true error",
			"depth": "none error", "shift": "none error", "words": "none error",
		} {
			m := kerneltest.New(t, layout)
			q, words, ws := m.Alloc(128), m.Alloc(256), m.Alloc(512)
			set := func(path string, x uint64) { m.Set(q, "sbitmap_queue", path, x) }
			set("sb.depth", 10)
			set("sb.shift", 3)
			set("sb.map_nr", 2)
			set("sb.map", uint64(words))
			set("ws", uint64(ws))
			robin := "sb.round_robin"
			if layout == old {
				robin = "round_robin"
			}
			set(robin, 1)
			m.Set(words, "sbitmap_word", "word", 0b1010)
			m.Set(words, "sbitmap_word", "cleared", 0b1000)
			size := uint64(16)
			step := uint64(24)
			if layout == old {
				size, step = 24, 32
			}
			m.Set(words+vmem.Addr(size), "sbitmap_word", "word", 0b110) // the second of these lies behind the end
			for i := range uint64(8) {
				at := ws + vmem.Addr(i*step)
				head := at + vmem.Addr(m.Offset("sbq_wait_state", "wait.head"))
				next := uint64(head)
				if i == 3 {
					next = uint64(q)
				}
				m.Word(head, next)
			}
			switch damage {
			case "map":
				set("sb.map", 0xdead000000000100)
			case "ws":
				set("ws", 0xdead000000000100)
			case "depth":
				set("sb.depth", 1<<31)
			case "shift":
				set("sb.shift", 63)
			case "words":
				set("sb.map_nr", 1<<30)
			}
			x, err := Read(m.View(), q)
			got := "none"
			if x != nil {
				var bits []int
				for i, b := range x.Set {
					if b {
						bits = append(bits, i)
					}
				}
				n := 0
				for _, w := range x.Waits {
					if w.Active {
						n++
					}
				}
				got = fmt.Sprintf("%d bits, %d busy %v, %d cleared, %d of %d wait, robin %v", x.Depth, x.Busy, bits, x.Cleared, n, len(x.Waits), x.RoundRobin)
			}
			if err != nil {
				got += " error"
			}
			if got != want {
				t.Errorf("%q: %s; want %s", damage, got, want)
			}
		}
	}
}
