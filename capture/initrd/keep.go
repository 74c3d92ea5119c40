package initrd

import "slices"

// keeping is the builder with what another build was asked for, where this one is not asked for anything else. The kernel is not kept: who
// loads has one in mind.
func (b *builder) keeping(old *Manifest) (*builder, error) {
	spec, kept := b.spec, []string{}
	one := func(flag string, now *string, was string) {
		if *now == "" && was != "" {
			*now = was
			kept = append(kept, flag+" "+was)
		}
	}
	all := func(flag string, now *[]string, was []string) {
		if len(*now) > 0 {
			return
		}
		*now = slices.Clone(was)
		for _, w := range was {
			kept = append(kept, flag+" "+w)
		}
	}
	one("--config", &spec.ConfigFile, old.Spec.ConfigFile)
	all("--target", &spec.Targets, old.Spec.Targets)
	one("--level", &spec.Level, old.Spec.Level)
	one("--codec", &spec.Codec, old.Spec.Codec)
	all("--module", &spec.Modules, old.Spec.Modules)
	one("--init", &spec.Init, old.Spec.Init)
	if err := b.findImage(); err != nil {
		return nil, err
	}
	if b.release == old.Release { // it is a tree of that release
		one("--modules-dir", &spec.ModulesDir, old.Spec.ModulesDir)
	}
	again, err := newBuilder(b.ctx, spec, b.opt)
	if err != nil {
		return nil, err
	}
	again.old, again.result.Path, again.result.Kept = b.old, b.result.Path, kept
	return again, nil
}
