package deflate

// maxSymbols is more than any of the codes has.
const maxSymbols = 288

// histogram counts symbols and finds their Huffman code.
type histogram struct {
	freq  [maxSymbols]uint32
	codes [maxSymbols]code
	n     int // symbols that the code could have

	keys, spare [maxSymbols]uint32
	tree        [maxSymbols]uint32
}

func (h *histogram) clear(n int) {
	clear(h.freq[:n])
	h.n = n
}

// costs is how many bits the symbols take in a code.
func (h *histogram) costs(codes *[maxSymbols]code) int {
	sum := 0
	for i, f := range h.freq[:h.n] {
		sum += int(f) * int(codes[i].len)
	}
	return sum
}

// used is one more than the last symbol that has a code.
func (h *histogram) used() int {
	n := h.n
	for n > 1 && h.codes[n-1].len == 0 {
		n--
	}
	return n
}

// build finds a code of at most limit bits. It always has two symbols at least: some readers want no other.
func (h *histogram) build(n, limit int) {
	clear(h.codes[:n])
	keys := h.sorted(n)
	var counts [16]int
	h.lengths(keys, &counts, limit)

	i := 0
	for length := limit; length > 0; length-- {
		for range counts[length] {
			h.codes[keys[i]&symbolMask].len = uint8(length)
			i++
		}
	}
	var next [16]uint16
	first := uint16(0)
	for length := 1; length <= limit; length++ {
		next[length] = first
		first = (first + uint16(counts[length])) << 1
	}
	for i := range h.codes[:n] {
		if c := &h.codes[i]; c.len > 0 {
			length := c.len & 15
			*c = code{next[length], length}.reversed()
			next[length]++
		}
	}
}

// Keys are frequencies with the symbol below them. Frequencies of more than 12 bits are made smaller: a code for 64 KiB
// does not suffer from that.
const (
	symbolBits = 9
	symbolMask = 1<<symbolBits - 1
	digit      = 6
)

// sorted returns keys of the symbols that come, rarest first.
func (h *histogram) sorted(n int) []uint32 {
	most := uint32(0)
	for _, f := range h.freq[:n] {
		most = max(most, f)
	}
	shift := 0
	for most>>shift >= 1<<(2*digit) {
		shift++
	}
	keys := h.keys[:0]
	for i, f := range h.freq[:n] {
		if f > 0 {
			keys = append(keys, max(1, f>>shift)<<symbolBits|uint32(i))
		}
	}
	for i := uint32(0); len(keys) < 2; i++ {
		if h.freq[i] == 0 {
			keys = append(keys, 1<<symbolBits|i)
		}
	}
	if len(keys) <= 24 {
		for i := 1; i < len(keys); i++ {
			for j := i; j > 0 && keys[j] < keys[j-1]; j-- {
				keys[j], keys[j-1] = keys[j-1], keys[j]
			}
		}
		return keys
	}
	return radix(radix(keys, h.spare[:len(keys)], symbolBits), h.keys[:len(keys)], symbolBits+digit)
}

// radix sorts by one digit, in which it keeps the order of equal ones.
func radix(from, to []uint32, shift int) []uint32 {
	var starts [1 << digit]int
	for _, k := range from {
		starts[k>>shift&(1<<digit-1)]++
	}
	sum := 0
	for i, n := range starts {
		starts[i] = sum
		sum += n
	}
	for _, k := range from {
		i := k >> shift & (1<<digit - 1)
		to[starts[i]] = k
		starts[i]++
	}
	return to
}

// lengths counts how many codes have each length. It is the algorithm of Moffat and Katajainen, in place: weights become
// parents, parents become depths, depths of inner nodes say how many leaves each depth has.
func (h *histogram) lengths(keys []uint32, counts *[16]int, limit int) {
	n := len(keys)
	a := h.tree[:n]
	for i, k := range keys {
		a[i] = k >> symbolBits
	}
	leaf, root := 2, 0
	a[0] += a[1]
	for i := 1; i < n-1; i++ {
		if leaf >= n || a[root] < a[leaf] {
			a[i] = a[root]
			a[root] = uint32(i)
			root++
		} else {
			a[i] = a[leaf]
			leaf++
		}
		if leaf >= n || root < i && a[root] < a[leaf] {
			a[i] += a[root]
			a[root] = uint32(i)
			root++
		} else {
			a[i] += a[leaf]
			leaf++
		}
	}
	a[n-2] = 0
	for i := n - 3; i >= 0; i-- {
		a[i] = a[a[i]] + 1
	}
	avail, used, depth := 1, 0, 0
	over := -(1 << limit) // what the codes take of the room, in units of the longest
	for i := n - 2; avail > 0; depth++ {
		for i >= 0 && int(a[i]) == depth {
			used++
			i--
		}
		if leaves := avail - used; leaves > 0 {
			length := min(depth, limit)
			counts[length] += leaves
			over += leaves << (limit - length)
		}
		avail, used = 2*used, 0
	}
	// Codes that were too long took too much. Each step takes one of the longest beside a shorter one, which gets a bit more.
	for ; over > 0; over-- {
		length := limit - 1
		for counts[length] == 0 {
			length--
		}
		counts[length]--
		counts[length+1] += 2
		counts[limit]--
	}
}
