package nameindex

import (
	"slices"
	"strconv"
	"testing"
)

func TestFind(t *testing.T) {
	names := []string{"b", "a", "b", "c", "b", ""}
	x := New(len(names), func(i int) string { return names[i] })
	for name, want := range map[string][]int{"a": {1}, "b": {0, 2, 4}, "c": {3}, "": {5}, "d": nil} {
		if got := slices.Collect(x.Find(name)); !slices.Equal(got, want) {
			t.Errorf("Find(%q) = %v; want %v", name, got, want)
		}
	}
}

func TestEmpty(t *testing.T) {
	x := New(0, nil)
	for i := range x.Find("a") {
		t.Errorf("Find in an empty index yields %d", i)
	}
}

func TestMany(t *testing.T) {
	const n = 50000
	x := New(n, func(i int) string { return strconv.Itoa(i / 2) })
	for _, i := range []int{0, 1, 777, n - 1} {
		want := []int{i &^ 1, i | 1}
		if got := slices.Collect(x.Find(strconv.Itoa(i / 2))); !slices.Equal(got, want) {
			t.Errorf("Find(%d) = %v; want %v", i/2, got, want)
		}
	}
}

// A hostile table of equal names must not take time that grows with its square.
func TestAllEqual(t *testing.T) {
	const n = 1 << 20
	x := New(n, func(int) string { return "same" })
	count := 0
	for range x.Find("same") {
		count++
	}
	if count != n {
		t.Errorf("Find yields %d; want %d", count, n)
	}
}
