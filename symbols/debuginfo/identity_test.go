package debuginfo

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"kdx/internal/elfnote"
)

const (
	idA = "aa00000000000000000000000000000000000001"
	idB = "bb00000000000000000000000000000000000002"
)

func TestIdentify(t *testing.T) {
	const banner = "Linux version 6.1.0-9-test (a@b) (gcc) #1 SMP Debian 6.1.5-1"
	for name, test := range map[string]struct {
		spec spec
		want Identity
	}{
		"vmlinux": {spec{id: idA, dwarf: true, symbols: true, banner: banner, padding: 3 << 19},
			Identity{Machine: elf.EM_X86_64, BuildID: idA, DWARF: true, Symbols: true, Banner: banner, Release: "6.1.0-9-test"}},
		"module": {spec{id: idA, symbols: true, release: "6.1.0-9-test", relocatable: true, machine: elf.EM_AARCH64},
			Identity{Machine: elf.EM_AARCH64, BuildID: idA, Symbols: true, Release: "6.1.0-9-test"}},
		"stripped": {spec{link: "vmlinux.debug", crc: 0x12345678, alt: "../.dwz/x", altID: idB},
			Identity{Machine: elf.EM_X86_64, Link: "vmlinux.debug", LinkCRC: 0x12345678, Alt: "../.dwz/x", AltID: idB}},
	} {
		b := build(test.spec)
		got, err := Identify(bytes.NewReader(b), int64(len(b)))
		got.readBanner(bytes.NewReader(b), int64(len(b)))
		if err != nil || got != test.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		for _, cut := range []int{5, 60, 70, len(b) / 2, len(b) - 1} {
			_, err := Identify(bytes.NewReader(b[:cut]), int64(cut))
			var damaged *DamagedError
			if !errors.As(err, &damaged) || !strings.Contains(err.Error(), "truncated") {
				t.Errorf("%s cut to %d of %d bytes: %v", name, cut, len(b), err)
			}
		}
	}
	if _, err := Identify(strings.NewReader("text"), 4); !errors.Is(err, ErrNotELF) {
		t.Errorf("text: %v", err)
	}
	b := build(spec{id: idA, dwarf: true})
	binary.LittleEndian.PutUint64(b[len(b)-64*2+24:], 1<<40) // where .debug_info lies
	var damaged *DamagedError
	if _, err := Identify(bytes.NewReader(b), int64(len(b))); !errors.As(err, &damaged) || !strings.Contains(err.Error(), ".debug_info") {
		t.Errorf("a section beyond the end: %v", err)
	}
}

func TestPeek(t *testing.T) {
	b := build(spec{id: idA, progs: true, padding: 100})
	if m, id, err := peekID(bytes.NewReader(b)); m != elf.EM_X86_64 || id != idA || err != nil {
		t.Errorf("peekID = %v, %s, %v", m, id, err)
	}
	b = build(spec{id: idA})
	if m, id, err := peekID(bytes.NewReader(b)); m != elf.EM_X86_64 || id != "" || err != nil {
		t.Errorf("without program headers: %v, %s, %v", m, id, err)
	}
}

func TestBelieve(t *testing.T) {
	for banner, want := range map[string]bool{
		"Linux version 6.1.112": true, "Linux version 6.1.113": false, "Linux version 6.1.118 (x)": false, "Linux version 6.1.119-rc1": true,
		"Linux version 5.15.200": false, "Linux version 5.15.167": true, "Linux version 6.6.62+": false, "Linux version 6.11.10": true, "Linux version 6.10.14": false,
		"Linux version 6.1.0-27-amd64 (debian-kernel@lists.debian.org) (gcc) #1 SMP PREEMPT_DYNAMIC Debian 6.1.115-1 (2024-11-01)":               false,
		"Linux version 6.1.0-25-amd64 (debian-kernel@lists.debian.org) (gcc) #1 SMP PREEMPT_DYNAMIC Debian 6.1.106-3 (2024-08-26)":               true,
		"Linux version 5.15.0-127-generic (buildd@x) (gcc) #137-Ubuntu SMP Fri Nov 8 15:21:01 UTC 2024 (Ubuntu 5.15.0-127.137-generic 5.15.168)": false,
		"Linux version 5.14.0-503.el9.x86_64": true, "": true,
	} {
		ok, why := BelieveBuildID(banner)
		if ok != want || ok != (why == "") {
			t.Errorf("%q: %v, %q", banner, ok, why)
		}
	}
}

// memory is kernel memory from address base.
type memory struct {
	base uint64
	b    []byte
}

func (m memory) ReadMemory(p []byte, addr uint64) (int, error) {
	if addr < m.base || addr-m.base > uint64(len(m.b)) {
		return 0, errors.New("not there")
	}
	n := copy(p, m.b[addr-m.base:])
	if n < len(p) {
		return n, errors.New("page excluded")
	}
	return n, nil
}

func TestTrueBuildID(t *testing.T) {
	le := binary.LittleEndian
	notes := elfnote.Append(nil, le, "Xen", 5, []byte("abcd"))
	notes = elfnote.Append(notes, le, "GNU", 3, []byte{1, 2, 3, 4})
	const base = 0xffffffff82437e70
	end := base + uint64(len(notes))
	if id, err := TrueBuildID(memory{base, notes}, le, base, end); id != "01020304" || err != nil {
		t.Errorf("TrueBuildID = %q, %v", id, err)
	}
	if _, err := TrueBuildID(memory{base, notes[:20]}, le, base, end); err == nil || !strings.Contains(err.Error(), "page excluded") {
		t.Errorf("a page that is not there: %v", err)
	}
	if _, err := TrueBuildID(memory{base, notes[:20]}, le, base, base+20); !errors.Is(err, ErrNoBuildID) {
		t.Errorf("without a build-id: %v", err)
	}
	for _, stop := range []uint64{base, base - 1, base + 1<<30} {
		if _, err := TrueBuildID(memory{base, notes}, le, base, stop); err == nil {
			t.Errorf("notes up to %#x gave no error", stop)
		}
	}
}

func TestHints(t *testing.T) {
	for release, want := range map[string]string{"6.1.0-56-cloud-amd64": "", "6.12.117+deb13-amd64": "Debian", "5.14.0-503.el9.x86_64": "Fedora, RHEL, CentOS Stream", "6.4.0-150600.21-default": "SUSE"} {
		h := Hints(release, "")
		if want == "" && len(h) < 4 || want != "" && (len(h) != 1 || h[0].Distribution != want) {
			t.Errorf("%s: %+v", release, h)
		}
	}
	if h := Hints("6.1.0-56-cloud-amd64", "Linux version 6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org)"); len(h) != 1 || !strings.Contains(h[0].Do, "linux-image-6.1.0-56-cloud-amd64-dbg") {
		t.Errorf("%+v", h)
	}
}

func FuzzIdentify(f *testing.F) {
	f.Add(build(spec{id: idA, dwarf: true, symbols: true, banner: "Linux version 6.1 x", progs: true}))
	f.Add(build(spec{id: idA, release: "6.1", relocatable: true, link: "a.debug", alt: "b", altID: idB}))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := Identify(bytes.NewReader(b), int64(len(b)))
		id.readBanner(bytes.NewReader(b), int64(len(b)))
		if err == nil && len(id.BuildID) > 2*maxBuildID {
			t.Errorf("build-id of %d digits", len(id.BuildID))
		}
		peekID(bytes.NewReader(b))
	})
}
