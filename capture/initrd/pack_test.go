package initrd

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"kdx/capture/kmod"
	"kdx/capture/kmod/kmodtest"
)

// TestPackedModule: a large module takes little room in the initrd, and is the same when it is unpacked.
func TestPackedModule(t *testing.T) {
	b := newBench(t)
	large := kmodtest.Module("name=xfs", "depends=libcrc32c", "vermagic="+release+" SMP", "description="+strings.Repeat("relocations ", packFrom/10))
	b.put("lib/modules/"+release+"/kernel/fs/xfs/xfs.ko", large, 0o644)
	r := b.build()
	const at = "/kdx/modules/xfs.ko.zst"
	for _, m := range r.Modules {
		if (m.Name == "xfs") != (m.Size < m.Unpacked) || m.Name == "xfs" && m.Unpacked != int64(len(large)) {
			t.Errorf("%+v", m)
		}
	}
	c := b.show()
	if m := c.Plan.Modules[len(c.Plan.Modules)-1]; !strings.Contains(strings.Join(c.Modules, " "), "xfs") || c.sums[at] == "" {
		t.Errorf("%+v, %q", m, c.Modules)
	}
	data, err := Data(t.Context(), b.opt.Output, at)
	if err != nil || int64(len(data)) > int64(len(large))/2 {
		t.Fatal(len(data), err)
	}
	b.put("tmp/xfs.ko.zst", data, 0o600)
	info, err := kmod.ReadInfo(filepath.Join(b.root, "tmp/xfs.ko.zst"))
	if err != nil || info.Size != int64(len(large)) || info.Name != "xfs" {
		t.Error(info, err)
	}
	if again := b.build(); again.Built {
		t.Error("packed in another way: " + again.Why)
	}
	v, err := Verify(t.Context(), b.opt.Output, "", b.opt)
	if err != nil || !v.Good() {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestPackModule(t *testing.T) {
	small, packed := make([]byte, packFrom-1), append([]byte("\xfd7zXZ\x00"), make([]byte, packFrom)...)
	for what, data := range map[string][]byte{"small": small, "packed": packed, "empty": nil} {
		if packModule(data) != nil {
			t.Errorf("%s: packed", what)
		}
	}
	large := bytes.Repeat([]byte("elf "), packFrom)
	if a, b := packModule(large), packModule(large); a == nil || !bytes.Equal(a, b) {
		t.Error("not the same twice")
	}
}
