package dumptest

import "encoding/binary"

// Flatten writes a file in flattened form, in records of at most size bytes. The first record comes twice, at first with
// wrong bytes, and the records stand in an order that jumps back.
func Flatten(file []byte, size int) []byte {
	out := make([]byte, 4096)
	copy(out, "makedumpfile")
	binary.BigEndian.PutUint64(out[16:], 1)
	binary.BigEndian.PutUint64(out[24:], 1)
	record := func(at int, b []byte) {
		out = binary.BigEndian.AppendUint64(out, uint64(at))
		out = binary.BigEndian.AppendUint64(out, uint64(len(b)))
		out = append(out, b...)
	}
	wrong := make([]byte, min(size, len(file))/2)
	for i := range wrong {
		wrong[i] = 0xee
	}
	record(0, wrong)
	for phase := range 2 {
		for at := phase * size; at < len(file); at += 2 * size {
			record(at, file[at:min(at+size, len(file))])
		}
	}
	return append(out, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"...)
}
