package doctor

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kdx/capture/config"
	"kdx/capture/estimate"
	"kdx/capture/initrd"
	"kdx/capture/reserve"
)

// host is what several checks need of the host. Checks read the rest themselves.
type host struct {
	ctx     context.Context
	opt     Options
	base    string
	cfg     *config.Loaded
	cfgErr  error
	reserve *reserve.Report
	release string // of the running kernel
	cmdline []string
	mounts  []mount
	image   image
	initrd  archive
	armed   armed
	input   *estimate.Input
	verdict *initrd.Verdict
}

// maxFile bounds files of /proc, /sys, /etc and /boot that are read whole.
const maxFile = 4 << 20

func newHost(ctx context.Context, opt Options) (*host, error) {
	h := &host{ctx: ctx, opt: opt, base: opt.Root}
	if h.base == "" {
		h.base = "/"
	}
	r, err := reserve.ReadHost(opt.Root)
	if err != nil {
		return nil, fmt.Errorf("the host can't be looked at: %w", err)
	}
	h.reserve = r.Compare(opt.Arch)
	h.cmdline = strings.Fields(r.Cmdline)
	h.release = h.text("proc/sys/kernel/osrelease")
	if h.cfg, h.cfgErr = config.Load(opt.Root, opt.Config); h.cfgErr != nil {
		h.cfg = &config.Loaded{Parsed: &config.Parsed{Config: config.Default()}}
	}
	h.mounts = readMounts(h.text("proc/self/mountinfo"))
	h.image = findImage(h)
	h.armed = readArmed(h)
	h.initrd = readInitrd(h)
	h.cfg.Config = withPlan(h.cfg.Config, h.initrd.path, h.initrd.Contents)
	return h, nil
}

// config is the configuration in force, or the defaults if it can't be read.
func (h *host) config() *config.Config { return h.cfg.Config }

func (h *host) path(name string) string { return filepath.Join(h.base, name) }

// read reads the first of the files that is there.
func (h *host) read(names ...string) ([]byte, error) {
	err := fs.ErrNotExist
	for _, n := range names {
		var f *os.File
		if f, err = os.Open(h.path(n)); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return nil, err
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
		if err == nil && len(b) > maxFile {
			err = fmt.Errorf("%s has more than %d bytes", f.Name(), maxFile)
		}
		return b, err
	}
	return nil, err
}

// text is a file's text without blanks around it, "" if it can't be read.
func (h *host) text(names ...string) string {
	b, err := h.read(names...)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// number is a decimal number that a file holds.
func (h *host) number(names ...string) (int64, bool) {
	n, err := strconv.ParseInt(h.text(names...), 10, 64)
	return n, err == nil
}

func (h *host) exists(name string) bool {
	_, err := os.Stat(h.path(name))
	return err == nil
}

func (h *host) glob(pattern string) []string {
	found, _ := filepath.Glob(h.path(pattern))
	return found
}

// param is the last value of a parameter of the running kernel's command line.
func (h *host) param(name string) (string, bool) { return paramOf(h.cmdline, name) }

// paramOf knows that the kernel takes - and _ in names for the same.
func paramOf(words []string, name string) (string, bool) {
	same := func(s string) string { return strings.ReplaceAll(s, "-", "_") }
	for _, w := range slices.Backward(words) {
		key, value, _ := strings.Cut(w, "=")
		if same(key) == same(name) {
			return value, true
		}
	}
	return "", false
}

// sysctl reads a sysctl by its dotted or slashed name.
func (h *host) sysctl(name string) (string, bool) {
	if !strings.Contains(name, "/") {
		name = strings.ReplaceAll(name, ".", "/")
	}
	b, err := h.read("proc/sys/" + name)
	return strings.TrimSpace(string(b)), err == nil
}

// kconfig is the configuration that a kernel was built with, by name without CONFIG_; "" says where it was looked for in vain.
func (h *host) kconfig(release string) (set map[string]string, from string) {
	for _, n := range []string{"boot/config-" + release, "usr/lib/modules/" + release + "/config", "lib/modules/" + release + "/config"} {
		if b, err := h.read(n); err == nil {
			return parseKconfig(b), "/" + n
		}
	}
	if release != h.release {
		return nil, ""
	}
	b, err := h.read("proc/config.gz")
	if err != nil {
		return nil, ""
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, ""
	}
	plain, err := io.ReadAll(io.LimitReader(z, maxFile))
	if err != nil {
		return nil, ""
	}
	return parseKconfig(plain), "/proc/config.gz"
}

func parseKconfig(b []byte) map[string]string {
	set := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.HasPrefix(key, "CONFIG_") {
			set[strings.TrimPrefix(key, "CONFIG_")] = value
		}
	}
	return set
}

// enabled says whether systemd starts a unit at boot, by the links that systemctl enable makes.
func (h *host) enabled(unit string) bool {
	for _, dir := range []string{"etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"} {
		for _, kind := range []string{"wants", "requires"} {
			for _, link := range h.glob(dir + "/*." + kind + "/" + unit) {
				if target, err := os.Readlink(link); err != nil || target != "/dev/null" {
					return !h.masked(unit)
				}
			}
		}
	}
	return false
}

// masked says whether a unit is masked: it is a link to /dev/null, or empty.
func (h *host) masked(unit string) bool {
	for _, dir := range []string{"etc/systemd/system", "run/systemd/system"} {
		if target, err := os.Readlink(h.path(dir + "/" + unit)); err == nil && target == "/dev/null" {
			return true
		}
	}
	return false
}

// mount is a line of mountinfo.
type mount struct {
	dev     string // major:minor
	root    string // of the filesystem, which part is mounted
	point   string
	options []string
	kind    string
	source  string
}

func readMounts(text string) []mount {
	var out []mount
	for line := range strings.Lines(text) {
		left, right, ok := strings.Cut(line, " - ")
		a, b := strings.Fields(left), strings.Fields(right)
		if !ok || len(a) < 6 || len(b) < 2 {
			continue
		}
		m := mount{dev: a[2], root: unescape(a[3]), point: unescape(a[4]), options: strings.Split(a[5], ","), kind: b[0], source: unescape(b[1])}
		if len(b) > 2 {
			m.options = append(m.options, strings.Split(b[2], ",")...)
		}
		out = append(out, m)
	}
	return out
}

// unescape undoes mountinfo's \040 for blanks and the like.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// mountOf is the mount that a directory lies on: the last one with the longest mount point.
func (h *host) mountOf(dir string) (mount, bool) {
	best, found := mount{}, false
	for _, m := range h.mounts {
		if (m.point == "/" || dir == m.point || strings.HasPrefix(dir, m.point+"/")) && len(m.point) >= len(best.point) {
			best, found = m, true
		}
	}
	return best, found
}
