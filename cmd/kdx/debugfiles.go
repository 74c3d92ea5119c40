package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"kdx/analyze"
	"kdx/symbols"
	"kdx/symbols/debuginfo/debuginfod"
)

// debugOptions let the kernel of x find its debug files by itself. debuginfod is asked only where it is configured.
func debugOptions(x *opened, dumps []string) analyze.DebugOptions {
	opt := analyze.DebugOptions{Search: true, Files: debuginfoOptions(x), Dumps: dumps, Foreground: x.foreground}
	opt.Files.Download = opt.Files.Server.Configured()
	x.server = opt.Files.Server
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

// serverSources are the source texts of debuginfod's servers.
type serverSources struct{ server *debuginfod.Client }

// Source fetches the text of p's file; it implements commands.Sources.
func (s serverSources) Source(ctx context.Context, p symbols.Place) (text []byte, from string, err error) {
	if p.BuildID == "" {
		return nil, "", fmt.Errorf("debuginfod finds files by build-id, and the debug information of %s has none", p.File)
	}
	file, err := s.server.Source(ctx, p.BuildID, p.Path)
	if err != nil {
		return nil, "", err
	}
	text, err = os.ReadFile(file)
	return text, "debuginfod", err
}
