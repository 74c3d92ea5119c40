package storage

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Mount is where a directory of the running host lies.
type Mount struct {
	// Device is as Discover takes it, FS the filesystem's type.
	Device, FS string
	// Subvol is the subvolume of btrfs that is mounted, "" for others.
	Subvol string
	// Path is the directory's within the filesystem (of btrfs: within the subvolume). Point is where the filesystem is mounted.
	Path, Point string
	// Options of the filesystem, as /proc/self/mountinfo shows them.
	Options []string
}

// MountOf finds the filesystem that a directory lies on; the directory itself need not exist yet. It fails for what is on no block device: memory, a network.
func MountOf(root, dir string) (Mount, error) {
	h := newHost(root)
	if !path.IsAbs(dir) {
		return Mount{}, fmt.Errorf("%q is no absolute path", dir)
	}
	dir = h.withoutLinks(path.Clean(dir))
	data, err := os.ReadFile(h.path("proc/self/mountinfo"))
	if err != nil {
		return Mount{}, fmt.Errorf("filesystem of %s: %w", dir, err)
	}
	var best mountLine
	found := false
	for line := range strings.Lines(string(data)) {
		m, ok := parseMountLine(line)
		// A later line hides an earlier one of the same place.
		if ok && within(dir, m.point) && (!found || len(m.point) >= len(best.point)) {
			best, found = m, true
		}
	}
	if !found {
		return Mount{}, fmt.Errorf("filesystem of %s: /proc/self/mountinfo shows none", dir)
	}
	m, err := h.mount(best, dir)
	if err != nil {
		return m, fmt.Errorf("%s is on %s, mounted at %s: %w", dir, best.fs, best.point, err)
	}
	return m, nil
}

// withoutLinks follows links in as much of a path as there is.
func (h *host) withoutLinks(dir string) string {
	rest := ""
	for at := dir; ; rest, at = path.Join(path.Base(at), rest), path.Dir(at) {
		real, err := filepath.EvalSymlinks(h.path(at))
		if err != nil {
			if at == "/" {
				return dir
			}
			continue
		}
		base, err := filepath.EvalSymlinks(h.path("/"))
		if err != nil {
			return dir
		}
		inside, ok := strings.CutPrefix(real, strings.TrimSuffix(base, "/"))
		if !ok {
			return dir
		}
		return path.Join("/", inside, rest)
	}
}

func within(p, dir string) bool { return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/") }

// mountLine is a line of mountinfo: id, parent, device number, root, mount point, options, tags, "-", type, source, options of the filesystem.
type mountLine struct {
	dev, root, point, fs, source string
	options                      []string
}

func parseMountLine(line string) (mountLine, bool) {
	w := strings.Fields(line)
	dash := slices.Index(w, "-")
	if dash < 6 || len(w) < dash+3 {
		return mountLine{}, false
	}
	m := mountLine{dev: w[2], root: unescape(w[3]), point: unescape(w[4]), fs: w[dash+1], source: unescape(w[dash+2])}
	if len(w) > dash+3 {
		m.options = strings.Split(w[dash+3], ",")
	}
	return m, true
}

// unescape reads \040 and the like.
func unescape(s string) string {
	var out []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && isOctal(s[i+1:i+4]) {
			out = append(out, (s[i+1]-'0')<<6|(s[i+2]-'0')<<3|(s[i+3]-'0'))
			i += 3
			continue
		}
		out = append(out, s[i])
	}
	return string(out)
}

func isOctal(s string) bool { return strings.Trim(s, "01234567") == "" && s[0] < '4' }

func (h *host) mount(l mountLine, dir string) (Mount, error) {
	m := Mount{FS: l.fs, Point: l.point, Options: l.options}
	switch l.fs {
	case "tmpfs", "ramfs", "rootfs", "devtmpfs":
		return m, errors.New("that is memory, which is gone after a crash. Name a directory on a disk")
	case "overlay", "aufs":
		return m, errors.New("that is put together of other directories. Name the filesystem below as FSTYPE:DEVICE:/DIRECTORY")
	case "autofs":
		return m, errors.New("that is mounted only when somebody looks into it. Do so, or name it as FSTYPE:DEVICE:/DIRECTORY")
	case "nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "virtiofs", "fuse.sshfs", "glusterfs":
		return m, errors.New("that is another machine's, which kdx does not mount. Name its SFTP server")
	case "zfs":
		return m, errors.New("kdx does not import pools of ZFS")
	}
	b, err := h.deviceByNumber(l.dev)
	if err != nil { // of btrfs, whose number is none of a device
		b, err = h.find(l.source)
	}
	if err != nil {
		return m, fmt.Errorf("its device %s (%s): %w", l.dev, l.source, err)
	}
	m.Device = "/dev/" + strings.ReplaceAll(b.name, "!", "/")
	inside := l.root
	if l.fs == "btrfs" {
		m.Subvol, inside = splitSubvol(l)
	}
	m.Path = path.Join("/", inside, strings.TrimPrefix(dir, l.point))
	return m, nil
}

// splitSubvol tells the subvolume from the directory in it that is mounted.
func splitSubvol(l mountLine) (subvol, inside string) {
	for _, o := range l.options {
		if v, ok := strings.CutPrefix(o, "subvol="); ok {
			v = path.Join("/", unescape(v))
			if within(l.root, v) {
				return v, strings.TrimPrefix(l.root, v)
			}
		}
	}
	return l.root, ""
}
