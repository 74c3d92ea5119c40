package load

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"kdx/capture/bzimage"
	"kdx/capture/bzimage/bzimagetest"
	"kdx/capture/reserve"
)

// TestPlace: the places are those that 6.12 logged with the flag for debugging: 192 MiB at 0x33000000, init_size 0x37dc000.
func TestPlace(t *testing.T) {
	h := &bzimage.Header{InitSize: 0x37dc000, Alignment: 2 << 20}
	region := reserve.Region{Start: 0x33000000, End: 0x3effffff}
	sum, err := place(region, segments(h, 200, 1<<20, 917616))
	if err != nil || sum < 0x37dc000+1<<20+0xe1000 || sum > 0x37dc000+1<<20+0xe1000+16*pageSize {
		t.Error(sum, err)
	}
	// The kernel is aligned to 2 MiB, so a region of just the sum does not do.
	tight := reserve.Region{Start: 0x33000000, End: 0x33000000 + sum - 1}
	var no *noRoomError
	if _, err := place(tight, segments(h, 200, 1<<20, 917616)); !errors.As(err, &no) {
		t.Error(err)
	}
	if _, err := place(reserve.Region{Start: 0x1000, End: 0x1fff}, segments(h, 1, 1, 1)); !errors.As(err, &no) {
		t.Error(err)
	}
	if got := leastToStart(&bzimage.Header{InitSize: 0x37dc000}, 917616, 80<<20, 5<<20, 12<<20); got > 80<<20 || got < 64<<20 {
		t.Error(mebi(got))
	}
}

func FuzzPlace(f *testing.F) {
	f.Add(uint32(0x33000), uint32(0xc000), uint32(56<<20), uint32(1<<20), uint32(2<<20), uint32(900000))
	f.Fuzz(func(t *testing.T, start, pages, initSize, initrd, alignment, elf uint32) {
		r := reserve.Region{Start: uint64(start) * pageSize, End: (uint64(start)+uint64(pages)+1)*pageSize - 1}
		h := &bzimage.Header{InitSize: uint64(initSize), Alignment: uint64(1) << (alignment % 31)}
		sum, err := place(r, segments(h, 300, int64(initrd), uint64(elf)))
		if err == nil && sum > r.Bytes() {
			t.Fatal(sum)
		}
	})
}

func TestTrust(t *testing.T) {
	m := newMachine(t)
	h, err := bzimage.Read(bytes.NewReader(bzimagetest.New(bzimagetest.Image{})), 2032)
	if err != nil {
		t.Fatal(err)
	}
	if tr := m.Trust(h); tr.Signed || tr.Trusted {
		t.Error(tr)
	}
	h.Signed, h.Signers = true, []bzimage.Signer{{Subject: "CN=Signer", Issuer: "CN=CA", KeyID: "aa11", IssuerKeyID: "bb22"}}
	for keys, want := range map[string]string{
		"": "shows none of the kernel's keys",
		"0a I------ 1 perm 1f010000 0 0 asymmetri Other CA: cc33: X509.rsa cc33 []\n":  "neither that key nor CN=CA is among",
		"0a I------ 1 perm 1f010000 0 0 asymmetri Debian CA: bb22: X509.rsa bb22 []\n": "whose key the kernel has",
		"0a I------ 1 perm 1f010000 0 0 keyring bb22: empty\n":                         "shows none",
	} {
		m.put("proc/keys", keys)
		tr := m.Trust(h)
		if !strings.Contains(tr.Why, want) || tr.Trusted != strings.Contains(want, "has") {
			t.Errorf("%s: %+v", want, tr)
		}
	}
}
