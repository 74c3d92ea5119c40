package kernel

import "context"

// ModuleFiles attaches debug files to loaded modules, which are named as the kernel names them. Files are also found by
// themselves, when something of a module is asked for that only its debug file knows.
type ModuleFiles interface {
	// Attach takes the file at path, or looks for one if path is "". A file of another build is an error unless it is forced. It
	// returns the path of the file.
	Attach(ctx context.Context, name, path string, force bool) (string, error)
	// AttachAll looks for the files of these modules in dir first, if that is not "". attached is called for each.
	AttachAll(ctx context.Context, names []string, dir string, attached func(name, path string, err error)) error
	// Detach forgets a module's file, and does not look for one again.
	Detach(name string) error
	// Attached is the path of a module's file, "" if it has none now.
	Attached(name string) string
}

// ModuleFiles is who attaches debug files to modules; nil if nobody does.
func (k *Kernel) ModuleFiles() ModuleFiles { return k.mods }
