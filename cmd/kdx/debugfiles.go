package main

import (
	"context"
	"os"
	"path/filepath"

	"kdx/analyze"
)

// debugOptions let the kernel of x find its debug files by itself. debuginfod is asked only where it is configured.
func debugOptions(x *opened, dumps []string) analyze.DebugOptions {
	opt := analyze.DebugOptions{Search: true, Files: debuginfoOptions(x), Dumps: dumps, Foreground: x.foreground}
	opt.Files.Download = opt.Files.Server.Configured()
	if dir, err := os.UserCacheDir(); err == nil {
		opt.IndexDir = filepath.Join(dir, "kdx", "index")
	}
	return opt
}

// foreground is the context of the command that runs.
func (o *opened) foreground() context.Context {
	if o.session == nil {
		return context.Background()
	}
	return o.session.Foreground()
}
