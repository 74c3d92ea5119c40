package doctor

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"kdx/capture/initrd"
)

// archive is the capture initrd.
type archive struct {
	*initrd.Contents
	path string // on the host
	err  error
}

func readInitrd(h *host) archive {
	path := h.config().Initrd
	if r := h.armed.Record; r != nil && r.Initrd.Path != "" {
		path = r.Initrd.Path // what is loaded counts
	}
	c, err := h.opt.show(h.ctx, h.path(path))
	return archive{c, path, err}
}

const noInitrd = "there is no initrd"

func initrdThere(h *host) outcome {
	switch {
	case errors.Is(h.initrd.err, fs.ErrNotExist):
		return bad("%s is not there", h.config().Initrd)
	case h.initrd.err != nil:
		return bad("%v", h.initrd.err).do("kdx capture initrd build --force")
	case h.initrd.Manifest == nil && h.initrd.Damaged == "":
		return bad("%s is not kdx's, but of %s", h.config().Initrd, orUnknown(h.initrd.Maker)).do("name another path with initrd =, then kdx capture initrd build")
	}
	return ok("%s: %s, %s unpacked", h.config().Initrd, mebi(uint64(h.initrd.Size)), mebi(uint64(h.initrd.Unpacked)))
}

func orUnknown(s string) string {
	if s == "" {
		return "something unknown"
	}
	return s
}

// own is kdx's initrd, or why there is none.
func (h *host) own() (*initrd.Manifest, bool) {
	if h.initrd.err != nil || h.initrd.Manifest == nil {
		return nil, false
	}
	return h.initrd.Manifest, true
}

// verify holds the initrd against the host, once for all checks.
func (h *host) verify() (*initrd.Verdict, error) {
	if h.verdict != nil {
		return h.verdict, nil
	}
	kernel := ""
	if h.image.err == nil {
		kernel = h.path(h.image.path)
	}
	v, err := h.opt.verify(h.ctx, h.path(h.config().Initrd), kernel, initrd.Options{Root: h.opt.Root, Kdx: h.opt.Version})
	h.verdict = v
	return v, err
}

func initrdWhole(h *host) outcome {
	if h.initrd.err != nil {
		return skip(noInitrd)
	}
	if h.initrd.Damaged != "" {
		return bad("%s", h.initrd.Damaged)
	}
	if _, is := h.own(); !is {
		return skip("it is not kdx's")
	}
	v, err := h.verify()
	if err != nil {
		return unknown("%v", err)
	}
	if len(v.Problems) > 0 {
		return bad("%s%s", v.Problems[0], more(len(v.Problems)-1))
	}
	return ok("all files have the sums that the manifest states")
}

func initrdKernel(h *host) outcome {
	m, is := h.own()
	if !is {
		return skip(noInitrd)
	}
	if rel := h.captureRelease(); m.Release != rel {
		return bad("it is for %s, the capture kernel is %s", m.Release, rel)
	}
	return ok("%s", m.Release)
}

func initrdFresh(h *host) outcome {
	if _, is := h.own(); !is {
		return skip(noInitrd)
	}
	v, err := h.verify()
	if err != nil {
		return unknown("%v", err)
	}
	if len(v.Changes) > 0 {
		return bad("%s%s", v.Changes[0], more(len(v.Changes)-1))
	}
	return ok("none of what it was made from has changed")
}

func initrdMode(h *host) outcome {
	if _, is := h.own(); !is {
		return skip(noInitrd)
	}
	fi, err := os.Stat(h.path(h.config().Initrd))
	if err != nil {
		return unknown("%v", err)
	}
	secret := slices.ContainsFunc(h.initrd.Entries, func(e initrd.Entry) bool { return strings.HasSuffix(e.Path, "kdx/ssh-key") })
	if secret && fi.Mode().Perm()&0o077 != 0 {
		return bad("a private key is in it, and its mode is %04o", fi.Mode().Perm()).do("chmod 600 %s", h.config().Initrd)
	}
	return ok("%04o", fi.Mode().Perm())
}

// initrdUnpacks: the root filesystem of the capture kernel takes half of its memory, unless the kernel knows initramfs_options (6.18).
func initrdUnpacks(h *host) outcome {
	n := h.mainPart()
	if h.initrd.err != nil || n == 0 || h.initrd.Unpacked == 0 {
		return skip("no initrd, or nothing is reserved")
	}
	in := h.estimateInput()
	left := n - min(n, in.InitSize) + in.InitSize/4
	if unpacked := uint64(h.initrd.Unpacked); unpacked > left/2 {
		return bad("it has %s unpacked, and may take about %s", mebi(unpacked), mebi(left/2))
	}
	return ok("%s of about %s", mebi(uint64(h.initrd.Unpacked)), mebi(left/2))
}
