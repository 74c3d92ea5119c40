package debuginfo

import (
	"context"
	"path/filepath"
)

// Kernel looks for the kernel's own file (vmlinux). The error is of a cancelled context; that nothing was found is no error.
func (f *Finder) Kernel(ctx context.Context) (*Result, error) {
	s := f.search(ctx)
	for _, file := range s.opt.Files {
		if !s.done() && !s.one(file) {
			s.add(Candidate{Path: file, Outcome: Absent})
		}
	}
	for _, dir := range s.opt.Dirs {
		s.byID(dir, filepath.Join(dir, "usr/lib/debug"))
		s.names(dir, "vmlinux-REL", "vmlinux-REL.debug")
		s.host(dir)
		s.names(dir, "vmlinux", "vmlinux.debug")
	}
	for _, dir := range s.dumpDirs() {
		s.byID(dir)
		s.names(dir, "vmlinux-REL", "vmlinux-REL.debug", "vmlinux", "vmlinux.debug")
	}
	s.byID(s.debugRoot())
	s.host(s.opt.Root)
	return s.finish()
}

// host looks where packages put the kernel's file under a root directory: those with debug files first, as what lies in
// /boot is often stripped.
func (s *search) host(root string) {
	s.names(filepath.Join(root, "usr/lib/debug"),
		"boot/vmlinux-REL",                                                 // Debian, Ubuntu
		"boot/vmlinux-REL.debug",                                           // SUSE
		"lib/modules/REL/vmlinux",                                          // Fedora, RHEL
		"usr/lib/modules/REL/vmlinux", "usr/lib/modules/REL/vmlinux.debug", // where /lib is a link; SUSE
		"lib/modules/REL/vmlinux.debug",
		"vmlinux-REL")
	s.names(root,
		"boot/vmlinux-REL",
		"lib/modules/REL/vmlinux", "lib/modules/REL/vmlinux.debug",
		"lib/modules/REL/build/vmlinux", // a build's own directory; Arch
		"lib/modules/REL/source/vmlinux", "lib/modules/REL/kernel/vmlinux",
		"usr/src/linux-REL/vmlinux", "usr/src/kernels/REL/vmlinux", "usr/src/linux-headers-REL/vmlinux", "usr/src/linux/vmlinux")
}
