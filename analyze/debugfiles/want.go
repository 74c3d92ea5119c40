// Package debugfiles says which debug files a dump needs, and where they are: what kdx debuginfo answers.
package debugfiles

import (
	"context"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/symbols/debuginfo"
)

// BuildID is what is known of the dumped kernel's build-id.
type BuildID struct {
	ID         string // hexadecimal; "" if it is not known
	FromNotes  bool   // it is from the kernel's own notes in memory, not from VMCOREINFO
	VMCoreInfo string // what VMCOREINFO has for it; "" if nothing
	Why        string // why VMCOREINFO's is not believed; "" if it is
	NotesErr   error  // why the notes could not be read
}

// Want is the kernel of a dump as package debuginfo looks for it. It reads the kernel's notes and banner, for which the
// dump's symbols are decoded. dumps are the paths of the dump's files.
func Want(ctx context.Context, k *kernel.Kernel, dumps []string) (debuginfo.Want, BuildID) {
	w := debuginfo.Want{Machine: debuginfo.Machine(string(k.Image().Info().Machine)), Dumps: dumps}
	w.Release, _ = k.VMCoreInfo().Get("OSRELEASE")
	v := k.View(ctx)
	w.Banner = banner(v)
	id := buildID(v, w.Banner, w.Release)
	w.BuildID, w.Sure = id.ID, id.FromNotes
	return w, id
}

func banner(v *kernel.View) string {
	s, err := v.Symbol("linux_banner")
	if err != nil {
		return ""
	}
	const limit = 1024
	text, err := v.CString(vmem.Addr(s.Addr), limit)
	if err != nil {
		return ""
	}
	return text
}

func buildID(v *kernel.View, banner, release string) BuildID {
	var id BuildID
	id.VMCoreInfo, _ = v.VMCoreInfo().Get("BUILD-ID")
	var ok bool
	if banner == "" {
		banner = "Linux version " + release
	}
	ok, id.Why = debuginfo.BelieveBuildID(banner)
	if ok {
		id.ID = id.VMCoreInfo
	}
	own, err := notes(v)
	if err != nil {
		id.NotesErr = err
		return id
	}
	id.ID, id.FromNotes = own, true
	if own != id.VMCoreInfo && id.VMCoreInfo != "" && id.Why == "" {
		id.Why = "the kernel's own notes have another"
	}
	if own == id.VMCoreInfo {
		id.Why = ""
	}
	return id
}

func notes(v *kernel.View) (string, error) {
	start, err := v.Symbol("__start_notes")
	if err != nil {
		return "", fmt.Errorf("the kernel's notes: %w", err)
	}
	stop, err := v.Symbol("__stop_notes")
	if err != nil {
		return "", fmt.Errorf("the kernel's notes: %w", err)
	}
	return debuginfo.TrueBuildID(v, v.ByteOrder(), start.Addr, stop.Addr)
}
