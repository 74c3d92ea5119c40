package estimate

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kdx/capture/storage"
)

// Layer is a block device that a target stands on, as /sys tells of it.
type Layer struct {
	Name string // the kernel's
	// DM is device-mapper's UUID, whose first word is who made it: CRYPT-LUKS2-…, LVM-…, mpath-…; "" for others.
	DM string
	// Bus is the path in /sys of a disk, on which it can be told how it is attached.
	Bus string
	// Removable media.
	Removable bool
}

// DeviceName is the kernel's name of a device of the running host: of /dev/…, UUID=… and the like by the links that udev makes, else by what lies on the
// disks; of LVM's names by those of device-mapper. "" if there is none such.
func DeviceName(root, device string) string {
	path, tagged := device, false
	for tag, dir := range map[string]string{"UUID=": "by-uuid", "LABEL=": "by-label", "PARTUUID=": "by-partuuid", "PARTLABEL=": "by-partlabel"} {
		if v, ok := strings.CutPrefix(device, tag); ok {
			path, tagged = "/dev/disk/"+dir+"/"+v, true
		}
	}
	target, err := os.Readlink(under(root, path))
	switch {
	case err == nil:
		path = target
	case tagged: // no udev
		if d, err := storage.Discover(root, device); err == nil {
			return d.Name
		}
		return ""
	}
	name := filepath.Base(path)
	if _, err := os.Stat(under(root, "/sys/class/block/"+name)); err == nil {
		return name
	}
	names, _ := filepath.Glob(under(root, "/sys/class/block/dm-*/dm/name"))
	for _, n := range names {
		if b, err := os.ReadFile(n); err == nil && strings.TrimSpace(string(b)) == filepath.Base(device) {
			return filepath.Base(filepath.Dir(filepath.Dir(n)))
		}
	}
	return ""
}

const maxLayers = 64

// Stack is the device and all that it stands on, the topmost first.
func Stack(root, name string) []Layer {
	var out []Layer
	seen := map[string]bool{}
	var walk func(string)
	walk = func(name string) {
		if name == "" || seen[name] || len(out) >= maxLayers {
			return
		}
		seen[name] = true
		dir := under(root, "/sys/class/block/"+name)
		l := Layer{Name: name, DM: line(dir + "/dm/uuid"), Removable: line(dir+"/removable") == "1"}
		real, err := filepath.EvalSymlinks(dir)
		if err == nil {
			l.Bus = real
		}
		out = append(out, l)
		below, _ := filepath.Glob(dir + "/slaves/*")
		for _, b := range below {
			walk(filepath.Base(b))
		}
		if _, err := os.Stat(dir + "/partition"); err == nil && l.Bus != "" {
			walk(filepath.Base(filepath.Dir(l.Bus)))
		}
	}
	walk(name)
	return out
}

func line(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// LUKSMemory is what opening a LUKS volume takes at most: the largest memory cost of its key slots, in bytes. 0 for LUKS1, whose PBKDF2 takes
// none worth counting. The header is read from r's first MiB.
func LUKSMemory(head []byte) (uint64, error) {
	if len(head) < 4096 || !bytes.Equal(head[:6], []byte("LUKS\xba\xbe")) {
		return 0, fmt.Errorf("no LUKS header")
	}
	if binary.BigEndian.Uint16(head[6:]) == 1 {
		return 0, nil
	}
	size := binary.BigEndian.Uint64(head[8:]) // of binary header and JSON
	if size < 4096 || size > uint64(len(head)) {
		return 0, fmt.Errorf("its LUKS2 header has %d bytes, which is not one of the sizes that there are, or cut off", size)
	}
	area, _, _ := bytes.Cut(head[4096:size], []byte{0})
	var doc struct {
		Keyslots map[string]struct {
			KDF struct {
				Type   string `json:"type"`
				Memory uint64 `json:"memory"` // KiB
			} `json:"kdf"`
		} `json:"keyslots"`
	}
	if err := json.Unmarshal(area, &doc); err != nil {
		return 0, fmt.Errorf("its LUKS2 header: %w", err)
	}
	var most uint64
	for _, s := range doc.Keyslots {
		most = max(most, s.KDF.Memory)
	}
	if most > 1<<32 {
		return 0, fmt.Errorf("its LUKS2 header asks for %d KiB", most)
	}
	return most * kib, nil
}

// maxLUKSHeader is the largest size of a LUKS2 header that there is, 4 MiB.
const maxLUKSHeader = 4 << 20
