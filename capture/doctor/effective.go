package doctor

import (
	"context"

	"kdx/capture/config"
	"kdx/capture/initrd"
	"kdx/capture/load"
)

// InForce is the configuration with the targets and the level that the capture initrd was built with: those of the configuration may have been replaced
// on the command line, and what lies in the initrd is what will happen. The initrd is the one that is loaded, else the configured one.
func InForce(ctx context.Context, root, arch string, c *config.Config) *config.Config {
	path := c.Initrd
	if s, err := (&load.Host{Root: root, Arch: arch}).ReadStatus(nil); err == nil && s.Record != nil && s.Record.Initrd.Path != "" {
		path = s.Record.Initrd.Path
	}
	h := host{base: root}
	if root == "" {
		h.base = "/"
	}
	shown, err := initrd.Show(ctx, h.path(path))
	if err != nil {
		return c
	}
	return withPlan(c, path, shown)
}

// withPlan takes what a plan says in place of the configuration.
func withPlan(c *config.Config, path string, shown *initrd.Contents) *config.Config {
	out := *c
	out.Initrd = path
	if shown == nil || shown.Plan == nil {
		return &out
	}
	var targets []config.Target
	for _, t := range shown.Plan.Targets {
		parsed, err := config.ParseTarget(t.Configured)
		if err != nil {
			return &out
		}
		targets = append(targets, parsed)
	}
	if len(targets) > 0 {
		out.Targets, out.Level, out.Codec, out.CodecLevel = targets, shown.Plan.Config.Level, shown.Plan.Config.Codec, shown.Plan.Config.CodecLevel
	}
	return &out
}
