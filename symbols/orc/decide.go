package orc

import (
	"errors"
	"fmt"

	"kdx/symbols"
)

// hashes of .orc_header, which scripts/orc_hash.sh makes of the definition of the format.
var hashes = map[[headerSize]byte]Version{
	{0xdb, 0x84, 0xae, 0xd4, 0x10, 0x3b, 0x31, 0xdd, 0x51, 0xe0, 0x17, 0xf8, 0xf7, 0x97, 0x83, 0xca, 0x98, 0x5c, 0x2c, 0x51}: V2, // 6.3
	{0xfe, 0x5d, 0x32, 0xbf, 0x58, 0x1b, 0xd6, 0x3b, 0x2c, 0xa9, 0xa5, 0xc6, 0x5b, 0xa5, 0xa6, 0x25, 0xea, 0xb3, 0xfe, 0x24}: V3, // 6.4
	{0x13, 0x7c, 0x36, 0xad, 0x76, 0x27, 0xc4, 0xdd, 0x55, 0x93, 0x21, 0x76, 0xbb, 0x0e, 0xcd, 0xbd, 0x50, 0x41, 0xfc, 0x82}: V4, // 7.1
}

// decide finds the version: given, from the header, or from the entries (RHEL 9.6 has v3 on 5.14 without a header).
func (f *Finder) decide(mem symbols.Memory, t Tables, opt Options) error {
	if opt.Version >= V1 && opt.Version <= V4 {
		f.version, f.how = opt.Version, "given"
		return nil
	}
	if t.Header != 0 {
		var h [headerSize]byte
		if _, err := mem.ReadMemory(h[:], t.Header); err == nil && hashes[h] != 0 {
			f.version, f.how = hashes[h], "header"
			return nil
		}
	}
	seen, err := f.sample()
	if err != nil {
		return err
	}
	f.version, f.how = seen.version(), "entries"
	return f.check(seen)
}

// census counts what tells the versions apart.
type census struct {
	total    int
	oldCall  int // a base register, but type 0: "call" up to 6.3, "undefined" since 6.4
	newCall  int // type 2: "call" since 6.4, "partial regs" before
	sp3, sp5 int // of new calls: the number of rsp since 7.1, and before
	endV1    int // no base register and bit 2: the end before 6.3
	endV2    int // no base register and bit 3: the end in 6.3
	raw      [][entrySize]byte
}

// sample looks at the beginning, where the boot code has the rare kinds, and at blocks all over the table.
func (f *Finder) sample() (*census, error) {
	c := new(census)
	var missing error
	step := max(f.entries.count()/16, 1)
	for k := 0; k < f.entries.count(); k += step {
		first, n := f.entries.span(k)
		for i := first; i < first+n; i++ {
			b, err := f.entries.at(i)
			if err != nil {
				missing = err
				break
			}
			c.add([entrySize]byte(b))
		}
	}
	if c.total == 0 {
		return nil, fmt.Errorf("entries at %#x: %w", f.entries.addr, missing)
	}
	return c, nil
}

func (c *census) add(b [entrySize]byte) {
	sp, flags := b[4]&0xf, b[5]
	c.total++
	c.raw = append(c.raw, b)
	switch {
	case sp != 0 && flags&7 == 0:
		c.oldCall++
	case sp != 0 && flags&7 == 2:
		c.newCall++
		switch sp {
		case 3:
			c.sp3++
		case 5:
			c.sp5++
		}
	case sp == 0 && flags == 4:
		c.endV1++
	case sp == 0 && flags == 8:
		c.endV2++
	}
}

func (c *census) version() Version {
	if c.newCall <= c.oldCall {
		if c.endV2 > c.endV1 {
			return V2
		}
		return V1
	}
	if c.sp3 > c.sp5 {
		return V4
	}
	return V3
}

var errNoSense = errors.New("the entries make no sense in any known version of the format")

// check holds the sample against the version.
func (f *Finder) check(c *census) error {
	bad := 0
	for _, b := range c.raw {
		if _, ok := parse(b[:], f.version).row(); !ok {
			bad++
		}
	}
	if bad > c.total/20 {
		return fmt.Errorf("%w (%d of %d looked at at %#x)", errNoSense, bad, c.total, f.entries.addr)
	}
	return nil
}
