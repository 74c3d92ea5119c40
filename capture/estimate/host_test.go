package estimate

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"

	"kdx/capture/config"
	"kdx/internal/treetest"
)

// luks2 is a header with key slots.
func luks2(json string) []byte {
	b := make([]byte, 16<<10)
	copy(b, "LUKS\xba\xbe\x00\x02")
	binary.BigEndian.PutUint64(b[8:], uint64(len(b)))
	copy(b[4096:], json)
	return b
}

func TestLUKSMemory(t *testing.T) {
	const two = `{"keyslots":{"0":{"kdf":{"type":"argon2id","memory":1048576}},"1":{"kdf":{"type":"pbkdf2","iterations":1000}}}}`
	if n, err := LUKSMemory(luks2(two)); err != nil || n != 1*gib {
		t.Errorf("%d, %v", n, err)
	}
	one := luks2("")
	one[7] = 1
	if n, err := LUKSMemory(one); err != nil || n != 0 {
		t.Errorf("LUKS1: %d, %v", n, err)
	}
	for _, bad := range [][]byte{nil, make([]byte, 8192), luks2(two)[:5000], luks2("{"), luks2(`{"keyslots":{"0":{"kdf":{"memory":99999999999}}}}`)} {
		if n, err := LUKSMemory(bad); err == nil {
			t.Errorf("%.20q gave %d", bad, n)
		}
	}
}

func FuzzLUKS(f *testing.F) {
	f.Add(luks2(`{"keyslots":{"0":{"kdf":{"memory":1024}}}}`))
	f.Add([]byte("LUKS\xba\xbe\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := LUKSMemory(b); err == nil && n > 1<<42 {
			t.Errorf("%d bytes", n)
		}
	})
}

// TestFromHost: a host with an encrypted target, SCSI disks and a target on the network.
func TestFromHost(t *testing.T) {
	root := t.TempDir()
	treetest.Put(t, root, "proc/cmdline", "mem_encrypt=on")
	treetest.Put(t, root, "proc/iomem", "00100000-7fffffff : System RAM\n100000000-17fffffff : System RAM\n")
	treetest.Put(t, root, "sys/devices/system/cpu/possible", "0-7\n")
	treetest.Put(t, root, "sys/kernel/crash_elfcorehdr_size", "4096\n")
	treetest.Put(t, root, "sys/class/scsi_disk/0:0:0:0/x", "")
	treetest.Put(t, root, "sys/class/scsi_disk/0:0:0:1/x", "")
	treetest.Put(t, root, "sys/class/block/dm-0/dm/uuid", "CRYPT-LUKS2-1234-data\n")
	treetest.Put(t, root, "sys/class/block/dm-0/dm/name", "data\n")
	treetest.Put(t, root, "sys/class/block/dm-0/slaves/sda1/x", "")
	treetest.Put(t, root, "sys/class/block/sda1/partition", "1\n")
	treetest.Put(t, root, "dev/sda1", string(luks2(`{"keyslots":{"0":{"kdf":{"memory":1024}}}}`)))
	c := config.Default()
	c.CPUs, c.Targets = 0, nil
	for _, text := range []string{"ext4:/dev/mapper/data:/d", "sftp://a@b/c"} {
		x, err := config.ParseTarget(text)
		if err != nil {
			t.Fatal(err)
		}
		c.Targets = append(c.Targets, x)
	}
	in, notes := FromHost(context.Background(), root, "amd64", c)
	if in.RAM != 0x7ff00000+0x80000000 || in.RAMLow != 0x7ff00000 || in.CPUs != 8 || in.LUNs != 2 || !in.Network || !in.Encrypted || in.Elfcorehdr != 4096 || in.LUKS != 1<<20 {
		t.Errorf("%+v", in)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "guessed") || in.InitSize != UsualInitSize {
		t.Errorf("%q, %+v", notes, in)
	}
	in, notes = FromHost(context.Background(), t.TempDir(), "amd64", config.Default())
	if in.RAM != 0 || len(notes) != 1 || Of(in).Size < 96*mib {
		t.Errorf("of an empty directory: %+v, %q", in, notes)
	}
}
