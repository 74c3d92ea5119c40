package estimate

import "testing"

func TestCPUs(t *testing.T) {
	in := Input{Arch: "amd64", RAM: 4 * gib, RAMLow: 3 * gib, InitSize: UsualInitSize, Elfcorehdr: UsualElfcorehdr}
	in.InitrdPacked, in.InitrdUnpacked = UsualInitrd(false)
	one := Of(in)
	for _, test := range []struct {
		reserved uint64
		online   int
		want     int
	}{
		{0, 64, 1},
		{one.Least, 64, 1},
		{one.Peak + mib, 64, 1},
		{one.Peak + 5*mib, 64, 2},
		{256 * mib, 64, MostCPUs},
		{256 * mib, 2, 2},
		{256 * mib, 1, 1},
		{256 * mib, 0, 1},
	} {
		if got := CPUs(in, test.reserved, test.online); got != test.want {
			t.Errorf("%d MiB, %d CPUs: %d; want %d", test.reserved/mib, test.online, got, test.want)
		}
	}
}
