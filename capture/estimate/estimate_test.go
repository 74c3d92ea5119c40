package estimate

import (
	"bytes"
	"strings"
	"testing"
)

func lab(init float64) Input {
	packed, unpacked := UsualInitrd(false)
	return Input{Arch: "amd64", RAM: 512 * mib, RAMLow: 512 * mib, InitSize: uint64(init * mib), InitrdPacked: packed, InitrdUnpacked: unpacked, CPUs: 1, Elfcorehdr: UsualElfcorehdr}
}

// TestLab: Debian's cloud kernels on a machine of 512 MiB with a local target.
func TestLab(t *testing.T) {
	for _, c := range []struct {
		release string
		init    float64
		most    uint64
	}{{"6.1", 51.5, 112}, {"6.12", 55.9, 112}, {"7.2", 60.2, 112}} {
		r := Of(lab(c.init))
		if r.Size > c.most*mib || r.Size < 96*mib {
			t.Errorf("%s: %d MiB; want 96 to %d: %+v", c.release, r.Size/mib, c.most, r)
		}
		if r.High != 0 || r.HighWords != "" {
			t.Errorf("%s: High = %d, though there is no memory above 4 GiB", c.release, r.High)
		}
	}
}

// TestTerms: each input makes the sum larger.
func TestTerms(t *testing.T) {
	base := Of(lab(56))
	for name, change := range map[string]func(*Input){
		"kernel":  func(in *Input) { in.InitSize += 40 * mib },
		"initrd":  func(in *Input) { in.InitrdUnpacked += 20 * mib },
		"packed":  func(in *Input) { in.InitrdPacked += 60 * mib },
		"modules": func(in *Input) { in.Modules = 30 * mib },
		"cpus":    func(in *Input) { in.CPUs = 32 },
		"network": func(in *Input) { in.Network = true },
		"luks":    func(in *Input) { in.LUKS, in.LUKSFrom = 1*gib, "Argon2" },
		"luns":    func(in *Input) { in.LUNs = 100 },
		"memory":  func(in *Input) { in.Memory = 64 * mib },
		"bitmap":  func(in *Input) { in.RAM = 1024 * gib },
		"swiotlb": func(in *Input) { in.Encrypted = true },
		"elf":     func(in *Input) { in.Elfcorehdr = 40 * mib },
	} {
		in := lab(56)
		change(&in)
		if r := Of(in); r.Size <= base.Size {
			t.Errorf("%s: %d MiB; want more than the %d without", name, r.Size/mib, base.Size/mib)
		}
	}
}

// TestSums: the terms of a phase are its sum.
func TestSums(t *testing.T) {
	in := lab(56)
	in.Network, in.LUNs, in.RAM, in.RAMLow = true, 7, 64*gib, 3*gib
	r := Of(in)
	var start, save uint64
	for _, term := range r.Terms {
		if term.Why == "" || term.Title == "" {
			t.Errorf("%s says nothing", term.ID)
		}
		if term.Phase != Save {
			start += term.Bytes
		}
		if term.Phase != Boot {
			save += term.Bytes
		}
	}
	if start != r.Boot || save != r.Save || r.Peak != max(start, save) || r.Size < r.Peak || r.Size%(16*mib) != 0 {
		t.Errorf("terms give %d and %d; got %+v", start, save, r)
	}
	if r.High != r.Size || r.Low != 72*mib || r.MaxLow != 3*gib || r.MaxHigh != 61*gib || !strings.Contains(r.HighWords, ",high crashkernel=72M,low") {
		t.Errorf("above 4 GiB: %+v", r)
	}
	var b bytes.Buffer
	if err := r.Text(&b); err != nil || !strings.Contains(b.String(), "MaxHigh: 62464\n") || !strings.Contains(b.String(), r.Words) {
		t.Errorf("text: %v\n%s", err, b.String())
	}
}

func TestEnough(t *testing.T) {
	if r := Of(Input{}); r.Size == 0 {
		t.Errorf("nothing is known: %+v", r)
	}
	r := Of(lab(56))
	if !r.Enough(r.Size) || !r.Enough(r.Least) || r.Enough(48*mib) || r.Least >= r.Peak || r.Least < 72*mib {
		t.Errorf("%+v", r)
	}
}

// TestMeasured: reservations of capture kernels of a machine of 512 MiB, whose initrd is kdx-init alone.
func TestMeasured(t *testing.T) {
	for _, c := range []struct {
		release    string
		init       float64
		elfcorehdr uint64
		reserved   uint64 // MiB
		want       string
	}{
		{"6.1, out of memory while it unpacks", 51.5, 5 * kib, 80, "too small as kdx reckons"},
		{"6.1, out of memory while it unpacks", 51.5, 5 * kib, 84, "may be too small"},
		{"6.1, saves", 51.5, 5 * kib, 88, ""},
		{"6.1, saves", 51.5, 5 * kib, 96, ""},
		{"6.12, out of memory while it saves", 55.9, UsualElfcorehdr, 84, "too small as kdx reckons"},
		{"6.12, saves at the second turn", 55.9, UsualElfcorehdr, 88, "may be too small"},
		{"6.12, saves", 55.9, UsualElfcorehdr, 96, ""},
		{"7.2, out of memory while it unpacks", 60.2, UsualElfcorehdr, 88, "too small as kdx reckons"},
		{"7.2, out of memory while it unpacks", 60.2, UsualElfcorehdr, 96, "may be too small"},
		{"7.2, saves", 60.2, UsualElfcorehdr, 112, ""},
	} {
		in := lab(c.init)
		in.InitrdPacked, in.InitrdUnpacked, in.Elfcorehdr = 4*mib+256*kib, 12e6, c.elfcorehdr
		r := Of(in)
		got := r.Doubt(c.reserved * mib)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s with %d MiB: %q; want %q", c.release, c.reserved, got, c.want)
		}
	}
}
