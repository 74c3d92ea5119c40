package deflate

import "encoding/binary"

const adlerMod = 65521

// adler is the checksum of RFC 1950. It sums eight bytes at a time; hash/adler32 goes byte by byte.
func adler(p []byte) uint32 {
	const lanes = 0x00ff00ff00ff00ff
	a, b := uint64(1), uint64(0)
	for len(p) >= 8 {
		// So many words that a sum of their bytes fits into a lane of 16 bits.
		part := p[:min(len(p)&^7, 1024)]
		p = p[len(part):]
		b += a * uint64(len(part))
		// With W words of which each holds bytes k = 0 … 7, byte k of word w counts 8(W-w)-k times.
		var even, odd, sum, sums uint64
		for ; len(part) >= 8; part = part[8:] {
			word := binary.LittleEndian.Uint64(part)
			e, o := word&lanes, word>>8&lanes
			even += e
			odd += o
			sum += (e + o) * 0x0001000100010001 >> 48
			sums += sum
		}
		b += 8 * sums
		for k := range uint64(4) {
			e, o := even>>(16*k)&0xffff, odd>>(16*k)&0xffff
			b -= 2*k*e + (2*k+1)*o
		}
		a = (a + sum) % adlerMod
		b %= adlerMod
	}
	for _, c := range p {
		a += uint64(c)
		b += a
	}
	return uint32(b%adlerMod<<16 | a%adlerMod)
}
