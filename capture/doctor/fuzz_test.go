package doctor

import (
	"strings"
	"testing"
)

// FuzzMounts: whatever stands in mountinfo, a mount has a point, and the one of a directory lies above it.
func FuzzMounts(f *testing.F) {
	f.Add("20 1 259:2 / / rw,relatime - ext4 /dev/nvme0n1p2 rw\n21 20 0:30 /@ /a\\040b rw shared:1 - btrfs /dev/sda rw,subvol=/@\n", "/a b/c")
	f.Add("1 2 3 4 5 6 - \n - a b", "/")
	f.Fuzz(func(t *testing.T, text, dir string) {
		h := host{mounts: readMounts(text)}
		m, found := h.mountOf(dir)
		if found && m.point != "/" && !strings.HasPrefix(dir, m.point) {
			t.Errorf("%q lies on %q", dir, m.point)
		}
	})
}

// FuzzKconfig: only names that are set come out.
func FuzzKconfig(f *testing.F) {
	f.Add([]byte("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"x=y\"\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for name := range parseKconfig(b) {
			if !strings.Contains(string(b), "CONFIG_"+name+"=") {
				t.Errorf("%q is not there", name)
			}
		}
	})
}
