// Package nearest finds names that someone may have meant: those within a few edits of what was typed.
package nearest

import (
	"cmp"
	"slices"
)

// Finder collects the nearest of many names. It is not safe for several goroutines.
type Finder struct {
	word  string
	limit int
	best  []candidate
	row   []int
	prev  []int
	older []int
}

type candidate struct {
	name string
	dist int
}

const keep = 16

// New seeks names near word: the longer the word, the more edits are allowed, 3 at most.
func New(word string) *Finder {
	limit := min(len(word)/4, 3)
	if len(word) >= 2 {
		limit = max(limit, 1)
	}
	return &Finder{word: word, limit: limit}
}

// Add offers a name.
func (f *Finder) Add(name string) {
	if name == f.word || f.limit == 0 {
		return
	}
	d := f.distance(name)
	if d > f.limit || slices.ContainsFunc(f.best, func(c candidate) bool { return c.name == name }) {
		return
	}
	f.best = append(f.best, candidate{name, d})
	if len(f.best) > keep {
		f.sort()
		f.best = f.best[:keep]
	}
}

func (f *Finder) sort() {
	slices.SortStableFunc(f.best, func(a, b candidate) int {
		if c := cmp.Compare(a.dist, b.dist); c != 0 {
			return c
		}
		return cmp.Compare(a.name, b.name)
	})
}

// Best are at most n names, nearest first. Only those count that are as near as the nearest, or one edit farther.
func (f *Finder) Best(n int) []string {
	f.sort()
	var out []string
	for _, c := range f.best {
		if len(out) == n || c.dist > f.best[0].dist+1 {
			break
		}
		out = append(out, c.name)
	}
	return out
}

// Of is the nearest of a short list, "" if none is near.
func Of(word string, names []string) string {
	f := New(word)
	for _, n := range names {
		f.Add(n)
	}
	if best := f.Best(1); len(best) > 0 {
		return best[0]
	}
	return ""
}

// distance counts insertions, deletions, replacements and swaps of neighbours that turn name into the word; beyond the
// limit it stops counting.
func (f *Finder) distance(name string) int {
	a, b := f.word, name
	if d := len(a) - len(b); d > f.limit || -d > f.limit {
		return f.limit + 1
	}
	if cap(f.row) < len(b)+1 {
		n := len(b) + 32
		f.row, f.prev, f.older = make([]int, n), make([]int, n), make([]int, n)
	}
	row, prev, older := f.row[:len(b)+1], f.prev[:len(b)+1], f.older[:len(b)+1]
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		older, prev, row = prev, row, older
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, older[j-2]+1)
			}
			row[j] = d
			least = min(least, d)
		}
		if least > f.limit {
			return f.limit + 1
		}
	}
	return row[len(b)]
}
